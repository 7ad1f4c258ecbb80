"""Estimates with their intervals over seeds: a tidy frame in, a tidy frame out.

Wherever this repository states an interval, in tables, claims and figures, it is made here: a 95%
Student t interval. The paper's figures use the Gaussian approximation, too narrow for few seeds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from companion.report.quantities import label_savings, upsampling

if TYPE_CHECKING:
    from alpt_lib.datasets import Dataset

# columns that tell the runs of a figure apart
RUN = ["dataset", "model", "acquisition", "seed"]

RANDOM = "random"

# query batches that a share is shown of one by one
MOST_BATCHES = 16

# more are out of reach, whatever they would show
MOST_SEEDS = 1000


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95% interval over seeds; NaN where there are too few of them."""

    estimate: float
    low: float
    high: float
    n: int
    # what the estimate compares, such as "least confidence ends at 0.82, random at 0.79"
    levels: str = ""


def half_width(sd: Any, n: Any) -> Any:
    """Half of the 95% Student t interval of a mean.

    Args:
        sd: standard deviation, with n - 1 in its denominator. n: values that the mean is of.
    Returns:
        of the shape of sd and n; NaN for a single value.
    """
    return stdtrit(np.maximum(n - 1, 1), 0.975) * sd / np.sqrt(n)


def t_interval(values: pd.Series, levels: str = "") -> Interval:
    """Mean and 95% Student t interval over seeds; no interval from fewer than two.

    Args:
        values: one a seed; NaN counts as none. levels: as of `Interval`.
    """
    values = values.dropna()
    mean = values.mean()
    n = len(values)
    if n < 2:
        return Interval(mean, np.nan, np.nan, n, levels)
    half = half_width(values.std(ddof=1), n)
    return Interval(mean, mean - half, mean + half, n, levels)


def seeds_for(half: float, n: int, wanted: float) -> float:
    """About how many seeds would make the half-width of an interval `wanted`, at the same spread.

    Args:
        half: half-width over n seeds, which are 2 or more.
    Returns:
        a whole number of seeds; infinity beyond MOST_SEEDS.
    """
    spread = half * np.sqrt(n) / stdtrit(n - 1, 0.975)
    seeds = np.arange(2, MOST_SEEDS + 1)
    enough = half_width(spread, seeds) < wanted
    return float(seeds[enough][0]) if enough.any() else np.inf


def seed_means(rows: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Mean over seeds and its 95% Student t interval.

    Args:
        rows: columns `by` and value, one row a seed.
    Returns:
        columns `by`, mean, ci_low, ci_high (NaN for a single seed), n_seeds.
    """
    values = rows.groupby(by, sort=False)["value"]
    table = values.agg(mean="mean", sd="std", n_seeds="count").reset_index()
    half = half_width(table["sd"], table["n_seeds"])
    table = table.assign(ci_low=table["mean"] - half, ci_high=table["mean"] + half)
    return table[[*by, "mean", "ci_low", "ci_high", "n_seeds"]]


def last_rounds(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of each run's last round."""
    return rows[rows["round"] == rows.groupby("run_id")["round"].transform("max")]


def gains_by_seed(rows: pd.DataFrame, by: list[str], baseline: str = RANDOM) -> pd.DataFrame:
    """What each acquisition function ends with above the baseline, by seed (paper, section 5.1).

    For each random seed the baseline and the others start from the same seed set, so they are
    compared pair by pair.

    Args:
        rows: columns `by`, acquisition, seed, run_id, round, value.
    Returns:
        columns `by`, seed, acquisition, own (final value), baseline's final value, value (the
        gain); no rows where the baseline is missing.
    """
    index = [*by, "seed"]
    final = last_rounds(rows).pivot_table(
        index=index, columns="acquisition", values="value", sort=False
    )
    if baseline not in final:
        return pd.DataFrame(columns=[*index, "acquisition", "own", baseline, "value"])
    own = final.drop(columns=baseline).stack().rename("own").reset_index()
    paired = own.join(final[baseline], on=index)
    return paired.assign(value=paired["own"] - paired[baseline])


def paired_gains(rows: pd.DataFrame, by: list[str], baseline: str = RANDOM) -> pd.DataFrame:
    """Means of `gains_by_seed`.

    Args:
        rows: as for `gains_by_seed`.
    Returns:
        columns `by`, acquisition, baseline's and its own final mean, gain, ci_low, ci_high,
        n_seeds; no rows where the baseline is missing.
    """
    paired = gains_by_seed(rows, by, baseline)
    arms = [*by, "acquisition"]
    columns = [*arms, baseline, "own", "gain", "ci_low", "ci_high", "n_seeds"]
    if paired.empty:
        return pd.DataFrame(columns=columns)
    means = paired.groupby(arms, sort=False)[["own", baseline]].mean()
    gains = seed_means(paired, arms).rename(columns={"mean": "gain"})
    return gains.join(means, on=arms)[columns]


def arm_values(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Of each acquisition function its curves: a row a number of labels, a column a seed.

    Args:
        rows: columns acquisition, seed, n_labels, value; of one dataset, model and metric.
    """
    arms = {}
    for acquisition, of_arm in rows.groupby("acquisition", sort=False):
        arms[acquisition] = of_arm.pivot(index="n_labels", columns="seed", values="value")
    return arms


def mean_savings(arm: pd.DataFrame, baseline: pd.DataFrame) -> float:
    """`label_savings` of the mean curves of two arms, as `arm_values` gives them."""
    curves = []
    for values in (arm, baseline):
        curves.append(values.mean(axis=1).rename("value").reset_index())
    return label_savings(*curves)


def savings(rows: pd.DataFrame, by: list[str], baseline: str = RANDOM) -> pd.Series:
    """`label_savings` of each acquisition function's mean curve, indexed by `by` and acquisition.

    Args:
        rows: columns `by`, acquisition, seed, n_labels, value.
    """
    levels = [*by, "acquisition"]
    records = []
    for key, of_panel in rows.groupby(by, sort=False):
        arms = arm_values(of_panel)
        for acquisition, values in arms.items():
            if baseline in arms and acquisition != baseline:
                records.append((*key, acquisition, mean_savings(values, arms[baseline])))
    table = pd.DataFrame(records, columns=[*levels, "times_fewer_labels"])
    return table.set_index(levels)["times_fewer_labels"].astype(float)


def share_by_round(acquisitions: pd.DataFrame, column: str, values: list[str]) -> pd.DataFrame:
    """Share of these values in each query batch, the seed set left out.

    Of more than MOST_BATCHES neighbours are taken together: batches of 5 would hide the line.

    Args:
        acquisitions: run columns, round, `column`; one acquired example a row.
    Returns:
        dataset, model, acquisition, seed, round (from 1; the last of those taken together), value
        in [0, 1].
    """
    acquired = acquisitions[acquisitions["round"] > 0]
    rounds = acquired["round"]
    last = rounds.max()
    together = np.ceil(last / MOST_BATCHES)
    ends = (np.ceil(rounds / together) * together).clip(upper=last).astype(int)
    wanted = acquired.assign(value=acquired[column].isin(values).astype(float), round=ends)
    return wanted.groupby([*RUN, "round"], sort=False)["value"].mean().reset_index()


def upsampling_by_run(acquisitions: pd.DataFrame, column: str, pool: pd.Series) -> pd.DataFrame:
    """`upsampling` of each run's query batches, the seed set left out (paper, Figs. 4, 5, 9).

    Args:
        acquisitions: run columns, round, `column`; one acquired example a row.
        pool: (n_pool,) the same column of the pool.
    Returns:
        dataset, model, acquisition, seed, `column`, share_acquired, share_pool, ratio.
    """
    acquired = acquisitions[acquisitions["round"] > 0]
    tables = []
    for key, of_run in acquired.groupby(RUN, sort=False):
        table = upsampling(of_run[column], pool).rename_axis(column).reset_index()
        tables.append(table.assign(**dict(zip(RUN, key, strict=True))))
    return pd.concat(tables, ignore_index=True)


def shares_together(
    acquisitions: pd.DataFrame, data: Dataset, column: str, wanted: list[str]
) -> pd.DataFrame:
    """`upsampling_by_run` of several values of a column together, a row a run."""
    together = acquisitions.assign(wanted=acquisitions[column].isin(wanted))
    table = upsampling_by_run(together, "wanted", pool_values(data, column).isin(wanted))
    return table[table["wanted"]]


def pool_values(data: Dataset, column: str) -> pd.Series:
    """(n_pool,) the subgroup of each pool example, its label, or another attribute."""
    return pd.Series(data.subgroup("pool")) if column == "subgroup" else data.rows("pool")[column]


def minority_share(data: Dataset) -> float:
    """Share of the minority subgroups in the pool, in [0, 1]."""
    return float(data.pool_shares.reindex(data.minority).sum())


def matched_share(data: Dataset) -> float:
    """Share of the pool outside the minority subgroups, in [0, 1] (Waterbirds: matched)."""
    return 1 - minority_share(data)
