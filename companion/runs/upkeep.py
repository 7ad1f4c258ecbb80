"""Housekeeping of the run store: list, verify and prune what is in runs/. Files that are no runs are left alone."""

import fcntl
import json
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pandas as pd

from alpt_lib import files
from alpt_lib.files import runs_folder
from alpt_lib.loop import Round
from companion.runs import store

COLUMNS = [
    "run_id",
    "dataset",
    "model",
    "acquisition",
    "seed",
    "rounds_done",
    "rounds",
    "failed",
    "versions",
    "commit",
    "started",
    "bytes",
]


def listing() -> pd.DataFrame:
    """One row a stored run: COLUMNS. A run is finished once `rounds_done` is `rounds`; `failed` says why it ended early."""
    return pd.DataFrame(
        [_row(folder) for folder in store.run_folders() if store.read_record(folder)],
        columns=COLUMNS,
    )


def verify() -> list[str]:
    """What is wrong with the store, one line each; [] if nothing is. A torn last line is named too: its run does it again."""
    return [
        f"{folder.name}: {fault}" for folder in store.run_folders() for fault in _faults(folder)
    ]


def prune(keep: Collection[str], remove: bool = False) -> pd.DataFrame:
    """The runs whose ids are not in `keep`; removed only if asked to, so look first.

    A run that another process is writing stays. Each folder goes at once: it is renamed, then emptied.

    Returns:
        rows of `listing`: what would go, or with `remove` what went.
    """
    table = listing()
    table = table[~table["run_id"].isin(list(keep))].reset_index(drop=True)
    if not remove:
        return table
    for leftover in runs_folder().glob(
        ".pruned-*"
    ):  # of a process that was killed while it emptied one
        shutil.rmtree(leftover)
    return table[[_remove(runs_folder() / run_id) for run_id in table["run_id"]]].reset_index(
        drop=True
    )


def _remove(folder: Path) -> bool:
    with open(folder / "lock", "a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        gone = folder.rename(folder.with_name(f".pruned-{folder.name}"))
        shutil.rmtree(gone)
        return True


def _row(folder: Path) -> list[Any]:
    record = store.read_record(folder)
    c = store.config_of(record)
    rounds = store.read_rounds(folder / "rounds.jsonl")
    versions = ", ".join(
        f"{name} {version}" for name, version in record.get("versions", {}).items()
    )
    return [
        folder.name,
        Path(c.dataset).name,
        c.model,
        c.acquisition,
        c.seed,
        sum(r.round != store.BEFORE for r in rounds),
        c.protocol.n_rounds + 1,
        store.failure(folder),
        versions,
        record.get("commit", ""),
        record.get("started", ""),
        sum(p.stat().st_size for p in folder.iterdir()),
    ]


def _faults(folder: Path) -> list[str]:
    record, file = store.read_record(folder), folder / "rounds.jsonl"
    if record is None:
        return ["config.json is missing or unreadable: delete the folder to do its run anew"]
    faults = []
    if files.hashed(record.get("identity")) != folder.name:
        faults.append("the identity in config.json gives another id")
    text = file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""
    rounds = [_round(line) for line in text.splitlines()]
    faults += [
        f"line {i} of rounds.jsonl is no round" for i, r in enumerate(rounds, 1) if r is None
    ]
    if text and not text.endswith("\n"):
        faults.append("the last line of rounds.jsonl is torn")
    numbers = [r.round for r in rounds if r]
    first, most = min([0, *numbers[:1]]), store.config_of(record).protocol.n_rounds + 1
    if (
        numbers != list(range(first, first + len(numbers)))
        or first < store.BEFORE
        or len(numbers) + first > most
    ):
        faults.append(f"rounds are missing, repeated or too many: {numbers}")
    asked = pd.Series([row for r in rounds if r for row in r.query], dtype=object)
    faults += [f"pool row {row} is acquired twice" for row in asked[asked.duplicated()].unique()]
    return faults


def _round(line: str) -> Round | None:
    try:
        return Round(**json.loads(line))
    except (ValueError, TypeError):
        return None
