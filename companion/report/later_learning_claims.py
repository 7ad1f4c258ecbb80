"""Claims on what is learned from the same labels, and from imperfect oracles; they are ours.

Sources that are not the paper's: Kirichenko, Izmailov and Wilson (2023), "Last layer re-training is
sufficient for robustness to spurious correlations"; Guo et al. (2017), "On calibration of modern
neural networks".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from companion.report.estimates import RANDOM, Interval, t_interval
from companion.report.measures import (
    LEAST_CONFIDENCE,
    MINORITY,
    Measure,
    NotTestable,
    final,
    gain,
    gains,
    lead,
)
from companion.report.verdicts import Claim

if TYPE_CHECKING:
    from companion.report.study import Study

WORST = "accuracy_worst_group"
CALIBRATION = "calibration_error"
PHOTOGRAPHS = "real_waterbirds"
NP = "lite0-1-np"


def from_others(study: Study) -> Interval:
    """Gain of pretrained networks from each other's sets, minus that from their own."""
    rows = study.metrics[study.metrics["dataset"] == PHOTOGRAPHS]
    models = [m for m in rows["model"].unique() if not m.endswith("-np")]
    if len(models) < 2:
        raise NotTestable("fewer than two pretrained networks")
    differences = []
    for learner in models:
        own = gains(study, PHOTOGRAPHS, MINORITY, learner, learner)
        others = [gains(study, PHOTOGRAPHS, MINORITY, learner, m) for m in models if m != learner]
        differences.append(pd.concat(others, axis=1).mean(axis=1) - own)
    return t_interval(pd.concat(differences, axis=1).mean(axis=1))


def head_difference(metric: str, first: dict[str, Any], second: dict[str, Any]) -> Measure:
    """One head's final value minus another's, paired by seed.

    Args:
        first, second: columns of `heads_after.treated` and the values they must have.
    """

    def measure(study: Study) -> Interval:
        values = [final(study, metric, dataset=PHOTOGRAPHS, **where) for where in (first, second)]
        return t_interval(values[0] - values[1])

    return measure


def lost_gain(dataset: str) -> Measure:
    """Gain on disambiguating examples of the unchanged real Waterbirds minus that of another."""
    return lambda study: t_interval(
        gains(study, PHOTOGRAPHS, MINORITY) - gains(study, dataset, MINORITY)
    )


def asked(head: str, **where: Any) -> dict[str, Any]:
    return {"acquisition": LEAST_CONFIDENCE, "head": head, **where}


def drawn(head: str, **where: Any) -> dict[str, Any]:
    return {"acquisition": RANDOM, "head": head, **where}


LATER_CLAIMS: dict[str, list[Claim]] = {
    "13_choosing_or_learning": [
        Claim(
            "Lite0 learns more from its own choice than from that of Lite0 not pretrained",
            "ours, after 6.2",
            lead(PHOTOGRAPHS, MINORITY, "lite0", NP),
        ),
        Claim(
            "The choice of Lite0 not pretrained gives Lite0 nothing over random",
            "ours, after 6.2",
            gain(PHOTOGRAPHS, MINORITY, "lite0", NP),
            expect="not above",
        ),
        Claim(
            "Lite0 not pretrained gains nothing from Lite0's choice",
            "ours, after 6.3",
            gain(PHOTOGRAPHS, MINORITY, NP, "lite0"),
            expect="not above",
        ),
        Claim(
            "MobileNet, ImageNet's choice serves Lite0, too: above random",
            "ours, after 6.2",
            gain(PHOTOGRAPHS, MINORITY, "lite0", "mobilenet-imagenet"),
        ),
        Claim(
            "MobileNet, insects' choice serves Lite0: above random",
            "ours, after 6.5",
            gain(PHOTOGRAPHS, MINORITY, "lite0", "mobilenet-insects"),
        ),
        Claim(
            "Pretrained networks learn more from each other's choice than from their own",
            "ours",
            from_others,
        ),
    ],
    "14_after_the_labels": [
        Claim(
            "Asked labels, groups balanced: worst group above a plain head's",
            "Kirichenko et al. 2023",
            head_difference(WORST, asked("group-balanced"), asked("plain")),
        ),
        Claim(
            "Asked labels, classes balanced: worst group above a plain head's",
            "ours, after 7",
            head_difference(WORST, asked("class-balanced"), asked("plain")),
        ),
        Claim(
            "Groups balanced: worst group with asked labels above random ones",
            "ours, after 7",
            head_difference(WORST, asked("group-balanced"), drawn("group-balanced")),
        ),
        Claim(
            "Asking makes a plain head more over-confident than drawing does",
            "ours, after footnote 1",
            head_difference("overconfidence", asked("plain"), drawn("plain")),
        ),
        Claim(
            "Asking leaves a plain head with a larger calibration error than drawing does",
            "ours, after footnote 1",
            head_difference(CALIBRATION, asked("plain"), drawn("plain")),
        ),
        Claim(
            "Under a tenth of the L2, too, asking leaves a larger calibration error",
            "ours, after footnote 1",
            head_difference(
                CALIBRATION, asked("another L2", l2=0.001), drawn("another L2", l2=0.001)
            ),
        ),
        Claim(
            "A temperature fitted on the asked labels lowers their calibration error",
            "Guo et al. 2017",
            head_difference(CALIBRATION, asked("plain"), asked("temperature")),
        ),
    ],
    "15_imperfect_oracles": [
        *(
            Claim(
                f"{words}: accuracy on disambiguating examples still above random",
                "ours, after 8",
                gain(f"{PHOTOGRAPHS}_{name}", MINORITY),
            )
            for words, name in (
                ("30% wrong labels", "wrong_30"),
                ("30% of disambiguating ones labelled wrong", "wrong_minority_30"),
                ("Oracle cannot tell 30%", "unsure_30"),
                ("Oracle cannot tell 60% of disambiguating ones", "unsure_minority_60"),
                ("1% disambiguating in the pool", "matched_99"),
                ("Four copies of each example", "copies_4"),
            )
        ),
        *(
            Claim(
                f"{words}: gains less than without, disambiguating examples",
                "ours, after 8",
                lost_gain(f"{PHOTOGRAPHS}_{name}"),
            )
            for words, name in (
                ("30% wrong labels", "wrong_30"),
                ("30% of disambiguating ones labelled wrong", "wrong_minority_30"),
                ("Four copies of each example", "copies_4"),
            )
        ),
        Claim(
            "No disambiguating example in the pool: no gain on such examples",
            "8",
            gain(f"{PHOTOGRAPHS}_matched_100", MINORITY),
            expect="not above",
        ),
    ],
}
