"""Imperfect oracles and pools: which dataset stands for what, and what its labels cost.

data_prep/resampled.py makes the datasets and says in their `generator` what is changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from companion.report.estimates import RANDOM, arm_values, matched_share
from companion.report.quantities import labels_to_reach

if TYPE_CHECKING:
    from companion.report.study import Study

# kind and place of a change -> title of its panel
PANELS = {
    ("wrong", ""): "wrong labels (%)",
    ("wrong", "minority"): "wrong labels, disambiguating (%)",
    ("unsure", ""): "cannot tell (%)",
    ("unsure", "minority"): "cannot tell, disambiguating (%)",
    ("matched", ""): "disambiguating in the pool (%)",
    ("copies", ""): "copies of each example",
}
UNCHANGED = "as it is"


def conditions(study: Study) -> pd.DataFrame:
    """Which point of which panel each dataset is.

    A dataset that is not made of another one stands at 0 of every panel about labels and at one
    copy; pools with a share of disambiguating examples are drawn otherwise, and stand for
    themselves.

    Returns:
        dataset, source (the one that it is made of, or itself), panel, level (percent, or copies);
        by source, then in the order of PANELS.
    """
    changed = {name: data.description.generator for name, data in study.datasets.items()}
    made_of = {name: change["of"] if "kind" in change else name for name, change in changed.items()}
    rows = []
    for source in dict.fromkeys(made_of.values()):
        own = {name: change for name, change in changed.items() if made_of[name] == source}
        points = [point for panel in PANELS for point in _points(study, own, panel)]
        rows += [(name, source, *point) for name, *point in points or [(source, UNCHANGED, 0)]]
    return pd.DataFrame(rows, columns=["dataset", "source", "panel", "level"])


def _points(
    study: Study, changed: dict[str, dict[str, Any]], panel: tuple[str, str]
) -> list[tuple[str, str, float]]:
    """Dataset, title and level of one panel; none if nothing is changed in its way."""
    kind, _ = panel
    points = []
    for name, change in changed.items():
        if (change.get("kind"), change.get("where")) == panel:
            level = change["level"]
            if kind == "matched":
                level = 100 * (1 - matched_share(study.datasets[name]))
            points.append((name, PANELS[panel], round(level, 1)))
    if points and kind != "matched":
        level = 1 if kind == "copies" else 0
        points += [(name, PANELS[panel], level) for name in changed if "kind" not in changed[name]]
    return points


def label_costs(curves: pd.DataFrame, source: Mapping[str, str]) -> pd.DataFrame:
    """Labels that each arm needs for what random sampling ends with on the unchanged dataset.

    Args:
        curves: columns dataset, metric, acquisition, seed, n_labels, value. A label that the oracle
            could not give is paid, too.
        source: dataset -> the one that it is made of; that, or the first, is the unchanged one.
    Returns:
        dataset, metric, target, acquisition, labels_paid (seed set included, on the mean curve; NaN
        where the budget does not suffice); no rows of a metric that random sampling does not raise.
    """
    records = []
    source = curves["dataset"].map(source).rename("source")
    for (_, metric), of_metric in curves.groupby([source, "metric"], sort=False):
        arms = arm_values(of_metric[of_metric["dataset"] == of_metric["dataset"].iloc[0]])
        if RANDOM not in arms:
            continue
        start, *_, target = arms[RANDOM].mean(axis=1)
        if target <= start:
            continue
        for dataset, rows in of_metric.groupby("dataset", sort=False):
            for acquisition, values in arm_values(rows).items():
                mean = values.mean(axis=1)
                labels = labels_to_reach(mean.index.to_numpy(), mean.to_numpy(), target)
                records.append((dataset, metric, target, acquisition, labels))
    columns = ["dataset", "metric", "target", "acquisition", "labels_paid"]
    return pd.DataFrame(records, columns=columns).replace({"labels_paid": {np.inf: np.nan}})
