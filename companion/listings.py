"""What there is, as tables and text for a terminal: datasets, models, presets, stored runs, and what a run's id is made of."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from alpt_lib import datasets, errors, registry
from alpt_lib.acquisition import ACQUISITION_FUNCTIONS
from alpt_lib.errors import CompanionError, ConfigError
from alpt_lib.files import home, runs_folder
from alpt_lib.loop import Round
from companion import notebook_text
from companion.report import estimates
from companion.runs import store, upkeep
from companion.runs.parameters import PARAMETERS, PRESETS
from companion.runs.plan import PAPER_DATA, check_protocol, plan_runs, prepare


def list_datasets() -> pd.DataFrame:
    """Every dataset that a notebook names or that data/ holds: name, presets it serves, what it holds or how to get it."""
    named = {
        name
        for n in notebook_text.notebook_names()
        for name in notebook_text.tagged_literals(n)["datasets"]
    }
    tiers = {
        "mini": (named, "generated on first use"),
        "paper": (PAPER_DATA, "python data_prep/{}"),
    }
    rows = []
    for tier, (known, how) in tiers.items():
        presets = ", ".join(preset for preset, of in PRESETS.items() if of == tier)
        here = datasets.prepared(tier)
        for name in sorted({*known, *here}):
            state = _holds(here[name]) if name in here else how.format(PAPER_DATA.get(name, ""))
            rows.append((name, presets, state))
    return pd.DataFrame(rows, columns=["dataset", "presets", "what it holds, or how to get it"])


def _holds(folder: Path) -> str:
    try:
        data = datasets.read_dataset(folder)
    except errors.DataError as error:
        return f"broken: {error}"
    d = data.description
    sizes = ", ".join(
        f"{split} {len(data.rows(split)):,}" for split in (datasets.POOL, *data.eval_splits)
    )
    return f"{d.modality}s, {len(d.classes)} classes, {sizes}; model {d.default_model}"


def list_models() -> pd.DataFrame:
    """Roles with what they stand for in each tier, and the forms of any other name."""
    rows = [
        (role, registry.title(role), mini, registry.ROLES["paper"][role])
        for role, mini in registry.ROLES["mini"].items()
    ]
    forms = {
        "timm:NAME": "any timm model",
        "hf:NAME": "any transformers sequence classifier, or a folder",
        "NAME-np": "the same network, not pretrained",
    }
    rows += [(form, words, "", "") for form, words in forms.items()]
    return pd.DataFrame(rows, columns=["model", "in figures", "smoke, mini", "paper"])


def list_acquisitions() -> pd.DataFrame:
    """Acquisition functions with the first line of their docstrings."""
    rows = [
        (name, (function.__doc__ or "").strip().splitlines()[0])
        for name, function in ACQUISITION_FUNCTIONS.items()
    ]
    return pd.DataFrame(rows, columns=["acquisition", "score: higher is asked first"])


def list_presets() -> pd.DataFrame:
    """Presets with the parameters that they change in every notebook, and how many notebooks have more of their own."""
    rows = []
    for preset in PRESETS:
        file = notebook_text.NOTEBOOKS / "presets" / f"{preset}.yaml"
        changes = yaml.safe_load(file.read_text(encoding="utf-8"))
        words = file.read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
        changed = yaml.safe_dump(
            {k: v for k, v in changes.items() if k != "preset"}, default_flow_style=True, width=1000
        ).strip()
        rows.append((preset, words, changed if changed != "{}" else ""))
    return pd.DataFrame(rows, columns=["preset", "for", "sets in every notebook"])


def list_notebooks() -> pd.DataFrame:
    """Notebooks with their headings and the part of the paper that each is about."""
    rows = [
        (name, notebook_text.heading(name), notebook_text.paper_source(name))
        for name in notebook_text.notebook_names()
    ]
    return pd.DataFrame(rows, columns=["notebook", "question", "paper"])


def list_runs() -> pd.DataFrame:
    """Stored runs, finished and unfinished."""
    return runs_table(upkeep.listing())


LISTS: dict[str, Callable[[], pd.DataFrame]] = {
    "runs": list_runs,
    "datasets": list_datasets,
    "models": list_models,
    "acquisitions": list_acquisitions,
    "presets": list_presets,
    "notebooks": list_notebooks,
}


def runs_table(runs: pd.DataFrame) -> pd.DataFrame:
    """The columns of `store.listing` that fit a terminal."""
    rounds = runs["rounds_done"].astype(str) + "/" + runs["rounds"].astype(str)
    shown = runs.assign(rounds=rounds, failed=runs["failed"].fillna(""))
    return shown[
        ["run_id", "dataset", "model", "acquisition", "seed", "rounds", "started", "failed"]
    ]


def text(table: pd.DataFrame, digits: int = 3) -> str:
    """A table for a terminal: words flush left, numbers flush right with so many decimals; empty ones say so."""
    if table.empty:
        return "none"
    cells = {
        str(c): [
            ("" if pd.isna(v) else f"{v:.{digits}f}" if isinstance(v, float) else str(v))
            for v in table[c]
        ]
        for c in table
    }
    columns = []
    for column, values in cells.items():
        width = max(map(len, [column, *values]))
        flush = str.rjust if pd.api.types.is_numeric_dtype(table[column]) else str.ljust
        columns.append([flush(cell, width) for cell in (column, *values)])
    return "\n".join("  ".join(row).rstrip() for row in zip(*columns, strict=True))


def find(run_id: str) -> Path:
    """Folder of the stored run whose id starts so.

    Raises:
        CompanionError: none does, or several do.
    """
    found = [folder for folder in store.run_folders() if folder.name.startswith(run_id)]
    if len(found) == 1:
        return found[0]
    if found:
        raise CompanionError(
            f"{len(found)} runs start with {run_id!r}: {', '.join(f.name for f in found[:5])}; give more digits"
        )
    raise CompanionError(
        f"none of the {len(store.run_folders())} runs in {runs_folder()} starts with {run_id!r}; "
        "`python -m alpt_lib list` shows them"
    )


def record_of(folder: Path) -> dict[str, Any]:
    """The run's config.json.

    Raises:
        CompanionError: it is broken.
    """
    record = store.read_record(folder)
    if record is None:
        raise CompanionError(
            f"{folder.name}: config.json is missing or unreadable; `python -m alpt_lib verify` lists all faults"
        )
    return record


def show(run_id: str) -> str:
    """One stored run: what it is, what each round did, what it ends with, and why it failed if it did."""
    folder = find(run_id)
    record = record_of(folder)
    config, rounds = store.config_of(record), store.read_rounds(folder / "rounds.jsonl")
    done = sum(r.round != store.BEFORE for r in rounds)
    versions = ", ".join(
        f"{name} {version}" for name, version in record.get("versions", {}).items()
    )
    facts = {
        "run": folder.name,
        "dataset": config.dataset,
        "model": config.model,
        "acquisition": config.acquisition,
        "seed": config.seed,
        "rounds": f"{done} of {config.protocol.n_rounds + 1}",
        "failed": store.failure(folder),
        "started": record.get("started"),
        "commit": record.get("commit"),
        "versions": versions,
    }
    lines = [f"{name:12} {value}" for name, value in facts.items() if value is not None]
    table = store.all_runs(run_id=folder.name)
    if len(table):
        last = estimates.final(table)[["split", "subgroup", "metric", "value", "n_examples"]]
        lines += [
            "",
            "each round:",
            text(_each_round(rounds, table)),
            "",
            "after the last stored round:",
            text(last),
        ]
    return "\n".join(lines)


def _each_round(rounds: list[Round], table: pd.DataFrame) -> pd.DataFrame:
    """Labels, length of the fit and accuracy on every split, a row a round."""
    fits = [r.fit or {} for r in rounds]
    shown = pd.DataFrame(
        {
            "round": [r.round for r in rounds],
            "labels": [r.n_labels for r in rounds],
            "asked": [len(r.query) for r in rounds],
            "steps": pd.array([fit.get("n_steps") for fit in fits], dtype="Int64"),
            "stopped by": [fit.get("stopped_by", "") for fit in fits],
        }
    )
    overall = table[(table["metric"] == "accuracy") & (table["subgroup"] == "all")]
    accuracy = overall.pivot_table(index="round", columns="split", values="value", sort=False)
    return shown.join(accuracy.add_prefix("accuracy, "), on="round")


def explain(names: list[str]) -> str:
    """What ids are made of. One run: every setting that counts; several: those that differ.

    Args:
        names: ids of stored runs (or how they start), or yaml files of notebook parameters, each of which plans runs.
    """
    runs = {run: content for name in names for run, content in _identities(name).items()}
    flat = {run: _flat(content) for run, content in runs.items()}
    if len(flat) == 1:
        ((run, settings),) = flat.items()
        table = pd.DataFrame(
            [(k, _short(v), MEANING.get(k, "")) for k, v in settings.items()],
            columns=["setting", "value", ""],
        )
        return f"{run} is the hash of\n\n{text(table)}\n\n{OUTSIDE}"
    keys = dict.fromkeys(key for settings in flat.values() for key in settings)
    differ = [
        key
        for key in keys
        if len({_short(settings.get(key, ABSENT)) for settings in flat.values()}) > 1
    ]
    if not differ:
        return "the same run"
    if len(flat) == 2:
        one, other = flat
        rows = [(key, *(_short(flat[run].get(key, ABSENT)) for run in flat)) for key in differ]
        return (
            f"differ in\n\n{text(pd.DataFrame(rows, columns=['setting', one, other]))}\n\n{OUTSIDE}"
        )
    rows = [
        (run, *(_short(settings.get(key, ABSENT)) for key in differ), is_stored(run))
        for run, settings in flat.items()
    ]
    return f"{len(flat)} runs, which differ in\n\n{text(pd.DataFrame(rows, columns=['run_id', *differ, 'stored']))}\n\n{OUTSIDE}"


ABSENT = "(not set)"

OUTSIDE = (
    "Not part of an id: names and paths (what they hold counts), the number of workers, the machine, patch versions of "
    "packages."
)

MEANING = {
    "dataset": "hash of rows, labels, attributes, file sizes, classes and subgroups",
    "weights": "hash of the weights, the hub's name, or empty if not pretrained",
    "results_version": "raised when code changes what rows mean",
    "input_size": "px, or tokens",
    "probe": "attributes of the linear probe",
}


def _identities(name: str) -> dict[str, dict[str, Any]]:
    """Run id -> everything that decides its rows."""
    if not name.endswith((".yaml", ".yml")):
        folder = find(name)
        return {folder.name: record_of(folder)["identity"]}
    try:
        given = yaml.safe_load(Path(name).read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise CompanionError(f"cannot read {name}: {' '.join(str(error).split())}") from error
    if not isinstance(given, dict) or not given.get("datasets"):
        raise ConfigError(
            f"{name} must be a mapping of notebook parameters with at least `datasets: [...]`; the others are "
            f"{', '.join(sorted(set(PARAMETERS) - {'datasets'}))}"
        )
    prepare(given)
    configs = [planned.config for planned in plan_runs(given)]
    return {store.run_id(config): store.identity(config) for config in configs}


def _flat(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"recipe": {"lr": 1}} -> {"recipe.lr": 1}"""
    flat = {}
    for key, value in content.items():
        flat |= (
            _flat(value, f"{prefix}{key}.")
            if isinstance(value, dict)
            else {f"{prefix}{key}": value}
        )
    return flat


def _short(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def is_stored(run: str) -> str:
    """yes, in part, or no."""
    folder = runs_folder() / run
    record = store.read_record(folder)
    if record is None:
        return "no"
    rounds = store.read_rounds(folder / "rounds.jsonl")
    return (
        "yes"
        if rounds and rounds[-1].round == store.config_of(record).protocol.n_rounds
        else "in part"
    )


def check_folder(name: str) -> str:
    """Counts of a dataset folder, after the checks that a run would make.

    Raises:
        DataError, ConfigError: the first thing that is wrong.
    """
    tier = next(
        (t for t in ("mini", "paper") if (home() / "data" / t / name / "dataset.yaml").exists()),
        "mini",
    )
    folder = datasets.locate(name, tier)
    data = datasets.read_dataset(folder)
    preset = next(preset for preset, of in PRESETS.items() if of == tier)
    (planned,) = plan_runs(
        {"preset": preset, "datasets": [str(folder)], "acquisitions": ["random"]}
    )
    check_protocol(data, planned.config)
    splits = [datasets.POOL, *data.eval_splits]
    rows = pd.concat(
        [data.rows(split).assign(split=split, subgroup=data.subgroup(split)) for split in splits]
    )
    d, protocol = data.description, planned.config.protocol
    lines = [
        f"{d.title or d.name}: {d.modality}s in {folder}",
        "",
        "examples by class",
        _counts(rows, "label", data.classes, splits),
    ]
    if d.subgroups:
        table = _counts(rows, "subgroup", sorted(rows["subgroup"].unique()), splits)
        lines += [
            "",
            f"examples by subgroup ({' x '.join(d.subgroups)}); minority: {', '.join(data.minority) or 'none'}",
            table,
        ]
    attributes = [c for c in rows if c not in ("path", "text", "label", "split", "subgroup")]
    spent = (
        f"{protocol.seed_set_size} labels, then {protocol.budget} by {protocol.query_batch_size}"
    )
    return "\n".join(
        [
            *lines,
            "",
            f"attributes: {', '.join(attributes) or 'none'}",
            f"protocol: {spent}",
            f"model: {d.default_model}",
            f"fingerprint: {data.fingerprint}",
            "nothing wrong with it",
        ]
    )


def _counts(rows: pd.DataFrame, column: str, values: list[str], splits: list[str]) -> str:
    table = pd.crosstab(rows[column], rows["split"]).reindex(
        index=values, columns=splits, fill_value=0
    )
    table = table.assign(
        **{"share of the pool": table[datasets.POOL] / max(table[datasets.POOL].sum(), 1)}
    )
    return text(table.rename_axis(column).reset_index().rename_axis(None, axis=1))
