"""What the id of a run is made of; of several runs, what differs."""

from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from alpt_lib.errors import CompanionError, ConfigError, one_line
from companion.listings import find_run, how_much_is_stored, text
from companion.runs.parameters import PARAMETERS
from companion.runs.plan import plan_runs, prepare_datasets
from companion.runs.store import StoredRun

ABSENT = "(not set)"

OUTSIDE = (
    "Not part of an id: names and paths (what they hold counts), the number of workers, the "
    "machine, patch versions of packages."
)

MEANING = {
    "dataset": "hash of rows, labels, attributes, images, classes and subgroups",
    "weights": "hash of the weights, the hub's name, or empty if not pretrained",
    "results_version": "raised when code changes what rows mean",
    "input_size": "px, or tokens",
    "probe": "attributes of the linear probe",
}


def explain(names: list[str]) -> str:
    """Of one run every setting that counts; of several those that differ.

    Args:
        names: ids of stored runs (or how they start), or yaml files of notebook parameters, each
            of which plans runs.
    """
    runs = {run.run_id: run for name in names for run in _runs(name)}
    settings = {run_id: _flat(run.identity) for run_id, run in runs.items()}
    if len(runs) == 1:
        ((run_id, content),) = settings.items()
        return f"{run_id} is the hash of\n\n{text(_meanings(content))}\n\n{OUTSIDE}"
    keys = dict.fromkeys(key for content in settings.values() for key in content)
    table = pd.DataFrame(settings, index=list(keys)).fillna(ABSENT)
    table = table[table.nunique(axis=1) > 1]
    if table.empty:
        return "the same run"
    if len(runs) == 2:
        words = text(table.rename_axis("setting").reset_index())
        return f"differ in\n\n{words}\n\n{OUTSIDE}"
    rows = table.T.rename_axis("run_id").reset_index()
    rows["stored"] = [how_much_is_stored(run) for run in runs.values()]
    return f"{len(runs)} runs, which differ in\n\n{text(rows)}\n\n{OUTSIDE}"


def _meanings(content: dict[str, str]) -> pd.DataFrame:
    rows = [(key, value, MEANING.get(key, "")) for key, value in content.items()]
    return pd.DataFrame(rows, columns=["setting", "value", ""])


def _runs(name: str) -> list[StoredRun]:
    """The stored run of an id, or the runs that a yaml file plans."""
    if not name.endswith((".yaml", ".yml")):
        return [find_run(name)]
    try:
        given = yaml.safe_load(Path(name).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise CompanionError(f"cannot read {name}: {one_line(error)}") from error
    if not isinstance(given, dict) or not given.get("datasets"):
        others = ", ".join(sorted(set(PARAMETERS) - {"datasets"}))
        raise ConfigError(
            f"{name} must be a mapping of notebook parameters with at least `datasets: [...]`; "
            f"the others are {others}"
        )
    prepare_datasets(given)
    return [planned.run for planned in plan_runs(given)]


def _flat(content: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """{"recipe": {"lr": 1}} -> {"recipe.lr": "1"}"""
    flat: dict[str, str] = {}
    for key, value in content.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = _short(value)
    return flat


def _short(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
