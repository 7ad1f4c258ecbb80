"""TODO: what this room holds."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from companion.report.estimates import (
    Interval,
    NotTestable,
    gain,
    gain_difference,
    gains,
    probe_gap,
    ratios,
    rule_difference,
    saved_labels,
    slope,
    t_interval,
    upsampled,
)
from companion.report.study import Study

COLUMNS = ["claim", "source", "paper", "ours", "ci_low", "ci_high", "n_seeds", "verdict"]


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


BALANCED, MINORITY = "accuracy_class_balanced", "accuracy_minority"

OURS = "ours, after Fig. 2"

CLAIMS = [
    Claim(
        "00_task_ambiguity",
        "Asked for blue squares and red circles more often than their share",
        "Fig. 1",
        upsampled("squares_circles"),
        null=1.0,
    ),
    Claim(
        "00_task_ambiguity",
        "Which settles the task: accuracy above random's",
        "Fig. 1",
        gain("squares_circles", "accuracy"),
    ),
    Claim(
        "01_accuracy_curves",
        "Waterbirds: accuracy above random",
        "5.1, Fig. 2a",
        gain("waterbirds", "accuracy"),
        0.11,
    ),
    Claim(
        "01_accuracy_curves",
        "Waterbirds: mismatched groups above random",
        "5.1, Fig. 2b",
        gain("waterbirds", MINORITY),
        0.25,
    ),
    Claim(
        "01_accuracy_curves",
        "Waterbirds: times fewer labels",
        "5.1",
        saved_labels("waterbirds", "accuracy"),
        5.0,
        null=1.0,
    ),
    Claim(
        "01_accuracy_curves",
        "Treeperson: accuracy above random",
        "5.1, Fig. 2c",
        gain("treeperson", "accuracy"),
        0.02,
    ),
    Claim(
        "01_accuracy_curves",
        "Treeperson: mismatched groups above random",
        "Fig. 2d",
        gain("treeperson", MINORITY),
    ),
    Claim(
        "01_accuracy_curves",
        "Treeperson: times fewer labels",
        "5.1",
        saved_labels("treeperson", "accuracy"),
        1.6,
        null=1.0,
    ),
    Claim(
        "01_accuracy_curves",
        "iWildCam: accuracy at unseen locations above random",
        "5.1, Fig. 2e",
        gain("iwildcam", "accuracy"),
    ),
    Claim(
        "01_accuracy_curves",
        "iWildCam: class-balanced accuracy above random",
        "5.1, Fig. 2f",
        gain("iwildcam", BALANCED),
        0.09,
    ),
    Claim(
        "01_accuracy_curves",
        "iWildCam: times fewer labels",
        "5.1",
        saved_labels("iwildcam", BALANCED),
        1.8,
        null=1.0,
    ),
    Claim(
        "01_accuracy_curves",
        "Amazon: mean over reviewers above random",
        "5.1, Fig. 2g",
        gain("amazon", "accuracy_reviewer_mean"),
        0.01,
    ),
    Claim(
        "01_accuracy_curves",
        "Amazon: worst tenth of reviewers above random",
        "5.1, Fig. 2g",
        gain("amazon", "accuracy_reviewer_p10"),
        0.025,
    ),
    Claim(
        "01_accuracy_curves",
        "Amazon: times fewer labels",
        "5.1",
        saved_labels("amazon", "accuracy_reviewer_mean"),
        1.3,
        null=1.0,
    ),
    Claim(
        "01_accuracy_curves",
        "Digits on photographs: accuracy above random",
        OURS,
        gain("digits", "accuracy"),
    ),
    Claim(
        "01_accuracy_curves",
        "Digits on photographs: mismatched groups above random",
        OURS,
        gain("digits", MINORITY),
    ),
    *(
        Claim(
            "02_acquisition_functions",
            f"iWildCam: {a.replace('_', ' ')} above random, {text}",
            "5.2, Fig. 3",
            gain("iwildcam", metric, acquisition=a),
        )
        for a in ("least_confidence", "entropy", "margin")
        for metric, text in (("accuracy", "accuracy"), (BALANCED, "class-balanced"))
    ),
    Claim(
        "02_acquisition_functions",
        "iWildCam: margin above least confidence, class-balanced",
        "5.2, Fig. 3",
        lambda s: t_interval(
            gains(s, "iwildcam", BALANCED, acquisition="margin") - gains(s, "iwildcam", BALANCED)
        ),
    ),
    *(
        Claim(
            "03_subgroup_upsampling",
            f"{name}: minority subgroups oversampled (times the pool's share)",
            source,
            upsampled(dataset),
            null=1.0,
        )
        for dataset, name, source in (
            ("waterbirds", "Waterbirds", "6.1, Fig. 4a"),
            ("treeperson", "Treeperson", "6.1, Fig. 4b"),
            ("digits", "Digits on photographs", "ours, after Fig. 4"),
            ("amazon", "Amazon, rare stars", "6.1, Fig. 5a"),
        )
    ),
    Claim(
        "03_subgroup_upsampling",
        "Amazon, rare product categories: oversampled, though latent",
        "6.1, Fig. 5b",
        upsampled("amazon", column="category"),
        null=1.0,
    ),
    *(
        Claim(
            "04_pretraining",
            f"{name}: gain larger with pretraining than without",
            "6.2, Fig. 6",
            gain_difference(dataset, metric, model, f"{model}-np"),
        )
        for dataset, name, metric, model in (
            ("waterbirds", "Waterbirds", "accuracy", "bit-m"),
            ("treeperson", "Treeperson", "accuracy", "bit-m"),
            ("iwildcam", "iWildCam", BALANCED, "bit-m"),
            ("digits", "Digits on photographs", "accuracy", "bit-m"),
            ("amazon", "Amazon", "accuracy_reviewer_mean", "roberta-m"),
        )
    ),
    *(
        Claim(
            "04_pretraining",
            f"{name}: no gain without pretraining",
            "6.2, Fig. 6",
            gain(dataset, metric, model=f"{model}-np"),
            expect="not above",
        )
        for dataset, name, metric, model in (
            ("waterbirds", "Waterbirds", "accuracy", "bit-m"),
            ("treeperson", "Treeperson", "accuracy", "bit-m"),
            ("iwildcam", "iWildCam", BALANCED, "bit-m"),
            ("digits", "Digits on photographs", "accuracy", "bit-m"),
            ("amazon", "Amazon", "accuracy_reviewer_mean", "roberta-m"),
        )
    ),
    Claim(
        "04_pretraining",
        "iWildCam: narrow pretraining (S) gains less than broad (M)",
        "6.2, Fig. 6",
        gain_difference("iwildcam", BALANCED, "bit-m", "bit-s"),
    ),
    Claim(
        "04_pretraining",
        "Waterbirds: a deeper network gains as much (no difference)",
        "6.2, Fig. 6",
        gain_difference("waterbirds", "accuracy", "bit-m-deep", "bit-m"),
        expect="equal",
    ),
    *(
        Claim(
            "05_linear_probes",
            f"Probe of label x background: pretrained above not pretrained, {when}",
            "6.3, Fig. 7",
            probe_gap(**where),
            paper,
        )
        for where, when, paper in (
            ({"round": -1}, "no fine-tuning", 0.402 - 0.311),
            ({"round": 0}, "after the seed set", 0.420 - 0.320),
            ({}, "after 20 more labels", 0.424 - 0.340),
        )
    ),
    Claim(
        "07_ambiguity_sweep",
        "Gain grows with ambiguity (accuracy per 10 points more matched)",
        "6.4, Fig. 8",
        slope(lambda study, name: gains(study, name, "accuracy")),
    ),
    Claim(
        "07_ambiguity_sweep",
        "Upsampling of mismatched examples grows with ambiguity (ratio per 10 points)",
        "6.4, Fig. 9",
        slope(lambda study, name: ratios(study, name)),
    ),
    *(
        Claim(
            "08_failure_cases",
            f"{name}: no gain over random",
            "6.5",
            gain(dataset, "accuracy"),
            expect="not above",
        )
        for dataset, name in (
            ("camelyon", "Tissue far from pretraining"),
            ("camelyon17", "Camelyon17"),
            ("fmow", "FMoW"),
        )
    ),
    Claim(
        "09_stopping_rule",
        "The 0.1% rule does as well as early stopping (no difference)",
        "2, Appendix D",
        rule_difference,
        expect="equal",
    ),
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


def check_claims(notebook: str, study: Study) -> pd.DataFrame:
    """The notebook's part of the claims table, saved as claims.csv beside its figure: COLUMNS."""
    rows = []
    for claim in (c for c in CLAIMS if c.notebook == notebook):
        try:
            found = claim.measure(study)
        except NotTestable:
            found = Interval(np.nan, np.nan, np.nan, 0)
        rows.append(
            (
                claim.statement,
                claim.source,
                claim.paper,
                found.estimate,
                found.low,
                found.high,
                found.n,
                verdict(claim, found, study.parameters["preset"]),
            )
        )
    table = pd.DataFrame(rows, columns=COLUMNS)
    study.save_table(table, "claims")
    return table


def show_claims(table: pd.DataFrame):
    """The claims table for reading: numbers rounded, verdicts coloured (by the page's own colours, where it has some)."""
    colours = {
        "reproduced": "var(--good, #1b7837)",
        "right direction": "var(--part, #8a6d00)",
        "not reproduced": "var(--bad, #b2182b)",
        "not testable": "var(--soft, #666666)",
    }
    words = table.rename(columns=lambda c: c.replace("_", " "))
    return (
        words.style.hide(axis="index")
        .format(precision=3, na_rep="–")
        .map(lambda v: f"color: {colours.get(v, 'inherit')}; font-weight: 600", subset=["verdict"])
    )
