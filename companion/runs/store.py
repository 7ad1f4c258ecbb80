"""The run store: a folder a run, named by the hash of its config; a line a round, appended.

runs/<run id>/config.json    config, fingerprints of data and weights, package versions, commit
runs/<run id>/rounds.jsonl   a Round a line, with the labels and attributes of what it asked for;
                             `sum` tells whether it is as it was written
runs/<run id>/failed.json    why the last attempt ended early; gone when the run is started again
runs/<run id>/attempts       a line for each attempt that has not ended in order (a death, if old)
runs/<run id>/*.damaged      copies of a rounds.jsonl of which lines had to be cut off

Reading neither writes nor locks: finished runs serve from a store that is read-only.
"""

import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any
from zlib import crc32

import pandas as pd

from alpt_lib.checkpoints import weights_fingerprint
from alpt_lib.config import RunConfig
from alpt_lib.datasets import Dataset
from alpt_lib.errors import ConfigError, StoreError, one_line, unknown
from alpt_lib.files import (
    REPOSITORY,
    append_durably,
    hash_file,
    hashed,
    locked,
    one_line_errors,
    runs_folder,
    write_whole,
)
from alpt_lib.loop import Round
from alpt_lib.registry import FEATURES, reads_texts

SUM = ', "sum": "'  # how the last entry of a line of rounds.jsonl begins
RESULTS_VERSION = 3  # raise when the code changes what a run's rows mean
METRIC_COLUMNS = ["round", "n_labels", "split", "subgroup", "metric", "value", "n_examples"]
ACQUISITION_COLUMNS = ["round", "rank", "index", "label", "subgroup", "score"]
# of what `all_runs` returns
RUN_COLUMNS = ["run_id", "dataset", "model", "acquisition", "seed", "stopping", "n_rounds"]
NETWORK = 100  # so many rounds of a head take as long as one that fine-tunes a miniature, about
PACKAGES = ("alpt-lib", "torch", "timm", "transformers", "numpy", "scikit-learn")
KEPT = (
    "the rounds before are kept: free some space or make the folder writable, then start the same "
    "command again"
)


@dataclass
class Look:
    """What a look at a run's files found."""

    # of rounds.jsonl and config.json
    stamps: tuple
    n_stored: int
    # whether all of the run can be read; None: not asked yet
    is_whole: bool | None = None


def _stamp(file: Path) -> tuple:
    """What changes with a file's content; () where there is none."""
    try:
        status = file.stat()
    except OSError:
        return ()
    return str(file), status.st_ino, status.st_size, status.st_mtime_ns


class StoredRun:
    """One run and what the store holds of it, read anew at each call.

    Args:
        config: the run. data: its dataset; only a run that is to be done needs it.
        weights: fingerprint of its weights, where it is known already.
    """

    def __init__(self, config: RunConfig, data: Dataset | None, weights: str | None = None):
        self.config = config
        self._data = data
        self._weights = weights
        self._seen: Look | None = None

    @classmethod
    def at(cls, folder: Path) -> "StoredRun":
        """The run in a folder of the store, without its dataset.

        Raises:
            StoreError: its config.json is missing or unreadable.
        """
        try:
            record = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            run = cls(RunConfig.from_dict(record["config"]), None)
            run.identity = record["identity"]
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise StoreError(
                f"{folder.name}: config.json is missing or unreadable; `alpt verify` lists all "
                "faults"
            ) from error
        run.record = record
        run.run_id = folder.name
        return run

    @property
    def data(self) -> Dataset:
        """The run's dataset.

        Raises:
            StoreError: the run was read from the store alone.
        """
        if self._data is None:
            raise StoreError(f"run {self.run_id} was read without its dataset")
        return self._data

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StoredRun) and self.config == other.config

    def __hash__(self) -> int:
        return hash(self.config)

    def __str__(self) -> str:
        c = self.config
        return f"{Path(c.dataset).name} {c.model} {c.acquisition} seed {c.seed}"

    @cached_property
    def identity(self) -> dict[str, Any]:
        """Everything that decides the run's rows; paths are replaced by what they hold.

        The packages that compute count by major and minor version: after such an upgrade every run
        is done again under a new id.
        """
        config = self.config
        content = config.to_dict()
        content["dataset"] = self.data.fingerprint
        description = self.data.description
        is_text = self.data.is_text
        content["input_size"] = description.max_tokens if is_text else description.image_size
        if self._weights is None:
            self._weights = start_fingerprint(config, self.data)
        content["weights"] = self._weights
        used = ["torch", "numpy", "transformers" if reads_texts(config.model) else "timm"]
        if config.probe:
            used.append("scikit-learn")
        content["versions"] = {name: ".".join(installed(name).split(".")[:2]) for name in used}
        return {**content, "results_version": RESULTS_VERSION}

    @cached_property
    def run_id(self) -> str:
        """16 hexadecimal digits: the hash of `identity`."""
        return hashed(self.identity)

    @cached_property
    def record(self) -> dict[str, Any]:
        """What config.json says; {} before the run was started."""
        try:
            return json.loads((self.folder / "config.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}

    @property
    def is_older(self) -> bool:
        """Whether an older version of this library wrote it: its rows mean something else."""
        return self.identity.get("results_version") != RESULTS_VERSION

    @property
    def folder(self) -> Path:
        return runs_folder() / self.run_id

    @property
    def n_lines(self) -> int:
        """Lines of a finished run: before any label, the seed set, then a round a query batch."""
        return self.config.protocol.n_rounds + 2

    def lines_left(self) -> int:
        """Rounds that are to be done; cheap."""
        return max(self.n_lines - self.n_stored(), 0)

    @property
    def cost_of_a_round(self) -> int:
        """About how long a round takes, in rounds of a head on a frozen network."""
        return 1 if self.config.recipe.backbone == "frozen" else NETWORK

    def work_left(self) -> int:
        """Rounds that are to be done, each as long as it takes; cheap."""
        return self.lines_left() * self.cost_of_a_round

    @property
    def columns(self) -> dict[str, Any]:
        """RUN_COLUMNS."""
        c = self.config
        values = (Path(c.dataset).name, c.model, c.acquisition, c.seed, c.recipe.stopping)
        return dict(zip(RUN_COLUMNS, (self.run_id, *values, c.protocol.n_rounds), strict=True))

    # --- reading

    def lines(self) -> list[dict[str, Any]]:
        """The stored rounds as they were written, up to the first line that is not the next one.

        What comes after them, or after the last round, does not count; `alpt verify` names it.
        """
        if self.is_older:
            return []
        lines: list[dict[str, Any]] = []
        for text in self._texts()[: self.n_lines]:
            line = read_line(text, self.run_id)
            if line is None or line["number"] != len(lines) - 1:
                break
            lines.append(line)
        return lines

    def _texts(self) -> list[bytes]:
        try:
            return (self.folder / "rounds.jsonl").read_bytes().splitlines(keepends=True)
        except OSError:
            return []

    def rounds(self) -> list[Round]:
        """The stored rounds, in order; a torn last line (a crash while writing) is left out."""
        return [_as_round(line) for line in self.lines()]

    def n_stored(self) -> int:
        """How many lines are stored; cheap."""
        return self._look().n_stored

    def is_done(self) -> bool:
        look = self._look()
        if look.is_whole is None:
            is_long_enough = look.n_stored >= self.n_lines
            is_readable = is_long_enough and len(self.lines()) == self.n_lines
            look.is_whole = is_readable and self._has_config()
        return look.is_whole

    def _look(self) -> Look:
        """What is known of the run's files; they are read again only if they have changed."""
        folder = self.folder
        stamps = (_stamp(folder / "rounds.jsonl"), _stamp(folder / "config.json"))
        if self._seen is None or self._seen.stamps != stamps:
            self._seen = Look(stamps, b"".join(self._texts()).count(b"\n"))
        return self._seen

    def _has_config(self) -> bool:
        """Whether config.json can be read; without it no list or table has the run."""
        try:
            StoredRun.at(self.folder)
        except StoreError:
            return False
        return True

    def failure(self, since: float = 0.0) -> str | None:
        """Why the last attempt ended early, if that was after `since` (s); None if it did not."""
        try:
            content = json.loads((self.folder / "failed.json").read_text(encoding="utf-8"))
            return str(content["reason"]) if content.get("when", 0.0) >= since else None
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def deaths(self, since: float = 0.0) -> int:
        """How many processes died at this run since (s), the last stored round being the same.

        Only the holder of the run's claim, or who looks at a run that nobody holds, may ask.
        """
        n_stored = self.n_stored()
        attempts = [(int(n), float(when)) for n, when in self._attempts()]
        return sum(n == n_stored and when >= since for n, when in attempts)

    def _attempts(self) -> list[list[str]]:
        try:
            lines = (self.folder / "attempts").read_text(encoding="utf-8").splitlines()
        except OSError:
            return []
        return [line.split() for line in lines if len(line.split()) == 2]

    def metrics(self) -> pd.DataFrame:
        """The run's metrics, one number a row: METRIC_COLUMNS."""
        rows = [
            {"round": r.number, "n_labels": r.n_labels, **row}
            for r in self.rounds()
            for row in r.metrics
        ]
        return pd.DataFrame(rows, columns=METRIC_COLUMNS)

    def acquisitions(self) -> pd.DataFrame:
        """The run's labelled examples, one a row: ACQUISITION_COLUMNS and the attributes.

        `round` is the round that first trains on the example: 0 for the seed set (score NaN).
        """
        columns: dict[str, list] = {name: [] for name in ACQUISITION_COLUMNS}
        for line in self.lines():
            for name, values in _asked_in(line).items():
                columns.setdefault(name, []).extend(values)
        table = pd.DataFrame(columns)
        return table.assign(score=table["score"].astype(float))

    def fits(self) -> pd.DataFrame:
        """How each training went: round, n_steps, first_loss, last_loss, stopped_by."""
        rows = [{"round": r.number, **r.fit} for r in self.rounds() if r.fit]
        columns = ["round", "n_steps", "first_loss", "last_loss", "stopped_by"]
        return pd.DataFrame(rows, columns=columns)

    # --- writing

    @contextmanager
    def claim(self) -> Iterator[bool]:
        """Hold the run for this process; yields whether no other one has it, on any machine.

        Raises:
            StoreError: the store cannot be written.
        """
        with one_line_errors(self.folder, StoreError, KEPT):
            lock = locked(self.folder / "lock", wait=False)
            is_ours = lock.__enter__()
        try:
            yield is_ours
        finally:
            lock.__exit__(None, None, None)

    @contextmanager
    def writing(self) -> Iterator[Callable[[Round], None]]:
        """Write rounds of a claimed run; yields `append(round)`, written before it returns.

        A network's rounds are on the disk then. A head's take no longer than a disk does, so they
        outlive the process, and what a power cut costs is done again in no time.

        An error that ends the run is kept as its `failure`; a process that dies leaves its attempt.

        Raises:
            StoreError: the disk is full or read-only; the rounds before are kept.
        """
        with self._said():
            self._start()
        try:
            yield self._append
        except StoreError:
            raise
        except Exception as error:
            self.fail(one_line(error))
            raise
        finally:
            with suppress(OSError):
                (self.folder / "attempts").unlink(missing_ok=True)

    def fail(self, reason: str) -> None:
        """Store why the run ended early."""
        content = json.dumps({"reason": reason, "when": time.time()})
        with self._said():
            write_whole(self.folder / "failed.json", content)

    def _said(self):
        return one_line_errors(f"the run store {self.folder}", StoreError, KEPT)

    def _start(self) -> None:
        for leftover in self.folder.glob(".*.partial"):
            # of a process that was killed while it wrote
            leftover.unlink()
        try:
            StoredRun.at(self.folder)
        except StoreError:
            self._write_config()
        self._cut_damage()
        (self.folder / "failed.json").unlink(missing_ok=True)
        append_durably(self.folder / "attempts", f"{self.n_stored()} {time.time():.3f}\n")

    def _cut_damage(self) -> None:
        """Leave valid rounds alone, and a copy of the file if more than a torn line is cut off."""
        file = self.folder / "rounds.jsonl"
        lines = self.lines()
        texts = self._texts()
        kept = b"".join(text.rstrip(b"\n") + b"\n" for text in texts[: len(lines)])
        if b"".join(texts) == kept:
            return
        if b"\n" in b"".join(texts[len(lines) :]):
            shutil.copyfile(file, file.with_suffix(f".{time.time_ns()}.damaged"))
        write_whole(file, kept.decode())

    def _write_config(self) -> None:
        record = {
            "run_id": self.run_id,
            "config": self.config.to_dict(),
            "identity": self.identity,
            "versions": {name: installed(name) for name in PACKAGES},
            "commit": commit(),
            "pool_size": len(self.data.labels("pool")),
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        write_whole(self.folder / "config.json", json.dumps(record, indent=1))

    def _append(self, now: Round) -> None:
        examples: dict[str, list[Any]] = {}
        if now.asked:
            for column, values in self.data.pool_examples.items():
                examples[column] = [values[row] for row in now.asked]
        text = json.dumps({**vars(now), "examples": examples}, default=str)
        sealed = f'{text[:-1]}{SUM}{_checksum(text.encode(), self.run_id)}"}}\n'
        with self._said():
            is_long = self.cost_of_a_round > 1
            append_durably(self.folder / "rounds.jsonl", sealed, is_synced=is_long)


def _checksum(text: bytes, run_id: str) -> str:
    """8 hexadecimal digits of a line: a changed number, or a line of another run, gives others."""
    return f"{crc32(text, crc32(run_id.encode())):08x}"


def read_line(text: bytes, run_id: str) -> dict[str, Any] | None:
    """A line of a run's rounds.jsonl; None if it is torn, damaged or not as it was written.

    Lines of earlier versions have no sum and are taken as they are.
    """
    try:
        line = json.loads(text)
        body, mark, _ = text.rpartition(SUM.encode())
        if line.pop("sum", None) != (_checksum(body + b"}", run_id) if mark else None):
            return None
        now = _as_round(line)
        sizes = {len(now.asked), len(now.scores)}
        if now.asked:
            sizes |= {len(line["examples"][key]) for key in ("label", "subgroup")}
        return line if len(sizes) == 1 and isinstance(now.number, int) else None
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def start_fingerprint(config: RunConfig, data: Dataset) -> str:
    """What decides where a run starts: its weights, or the features that its dataset holds."""
    if config.model.startswith(FEATURES):
        return hash_file(data.feature_file(config.model.removeprefix(FEATURES)))[:16]
    return weights_fingerprint(config.model, config.weights)


def _as_round(line: dict[str, Any]) -> Round:
    return Round(**{key: value for key, value in line.items() if key != "examples"})


def _asked_in(line: dict[str, Any]) -> dict[str, Iterable]:
    """What one round asked for, most wanted first: a column a key."""
    n_asked = len(line["asked"])
    return {
        **line["examples"],
        "round": [line["number"] + 1] * n_asked,
        "rank": range(n_asked),
        "index": line["asked"],
        "score": line["scores"],
    }


def run_folders() -> list[Path]:
    """The folders of the store that are named like runs."""
    folders = runs_folder().glob("*") if runs_folder().is_dir() else ()
    named = [f for f in folders if re.fullmatch("[0-9a-f]{16}", f.name)]
    return sorted(f for f in named if f.is_dir() and not f.is_symlink())


def stored_runs() -> list[StoredRun]:
    """Every run in the store whose config can be read, finished or not."""
    runs = []
    for folder in run_folders():
        with suppress(StoreError):
            runs.append(StoredRun.at(folder))
    return runs


TABLES: dict[str, tuple[Callable[[StoredRun], pd.DataFrame], list[str]]] = {
    "metrics": (StoredRun.metrics, METRIC_COLUMNS),
    "acquisitions": (StoredRun.acquisitions, ACQUISITION_COLUMNS),
}


def all_runs(what: str = "metrics", **where: Any) -> pd.DataFrame:
    """Every stored run in one tidy frame, finished or not; needs no dataset.

    `all_runs(dataset="waterbirds", metric="accuracy", seed=[1, 11])`

    Args:
        what: "metrics" (one number a row) or "acquisitions" (one labelled example a row).
        where: a column and the value, or list of values, that its rows must have.
    Returns:
        RUN_COLUMNS, then METRIC_COLUMNS, or ACQUISITION_COLUMNS and attributes;
        companion/report/data_dictionary.csv says what each means. A run is finished once it has
        rows of round `n_rounds`.
    Raises:
        ConfigError: an unknown table or column; lists all.
    """
    if what not in TABLES:
        raise ConfigError(unknown("table", what, list(TABLES)))
    read, columns = TABLES[what]
    wanted = {name: value if _is_list(value) else [value] for name, value in where.items()}
    tables = [pd.DataFrame(columns=[*RUN_COLUMNS, *columns])]
    for run in stored_runs():
        own = run.columns
        if all(value in wanted.get(name, [value]) for name, value in own.items()):
            tables.append(with_columns(read(run), own))
    frame = pd.concat([t for t in tables if len(t)] or tables, ignore_index=True)
    for name, values in wanted.items():
        if name not in frame:
            raise ConfigError(unknown("column", name, list(frame)))
        frame = frame[frame[name].isin(values)]
    return frame.reset_index(drop=True)


def with_columns(table: pd.DataFrame, columns: dict[str, Any]) -> pd.DataFrame:
    """A table of one run with columns of equal values before its own."""
    constant = pd.DataFrame([columns] * len(table), columns=list(columns), index=table.index)
    return pd.concat([constant, table[[c for c in table if c not in columns]]], axis=1)


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple | set)


@lru_cache
def installed(package: str) -> str:
    """The version of a package."""
    return version(package)


@lru_cache(maxsize=1)
def commit() -> str:
    """Commit of the checkout, "+" if it has uncommitted changes; "unknown" outside git."""
    describe = ["describe", "--always", "--exclude=*", "--abbrev=12", "--dirty=+"]
    try:
        git = ["git", "-C", str(REPOSITORY), *describe]
        return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
