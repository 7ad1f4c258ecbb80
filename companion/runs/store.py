"""The run store: one folder a run, named by the hash of its config and data; one line a round, appended.

    runs/<run id>/config.json    config, data and weights fingerprints, package versions, commit
    runs/<run id>/rounds.jsonl   one Round a line: metrics, the query batch it led to, how the fit went
    runs/<run id>/failed.json    why the last attempt ended early; gone when the run is started again

Reading neither writes nor locks, so that finished runs serve from a store that is read-only.
"""

import fcntl
import json
import os
import re
import subprocess
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from alpt_lib import datasets, errors
from alpt_lib.checkpoints import weights_fingerprint
from alpt_lib.config import ADDED_LATER, Protocol, Recipe, RunConfig
from alpt_lib.errors import CompanionError, ConfigError, unknown
from alpt_lib.files import REPOSITORY, hashed, replace_text, runs_folder
from alpt_lib.loop import Round, start_pool
from alpt_lib.registry import reads_texts

RESULTS_VERSION = 2  # raise when the code changes what a run's rows mean

BEFORE = -1  # round number of what is measured before any fine-tuning

METRIC_COLUMNS = ["round", "n_labels", "split", "subgroup", "metric", "value", "n_examples"]

ACQUISITION_COLUMNS = ["round", "rank", "index", "label", "subgroup", "score"]

RUN_COLUMNS = [
    "run_id",
    "dataset",
    "model",
    "acquisition",
    "seed",
    "stopping",
    "n_rounds",
]  # of what `load` returns


class StoreError(CompanionError):
    """The run store cannot be written: a full disk, a read-only folder."""


def identity(config: RunConfig) -> dict[str, Any]:
    """Everything that decides a run's rows; paths are replaced by what they hold.

    The packages that compute count by major and minor version: after such an upgrade every run is done anew under a new id.
    """
    content = config.to_dict()
    content["recipe"] = {
        k: v
        for k, v in content["recipe"].items()
        if k not in ADDED_LATER or v != getattr(Recipe, k)
    }
    data = datasets.read_dataset(Path(config.dataset))
    content["dataset"] = data.fingerprint
    d = data.description
    content["input_size"] = d.image_size if d.modality == "image" else d.max_tokens
    content["weights"] = _weights_fingerprint(config.model, config.weights)
    used = ["torch", "numpy", "transformers" if reads_texts(config.model) else "timm"]
    used += ["scikit-learn"] if config.probe else []
    content["versions"] = {name: ".".join(_version(name).split(".")[:2]) for name in used}
    return {**content, "results_version": RESULTS_VERSION}


_version = lru_cache(version)

_weights_fingerprint = lru_cache(weights_fingerprint)


@lru_cache(maxsize=10_000)
def run_id(config: RunConfig) -> str:
    """16 hexadecimal digits: the hash of `identity`."""
    return hashed(identity(config))


def folder(config: RunConfig) -> Path:
    return runs_folder() / run_id(config)


def read(config: RunConfig) -> list[Round]:
    """The stored rounds, in order; a torn last line (a crash while writing) is left out."""
    return read_rounds(folder(config) / "rounds.jsonl")


def read_rounds(file: Path) -> list[Round]:
    """The rounds of a file up to its first line that is not the next one."""
    rounds: list[Round] = []
    for line in (
        file.read_text(encoding="utf-8", errors="replace").splitlines() if file.exists() else ()
    ):
        try:
            round_ = Round(**json.loads(line))
            is_next = round_.round == (rounds[-1].round + 1 if rounds else min(round_.round, 0))
        except (ValueError, TypeError):
            break
        if not is_next:
            break
        rounds.append(round_)
    return rounds


def is_done(config: RunConfig) -> bool:
    rounds = read(config)
    return bool(rounds) and rounds[-1].round == config.protocol.n_rounds


def failure(run: RunConfig | Path) -> str | None:
    """Why the last attempt at a run (its config or its folder) ended early; None if it did not, or was killed."""
    target = run if isinstance(run, Path) else folder(run)
    try:
        return str(json.loads((target / "failed.json").read_text(encoding="utf-8"))["reason"])
    except (OSError, ValueError, TypeError, KeyError):
        return None


@contextmanager
def writing(config: RunConfig):
    """Hold a run for writing, one process at a time; yields `append(round)`, each durable before it returns.

    An error that ends the run is kept as its `failure`.

    Raises:
        StoreError: the disk is full or read-only; the rounds before are kept.
    """
    target = folder(config)
    with _said(target):
        target.mkdir(parents=True, exist_ok=True)
        lock = open(target / "lock", "w")  # noqa: SIM115 (released below, or by the system if the process dies)
    with lock:
        with _said(target):
            fcntl.flock(lock, fcntl.LOCK_EX)
            _write_config(config, target)
            mend(target / "rounds.jsonl")
            (target / "failed.json").unlink(missing_ok=True)

        def append(round_: Round) -> None:
            with _said(target):
                add(target / "rounds.jsonl", round_)

        try:
            yield append
        except StoreError:
            raise
        except Exception as error:
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
            with suppress(OSError):
                replace_text(target / "failed.json", json.dumps({"reason": reason}))
            raise


@contextmanager
def _said(target: Path):
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"cannot write the run store {target}: {error.strerror}; the rounds before are kept: free some space or "
            "make the folder writable, then start the same command again"
        ) from error


def _write_config(config: RunConfig, target: Path) -> None:
    if read_record(target) is None:
        record = {
            "run_id": target.name,
            "config": config.to_dict(),
            "identity": identity(config),
            "versions": versions(),
            "commit": commit(),
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        replace_text(target / "config.json", json.dumps(record, indent=1))


def add(file: Path, round_: Round) -> None:
    """Append a round to a file; it is on the disk before this returns."""
    with open(file, "a", encoding="utf-8") as stream:
        stream.write(json.dumps(asdict(round_)) + "\n")
        stream.flush()
        os.fsync(stream.fileno())


def mend(file: Path) -> None:
    """Drop what a crash or a full disk left of a last line."""
    kept = "".join(json.dumps(asdict(r)) + "\n" for r in read_rounds(file))
    if (
        file.exists() and file.read_bytes() != kept.encode()
    ):  # torn, or torn just before the line end
        replace_text(file, kept)


def versions() -> dict[str, str]:
    """Versions of what computes: stored with every result."""
    return {
        name: version(name)
        for name in ("alpt-lib", "torch", "timm", "transformers", "numpy", "scikit-learn")
    }


@lru_cache(maxsize=1)
def commit() -> str:
    """Commit of the checkout, "+" if it has uncommitted changes; "unknown" outside git."""
    try:
        git = [
            "git",
            "-C",
            str(REPOSITORY),
            "describe",
            "--always",
            "--exclude=*",
            "--abbrev=12",
            "--dirty=+",
        ]
        return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def metrics_of(config: RunConfig, rounds: list[Round] | None = None) -> pd.DataFrame:
    """The run's metrics, one number a row: METRIC_COLUMNS. `rounds` are read unless they are given."""
    rounds = read(config) if rounds is None else rounds
    rows = [{"round": r.round, "n_labels": r.n_labels, **row} for r in rounds for row in r.metrics]
    return pd.DataFrame(rows, columns=METRIC_COLUMNS)


def acquisitions_of(config: RunConfig, rounds: list[Round] | None = None) -> pd.DataFrame:
    """The run's labelled examples, one a row: ACQUISITION_COLUMNS and the manifest's attributes.

    `round` is the round that first trains on the example: 0 for the seed set (score NaN).
    """
    rounds = read(config) if rounds is None else rounds
    data = datasets.read_dataset(Path(config.dataset))
    seed_set = start_pool(data, config).labelled
    rows = [(0, rank, index, float("nan")) for rank, index in enumerate(seed_set)]
    for r in rounds:
        rows += [
            (r.round + 1, rank, i, s)
            for rank, (i, s) in enumerate(zip(r.query, r.scores, strict=True))
        ]
    table = pd.DataFrame(rows, columns=["round", "rank", "index", "score"])
    manifest = data.rows(datasets.POOL).iloc[table["index"]].reset_index(drop=True)
    table["subgroup"] = data.subgroup(datasets.POOL)[table["index"]]
    attributes = manifest.drop(columns=["split", "path", "text"], errors="ignore")
    return pd.concat([table, attributes], axis=1)[
        [*ACQUISITION_COLUMNS, *attributes.columns.drop("label")]
    ]


TABLES = {"metrics": metrics_of, "acquisitions": acquisitions_of}


def all_runs(what: str = "metrics", **where: Any) -> pd.DataFrame:
    """Every stored run in one tidy frame, finished or not: `load(dataset="waterbirds", metric="accuracy", seed=[1, 11])`.

    Args:
        what: "metrics" (one number a row) or "acquisitions" (one labelled example a row; the datasets must be here).
        where: a column and the value, or list of values, that its rows must have.
    Returns:
        RUN_COLUMNS, then METRIC_COLUMNS, or ACQUISITION_COLUMNS and attributes; companion/data_dictionary.csv says what each
        means. A run is finished once it has rows of round `n_rounds`.
    Raises:
        ConfigError: an unknown table or column; lists all. DataError: acquisitions of a dataset that is gone or has changed.
    """
    if what not in TABLES:
        raise ConfigError(unknown("table", what, list(TABLES)))
    frames = []
    for target in run_folders():
        record = read_record(target)
        config = record and config_of(record)
        if not config or not all(
            _is_wanted(value, where.get(name))
            for name, value in _run_columns(target, config).items()
        ):
            continue
        if what == "acquisitions":
            _check_same_data(target, config, record)
        table = TABLES[what](config, read_rounds(target / "rounds.jsonl"))
        run = pd.DataFrame([_run_columns(target, config)] * len(table), columns=RUN_COLUMNS)
        frames.append(pd.concat([run, table[[c for c in table if c not in RUN_COLUMNS]]], axis=1))
    columns = METRIC_COLUMNS if what == "metrics" else ACQUISITION_COLUMNS
    found = pd.concat(
        [f for f in frames if len(f)] or [pd.DataFrame(columns=[*RUN_COLUMNS, *columns])],
        ignore_index=True,
    )
    for name, wanted in where.items():
        if name not in found:
            raise ConfigError(unknown("column", name, list(found)))
        found = found[
            found[name].isin(wanted if isinstance(wanted, list | tuple | set) else [wanted])
        ]
    return found.reset_index(drop=True)


def _is_wanted(value: Any, wanted: Any) -> bool:
    return (
        wanted is None
        or value == wanted
        or (isinstance(wanted, list | tuple | set) and value in wanted)
    )


def _run_columns(target: Path, c: RunConfig) -> dict[str, Any]:
    values = (
        target.name,
        Path(c.dataset).name,
        c.model,
        c.acquisition,
        c.seed,
        c.recipe.stopping,
        c.protocol.n_rounds,
    )
    return dict(zip(RUN_COLUMNS, values, strict=True))


def _check_same_data(target: Path, config: RunConfig, record: dict[str, Any]) -> None:
    """Stored rows are numbers of pool rows: of another pool they would name other examples."""
    if datasets.read_dataset(Path(config.dataset)).fingerprint != record["identity"]["dataset"]:
        raise errors.DataError(
            f"run {target.name} was done on other data than {config.dataset} holds now; "
            "`python -m alpt_lib prune` removes such runs, a filter such as dataset=... leaves them out"
        )


def run_folders() -> list[Path]:
    """The folders of the store that are named like runs."""
    found = runs_folder().glob("*") if runs_folder().is_dir() else ()
    return sorted(
        p
        for p in found
        if re.fullmatch("[0-9a-f]{16}", p.name) and p.is_dir() and not p.is_symlink()
    )


def read_record(target: Path) -> dict[str, Any] | None:
    """A run's config.json if it is one of ours and whole."""
    try:
        record = json.loads((target / "config.json").read_text(encoding="utf-8"))
        config_of(record)
        return record
    except (OSError, ValueError, TypeError, KeyError):
        return None


def config_of(record: dict[str, Any]) -> RunConfig:
    """The config that a run was started with."""
    c = record["config"]
    return RunConfig(
        **{**c, "protocol": Protocol(**c["protocol"]), "recipe": Recipe(**c["recipe"])}
    )
