"""The tables that notebooks show: intervals, paired gains, shares by round."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from alpt_lib.metrics import accuracy_rows
from alpt_lib.probes import neighbour_agreement
from companion.report.estimates import (
    final,
    interval,
    paired_gains,
    savings,
    share_by_round,
    upsampling_by_run,
)

RUN = {"dataset": "birds", "model": "bit-m"}


def curves() -> pd.DataFrame:
    """Two arms, two seeds, rounds 0 and 1; gains of .2 and .4 in the end."""
    ends = {("random", 1): 0.5, ("random", 2): 0.6, ("margin", 1): 0.7, ("margin", 2): 1.0}
    return pd.DataFrame(
        [
            {
                **RUN,
                "acquisition": a,
                "seed": s,
                "run_id": f"{a}{s}",
                "round": r,
                "n_labels": 10 + 10 * r,
                "value": end if r else 0.4,
            }
            for (a, s), end in ends.items()
            for r in (0, 1)
        ]
    )


def acquisitions() -> pd.DataFrame:
    rows = [(0, "rare"), (0, "common"), (1, "rare"), (1, "common"), (2, "rare"), (2, "rare")]
    return pd.DataFrame(rows, columns=["round", "subgroup"]).assign(
        acquisition="margin", seed=1, **RUN
    )


def test_intervals_are_gaussian_or_students():
    rows = pd.DataFrame({"arm": "a", "value": [0.1, 0.2, 0.6]})
    error = np.std([0.1, 0.2, 0.6], ddof=1) / np.sqrt(3)
    assert interval(rows, ["arm"]).ci_high.item() == pytest.approx(0.3 + 1.96 * error)
    assert interval(rows, ["arm"], student=True).ci_low.item() == pytest.approx(
        0.3 - stats.t.ppf(0.975, 2) * error
    )


def test_one_seed_has_no_interval():
    table = interval(pd.DataFrame({"arm": ["a"], "value": [0.1]}), ["arm"], student=True)
    assert table["mean"].item() == 0.1
    assert np.isnan(table.ci_low.item())
    assert np.isnan(table.ci_high.item())


def test_gains_are_paired_by_seed_in_the_last_round():
    table = paired_gains(curves(), ["dataset", "model"])
    assert table[["random", "own", "gain"]].to_numpy()[0] == pytest.approx([0.55, 0.85, 0.3])
    assert table.ci_high.item() - 0.3 == pytest.approx(
        stats.t.ppf(0.975, 1) * np.std([0.2, 0.4], ddof=1) / np.sqrt(2)
    )


def test_without_the_baseline_there_are_columns_and_no_rows():
    alone = curves().query("acquisition == 'margin'")
    table = paired_gains(alone, ["dataset"]).join(
        savings(alone, ["dataset"]), on=["dataset", "acquisition"]
    )
    assert list(table.columns[-2:]) == ["n_seeds", "times_fewer_labels"]
    assert table.empty


def test_savings_compare_mean_curves():
    # margin goes from .4 to .85 in ten labels and passes random's .55 after a third of them
    assert savings(curves(), ["dataset"])["birds", "margin"] == pytest.approx(3.0)


def test_the_final_round_is_each_runs_own():
    rows = pd.DataFrame({"run_id": list("aabbb"), "round": [0, 1, 0, 1, 2], "value": range(5)})
    assert final(rows).value.tolist() == [1, 4]


def test_shares_leave_the_seed_set_out():
    assert share_by_round(acquisitions(), "subgroup", ["rare"]).value.tolist() == [0.5, 1.0]
    table = upsampling_by_run(
        acquisitions(), "subgroup", pd.Series(["rare"] + ["common"] * 3)
    ).set_index("subgroup")
    assert table.ratio["rare"] == pytest.approx(0.75 / 0.25)
    assert table.share_acquired["common"] == 0.25


def test_a_weighted_average_over_subgroups_that_the_pool_lacks_is_nan():
    frame = pd.DataFrame({"label": ["a", "b"]})
    rows = accuracy_rows(
        np.array([True, False]),
        frame,
        subgroup=np.array(["a/new", "b/new"], dtype=object),
        minority=[],
        train_weights=pd.Series({"a/old": 0.5, "b/old": 0.5}),
    )
    assert np.isnan(rows.set_index("metric").value["accuracy_train_weighted"])


def test_neighbours_agree_inside_a_group_and_not_at_a_mixed_place():
    features = np.array([[0.0], [0.1], [0.2], [10.0], [10.1], [10.2]])
    groups = np.array(["a", "a", "a", "a", "b", "b"])
    agreement = neighbour_agreement(features, groups, n_neighbours=2)
    assert agreement.tolist() == [1, 1, 1, 0, 0.5, 0.5]
