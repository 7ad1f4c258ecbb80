"""Claims on other ways to ask: of the paper's section 6.1, of others since, and ours.

Sources that are not the paper's are named in docs/acquisition.md. All are judged on these runs
alone: one dataset of photographs, small frozen networks, linear heads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from companion.report.estimates import Interval, t_interval
from companion.report.later_learning_claims import LATER_CLAIMS as LEARNING_CLAIMS
from companion.report.measures import (
    LEAST_CONFIDENCE,
    MINORITY,
    Measure,
    NotTestable,
    gain,
    gains,
    lead,
    upsampled,
)
from companion.report.verdicts import Claim

if TYPE_CHECKING:
    from companion.report.study import Study

PHOTOGRAPHS = "real_waterbirds"
ACCURACY = "accuracy"
CLASSES = "cheating_class_balance"
GROUPS = "cheating_group_balance"
# names of the notebook's settings
OTHER_PRETRAINING = "pretrained otherwise"
LOW_BUDGET = "4 labels, then 36 by 4"
SMALL_SEED_SET = "seed set of 4"
ONE_BY_ONE = "80 labels by 1"
AT_ONCE = "80 labels by 80"


def within(setting: str, measure: Measure) -> Measure:
    """The same in one of a study's settings."""

    def measured(study: Study) -> Interval:
        if setting not in study.settings:
            raise NotTestable(f"no setting {setting!r}")
        return measure(study.settings[setting])

    return measured


def ahead(model: str, acquisition: str, other: str) -> Measure:
    """Gain of one function minus another's on disambiguating examples, with this model."""

    def measure(study: Study) -> Interval:
        both = [gains(study, PHOTOGRAPHS, MINORITY, model, each) for each in (acquisition, other)]
        return t_interval(both[0] - both[1])

    return measure


def between(setting: str, other: str, acquisition: str) -> Measure:
    """A function's gain on disambiguating examples in one setting minus that in another."""

    def measure(study: Study) -> Interval:
        values = []
        for name in (setting, other):
            if name not in study.settings:
                raise NotTestable(f"no setting {name!r}")
            values.append(gains(study.settings[name], PHOTOGRAPHS, MINORITY, "", acquisition))
        return t_interval(values[0] - values[1])

    return measure


def more_than_balance(known: str) -> Claim:
    """Section 6.1's point, with a network that was pretrained on something else."""
    model = f"mobilenet-{known.lower()}"
    return Claim(
        f"MobileNet, {known}: asking gains more on disambiguating examples than balanced classes",
        "6.1",
        within(OTHER_PRETRAINING, ahead(model, LEAST_CONFIDENCE, CLASSES)),
    )


ASKING_CLAIMS: dict[str, list[Claim]] = {
    "12_other_ways_to_ask": [
        Claim(
            "Lite0: asking gains more on disambiguating examples than balanced classes",
            "6.1",
            lead(PHOTOGRAPHS, MINORITY, LEAST_CONFIDENCE, CLASSES),
        ),
        *(more_than_balance(known) for known in ("ImageNet", "birds", "insects")),
        Claim(
            "Lite0: balanced groups gain still more on disambiguating examples",
            "ours, after 6.1",
            lead(PHOTOGRAPHS, MINORITY, GROUPS, LEAST_CONFIDENCE),
        ),
        Claim(
            "TypiClust above random at a low budget, accuracy",
            "Hacohen et al. 2022",
            within(LOW_BUDGET, gain(PHOTOGRAPHS, ACCURACY, "", "typi_clust")),
        ),
        Claim(
            "TypiClust above least confidence at a low budget, accuracy",
            "Hacohen et al. 2022",
            within(LOW_BUDGET, lead(PHOTOGRAPHS, ACCURACY, "typi_clust", LEAST_CONFIDENCE)),
        ),
        Claim(
            "ProbCover above random at a low budget, accuracy",
            "Yehuda et al. 2022",
            within(LOW_BUDGET, gain(PHOTOGRAPHS, ACCURACY, "", "prob_cover")),
        ),
        Claim(
            "BADGE above margin (least confidence: two classes), accuracy",
            "Ash et al. 2020",
            lead(PHOTOGRAPHS, ACCURACY, "badge", LEAST_CONFIDENCE),
        ),
        Claim(
            "BADGE above margin (least confidence: two classes), disambiguating examples",
            "ours, after Ash et al.",
            lead(PHOTOGRAPHS, MINORITY, "badge", LEAST_CONFIDENCE),
        ),
        Claim(
            "Cluster-margin above margin (least confidence), accuracy",
            "Citovsky et al. 2021",
            lead(PHOTOGRAPHS, ACCURACY, "cluster_margin", LEAST_CONFIDENCE),
        ),
        Claim(
            "Power least confidence does as well as BADGE, accuracy",
            "Kirsch et al. 2023",
            lead(PHOTOGRAPHS, ACCURACY, "power_least_confidence", "badge"),
            expect="equal",
        ),
        Claim(
            "DropQuery above random, accuracy",
            "Gupte et al. 2024",
            gain(PHOTOGRAPHS, ACCURACY, "", "drop_query"),
        ),
        Claim(
            "CoreSet above random, accuracy",
            "Sener and Savarese 2018",
            gain(PHOTOGRAPHS, ACCURACY, "", "core_set"),
        ),
        Claim(
            "BALD above random, accuracy",
            "Gal et al. 2017",
            gain(PHOTOGRAPHS, ACCURACY, "", "bald"),
        ),
        Claim(
            "TypiClust asks for disambiguating examples no more often than chance (times)",
            "ours, after 6.1",
            upsampled(PHOTOGRAPHS, acquisition="typi_clust"),
            expect="not above",
            null=1.0,
        ),
        Claim(
            "Asking gains on disambiguating examples from a seed set of 4, too",
            "ours, after 4",
            within(SMALL_SEED_SET, gain(PHOTOGRAPHS, MINORITY)),
        ),
        Claim(
            "80 labels asked for one by one gain more than at once, disambiguating examples",
            "ours, after 2",
            between(ONE_BY_ONE, AT_ONCE, LEAST_CONFIDENCE),
        ),
    ],
}

# notebook -> its claims, of all notebooks that go beyond the paper
LATER_CLAIMS = {**ASKING_CLAIMS, **LEARNING_CLAIMS}
