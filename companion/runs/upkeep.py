"""Keep the run store: list, verify and prune what is in runs/. Files that are no runs stay."""

import math
import shutil
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pandas as pd

from alpt_lib.errors import StoreError
from alpt_lib.files import hashed, locked, runs_folder
from companion.runs.store import StoredRun, read_line, run_folders, stored_runs

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
NO_ROUND = "of rounds.jsonl is no round, or not as it was written"
OLDER = (
    "written by an older version (results version {}): left alone; its run is done again under a "
    "new id, `alpt prune` removes it"
)


def listing() -> pd.DataFrame:
    """One row a stored run: COLUMNS.

    A run is finished once `rounds_done` is `rounds`; `failed` says why it ended early.
    """
    return pd.DataFrame([_row(run) for run in stored_runs()], columns=COLUMNS)


def _row(run: StoredRun) -> list[Any]:
    c = run.config
    packages = run.record.get("versions", {})
    return [
        run.run_id,
        Path(c.dataset).name,
        c.model,
        c.acquisition,
        c.seed,
        # without what comes before the first label
        max(len(run.lines()) - 1, 0),
        c.protocol.n_rounds + 1,
        "older version" if run.is_older else run.failure(),
        ", ".join(f"{name} {version}" for name, version in packages.items()),
        run.record.get("commit", ""),
        run.record.get("started", ""),
        sum(file.stat().st_size for file in run.folder.iterdir()),
    ]


def verify() -> list[str]:
    """What is wrong with the store, one line each; [] if nothing is.

    A torn last line is named too: its run does it again. So are runs of older versions.
    """
    return [f"{folder.name}: {fault}" for folder in run_folders() for fault in _faults(folder)]


def _faults(folder: Path) -> list[str]:
    try:
        run = StoredRun.at(folder)
    except StoreError:
        return ["config.json is missing or unreadable: delete the folder to do its run again"]
    if run.is_older:
        return [OLDER.format(run.identity.get("results_version", "?"))]
    faults = []
    if hashed(run.identity) != folder.name:
        faults.append("the identity in config.json gives another id")
    file = folder / "rounds.jsonl"
    if file.exists() and not file.is_file():
        return ["rounds.jsonl is no file: delete the folder to do its run again"]
    text = file.read_bytes() if file.exists() else b""
    if text and not text.endswith(b"\n"):
        faults.append("the last line of rounds.jsonl is torn")
    return faults + _faults_of_rounds(text.splitlines(), run)


def _faults_of_rounds(texts: list[bytes], run: StoredRun) -> list[str]:
    lines = [read_line(text, run.run_id) for text in texts]
    faults = [f"line {i} {NO_ROUND}" for i, line in enumerate(lines, 1) if line is None]
    rounds = [line for line in lines if line is not None]
    numbers = [line["number"] for line in rounds]
    if numbers != list(range(-1, len(numbers) - 1)) or len(numbers) > run.n_lines:
        faults.append(f"rounds are missing, repeated or too many: {numbers}")
    asked = Counter(row for line in rounds for row in line["asked"])
    faults += [f"pool row {row} is acquired twice" for row, times in asked.items() if times > 1]
    # earlier versions did not write down how large the pool is
    size = run.record.get("pool_size", math.inf)
    faults += [f"pool row {row} is not in the pool of {size}" for row in asked if row >= size]
    return faults


def prune(keep: Collection[str], remove: bool = False) -> pd.DataFrame:
    """The runs whose ids are not in `keep`; removed only if asked to, so look first.

    A run that another process is writing stays. Each folder goes at once: it is renamed, then
    emptied.

    Returns:
        rows of `listing`: what would go, or with `remove` what went.
    """
    table = listing()
    table = table[~table["run_id"].isin(list(keep))].reset_index(drop=True)
    if not remove:
        return table
    # of a process that was killed while it emptied one
    for leftover in runs_folder().glob(".pruned-*"):
        shutil.rmtree(leftover)
    is_gone = [_remove(runs_folder() / run_id) for run_id in table["run_id"]]
    return table[is_gone].reset_index(drop=True)


def _remove(folder: Path) -> bool:
    with locked(folder / "lock", wait=False) as is_ours:
        if is_ours:
            shutil.rmtree(folder.rename(folder.with_name(f".pruned-{folder.name}")))
        return is_ours
