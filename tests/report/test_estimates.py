"""The tables that notebooks show: intervals, paired gains, savings, shares by round."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from companion.report import estimates

RUN = {"dataset": "birds", "model": "bit-m"}


def curves() -> pd.DataFrame:
    """Two arms, two seeds, rounds 0 and 1; gains of .2 and .4 in the end."""
    ends = {("random", 1): 0.5, ("random", 2): 0.6, ("margin", 1): 0.7, ("margin", 2): 1.0}
    rows = []
    for (acquisition, seed), end in ends.items():
        run = {"acquisition": acquisition, "seed": seed, "run_id": f"{acquisition}{seed}", **RUN}
        rows.append({**run, "round": 0, "n_labels": 10, "value": 0.4})
        rows.append({**run, "round": 1, "n_labels": 20, "value": end})
    return pd.DataFrame(rows)


def acquisitions() -> pd.DataFrame:
    rows = [(0, "rare"), (0, "common"), (1, "rare"), (1, "common"), (2, "rare"), (2, "rare")]
    table = pd.DataFrame(rows, columns=["round", "subgroup"])
    return table.assign(acquisition="margin", seed=1, **RUN)


def test_intervals_are_students_wherever_they_are_stated():
    values = [0.1, 0.2, 0.6]
    rows = pd.DataFrame({"arm": "a", "value": values})
    student = stats.t.interval(0.95, 2, loc=0.3, scale=stats.sem(values))
    table = estimates.seed_means(rows, ["arm"])
    assert table[["ci_low", "ci_high"]].to_numpy()[0] == pytest.approx(student)
    interval = estimates.t_interval(rows["value"])
    assert (interval.low, interval.high) == pytest.approx(student)
    assert interval.n == 3


def test_one_seed_has_no_interval():
    rows = pd.DataFrame({"arm": ["a"], "value": [0.1]})
    table = estimates.seed_means(rows, ["arm"])
    interval = estimates.t_interval(rows["value"])
    assert table["mean"].item() == interval.estimate == 0.1
    ends = [table["ci_low"].item(), table["ci_high"].item(), interval.low, interval.high]
    assert np.isnan(ends).all()


def test_gains_are_paired_by_seed_in_the_last_round():
    by_seed = estimates.gains_by_seed(curves(), ["dataset"]).set_index("seed")["value"]
    assert by_seed.to_dict() == pytest.approx({1: 0.2, 2: 0.4})
    table = estimates.paired_gains(curves(), ["dataset", "model"])
    assert table[["random", "own", "gain"]].to_numpy()[0] == pytest.approx([0.55, 0.85, 0.3])
    half = stats.t.ppf(0.975, 1) * stats.sem([0.2, 0.4])
    assert table["ci_high"].item() - 0.3 == pytest.approx(half)


def test_without_the_baseline_there_are_columns_and_no_rows():
    alone = curves().query("acquisition == 'margin'")
    table = estimates.paired_gains(alone, ["dataset"])
    table = table.join(estimates.savings(alone, ["dataset"]), on=["dataset", "acquisition"])
    assert list(table.columns[-2:]) == ["n_seeds", "times_fewer_labels"]
    assert table.empty


def test_savings_compare_mean_curves():
    # margin goes from .4 to .85 in ten labels and passes random's .55 after a third of them
    assert estimates.savings(curves(), ["dataset"])["birds", "margin"] == pytest.approx(3.0)


def test_the_last_round_is_each_runs_own():
    rows = pd.DataFrame({"run_id": list("aabbb"), "round": [0, 1, 0, 1, 2], "value": range(5)})
    assert estimates.last_rounds(rows)["value"].tolist() == [1, 4]


@pytest.mark.parametrize(
    ("n_rounds", "rounds"),
    [(16, [*range(1, 17)]), (17, [*range(2, 17, 2), 17]), (64, [*range(4, 65, 4)])],
)
def test_of_many_batches_neighbours_are_taken_together(n_rounds, rounds):
    asked = acquisitions().loc[[0]]
    asked = pd.concat([asked.assign(round=number + 1) for number in range(n_rounds)])
    asked["subgroup"] = np.where(asked["round"] % 2, "rare", "common")
    shares = estimates.share_by_round(asked, "subgroup", ["rare"])
    assert shares["round"].tolist() == rounds
    assert shares["value"].mean() == pytest.approx(0.5, abs=0.06)


def test_shares_leave_the_seed_set_out():
    shares = estimates.share_by_round(acquisitions(), "subgroup", ["rare"])
    assert shares["value"].tolist() == [0.5, 1.0]
    assert shares["round"].tolist() == [1, 2]
    pool = pd.Series(["rare", "common", "common", "common"])
    table = estimates.upsampling_by_run(acquisitions(), "subgroup", pool).set_index("subgroup")
    assert table["ratio"]["rare"] == pytest.approx(0.75 / 0.25)
    assert table["share_acquired"]["common"] == 0.25
