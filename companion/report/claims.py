"""The paper's claims with their source, and ours beside them: estimate, interval, verdict.

At the mini preset only the direction of a claim is judged, never its value: the data and models are
miniatures. At the smoke preset nothing is judged: two seeds and a few gradient steps show that
everything runs, and no more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from companion.report.estimates import Interval
from companion.report.measures import (
    Measure,
    NotTestable,
    gain,
    gain_difference,
    gains,
    lead,
    probe_gap,
    ratios,
    rule_difference,
    saved_labels,
    slope,
    upsampled,
)

if TYPE_CHECKING:
    from pandas.io.formats.style import Styler

    from companion.report.study import Study

COLUMNS = ["claim", "source", "paper", "ours", "ci_low", "ci_high", "n_seeds", "verdict"]


@dataclass(frozen=True)
class Verdict:
    """A word's sign, its meaning, and its colour on pages and in terminals (an ANSI code)."""

    sign: str
    meaning: str
    colour: str
    ansi: int


VERDICTS = {
    "reproduced": Verdict(
        "✓",
        "the whole 95% interval is on the claim's side, or where the claim is no effect, allows "
        "for none",
        "var(--good, #1b7837)",
        32,
    ),
    "right direction": Verdict(
        "↗",
        "the estimate is on the claim's side, but its interval reaches to no effect",
        "var(--part, #8a6d00)",
        33,
    ),
    "not reproduced": Verdict(
        "✗",
        "the estimate is on the other side, or where the claim is no effect, the interval excludes "
        "none",
        "var(--bad, #b2182b)",
        31,
    ),
    "not testable": Verdict(
        "–",
        "too few seeds for an interval, or not part of this preset",
        "var(--soft, #666666)",
        2,
    ),
    "too small to judge": Verdict(
        "–",
        "the smoke preset shows that everything runs; its seeds and steps are too few to judge by",
        "var(--soft, #666666)",
        2,
    ),
}


@dataclass(frozen=True)
class Claim:
    """One statement of the paper, or of ours after it."""

    statement: str
    source: str
    measure: Measure
    # the paper's number, where it states one
    paper: float | None = None
    # "above" the null value, "not above" it (no benefit), or "equal" to it
    expect: str = "above"
    null: float = 0.0


BALANCED = "accuracy_class_balanced"
MINORITY = "accuracy_minority"
REVIEWERS = "accuracy_reviewer_mean"

# networks with and without pretraining, on the metric that the paper compares them by
TWINS = [
    ("Waterbirds", "waterbirds", "accuracy", "bit-m"),
    ("Treeperson", "treeperson", "accuracy", "bit-m"),
    ("iWildCam", "iwildcam", BALANCED, "bit-m"),
    ("Digits on photographs", "digits", "accuracy", "bit-m"),
    ("Amazon", "amazon", REVIEWERS, "roberta-m"),
]

UPSAMPLED = [
    ("Real Waterbirds, frozen Lite0", "real_waterbirds", "6.1, Fig. 4a"),
    ("Waterbirds", "waterbirds", "6.1, Fig. 4a"),
    ("Treeperson", "treeperson", "6.1, Fig. 4b"),
    ("Digits on photographs", "digits", "ours, after Fig. 4"),
    ("Amazon, rare stars", "amazon", "6.1, Fig. 5a"),
]

# round of the probe, None the last; the paper's accuracies of both networks
PROBED = [
    (-1, "no fine-tuning", 0.402 - 0.311),
    (0, "after the seed set", 0.420 - 0.320),
    (None, "after 20 more labels", 0.424 - 0.340),
]

FAR_FROM_PRETRAINING = [
    ("Tissue far from pretraining", "camelyon"),
    ("Camelyon17", "camelyon17"),
    ("FMoW", "fmow"),
]

# notebook -> its claims, in the order in which tables show them
CLAIMS: dict[str, list[Claim]] = {
    "00_task_ambiguity": [
        Claim(
            "Asked for blue squares and red circles more often than their share",
            "Fig. 1",
            upsampled("squares_circles"),
            null=1.0,
        ),
        Claim(
            "Which settles the task: accuracy above random's",
            "Fig. 1",
            gain("squares_circles", "accuracy"),
        ),
    ],
    "01_accuracy_curves": [
        Claim(
            "Real Waterbirds, frozen Lite0: accuracy above random",
            "5.1, Fig. 2a",
            gain("real_waterbirds", "accuracy"),
            paper=0.11,
        ),
        Claim(
            "Real Waterbirds, frozen Lite0: mismatched groups above random",
            "5.1, Fig. 2b",
            gain("real_waterbirds", MINORITY),
            paper=0.25,
        ),
        Claim(
            "Real Waterbirds, frozen Lite0: times fewer labels",
            "5.1",
            saved_labels("real_waterbirds", "accuracy"),
            paper=5.0,
            null=1.0,
        ),
        Claim(
            "Waterbirds: accuracy above random",
            "5.1, Fig. 2a",
            gain("waterbirds", "accuracy"),
            paper=0.11,
        ),
        Claim(
            "Waterbirds: mismatched groups above random",
            "5.1, Fig. 2b",
            gain("waterbirds", MINORITY),
            paper=0.25,
        ),
        Claim(
            "Waterbirds: times fewer labels",
            "5.1",
            saved_labels("waterbirds", "accuracy"),
            paper=5.0,
            null=1.0,
        ),
        Claim(
            "Treeperson: accuracy above random",
            "5.1, Fig. 2c",
            gain("treeperson", "accuracy"),
            paper=0.02,
        ),
        Claim(
            "Treeperson: mismatched groups above random",
            "Fig. 2d",
            gain("treeperson", MINORITY),
        ),
        Claim(
            "Treeperson: times fewer labels",
            "5.1",
            saved_labels("treeperson", "accuracy"),
            paper=1.6,
            null=1.0,
        ),
        Claim(
            "iWildCam: accuracy at unseen locations above random",
            "5.1, Fig. 2e",
            gain("iwildcam", "accuracy"),
        ),
        Claim(
            "iWildCam: class-balanced accuracy above random",
            "5.1, Fig. 2f",
            gain("iwildcam", BALANCED),
            paper=0.09,
        ),
        Claim(
            "iWildCam: times fewer labels",
            "5.1",
            saved_labels("iwildcam", BALANCED),
            paper=1.8,
            null=1.0,
        ),
        Claim(
            "Amazon: mean over reviewers above random",
            "5.1, Fig. 2g",
            gain("amazon", REVIEWERS),
            paper=0.01,
        ),
        Claim(
            "Amazon: worst tenth of reviewers above random",
            "5.1, Fig. 2g",
            gain("amazon", "accuracy_reviewer_p10"),
            paper=0.025,
        ),
        Claim(
            "Amazon: times fewer labels",
            "5.1",
            saved_labels("amazon", REVIEWERS),
            paper=1.3,
            null=1.0,
        ),
        Claim(
            "Digits on photographs: accuracy above random",
            "ours, after Fig. 2",
            gain("digits", "accuracy"),
        ),
        Claim(
            "Digits on photographs: mismatched groups above random",
            "ours, after Fig. 2",
            gain("digits", MINORITY),
        ),
    ],
    "02_acquisition_functions": [
        *(
            Claim(
                f"iWildCam: {acquisition.replace('_', ' ')} above random, {words}",
                "5.2, Fig. 3",
                gain("iwildcam", metric, acquisition=acquisition),
            )
            for acquisition in ("least_confidence", "entropy", "margin")
            for metric, words in (("accuracy", "accuracy"), (BALANCED, "class-balanced"))
        ),
        Claim(
            "iWildCam: margin above least confidence, class-balanced",
            "5.2, Fig. 3",
            lead("iwildcam", BALANCED, "margin", "least_confidence"),
        ),
    ],
    "03_subgroup_upsampling": [
        *(
            Claim(
                f"{name}: minority subgroups oversampled (times the pool's share)",
                source,
                upsampled(dataset),
                null=1.0,
            )
            for name, dataset, source in UPSAMPLED
        ),
        Claim(
            "Amazon, rare product categories: oversampled, though latent",
            "6.1, Fig. 5b",
            upsampled("amazon", "category"),
            null=1.0,
        ),
    ],
    "04_pretraining": [
        Claim(
            "Real Waterbirds, frozen Lite0: gain in mismatched groups larger with pretraining",
            "6.2, Fig. 6",
            gain_difference("real_waterbirds", MINORITY, "lite0", "lite0-1-np"),
        ),
        Claim(
            "Real Waterbirds, frozen Lite0: no gain in mismatched groups without pretraining",
            "6.2, Fig. 6",
            gain("real_waterbirds", MINORITY, "lite0-1-np"),
            expect="not above",
        ),
        *(
            Claim(
                f"Real Waterbirds, pretrained on {known}: mismatched groups above random",
                "ours, after 6.5",
                gain("real_waterbirds", MINORITY, f"mobilenet-{known.lower()}"),
            )
            for known in ("birds", "ImageNet", "insects")
        ),
        Claim(
            "Real Waterbirds: pretrained on birds gains more than on ImageNet, mismatched groups",
            "ours, after 6.5",
            gain_difference("real_waterbirds", MINORITY, "mobilenet-birds", "mobilenet-imagenet"),
        ),
        *(
            Claim(
                f"{name}: gain larger with pretraining than without",
                "6.2, Fig. 6",
                gain_difference(dataset, metric, model, f"{model}-np"),
            )
            for name, dataset, metric, model in TWINS
        ),
        *(
            Claim(
                f"{name}: no gain without pretraining",
                "6.2, Fig. 6",
                gain(dataset, metric, f"{model}-np"),
                expect="not above",
            )
            for name, dataset, metric, model in TWINS
        ),
        Claim(
            "iWildCam: narrow pretraining (S) gains less than broad (M)",
            "6.2, Fig. 6",
            gain_difference("iwildcam", BALANCED, "bit-m", "bit-s"),
        ),
        Claim(
            "Waterbirds: a deeper network gains as much (no difference)",
            "6.2, Fig. 6",
            gain_difference("waterbirds", "accuracy", "bit-m-deep", "bit-m"),
            expect="equal",
        ),
    ],
    "05_linear_probes": [
        Claim(
            f"Probe of label x background: pretrained above not pretrained, {when}",
            "6.3, Fig. 7",
            probe_gap(at_round),
            paper,
        )
        for at_round, when, paper in PROBED
    ],
    "07_ambiguity_sweep": [
        Claim(
            "Gain grows with ambiguity (accuracy per 10 points more matched)",
            "6.4, Fig. 8",
            slope(lambda study, dataset: gains(study, dataset, "accuracy")),
        ),
        Claim(
            "Upsampling of mismatched examples grows with ambiguity (ratio per 10 points)",
            "6.4, Fig. 9",
            slope(ratios),
        ),
    ],
    "08_failure_cases": [
        Claim(
            f"{name}: no gain over random",
            "6.5",
            gain(dataset, "accuracy"),
            expect="not above",
        )
        for name, dataset in FAR_FROM_PRETRAINING
    ],
    "09_stopping_rule": [
        Claim(
            "The 0.1% rule does as well as early stopping (no difference)",
            "2, Appendix D",
            rule_difference,
            expect="equal",
        ),
    ],
}


def verdict(claim: Claim, ours: Interval, preset: str) -> str:
    """One of VERDICTS: what the interval says of the claim at this preset."""
    if not np.isfinite(ours.low) or not np.isfinite(ours.high):
        return "not testable"
    if preset == "smoke":
        return "too small to judge"
    if _holds(claim, ours, preset):
        return "reproduced"
    is_above = claim.expect == "above" and ours.estimate > claim.null
    return "right direction" if is_above else "not reproduced"


def _holds(claim: Claim, ours: Interval, preset: str) -> bool:
    if claim.expect == "not above":
        return ours.low <= claim.null
    if claim.expect == "equal":
        return ours.low <= claim.null <= ours.high
    if preset == "paper" and claim.paper is not None and not ours.low <= claim.paper <= ours.high:
        return False
    return ours.low > claim.null


def check_claims(notebook: str, study: Study) -> pd.DataFrame:
    """The notebook's part of the claims table, saved as claims.csv beside its figure: COLUMNS."""
    rows = []
    for claim in CLAIMS[notebook]:
        try:
            ours = claim.measure(study)
        except NotTestable:
            ours = Interval(np.nan, np.nan, np.nan, 0)
        rows.append(
            {
                "claim": claim.statement,
                "source": claim.source,
                "paper": claim.paper,
                "ours": ours.estimate,
                "ci_low": ours.low,
                "ci_high": ours.high,
                "n_seeds": ours.n,
                "verdict": verdict(claim, ours, study.parameters["preset"]),
            }
        )
    table = pd.DataFrame(rows, columns=COLUMNS)
    study.save_table(table, "claims")
    return table


def show_claims(table: pd.DataFrame) -> Styler:
    """The claims table for reading: numbers rounded, verdicts in the page's colours."""
    from companion.report.plotting import reading_style

    def colour(verdict: str) -> str:
        return f"color: {VERDICTS[verdict].colour}; font-weight: 600"

    return reading_style(table).map(colour, subset=["verdict"])


def gains_in_words(study: Study, table: pd.DataFrame) -> str:
    """A line for each row of `paired_gains`: whether asking beat random sampling, by how much."""
    from companion.report.plotting import name

    lines = []
    for row in table.itertuples():
        words = "not separated from random"
        if row.ci_low > 0:
            words = "above random"
        elif row.ci_high < 0:
            words = "below random"
        title = f"{study.title(row.dataset, row.model)}, {name(row.metric)}"
        values = f"{row.gain:+.3f}, from {row.random:.3f} to {row.own:.3f}, {row.n_seeds} seeds"
        lines.append(f"{title}: {name(row.acquisition)} is {words} ({values})")
    return "\n".join(lines)


# at the end, for it takes Claim from here
from companion.report.later_learning_claims import LATER_CLAIMS  # noqa: E402

CLAIMS |= LATER_CLAIMS
