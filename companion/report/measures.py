"""What a claim measures: of a study's tables one estimate with its interval over seeds."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from alpt_lib.metrics import rare
from alpt_lib.registry import title
from companion.report.estimates import (
    RANDOM,
    Interval,
    arm_values,
    gains_by_seed,
    last_rounds,
    matched_share,
    mean_savings,
    pool_values,
    shares_together,
    t_interval,
)

if TYPE_CHECKING:
    from companion.report.study import Study

LEAST_CONFIDENCE = "least_confidence"
MINORITY = "accuracy_minority"

RESAMPLES = 300

Measure = Callable[["Study"], Interval]


class NotTestable(Exception):
    """The study lacks a dataset, model or acquisition function that the claim speaks of."""


def gain(
    dataset: str, metric: str, model: str = "", acquisition: str = LEAST_CONFIDENCE
) -> Measure:
    """What an acquisition function ends with above random sampling (paper, section 5.1)."""

    def measure(study: Study) -> Interval:
        paired = _paired(study, dataset, metric, model, acquisition)
        ends = {_words(acquisition): paired["own"].mean(), RANDOM: paired[RANDOM].mean()}
        return t_interval(paired["value"], _levels("ends at {:.2f}", ends))

    return measure


def gain_difference(dataset: str, metric: str, model: str, other: str) -> Measure:
    """Gain of one model minus the gain of another, paired by seed (paper, section 6.2)."""

    def measure(study: Study) -> Interval:
        both = [gains(study, dataset, metric, each) for each in (model, other)]
        means = {
            title(each): values.mean() for each, values in zip((model, other), both, strict=True)
        }
        return t_interval(both[0] - both[1], _levels("gains {:+.3f}", means))

    return measure


def lead(dataset: str, metric: str, acquisition: str, other: str) -> Measure:
    """Gain of one acquisition function minus the gain of another (paper, section 5.2)."""

    def measure(study: Study) -> Interval:
        arms = (acquisition, other)
        both = [gains(study, dataset, metric, acquisition=each) for each in arms]
        means = {_words(each): values.mean() for each, values in zip(arms, both, strict=True)}
        return t_interval(both[0] - both[1], _levels("gains {:+.3f}", means))

    return measure


def upsampled(
    dataset: str, column: str = "subgroup", model: str = "", acquisition: str = LEAST_CONFIDENCE
) -> Measure:
    """How many times its share of the pool the minority is asked for (paper, Figs. 4, 5)."""

    def measure(study: Study) -> Interval:
        of_runs = _asked(study, dataset, column, model, acquisition)
        asked, pool = of_runs["share_acquired"].mean(), of_runs["share_pool"].mean()
        return t_interval(of_runs["ratio"], f"{asked:.0%} of the questions, {pool:.0%} of the pool")

    return measure


def saved_labels(dataset: str, metric: str) -> Measure:
    """Label savings on mean curves; the interval resamples seeds, both arms of a seed together."""

    def measure(study: Study) -> Interval:
        rows = _select(study, metric, dataset=dataset, model=_usual_model(study, dataset))
        arms = arm_values(rows[rows["round"] >= 0])
        if not {LEAST_CONFIDENCE, RANDOM} <= set(arms):
            raise NotTestable(f"{dataset}: random or least confidence is missing")
        asked = arms[LEAST_CONFIDENCE]
        drawn = arms[RANDOM]
        seeds = asked.columns.intersection(drawn.columns)
        estimate = mean_savings(asked[seeds], drawn[seeds])
        if len(seeds) < 2:
            return Interval(estimate, np.nan, np.nan, len(seeds))
        rng = np.random.default_rng(0)
        resampled = []
        for _ in range(RESAMPLES):
            chosen = rng.choice(seeds, len(seeds))
            resampled.append(mean_savings(asked[chosen], drawn[chosen]))
        return Interval(estimate, *_percentiles(np.array(resampled)), len(seeds))

    return measure


def _percentiles(resampled: np.ndarray) -> tuple[float, float]:
    """The middle 95%; a resample that never reaches random's final value (NaN) saves nothing."""
    missed = np.isnan(resampled)
    if missed.all():
        return np.nan, np.nan
    low, high = np.nanpercentile(resampled, [2.5, 97.5])
    return (min(low, 1.0) if missed.mean() > 0.025 else low), high


def probe_gap(dataset: str, at_round: int | None = None) -> Measure:
    """Linear-probe accuracy, pretrained minus not (paper, Fig. 7); None takes the last round.

    Of several networks that are not pretrained the mean is taken, seed by seed.
    """

    def measure(study: Study) -> Interval:
        usual = _usual_model(study, dataset)
        models = study.metrics.loc[study.metrics["dataset"] == dataset, "model"].unique()
        untrained = [model for model in models if model.endswith("-np")]
        if not untrained:
            raise NotTestable("no model that is not pretrained")
        where = {} if at_round is None else {"round": at_round}
        accuracy = {}
        for model in (usual, *untrained):
            metric = "probe_accuracy_train_weighted"
            accuracy[model] = final(study, metric, dataset=dataset, model=model, **where)
        pretrained = accuracy.pop(usual)
        others = pd.DataFrame(accuracy).mean(axis=1)
        return _difference({title(usual): pretrained, "not pretrained": others}, "{:.2f}")

    return measure


def slope(quantity: Callable[[Study, str], pd.Series], model: str) -> Measure:
    """Change per 10 points of matched share (paper, section 6.4): a line fitted for each seed.

    Args:
        model: datasets that this is the usual model of make up the sweep.
    """

    def measure(study: Study) -> Interval:
        sweep = [name for name in study.datasets if _usual_model(study, name) == model]
        if len(sweep) < 3:
            raise NotTestable("a trend needs at least three datasets")
        x = pd.Series({name: matched_share(study.datasets[name]) for name in sweep})
        table = pd.DataFrame({name: quantity(study, name) for name in sweep}).dropna()
        slopes = table.apply(lambda row: np.polyfit(x[row.index], row, 1)[0] / 10, axis=1)
        ends = {f"{x[each]:.0%} matched": table[each].mean() for each in (x.idxmin(), x.idxmax())}
        return t_interval(slopes, _levels("{:.3f}", ends))

    return measure


def rule_difference(study: Study) -> Interval:
    """Final accuracy under the 0.1% rule minus early stopping, least confidence (Appendix D)."""
    accuracy = {}
    for rule, words in (("loss_ratio", "the 0.1% rule"), ("early_stopping", "early stopping")):
        accuracy[words] = final(study, "accuracy", acquisition=LEAST_CONFIDENCE, stopping=rule)
    return _difference(accuracy, "ends at {:.2f}")


def _difference(by_name: dict[str, pd.Series], form: str) -> Interval:
    """The first of two minus the second, paired by seed."""
    one, other = by_name.values()
    return t_interval(one - other, _levels(form, {n: v.mean() for n, v in by_name.items()}))


def _levels(form: str, means: dict[str, float]) -> str:
    """What is compared, in words: "least confidence ends at 0.82, random at 0.79"."""
    first, *others = means
    short = form.partition(" ")[2] or form
    words = [f"{first} {form.format(means[first])}"]
    return ", ".join(words + [f"{name} {short.format(means[name])}" for name in others])


def _words(acquisition: str) -> str:
    return acquisition.replace("_", " ")


def gains(
    study: Study,
    dataset: str,
    metric: str,
    model: str = "",
    acquisition: str = LEAST_CONFIDENCE,
) -> pd.Series:
    """Gain over random sampling, indexed by seed; "" takes the dataset's usual model."""
    return _paired(study, dataset, metric, model, acquisition)["value"]


def _paired(study: Study, dataset: str, metric: str, model: str, acquisition: str) -> pd.DataFrame:
    """An acquisition function's `gains_by_seed` on a dataset, indexed by seed."""
    usual = _usual_model(study, dataset)
    model = model or usual
    paired = gains_by_seed(_select(study, metric, dataset=dataset, model=model), ["dataset"])
    paired = paired[paired["acquisition"] == acquisition]
    if paired.empty:
        raise NotTestable(f"{dataset}: random or {acquisition} is missing")
    return paired.set_index("seed").dropna(subset="value")


def ratios(study: Study, dataset: str, column: str = "subgroup") -> pd.Series:
    """Share of the minority among acquired examples over its share in the pool, indexed by seed."""
    return _asked(study, dataset, column)["ratio"]


def _asked(
    study: Study,
    dataset: str,
    column: str,
    model: str = "",
    acquisition: str = LEAST_CONFIDENCE,
) -> pd.DataFrame:
    """Shares of the minority, `shares_together` of each of the function's runs, by seed.

    Args:
        column: the subgroup, or an attribute whose rare values then are the minority.
        model: "" takes the dataset's usual one.
    """
    usual = _usual_model(study, dataset)
    model = model or usual
    data = study.datasets[dataset]
    shares = pool_values(data, column).value_counts(normalize=True)
    minority = data.minority if column == "subgroup" else rare(shares)
    asked = study.acquisitions
    for name, value in (("dataset", dataset), ("model", model), ("acquisition", acquisition)):
        asked = asked[asked[name] == value]
    if not minority or not (asked["round"] > 0).any():
        raise NotTestable(f"{dataset} has no minority subgroups or no {acquisition} arm")
    return shares_together(asked, data, column, minority).set_index("seed")


def _usual_model(study: Study, dataset: str) -> str:
    """The dataset's default model where the study has it, else its first pretrained one."""
    if dataset not in study.datasets:
        raise NotTestable(f"{dataset} is not in this study")
    models = study.metrics.loc[study.metrics["dataset"] == dataset, "model"].unique()
    default = study.datasets[dataset].description.default_model
    if default in models:
        return default
    return next((model for model in models if not model.endswith("-np")), models[0])


def final(study: Study, metric: str, **where: Any) -> pd.Series:
    """The metric at each seed's last round, where columns have these values; indexed by seed."""
    return last_rounds(_select(study, metric, **where)).set_index("seed")["value"]


def _select(study: Study, metric: str, **where: Any) -> pd.DataFrame:
    """The metric over the whole first evaluation split, where columns have these values."""
    rows = study.metrics
    for column, value in where.items():
        rows = rows[rows[column] == value]
    rows = rows[(rows["metric"] == metric) & (rows["subgroup"] == "all")]
    if rows.empty:
        raise NotTestable(f"no {metric} for {where}")
    split = study.datasets[rows["dataset"].iloc[0]].eval_splits[0]
    return rows[rows["split"] == split]
