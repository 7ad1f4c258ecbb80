"""The committed results, figures/reference/<name>: how a run compares, how they are renewed."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd

from alpt_lib.errors import CompanionError, StoreError
from alpt_lib.files import REPOSITORY, one_line_errors

REFERENCE = REPOSITORY / "figures" / "reference"

# presets whose runs renew, and are compared with, the reference of another
SHARED = {"thorough": "mini"}

CLAIM = ["notebook", "claim"]
ESTIMATE = ["ours", "ci_low", "ci_high"]
COLUMNS = ["reference", "reference_low", "reference_high"]


def reference_folder(name: str) -> Path:
    """Where the committed result is that figures/<name> is compared with."""
    return REFERENCE / SHARED.get(name, name)


def read_reference(name: str) -> pd.DataFrame:
    """The claims of a committed result, such as "mini"; no rows where none can be read."""
    try:
        return pd.read_csv(reference_folder(name) / "claims.csv", dtype=dict.fromkeys(CLAIM, str))
    except (OSError, ValueError):
        return pd.DataFrame()


def compare(claims: pd.DataFrame, reference: pd.DataFrame) -> pd.DataFrame:
    """Each claim's estimate beside the reference's.

    Args:
        claims: columns notebook, claim, ours, ci_low, ci_high.
        reference: the same columns; one of another version counts as none.
    Returns:
        the claims, with reference, reference_low, reference_high (NaN: it lacks the claim), and
        compared: "agrees" where the 95% intervals overlap, else "differs"; "" where one is missing.
    """
    if not {*CLAIM, *ESTIMATE} <= set(reference):
        reference = pd.DataFrame(columns=[*CLAIM, *ESTIMATE])
    theirs = reference[[*CLAIM, *ESTIMATE]].drop_duplicates(CLAIM)
    theirs = theirs.rename(columns=dict(zip(ESTIMATE, COLUMNS, strict=True)))
    theirs[COLUMNS] = theirs[COLUMNS].apply(pd.to_numeric, errors="coerce").astype(float)
    table = claims.merge(theirs, on=CLAIM, how="left")
    is_known = table[["ci_low", "ci_high", *COLUMNS[1:]]].notna().all(axis=1)
    overlaps = table["ci_low"] <= table["reference_high"]
    overlaps &= table["reference_low"] <= table["ci_high"]
    words = np.where(overlaps, "agrees", "differs")
    return table.assign(compared=np.where(is_known, words, ""))


def in_one_line(comparison: pd.DataFrame, name: str) -> str:
    """How many claims agree with the reference, or why none can be compared."""
    n_agree = (comparison["compared"] == "agrees").sum()
    n_compared = (comparison["compared"] != "").sum()
    if n_compared:
        return f"{n_agree} of {n_compared} agree with the reference (95% intervals overlap)"
    folder = reference_folder(name)
    named = f"figures/reference/{folder.name}"
    if not (folder / "claims.csv").exists():
        return f"no reference to compare with: there is no {named}"
    return f"nothing to compare: {named} is of other claims, or an older version"


def renew(source: Path) -> Path:
    """Make what a run drew the reference of its name; figures/thorough becomes that of mini.

    Returns:
        the reference's folder.

    Raises:
        CompanionError: not a folder of figures, or one with fewer notebooks than the reference has.
            StoreError: the checkout cannot be written.
    """
    drawn = {file.parent.name for file in source.glob("*/*.ipynb")}
    if not (source / "claims.csv").exists() or not drawn:
        raise CompanionError(
            f"{source} holds no figures of a run; `alpt run` draws into figures/<preset>"
        )
    target = reference_folder(source.resolve().name)
    missing = {file.parent.name for file in target.glob("*/*.ipynb")} - drawn
    if missing:
        raise CompanionError(
            f"{source} lacks {', '.join(sorted(missing))}, which the reference has: run all "
            "notebooks first"
        )
    with one_line_errors(target, StoreError, "make the checkout writable, or free some space"):
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh, old = (target.with_name(f".{target.name}.{word}") for word in ("new", "old"))
        for leftover in (fresh, old):
            shutil.rmtree(leftover, ignore_errors=True)
        shutil.copytree(source, fresh)
        if target.exists():
            target.rename(old)
        fresh.rename(target)
        shutil.rmtree(old, ignore_errors=True)
    return target
