"""The run store: one folder a run, named by the hash of its config and data; one line a round, appended.

    runs/<run id>/config.json    config, data and weights fingerprints, package versions, commit
    runs/<run id>/rounds.jsonl   one Round a line: metrics, the query batch it led to, how the fit went
"""

import fcntl
import hashlib
import json
import os
import subprocess
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from alpt_lib import datasets
from alpt_lib.config import RunConfig
from alpt_lib.loop import Round, start_pool
from alpt_lib.models import weights_fingerprint
from alpt_lib.paths import REPOSITORY, runs_folder

RESULTS_VERSION = 1  # raise when the code changes what a run's rows mean
BEFORE = -1  # round number of what is measured before any fine-tuning
METRIC_COLUMNS = ["round", "n_labels", "split", "subgroup", "metric", "value", "n_examples"]
ACQUISITION_COLUMNS = ["round", "rank", "index", "label", "subgroup", "score"]


def identity(config: RunConfig) -> dict[str, Any]:
    """Everything that decides a run's rows; paths are replaced by what they hold."""
    content = config.to_dict()
    content["dataset"] = datasets.load(Path(config.dataset)).fingerprint
    content["weights"] = _weights_fingerprint(config.model, config.weights)
    return {**content, "results_version": RESULTS_VERSION}


_weights_fingerprint = lru_cache(weights_fingerprint)


@lru_cache(maxsize=10_000)
def run_id(config: RunConfig) -> str:
    """16 hexadecimal digits: the hash of `identity`."""
    return hashlib.sha256(json.dumps(identity(config), sort_keys=True).encode()).hexdigest()[:16]


def folder(config: RunConfig) -> Path:
    return runs_folder() / run_id(config)


def read(config: RunConfig) -> list[Round]:
    """The stored rounds, in order; a torn last line (a crash while writing) is left out."""
    file = folder(config) / "rounds.jsonl"
    rounds: list[Round] = []
    if file.exists():
        for line in file.read_text(encoding="utf-8").splitlines():
            try:
                rounds.append(Round(**json.loads(line)))
            except (json.JSONDecodeError, TypeError):
                break
    return rounds


def is_done(config: RunConfig) -> bool:
    rounds = read(config)
    return bool(rounds) and rounds[-1].round == config.protocol.n_rounds


@contextmanager
def writing(config: RunConfig):
    """Hold a run for writing, one process at a time; yields `append(round)`, each durable before it returns."""
    target = folder(config)
    target.mkdir(parents=True, exist_ok=True)
    with open(target / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _write_config(config, target)
        _drop_torn_line(config, target / "rounds.jsonl")
        with open(target / "rounds.jsonl", "a", encoding="utf-8") as stream:
            def append(round_: Round) -> None:
                stream.write(json.dumps(asdict(round_)) + "\n")
                stream.flush()
                os.fsync(stream.fileno())

            yield append


def _write_config(config: RunConfig, target: Path) -> None:
    record = {"run_id": target.name, "config": config.to_dict(), "identity": identity(config), "versions": versions(),
              "commit": commit(), "started": datetime.now(UTC).isoformat(timespec="seconds")}
    if not (target / "config.json").exists():
        partial = target / f"config.{os.getpid()}.partial"
        partial.write_text(json.dumps(record, indent=1), encoding="utf-8")
        os.replace(partial, target / "config.json")


def _drop_torn_line(config: RunConfig, file: Path) -> None:
    complete, content = read(config), file.read_bytes() if file.exists() else b""
    if len(content.splitlines()) != len(complete) or not content.endswith(b"\n"):  # torn, or torn just before the line end
        partial = file.with_suffix(".partial")
        partial.write_text("".join(json.dumps(asdict(r)) + "\n" for r in complete), encoding="utf-8")
        os.replace(partial, file)


def versions() -> dict[str, str]:
    """Versions of what computes: stored with every result."""
    return {name: version(name) for name in ("alpt-lib", "torch", "timm", "transformers", "numpy", "scikit-learn")}


@lru_cache(maxsize=1)
def commit() -> str:
    """Commit of the checkout, "+" if it has uncommitted changes; "unknown" outside git."""
    try:
        git = ["git", "-C", str(REPOSITORY)]
        head = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True).stdout
        dirty = subprocess.run([*git, "status", "--porcelain", "-uno"], capture_output=True, text=True, check=True).stdout
        return head.strip() + ("+" if dirty else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def metrics(config: RunConfig) -> pd.DataFrame:
    """The run's metrics, one number a row: METRIC_COLUMNS."""
    rows = [{"round": r.round, "n_labels": r.n_labels, **row} for r in read(config) for row in r.metrics]
    return pd.DataFrame(rows, columns=METRIC_COLUMNS)


def acquisitions(config: RunConfig) -> pd.DataFrame:
    """The run's labelled examples, one a row: ACQUISITION_COLUMNS and the manifest's attributes.

    `round` is the round that first trains on the example: 0 for the seed set (score NaN).
    """
    data = datasets.load(Path(config.dataset))
    seed_set = start_pool(data, config).labelled
    rows = [(0, rank, index, float("nan")) for rank, index in enumerate(seed_set)]
    for r in read(config):
        rows += [(r.round + 1, rank, i, s) for rank, (i, s) in enumerate(zip(r.query, r.scores, strict=True))]
    table = pd.DataFrame(rows, columns=["round", "rank", "index", "score"])
    manifest = data.rows(datasets.POOL).iloc[table["index"]].reset_index(drop=True)
    table["subgroup"] = data.subgroup(datasets.POOL)[table["index"]]
    attributes = manifest.drop(columns=["split", "path", "text"], errors="ignore")
    return pd.concat([table, attributes], axis=1)[[*ACQUISITION_COLUMNS, *attributes.columns.drop("label")]]
