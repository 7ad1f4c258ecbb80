"""Judging a claim by its interval alone, so that no verdict hangs on where an estimate falls.

A claim allows a region of values: all above the null, or, where it says that there is no effect,
all within a stated margin. What the interval does not settle stays undecided.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from companion.report.estimates import MOST_SEEDS, Interval, seeds_for

if TYPE_CHECKING:
    from companion.report.study import Study

# accuracy that counts as no effect: the paper's smallest gain on pictures (Treeperson, 5.1)
MARGIN = 0.02


@dataclass(frozen=True)
class Verdict:
    """A word's sign, its meaning, and its colour on pages and in terminals (an ANSI code)."""

    sign: str
    meaning: str
    colour: str
    ansi: int


VERDICTS = {
    "supported": Verdict(
        "✓", "the whole 95% interval lies where the claim says", "var(--good, #1b7837)", 32
    ),
    "contradicted": Verdict(
        "✗", "the whole interval lies where the claim says it does not", "var(--bad, #b2182b)", 31
    ),
    "undecided": Verdict(
        "?",
        "the interval reaches to both sides; in brackets, about how many seeds would settle it if "
        "the estimate stayed",
        "var(--part, #8a6d00)",
        33,
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
    measure: Callable[[Study], Interval]
    # the paper's number, where it states one
    paper: float | None = None
    # "above" the null value, "not above" it (no benefit), or "equal" to it
    expect: str = "above"
    null: float = 0.0
    # how far from the null still counts as no effect; of "not above" and "equal"
    margin: float = MARGIN
    # the preset whose runs can tell; "": any
    only: str = ""

    @property
    def region(self) -> tuple[float, float]:
        """The values that the claim allows: those between the two."""
        if self.expect == "above":
            return self.null, np.inf
        high = self.null + self.margin
        return (-np.inf if self.expect == "not above" else self.null - self.margin), high

    @property
    def in_words(self) -> str:
        """The region for reading, such as "below 0.02"."""
        if self.expect == "above":
            return f"above {self.null:g}"
        if self.expect == "not above":
            return f"below {self.null + self.margin:g}"
        return f"within {self.margin:g} of {self.null:g}"


def verdict(claim: Claim, ours: Interval, preset: str) -> str:
    """One of VERDICTS: what the interval says of the claim at this preset."""
    if not np.isfinite([ours.low, ours.high]).all():
        return "not testable"
    if preset == "smoke":
        return "too small to judge"
    low, high = claim.region
    if low < ours.low and ours.high < high:
        return "supported"
    return "contradicted" if ours.high < low or high < ours.low else "undecided"


def seeds_needed(claim: Claim, ours: Interval) -> float:
    """About how many seeds would settle an undecided claim, if estimate and spread stayed.

    Returns:
        infinity: more than MOST_SEEDS.
    """
    border = min(claim.region, key=lambda end: abs(ours.estimate - end))
    reach = ours.estimate - ours.low if border <= ours.estimate else ours.high - ours.estimate
    return seeds_for(reach, ours.n, abs(ours.estimate - border))


def verdict_in_words(word: str, needed: float) -> str:
    """A verdict, and of an undecided claim how many seeds would settle it."""
    if word != "undecided":
        return word
    return f"{word} ({f'~{needed:.0f}' if np.isfinite(needed) else f'>{MOST_SEEDS:,}'} seeds)"


def size(claim: Claim, ours: Interval) -> str:
    """Ours against the paper's number: "as the paper's" where the interval holds it."""
    if claim.paper is None or not np.isfinite([ours.low, ours.high]).all():
        return ""
    if ours.high < claim.paper:
        return "smaller"
    return "larger" if ours.low > claim.paper else "as the paper's"
