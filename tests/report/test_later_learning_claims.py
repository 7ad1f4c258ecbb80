"""What the claims on later learning measure, worked out by hand."""

from itertools import product
from types import SimpleNamespace

import pandas as pd
import pytest

from companion.report import claims
from companion.report import later_learning_claims as later
from companion.report.measures import NotTestable

# who learns, who chose -> what the minority subgroups gain over random sets
GAINS = {("a", "a"): 0.1, ("a", "b"): 0.2, ("b", "a"): 0.5, ("b", "b"): 0.3}


def study(rows: list[dict]) -> SimpleNamespace:
    common = {"split": "val", "subgroup": "all", "round": 1}
    table = pd.DataFrame([{**common, **row} for row in rows])
    table = table.assign(run_id=table["acquisition"] + table["seed"].astype(str))
    data = SimpleNamespace(description=SimpleNamespace(default_model="a"), eval_splits=["val"])
    datasets = dict.fromkeys(table["dataset"], data)
    return SimpleNamespace(metrics=table, main=table, datasets=datasets)


def crossed(models: str, dataset: str = later.PHOTOGRAPHS, scale: float = 1.0) -> list[dict]:
    run = {"dataset": dataset, "metric": later.MINORITY}
    rows = []
    for seed, learner in product((1, 2), models):
        own = {**run, "seed": seed, "model": learner}
        rows.append({**own, "acquisition": "random", "value": 0.4})
        for chooser in models:
            # the seeds lie about the mean
            value = 0.4 + scale * GAINS[learner, chooser] + (seed - 1.5) / 50
            rows.append({**own, "acquisition": chooser, "value": value})
    return rows


def test_what_others_choose_is_compared_with_one_s_own_choice():
    # a gains 0.1 more by b's choice, b 0.2 more by a's
    interval = later.from_others(study(crossed("ab")))
    assert interval.estimate == pytest.approx(0.15)
    assert interval.n == 2
    with pytest.raises(NotTestable, match="fewer than two pretrained networks"):
        later.from_others(study(crossed("a")))


def test_a_lost_gain_is_that_of_the_unchanged_dataset_minus_the_other_s():
    rows = crossed("a") + crossed("a", "other", scale=0.25)
    rows = [
        {**row, "acquisition": {"a": "least_confidence"}.get(row["acquisition"], "random")}
        for row in rows
    ]
    assert later.lost_gain("other")(study(rows)).estimate == pytest.approx(0.075)


def test_heads_are_compared_seed_by_seed_where_all_columns_fit():
    run = {"dataset": later.PHOTOGRAPHS, "model": "a", "metric": "accuracy_worst_group"}
    values = {
        ("least_confidence", "plain", 0.01): (0.5, 0.6),
        ("least_confidence", "another L2", 0.1): (0.2, 0.5),
        ("least_confidence", "another L2", 0.001): (0.9, 0.9),
        ("random", "plain", 0.01): (0.0, 0.0),
    }
    rows = []
    for (acquisition, head, l2), by_seed in values.items():
        own = {**run, "acquisition": acquisition, "head": head, "l2": l2}
        rows += [{**own, "seed": seed, "value": v} for seed, v in enumerate(by_seed)]
    measure = later.head_difference(
        later.WORST, later.asked("plain"), later.asked("another L2", l2=0.1)
    )
    assert measure(study(rows)).estimate == pytest.approx(0.2)
    against_random = later.head_difference(later.WORST, later.asked("plain"), later.drawn("plain"))
    assert against_random(study(rows)).estimate == pytest.approx(0.55)
    with pytest.raises(NotTestable, match="no accuracy_worst_group for"):
        later.head_difference(later.WORST, later.asked("plain"), later.drawn("other"))(study(rows))


def test_they_stand_in_the_table_of_all_claims():
    assert set(later.LATER_CLAIMS) == {n for n in claims.CLAIMS if n[:2] in ("13", "14", "15")}
    statements = [claim.statement for own in claims.CLAIMS.values() for claim in own]
    assert len(set(statements)) == len(statements)
