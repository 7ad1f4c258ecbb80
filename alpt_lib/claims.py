"""The paper's claims with their source, and ours beside them: estimate, interval over paired seeds, verdict.

At the smoke and mini presets only the direction of a claim is judged, never its value: the data and models are miniatures.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from alpt_lib.experiments import Study
from alpt_lib.metrics import label_savings, rare, upsampling

RANDOM, LEAST_CONFIDENCE = "random", "least_confidence"
COLUMNS = ["claim", "source", "paper", "ours", "ci_low", "ci_high", "n_seeds", "verdict"]


class NotTestable(Exception):
    """The study lacks a dataset, model or arm that the claim speaks of."""


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95% interval over seeds."""

    estimate: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Claim:
    """One statement. `expect`: "above" the null value, "not above" it (no benefit), or "equal" to it."""

    notebook: str
    statement: str
    source: str
    measure: Callable[[Study], Interval]
    paper: float | None = None  # the paper's number, where it states one
    expect: str = "above"
    null: float = 0.0


def t_interval(values: pd.Series) -> Interval:
    """Mean and 95% Student t interval over seeds; no interval from fewer than two."""
    values = values.dropna()
    if len(values) < 2:
        return Interval(values.mean(), np.nan, np.nan, len(values))
    half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return Interval(values.mean(), values.mean() - half, values.mean() + half, len(values))


def final(study: Study, metric: str, **where: str) -> pd.Series:
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


def gains(study: Study, dataset: str, metric: str, model: str | None = None, acquisition: str = LEAST_CONFIDENCE,
          **where: str) -> pd.Series:
    """Final metric of an acquisition function minus random's, paired by seed (paper, section 5.1)."""
    model = model or _model(study, dataset)
    arms = [final(study, metric, dataset=dataset, model=model, acquisition=a, **where) for a in (acquisition, RANDOM)]
    return (arms[0] - arms[1]).dropna()


def _model(study: Study, dataset: str) -> str:
    """The dataset's default model where the study has it, else its first pretrained one."""
    if dataset not in study.datasets:
        raise NotTestable(f"{dataset} is not in this study")
    found = study.metrics.loc[study.metrics.dataset == dataset, "model"].unique()
    default = study.datasets[dataset].description.default_model
    return default if default in found else next((m for m in found if not m.endswith("-np")), found[0])


def ratios(study: Study, dataset: str, model: str | None = None, column: str = "subgroup",
           values: list[str] | None = None) -> pd.Series:
    """Share of the minority among acquired examples over its share in the pool, by seed (paper, Figs. 4, 5, 9)."""
    model = model or _model(study, dataset)
    a, data = study.acquisitions, study.datasets[dataset]
    a = a[(a.dataset == dataset) & (a.model == model) & (a.acquisition == LEAST_CONFIDENCE) & (a["round"] > 0)]
    pool = pd.Series(data.subgroup("pool")) if column == "subgroup" else data.rows("pool")[column]
    values = rare(pool.value_counts(normalize=True)) if values is None and column != "subgroup" else values or data.minority
    if a.empty or not values:
        raise NotTestable(f"{dataset} has no minority subgroups or no least-confidence arm")
    acquired = a[column].isin(values)
    by_seed = {seed: upsampling(acquired[a.seed == seed], pool.isin(values)).loc[True, "ratio"] for seed in a.seed.unique()}
    return pd.Series(by_seed)


def gain(dataset: str, metric: str, **options: str) -> Callable[[Study], Interval]:
    return lambda study: t_interval(gains(study, dataset, metric, **options))


def gain_difference(dataset: str, metric: str, model: str, other: str) -> Callable[[Study], Interval]:
    """Gain of one model minus the gain of another, paired by seed."""
    return lambda study: t_interval(gains(study, dataset, metric, model) - gains(study, dataset, metric, other))


def upsampled(dataset: str, **options) -> Callable[[Study], Interval]:
    return lambda study: t_interval(ratios(study, dataset, **options))


def savings(dataset: str, metric: str) -> Callable[[Study], Interval]:
    """Label savings on mean curves; the interval resamples seeds, all arms of a seed together."""

    def measure(study: Study) -> Interval:
        model = _model(study, dataset)
        m = study.metrics
        m = m[(m.dataset == dataset) & (m.model == model) & (m.metric == metric) & (m.subgroup == "all")
              & (m.split == study.datasets[dataset].eval_splits[0]) & (m["round"] >= 0)]
        arms = [m[m.acquisition == a].pivot(index="n_labels", columns="seed", values="value") for a in (LEAST_CONFIDENCE, RANDOM)]
        if any(arm.empty for arm in arms):
            raise NotTestable(f"{dataset}: an arm or {metric} is missing")
        seeds = arms[0].columns.intersection(arms[1].columns)

        def ratio(chosen) -> float:
            return label_savings(*(arm[chosen].mean(axis=1).rename("value").reset_index() for arm in arms))

        rng = np.random.default_rng(0)
        resampled = [ratio(rng.choice(seeds, len(seeds))) for _ in range(300)]
        low, high = np.nanpercentile(resampled, [2.5, 97.5]) if np.isfinite(resampled).any() else (np.nan, np.nan)
        # a resample that never reaches random's final value saves nothing
        low = min(low, 1.0) if np.isnan(resampled).mean() > 0.025 else low
        return Interval(ratio(seeds), low, high, len(seeds)) if len(seeds) > 1 else Interval(ratio(seeds), np.nan, np.nan, 1)

    return measure


def probe_gap(**where: int) -> Callable[[Study], Interval]:
    """Linear-probe accuracy of the pretrained model minus the not-pretrained one's, last or at one `round` (paper, Fig. 7)."""

    def measure(study: Study) -> Interval:
        dataset = next(iter(study.datasets))
        pretrained = _model(study, dataset)
        found = [m for m in study.metrics.model.unique() if m.endswith("-np")]
        if not found:
            raise NotTestable("no model that is not pretrained")
        both = [final(study, "probe_accuracy_train_weighted", model=m, **where) for m in (pretrained, found[0])]
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
    arms = [final(study, "accuracy", acquisition=LEAST_CONFIDENCE, stopping=rule) for rule in ("loss_ratio", "early_stopping")]
    return t_interval(arms[0] - arms[1])


BALANCED, MINORITY = "accuracy_class_balanced", "accuracy_minority"
OURS = "ours, after Fig. 2"
CLAIMS = [
    Claim("00_task_ambiguity", "Asked for blue squares and red circles more often than their share", "Fig. 1",
          upsampled("squares_circles"), null=1.0),
    Claim("00_task_ambiguity", "Which settles the task: accuracy above random's", "Fig. 1", gain("squares_circles", "accuracy")),
    Claim("01_accuracy_curves", "Waterbirds: accuracy above random", "5.1, Fig. 2a", gain("waterbirds", "accuracy"), 0.11),
    Claim("01_accuracy_curves", "Waterbirds: mismatched groups above random", "5.1, Fig. 2b", gain("waterbirds", MINORITY), 0.25),
    Claim("01_accuracy_curves", "Waterbirds: times fewer labels", "5.1", savings("waterbirds", "accuracy"), 5.0, null=1.0),
    Claim("01_accuracy_curves", "Treeperson: accuracy above random", "5.1, Fig. 2c", gain("treeperson", "accuracy"), 0.02),
    Claim("01_accuracy_curves", "Treeperson: mismatched groups above random", "Fig. 2d", gain("treeperson", MINORITY)),
    Claim("01_accuracy_curves", "Treeperson: times fewer labels", "5.1", savings("treeperson", "accuracy"), 1.6, null=1.0),
    Claim("01_accuracy_curves", "iWildCam: accuracy at unseen locations above random", "5.1, Fig. 2e",
          gain("iwildcam", "accuracy")),
    Claim("01_accuracy_curves", "iWildCam: class-balanced accuracy above random", "5.1, Fig. 2f",
          gain("iwildcam", BALANCED), 0.09),
    Claim("01_accuracy_curves", "iWildCam: times fewer labels", "5.1", savings("iwildcam", BALANCED), 1.8, null=1.0),
    Claim("01_accuracy_curves", "Amazon: mean over reviewers above random", "5.1, Fig. 2g",
          gain("amazon", "accuracy_reviewer_mean"), 0.01),
    Claim("01_accuracy_curves", "Amazon: worst tenth of reviewers above random", "5.1, Fig. 2g",
          gain("amazon", "accuracy_reviewer_p10"), 0.025),
    Claim("01_accuracy_curves", "Amazon: times fewer labels", "5.1", savings("amazon", "accuracy_reviewer_mean"), 1.3, null=1.0),
    Claim("01_accuracy_curves", "Digits on photographs: accuracy above random", OURS, gain("digits", "accuracy")),
    Claim("01_accuracy_curves", "Digits on photographs: mismatched groups above random", OURS, gain("digits", MINORITY)),
    *(Claim("02_acquisition_functions", f"iWildCam: {a.replace('_', ' ')} above random, {text}", "5.2, Fig. 3",
            gain("iwildcam", metric, acquisition=a))
      for a in ("least_confidence", "entropy", "margin")
      for metric, text in (("accuracy", "accuracy"), (BALANCED, "class-balanced"))),
    Claim("02_acquisition_functions", "iWildCam: margin above least confidence, class-balanced", "5.2, Fig. 3",
          lambda s: t_interval(gains(s, "iwildcam", BALANCED, acquisition="margin") - gains(s, "iwildcam", BALANCED))),
    *(Claim("03_subgroup_upsampling", f"{name}: minority subgroups oversampled (times the pool's share)", source,
            upsampled(dataset), null=1.0)
      for dataset, name, source in (("waterbirds", "Waterbirds", "6.1, Fig. 4a"), ("treeperson", "Treeperson", "6.1, Fig. 4b"),
                                    ("digits", "Digits on photographs", "ours, after Fig. 4"),
                                    ("amazon", "Amazon, rare stars", "6.1, Fig. 5a"))),
    Claim("03_subgroup_upsampling", "Amazon, rare product categories: oversampled, though latent", "6.1, Fig. 5b",
          upsampled("amazon", column="category"), null=1.0),
    *(Claim("04_pretraining", f"{name}: gain larger with pretraining than without", "6.2, Fig. 6",
            gain_difference(dataset, metric, model, f"{model}-np"))
      for dataset, name, metric, model in (
          ("waterbirds", "Waterbirds", "accuracy", "bit-m"), ("treeperson", "Treeperson", "accuracy", "bit-m"),
          ("iwildcam", "iWildCam", BALANCED, "bit-m"), ("digits", "Digits on photographs", "accuracy", "bit-m"),
          ("amazon", "Amazon", "accuracy_reviewer_mean", "roberta-m"))),
    *(Claim("04_pretraining", f"{name}: no gain without pretraining", "6.2, Fig. 6", gain(dataset, metric, model=f"{model}-np"),
            expect="not above")
      for dataset, name, metric, model in (
          ("waterbirds", "Waterbirds", "accuracy", "bit-m"), ("treeperson", "Treeperson", "accuracy", "bit-m"),
          ("iwildcam", "iWildCam", BALANCED, "bit-m"), ("digits", "Digits on photographs", "accuracy", "bit-m"),
          ("amazon", "Amazon", "accuracy_reviewer_mean", "roberta-m"))),
    Claim("04_pretraining", "iWildCam: narrow pretraining (S) gains less than broad (M)", "6.2, Fig. 6",
          gain_difference("iwildcam", BALANCED, "bit-m", "bit-s")),
    Claim("04_pretraining", "Waterbirds: a deeper network gains as much (no difference)", "6.2, Fig. 6",
          gain_difference("waterbirds", "accuracy", "bit-m-deep", "bit-m"), expect="equal"),
    *(Claim("05_linear_probes", f"Probe of label x background: pretrained above not pretrained, {when}", "6.3, Fig. 7",
            probe_gap(**where), paper)
      for where, when, paper in (({"round": -1}, "no fine-tuning", 0.402 - 0.311),
                                 ({"round": 0}, "after the seed set", 0.420 - 0.320),
                                 ({}, "after 20 more labels", 0.424 - 0.340))),
    Claim("07_ambiguity_sweep", "Gain grows with ambiguity (accuracy per 10 points more matched)", "6.4, Fig. 8",
          slope(lambda study, name: gains(study, name, "accuracy"))),
    Claim("07_ambiguity_sweep", "Upsampling of mismatched examples grows with ambiguity (ratio per 10 points)", "6.4, Fig. 9",
          slope(lambda study, name: ratios(study, name))),
    *(Claim("08_failure_cases", f"{name}: no gain over random", "6.5", gain(dataset, "accuracy"), expect="not above")
      for dataset, name in (("camelyon", "Tissue far from pretraining"), ("camelyon17", "Camelyon17"), ("fmow", "FMoW"))),
    Claim("09_stopping_rule", "The 0.1% rule does as well as early stopping (no difference)", "2, Appendix D",
          rule_difference, expect="equal"),
]


def verdict(claim: Claim, found: Interval, preset: str) -> str:
    """reproduced, right direction, not reproduced, or not testable (no interval)."""
    if not np.isfinite(found.low) or not np.isfinite(found.high):
        return "not testable"
    if claim.expect == "not above":
        return "reproduced" if found.low <= claim.null else "not reproduced"
    if claim.expect == "equal":
        return "reproduced" if found.low <= claim.null <= found.high else "not reproduced"
    is_separated = found.low > claim.null
    value_holds = preset != "paper" or claim.paper is None or found.low <= claim.paper <= found.high
    if is_separated and value_holds:
        return "reproduced"
    return "right direction" if found.estimate > claim.null else "not reproduced"


def check(notebook: str, study: Study) -> pd.DataFrame:
    """The notebook's part of the claims table, saved as claims.csv beside its figure: COLUMNS."""
    rows = []
    for claim in (c for c in CLAIMS if c.notebook == notebook):
        try:
            found = claim.measure(study)
        except NotTestable:
            found = Interval(np.nan, np.nan, np.nan, 0)
        rows.append((claim.statement, claim.source, claim.paper, found.estimate, found.low, found.high, found.n,
                     verdict(claim, found, study.parameters["preset"])))
    table = pd.DataFrame(rows, columns=COLUMNS)
    study.save_table(table, "claims")
    return table


def show(table: pd.DataFrame):
    """The claims table for reading: numbers rounded, verdicts coloured (by the page's own colours, where it has some)."""
    colours = {"reproduced": "var(--good, #1b7837)", "right direction": "var(--part, #8a6d00)",
               "not reproduced": "var(--bad, #b2182b)", "not testable": "var(--soft, #666666)"}
    words = table.rename(columns=lambda c: c.replace("_", " "))
    return (words.style.hide(axis="index").format(precision=3, na_rep="–")
            .map(lambda v: f"color: {colours.get(v, 'inherit')}; font-weight: 600", subset=["verdict"]))
