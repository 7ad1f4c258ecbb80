"""The paper's claims with their source, and ours beside them: estimate, interval over paired seeds, verdict.

At the smoke and mini presets only the direction of a claim is judged, never its value: the data and models are miniatures.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats
from scipy.special import stdtrit

from alpt_lib.metrics import label_savings, rare, upsampling
from companion.report.study import Study

RANDOM, LEAST_CONFIDENCE = "random", "least_confidence"


class NotTestable(Exception):
    """The study lacks a dataset, model or arm that the claim speaks of."""


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95% interval over seeds."""

    estimate: float
    low: float
    high: float
    n: int


def t_interval(values: pd.Series) -> Interval:
    """Mean and 95% Student t interval over seeds; no interval from fewer than two."""
    values = values.dropna()
    if len(values) < 2:
        return Interval(values.mean(), np.nan, np.nan, len(values))
    half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return Interval(values.mean(), values.mean() - half, values.mean() + half, len(values))


def final_by_seed(study: Study, metric: str, **where: str) -> pd.Series:
    """The metric after the last round on the first evaluation split, indexed by seed.

    Args:
        where: run columns, e.g. dataset, model, acquisition; `round` picks another round than the last.
    """
    m = study.metrics
    for column, value in where.items():
        m = m[m[column] == value]
    m = m[(m.metric == metric) & (m.subgroup == "all")]
    if m.empty:
        raise NotTestable(f"no {metric} for {where}")
    m = m[m.split == study.datasets[m.dataset.iloc[0]].eval_splits[0]]
    return m[m["round"] == m["round"].max()].set_index("seed")["value"]


def gains(
    study: Study,
    dataset: str,
    metric: str,
    model: str | None = None,
    acquisition: str = LEAST_CONFIDENCE,
    **where: str,
) -> pd.Series:
    """Final metric of an acquisition function minus random's, paired by seed (paper, section 5.1)."""
    model = model or _model(study, dataset)
    arms = [
        final_by_seed(study, metric, dataset=dataset, model=model, acquisition=a, **where)
        for a in (acquisition, RANDOM)
    ]
    return (arms[0] - arms[1]).dropna()


def _model(study: Study, dataset: str) -> str:
    """The dataset's default model where the study has it, else its first pretrained one."""
    if dataset not in study.datasets:
        raise NotTestable(f"{dataset} is not in this study")
    found = study.metrics.loc[study.metrics.dataset == dataset, "model"].unique()
    default = study.datasets[dataset].description.default_model
    return (
        default if default in found else next((m for m in found if not m.endswith("-np")), found[0])
    )


def ratios(
    study: Study,
    dataset: str,
    model: str | None = None,
    column: str = "subgroup",
    values: list[str] | None = None,
) -> pd.Series:
    """Share of the minority among acquired examples over its share in the pool, by seed (paper, Figs. 4, 5, 9)."""
    model = model or _model(study, dataset)
    a, data = study.acquisitions, study.datasets[dataset]
    a = a[
        (a.dataset == dataset)
        & (a.model == model)
        & (a.acquisition == LEAST_CONFIDENCE)
        & (a["round"] > 0)
    ]
    pool = pd.Series(data.subgroup("pool")) if column == "subgroup" else data.rows("pool")[column]
    values = (
        rare(pool.value_counts(normalize=True))
        if values is None and column != "subgroup"
        else values or data.minority
    )
    if a.empty or not values:
        raise NotTestable(f"{dataset} has no minority subgroups or no least-confidence arm")
    acquired = a[column].isin(values)
    by_seed = {
        seed: upsampling(acquired[a.seed == seed], pool.isin(values)).loc[True, "ratio"]
        for seed in a.seed.unique()
    }
    return pd.Series(by_seed)


def gain(dataset: str, metric: str, **options: str) -> Callable[[Study], Interval]:
    return lambda study: t_interval(gains(study, dataset, metric, **options))


def gain_difference(
    dataset: str, metric: str, model: str, other: str
) -> Callable[[Study], Interval]:
    """Gain of one model minus the gain of another, paired by seed."""
    return lambda study: t_interval(
        gains(study, dataset, metric, model) - gains(study, dataset, metric, other)
    )


def upsampled(dataset: str, **options) -> Callable[[Study], Interval]:
    return lambda study: t_interval(ratios(study, dataset, **options))


def saved_labels(dataset: str, metric: str) -> Callable[[Study], Interval]:
    """Label savings on mean curves; the interval resamples seeds, all arms of a seed together."""

    def measure(study: Study) -> Interval:
        model = _model(study, dataset)
        m = study.metrics
        m = m[
            (m.dataset == dataset)
            & (m.model == model)
            & (m.metric == metric)
            & (m.subgroup == "all")
            & (m.split == study.datasets[dataset].eval_splits[0])
            & (m["round"] >= 0)
        ]
        arms = [
            m[m.acquisition == a].pivot(index="n_labels", columns="seed", values="value")
            for a in (LEAST_CONFIDENCE, RANDOM)
        ]
        if any(arm.empty for arm in arms):
            raise NotTestable(f"{dataset}: an arm or {metric} is missing")
        seeds = arms[0].columns.intersection(arms[1].columns)

        def ratio(chosen) -> float:
            return label_savings(
                *(arm[chosen].mean(axis=1).rename("value").reset_index() for arm in arms)
            )

        rng = np.random.default_rng(0)
        resampled = [ratio(rng.choice(seeds, len(seeds))) for _ in range(300)]
        low, high = (
            np.nanpercentile(resampled, [2.5, 97.5])
            if np.isfinite(resampled).any()
            else (np.nan, np.nan)
        )
        # a resample that never reaches random's final value saves nothing
        low = min(low, 1.0) if np.isnan(resampled).mean() > 0.025 else low
        return (
            Interval(ratio(seeds), low, high, len(seeds))
            if len(seeds) > 1
            else Interval(ratio(seeds), np.nan, np.nan, 1)
        )

    return measure


def probe_gap(**where: int) -> Callable[[Study], Interval]:
    """Linear-probe accuracy of the pretrained model minus the not-pretrained one's, last or at one `round` (paper, Fig. 7)."""

    def measure(study: Study) -> Interval:
        dataset = next(iter(study.datasets))
        pretrained = _model(study, dataset)
        found = [m for m in study.metrics.model.unique() if m.endswith("-np")]
        if not found:
            raise NotTestable("no model that is not pretrained")
        both = [
            final_by_seed(study, "probe_accuracy_train_weighted", model=m, **where)
            for m in (pretrained, found[0])
        ]
        return t_interval(both[0] - both[1])

    return measure


def slope(quantity: Callable[[Study, str], pd.Series]) -> Callable[[Study], Interval]:
    """Change per 10 points of matched share, a line fitted for each seed over the datasets of the sweep."""

    def measure(study: Study) -> Interval:
        if len(study.datasets) < 3:
            raise NotTestable("a trend needs at least three datasets")
        x = pd.Series({name: matched_share(data) for name, data in study.datasets.items()})
        table = pd.DataFrame({name: quantity(study, name) for name in study.datasets}).dropna()
        return t_interval(table.apply(lambda row: np.polyfit(x[row.index], row, 1)[0] / 10, axis=1))

    return measure


def matched_share(data) -> float:
    """Share of the pool outside the minority subgroups, in [0, 1] (Waterbirds: matched backgrounds)."""
    return float(1 - data.pool_shares.reindex(data.minority).sum())


def rule_difference(study: Study) -> Interval:
    """Final accuracy under the 0.1% rule minus early stopping, least confidence, paired by seed (Appendix D)."""
    arms = [
        final_by_seed(study, "accuracy", acquisition=LEAST_CONFIDENCE, stopping=rule)
        for rule in ("loss_ratio", "early_stopping")
    ]
    return t_interval(arms[0] - arms[1])


RUN = ["dataset", "model", "acquisition", "seed"]  # columns that tell the runs of a figure apart


def interval(rows: pd.DataFrame, by: list[str], student: bool = False) -> pd.DataFrame:
    """Mean over seeds and its 95% confidence interval.

    Args:
        rows: columns `by` and value, one row a seed.
        student: Student's t, which few seeds call for; otherwise the Gaussian approximation of the paper's figures.
    Returns:
        columns `by`, mean, ci_low, ci_high (NaN for a single seed), n_seeds.
    """
    table = (
        rows.groupby(by, sort=False)["value"]
        .agg(mean="mean", sd="std", n_seeds="count")
        .reset_index()
    )
    factor = stdtrit((table["n_seeds"] - 1).clip(lower=1), 0.975) if student else 1.96
    half = factor * table["sd"] / np.sqrt(table["n_seeds"])
    return table.assign(ci_low=table["mean"] - half, ci_high=table["mean"] + half)[
        [*by, "mean", "ci_low", "ci_high", "n_seeds"]
    ]


def final(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of each run's last round."""
    return rows[rows["round"] == rows.groupby("run_id")["round"].transform("max")]


def paired_gains(rows: pd.DataFrame, by: list[str], baseline: str = "random") -> pd.DataFrame:
    """What each acquisition function ends with above the baseline, seed by seed: arms of a seed share their seed set.

    Args:
        rows: columns `by`, acquisition, seed, run_id, round, value.
    Returns:
        columns `by`, acquisition, baseline's and its own final mean, gain, ci_low, ci_high (Student's t), n_seeds; no rows
        where the baseline is missing.
    """
    columns = [*by, "acquisition", baseline, "own", "gain", "ci_low", "ci_high", "n_seeds"]
    arms = final(rows).pivot_table(
        index=[*by, "seed"], columns="acquisition", values="value", sort=False
    )
    if baseline not in arms:
        return pd.DataFrame(columns=columns)
    own = (
        arms.drop(columns=baseline)
        .stack()
        .rename("own")
        .reset_index()
        .join(arms[baseline], on=[*by, "seed"])
    )
    own["value"] = own["own"] - own[baseline]
    means = own.groupby([*by, "acquisition"], sort=False)[["own", baseline]].mean()
    gains = interval(own, [*by, "acquisition"], student=True).rename(columns={"mean": "gain"})
    return gains.join(means, on=[*by, "acquisition"])[columns]


def savings(rows: pd.DataFrame, by: list[str], baseline: str = "random") -> pd.Series:
    """`label_savings` of each acquisition function's mean curve, indexed by `by` and acquisition.

    Args:
        rows: columns `by`, acquisition, n_labels, value.
    """
    mean = rows.groupby([*by, "acquisition", "n_labels"], sort=False)["value"].mean().reset_index()
    found = {}
    for key, group in mean.groupby(by, sort=False):
        arms = dict(list(group.sort_values("n_labels").groupby("acquisition", sort=False)))
        found |= {
            (*key, a): label_savings(arms[a], arms[baseline])
            for a in arms
            if baseline in arms and a != baseline
        }
    index = (
        pd.MultiIndex.from_tuples(list(found), names=[*by, "acquisition"])
        if found
        else pd.MultiIndex.from_arrays([[]] * (len(by) + 1), names=[*by, "acquisition"])
    )
    return pd.Series(list(found.values()), index=index, name="times_fewer_labels", dtype=float)


def share_by_round(acquisitions: pd.DataFrame, column: str, values: list[str]) -> pd.DataFrame:
    """Share of these values in each query batch, the seed set left out.

    Args:
        acquisitions: run columns, round, `column`; one acquired example a row.
    Returns:
        dataset, model, acquisition, seed, round (from 1), value in [0, 1].
    """
    acquired = acquisitions[acquisitions["round"] > 0]
    wanted = acquired.assign(value=acquired[column].isin(values).astype(float))
    return wanted.groupby([*RUN, "round"], sort=False)["value"].mean().reset_index()


def upsampling_by_run(acquisitions: pd.DataFrame, column: str, pool: pd.Series) -> pd.DataFrame:
    """`upsampling` of each run's query batches, the seed set left out.

    Args:
        acquisitions: run columns, round, `column`; one acquired example a row. pool: (n_pool,) the same column of the pool.
    Returns:
        dataset, model, acquisition, seed, `column`, share_acquired, share_pool, ratio.
    """
    acquired = acquisitions[acquisitions["round"] > 0]
    parts = [
        upsampling(rows[column], pool)
        .rename_axis(column)
        .reset_index()
        .assign(**dict(zip(RUN, key, strict=True)))
        for key, rows in acquired.groupby(RUN, sort=False)
    ]
    return pd.concat(parts, ignore_index=True)
