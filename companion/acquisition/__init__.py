"""Other ways to ask: acquisition functions that came before and after the paper, and two controls.

Importing `companion` puts them into the tables of `alpt_lib.acquisition`, under these names. What
each looks at and costs: docs/acquisition.md.
"""

from alpt_lib.acquisition import ACQUISITION_FUNCTIONS, BATCH_FUNCTIONS, CHEATING, Chooser, Scorer
from companion.acquisition.controls import cheating_class_balance, cheating_group_balance
from companion.acquisition.diversity import core_set, prob_cover, typi_clust
from companion.acquisition.geometry import one_thread
from companion.acquisition.hybrids import badge, cluster_margin, drop_query
from companion.acquisition.uncertainty import bald, power_least_confidence

SCORERS: dict[str, Scorer] = {"power_least_confidence": power_least_confidence}
CHOOSERS: dict[str, Chooser] = {
    "bald": bald,
    "badge": badge,
    "cluster_margin": cluster_margin,
    "drop_query": drop_query,
    "core_set": core_set,
    "typi_clust": typi_clust,
    "prob_cover": prob_cover,
    "cheating_class_balance": cheating_class_balance,
    "cheating_group_balance": cheating_group_balance,
}

ACQUISITION_FUNCTIONS.update(SCORERS)
BATCH_FUNCTIONS.update({name: one_thread(choose) for name, choose in CHOOSERS.items()})
CHEATING.update(name for name in CHOOSERS if name.startswith("cheating"))
