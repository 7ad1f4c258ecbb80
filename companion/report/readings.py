"""Results in words, with their numbers: what a notebook reads, what the page answers."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from companion import notebook_text
from companion.report.claims import HEADLINES
from companion.report.verdicts import verdict_in_words

if TYPE_CHECKING:
    from companion.report.study import Study

# ours against the paper's number
SIZES = ("as the paper's", "smaller", "larger")

# in the order in which they are read
JUDGED = ("contradicted", "undecided", "supported")


@dataclass(frozen=True)
class Reading:
    """A first sentence and lines below it, for a terminal and, escaped, for a page."""

    lead: str
    lines: list[str]

    def __str__(self) -> str:
        return "\n".join([self.lead, *(f"- {line}" for line in self.lines)])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        items = "".join(f"<li>{html.escape(line)}</li>" for line in self.lines)
        return f"<p><b>{html.escape(self.lead)}</b></p><ul>{items}</ul>"


def reading(
    study: Study,
    claims: pd.DataFrame | None = None,
    gains: pd.DataFrame | None = None,
    lines: Sequence[str] = (),
) -> Reading:
    """What a notebook's tables say; nothing in it is known before the runs are.

    Args:
        claims: as `check_claims` gives it. gains: rows of `paired_gains`. lines: further sentences.
    """
    claimed = pd.DataFrame({"verdict": []}) if claims is None else claims
    said = []
    for word in JUDGED:
        said += [in_words(row) for row in claimed[claimed["verdict"] == word].to_dict("records")]
    if gains is not None:
        said += [gain_in_words(study, row) for row in gains.to_dict("records")]
    return Reading(counted(claimed) or "What these runs say:", [*said, *lines])


def unclaimed(study: Study, gains: pd.DataFrame) -> pd.DataFrame:
    """The gains on datasets that the notebook does not name itself, so that no claim is on them."""
    known = notebook_text.tagged_literals(study.output.name)["datasets"]
    return gains[~gains["dataset"].isin(known)]


def in_words(row: dict[str, Any]) -> str:
    """A row of the claims table as a sentence: verdict, claim, what it compares, estimate."""
    said = ": ".join(filter(None, [row["claim"], row["levels"], with_interval(row)]))
    paper = "" if pd.isna(row["paper"]) else f"; the paper's: {row['paper']:g}"
    word = verdict_in_words(row["verdict"], row["seeds_needed"]).capitalize()
    return f"{word}. {said}, {row['n_seeds']} seeds{paper}"


def gain_in_words(study: Study, row: dict[str, Any]) -> str:
    """A row of `paired_gains` as a sentence; it names the stopping rule where rules differ."""
    from companion.report.plotting import name

    arm = [name(row[column]) for column in ("stopping", "metric") if column in row]
    metric = ", ".join([study.title(row["dataset"], row["model"]), *arm])
    ends = f"{name(row['acquisition'])} ends at {row['own']:.2f}, random at {row['random']:.2f}"
    gain = _value(row["gain"], row["ci_low"], row["ci_high"], "{:+.3f}")
    return f"{metric}: {ends}: {gain}, {row['n_seeds']} seeds"


def with_interval(row: dict[str, Any]) -> str:
    """Estimate and interval of a row of the claims table: a signed difference, or times."""
    is_ratio = row["claimed"].split()[-1] == "1"
    form = "{:.2f}" if is_ratio else "{:+.3f}"
    return _value(row["ours"], row["ci_low"], row["ci_high"], form, " times" if is_ratio else "")


def _value(estimate: float, low: float, high: float, form: str, unit: str = "") -> str:
    words = form.format(estimate) + unit
    if np.isfinite(low) and np.isfinite(high):
        words += f" ({form.format(low)} to {form.format(high)})"
    return words.replace("-", "−")


def counted(claims: pd.DataFrame) -> str:
    """How many claims have which verdict: "5 of 6 claims are supported, 1 is contradicted"."""
    counts = claims["verdict"].value_counts()
    total = sum(counts.get(word, 0) for word in JUDGED)
    if not total:
        return ""
    noun = "claim is" if total == 1 else "claims are"
    words = [f"{counts.get('supported', 0)} of {total} {noun} supported"]
    words += [f"{counts[word]} {word}" for word in JUDGED[:-1] if counts.get(word, 0)]
    return f"{', '.join(words)}."


def compared_in_size(claims: pd.DataFrame) -> str:
    """How often our interval holds the paper's number, where it states one."""
    sizes = claims.loc[claims["verdict"].isin(JUDGED) & (claims["size"] != ""), "size"]
    if sizes.empty:
        return ""
    counts = sizes.value_counts()
    words = [f"our interval holds {counts.get(SIZES[0], 0)}"]
    words += [f"ours is {size} than {counts[size]}" for size in SIZES[1:] if size in counts]
    return f"For {len(sizes)} the paper states a number: {', '.join(words)} of them."


def answer(claims: pd.DataFrame, about: str) -> str:
    """What a run answers about "frozen" or "fine-tuned" networks: a sentence with its numbers.

    Args:
        claims: of the run. about: a key of HEADLINES.
    Returns:
        "" where the run measured none of it.
    """
    if claims.empty:
        return ""
    rows = claims[claims["verdict"].isin(JUDGED)].set_index("claim")
    clauses = []
    n_seeds = 0
    for statement, words in HEADLINES[about].items():
        if statement in rows.index:
            row = rows.loc[statement].to_dict()
            n_seeds = max(n_seeds, int(row["n_seeds"]))
            clauses.append(words.format(with_interval(row)))
    return f"{'; '.join(clauses)} ({n_seeds} seeds)." if clauses else ""
