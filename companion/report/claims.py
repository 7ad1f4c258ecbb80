"""The paper's claims with their source, and ours beside them: estimate, interval, verdict.

Direction is judged, never size: networks of ours are not the paper's, so its number stands beside
ours, and whether our interval holds it. At the smoke preset nothing is judged: two seeds and a few
gradient steps show that everything runs, and no more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from companion.report.estimates import Interval
from companion.report.later_claims import LATER_CLAIMS
from companion.report.measures import (
    MINORITY,
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
from companion.report.verdicts import Claim, seeds_needed, size, verdict

if TYPE_CHECKING:
    from IPython.display import HTML

    from companion.report.study import Study

COLUMNS = [
    *("claim", "source", "claimed", "paper", "ours", "ci_low", "ci_high", "n_seeds"),
    *("size", "verdict", "seeds_needed", "levels"),
]


HEAD = "Real Waterbirds, linear head"
LITE0 = f"{HEAD} on frozen Lite0"
FINE_TUNED = "Photographs of Waterbirds, Lite0 fine-tuned"

BALANCED = "accuracy_class_balanced"
REVIEWERS = "accuracy_reviewer_mean"

# networks with and without pretraining, on the metric that the paper compares them by
TWINS = [
    ("Waterbirds", "waterbirds", "accuracy", "bit-m"),
    ("Treeperson", "treeperson", "accuracy", "bit-m"),
    ("iWildCam", "iwildcam", BALANCED, "bit-m"),
    ("Digits on photographs", "digits", "accuracy", "bit-m"),
    ("Amazon", "amazon", REVIEWERS, "roberta-m"),
]

# pools of many classes, where acquisition functions differ
MANY_CLASSES = [
    ("EuroSAT, linear head", "eurosat", "accuracy", "accuracy", "ours, after Fig. 3"),
    ("iWildCam, functions compared", "iwildcam", "accuracy", "accuracy", "5.2, Fig. 3"),
    ("iWildCam, functions compared", "iwildcam", BALANCED, "class-balanced", "5.2, Fig. 3"),
]

DEEPER = [
    (f"{HEAD} on frozen Lite2 and Lite0", "real_waterbirds", "lite2", "lite0"),
    ("Waterbirds", "waterbirds", "bit-m-deep", "bit-m"),
]

UPSAMPLED = [
    (LITE0, "real_waterbirds", "6.1, Fig. 4a"),
    ("Waterbirds", "waterbirds", "6.1, Fig. 4a"),
    ("Treeperson", "treeperson", "6.1, Fig. 4b"),
    ("Digits on photographs", "digits", "ours, after Fig. 4"),
    ("Amazon (few stars)", "amazon", "6.1, Fig. 5a"),
]

# round of the probe, None the last; the paper's accuracies of both networks
PROBED = [
    (-1, "no fine-tuning", 0.402 - 0.311),
    (0, "after the seed set", 0.420 - 0.320),
    (None, "after 20 more labels", 0.424 - 0.340),
]

# the model that tells each ambiguity sweep
SWEEPS = [(LITE0, "lite0"), ("Waterbirds", "bit-m")]

FAR_FROM_PRETRAINING = [
    ("Satellite images (EuroSAT), linear head on frozen Lite0", "eurosat"),
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
            "Red and blue shapes, all four kinds counted alike: accuracy above random",
            "Fig. 1",
            gain("squares_circles", "accuracy"),
        ),
    ],
    "01_accuracy_curves": [
        Claim(
            f"{LITE0}: accuracy above random",
            "5.1, Fig. 2a",
            gain("real_waterbirds", "accuracy"),
            paper=0.11,
        ),
        Claim(
            f"{LITE0}: accuracy on disambiguating examples above random",
            "5.1, Fig. 2b",
            gain("real_waterbirds", MINORITY),
            paper=0.25,
        ),
        Claim(
            f"{LITE0}: times fewer labels",
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
            "Waterbirds: accuracy on disambiguating examples above random",
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
            "Treeperson: accuracy on disambiguating examples above random",
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
            "Digits on photographs: accuracy on disambiguating examples above random",
            "ours, after Fig. 2",
            gain("digits", MINORITY),
        ),
    ],
    "02_acquisition_functions": [
        *(
            Claim(
                f"{name}: {acquisition.replace('_', ' ')} above random, {words}",
                source,
                gain(dataset, metric, acquisition=acquisition),
            )
            for name, dataset, metric, words, source in MANY_CLASSES
            for acquisition in ("least_confidence", "entropy", "margin")
            # judged in notebook 08
            if (dataset, acquisition) != ("eurosat", "least_confidence")
        ),
        *(
            Claim(
                f"{name}: margin above least confidence, {words}",
                source,
                lead(dataset, metric, "margin", "least_confidence"),
            )
            for name, dataset, metric, words, source in MANY_CLASSES
        ),
    ],
    "03_subgroup_upsampling": [
        *(
            Claim(
                f"{name}: disambiguating examples asked for, times their share",
                source,
                upsampled(dataset),
                null=1.0,
            )
            for name, dataset, source in UPSAMPLED
        ),
        Claim(
            "Amazon, rare product categories: asked for, times their share, though latent",
            "6.1, Fig. 5b",
            upsampled("amazon", "category"),
            null=1.0,
        ),
    ],
    "04_pretraining": [
        Claim(
            f"{LITE0}: gain on disambiguating examples larger with pretraining",
            "6.2, Fig. 6",
            gain_difference("real_waterbirds", MINORITY, "lite0", "lite0-1-np"),
        ),
        *(
            Claim(
                f"{LITE0}: no gain on disambiguating examples without pretraining "
                f"(initialisation {number})",
                "6.2, Fig. 6",
                gain("real_waterbirds", MINORITY, f"lite0-{number}-np"),
                expect="not above",
            )
            for number in (1, 2, 3)
        ),
        Claim(
            f"{HEAD} on frozen Lite2: gain on disambiguating examples",
            "6.2, Fig. 6",
            gain("real_waterbirds", MINORITY, "lite2"),
        ),
        *(
            Claim(
                f"{HEAD} on frozen {network}: disambiguating examples asked for, times their share",
                "6.1, Fig. 4a",
                upsampled("real_waterbirds", model=model),
                null=1.0,
            )
            for network, model in (("Lite2", "lite2"), ("MobileNet", "mobilenet-imagenet"))
        ),
        *(
            Claim(
                f"{HEAD}, pretrained on {known}: gain on disambiguating examples",
                "ours, after 6.5",
                gain("real_waterbirds", MINORITY, f"mobilenet-{known.lower()}"),
            )
            for known in ("birds", "ImageNet", "insects")
        ),
        Claim(
            "Real Waterbirds, disambiguating examples: gain larger with birds than with ImageNet",
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
            f"{FINE_TUNED}: disambiguating examples asked for, times their share",
            "6.1, Fig. 4a",
            upsampled("waterbirds", model="lite0"),
            null=1.0,
            only="real",
        ),
        Claim(
            f"{FINE_TUNED}: gain larger with pretraining than without",
            "6.2, Fig. 6",
            gain_difference("waterbirds", "accuracy", "lite0", "lite0-np"),
            only="real",
        ),
        Claim(
            f"{FINE_TUNED}: no gain without pretraining",
            "6.2, Fig. 6",
            gain("waterbirds", "accuracy", "lite0-np"),
            expect="not above",
            only="real",
        ),
        Claim(
            "iWildCam: narrow pretraining (S) gains less than broad (M)",
            "6.2, Fig. 6",
            gain_difference("iwildcam", BALANCED, "bit-m", "bit-s"),
        ),
        *(
            Claim(
                f"{name}: a deeper network gains as much (no difference)",
                "6.2, Fig. 6",
                gain_difference(dataset, "accuracy", deeper, model),
                expect="equal",
            )
            for name, dataset, deeper, model in DEEPER
        ),
    ],
    "05_linear_probes": [
        Claim(
            "Real Waterbirds: probe of label x background, Lite0 above Lite0 not pretrained",
            "6.3, Fig. 7",
            probe_gap("real_waterbirds", -1),
            PROBED[0][2],
        ),
        *(
            Claim(
                f"Probe of label x background: pretrained above not pretrained, {when}",
                "6.3, Fig. 7",
                probe_gap("waterbirds", at_round),
                paper,
            )
            for at_round, when, paper in PROBED
        ),
    ],
    "07_ambiguity_sweep": [
        claim
        for name, model in SWEEPS
        for claim in (
            Claim(
                f"{name}: gain grows with ambiguity (accuracy per 10 points more matched)",
                "6.4, Fig. 8",
                slope(lambda study, dataset: gains(study, dataset, "accuracy"), model),
            ),
            Claim(
                f"{name}: gain on disambiguating examples grows with ambiguity (per 10 points)",
                "ours, after Fig. 8",
                slope(lambda study, dataset: gains(study, dataset, MINORITY), model),
            ),
            Claim(
                f"{name}: upsampling grows with ambiguity (ratio per 10 points)",
                "6.4, Fig. 9",
                slope(ratios, model),
            ),
        )
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
} | LATER_CLAIMS


# the claims that the page of a run answers first, in words with room for their numbers
HEADLINES: dict[str, dict[str, str]] = {
    "frozen": {
        f"{LITE0}: accuracy on disambiguating examples above random": (
            "asking for what it is least sure of scores {} against random sampling on "
            "disambiguating examples, in which bird and background disagree"
        ),
        f"{LITE0}: accuracy above random": "{} over all",
        f"{LITE0}: disambiguating examples asked for, times their share": (
            "it asks for disambiguating examples {} as often as the pool holds them"
        ),
        f"{LITE0}: no gain on disambiguating examples without pretraining (initialisation 1)": (
            "without pretraining asking scores {} (the first of three initialisations)"
        ),
    },
    "fine-tuned": {
        "Waterbirds: accuracy on disambiguating examples above random": (
            "asking scores {} against random sampling on the disambiguating examples of Waterbirds"
        ),
        "Waterbirds: accuracy above random": "{} over all",
        "Waterbirds: times fewer labels": "for random sampling's accuracy it needs {} fewer labels",
        f"{FINE_TUNED}: disambiguating examples asked for, times their share": (
            "it asks for disambiguating examples {} as often as the pool holds them"
        ),
    },
}


def check_claims(notebook: str, study: Study) -> pd.DataFrame:
    """The notebook's part of the claims table, saved as claims.csv beside its figure: COLUMNS."""
    preset = study.parameters["preset"]
    rows = [_checked(c, study, preset) for c in CLAIMS[notebook] if c.only in ("", preset)]
    table = pd.DataFrame(rows, columns=COLUMNS)
    study.save_table(table, "claims")
    return table


def _checked(claim: Claim, study: Study, preset: str) -> dict[str, Any]:
    try:
        ours = claim.measure(study)
    except NotTestable:
        ours = Interval(np.nan, np.nan, np.nan, 0)
    return judged(claim, ours, preset)


def judged(claim: Claim, ours: Interval, preset: str) -> dict[str, Any]:
    """A row of the claims table: COLUMNS."""
    word = verdict(claim, ours, preset)
    is_open = word == "undecided"
    return {
        "claim": claim.statement,
        "source": claim.source,
        "claimed": claim.in_words,
        "paper": claim.paper,
        "ours": ours.estimate,
        "ci_low": ours.low,
        "ci_high": ours.high,
        "n_seeds": ours.n,
        "size": size(claim, ours),
        "verdict": word,
        "seeds_needed": seeds_needed(claim, ours) if is_open else np.nan,
        "levels": ours.levels,
    }


def show_claims(table: pd.DataFrame) -> HTML:
    """The claims table for reading, as the page of all figures shows it."""
    from IPython.display import HTML

    from companion.report.pages import claims_table

    return HTML(claims_table(table.to_dict("records")))
