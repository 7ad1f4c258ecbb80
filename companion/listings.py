"""What there is, as tables and text for a terminal: datasets, models, presets, runs, claims."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from alpt_lib import datasets, registry
from alpt_lib.errors import CompanionError, DataError
from alpt_lib.files import home, runs_folder
from companion import notebook_text
from companion.runs import upkeep
from companion.runs.parameters import PRESETS
from companion.runs.plan import (
    PAPER_DATA,
    Planned,
    check_protocol,
    named_datasets,
    plan_runs,
)
from companion.runs.store import StoredRun, run_folders

KINDS = {"image": "images", "text": "texts", "features": "features"}


def list_datasets() -> pd.DataFrame:
    """Every dataset that a notebook names or that data/ holds; what it holds, or how to get it."""
    named = set()
    for notebook in notebook_text.notebook_names():
        literals = notebook_text.tagged_literals(notebook)
        for preset in ("mini", "thorough"):
            given = literals | notebook_text.preset_parameters(preset, notebook)
            named.update(named_datasets(given))
    rows = []
    for tier, known in (("mini", named), ("paper", set(PAPER_DATA))):
        presets = ", ".join(preset for preset, of in PRESETS.items() if of == tier)
        here = datasets.prepared(tier)
        for name in sorted({*known, *here}):
            state = _holds(here[name]) if name in here else _how_to_get(name, tier)
            rows.append((name, presets, state))
    return pd.DataFrame(rows, columns=["dataset", "presets", "what it holds, or how to get it"])


def _how_to_get(name: str, tier: str) -> str:
    return f"python data_prep/{PAPER_DATA[name]}" if tier == "paper" else "generated on first use"


def _holds(folder: Path) -> str:
    try:
        data = datasets.read_dataset(folder)
    except DataError as error:
        return f"broken: {error}"
    described = data.description
    splits = (datasets.POOL, *data.eval_splits)
    sizes = ", ".join(f"{split} {len(data.rows(split)):,}" for split in splits)
    kind = f"{KINDS[described.modality]}, {len(data.classes)} classes"
    return f"{kind}, {sizes}; model {described.default_model}"


def list_models() -> pd.DataFrame:
    """Roles with what they stand for in each tier, and the forms of any other name."""
    rows = []
    for role, paper in registry.ROLES["paper"].items():
        rows.append((role, registry.title(role), registry.ROLES["mini"].get(role, ""), paper))
    forms = {
        "timm:NAME": "any timm model",
        "hf:NAME": "any transformers sequence classifier, or a folder",
        "NAME-np": "the same network, not pretrained",
        "all": "alone: every network whose features a dataset of features holds",
    }
    rows += [(form, words, "", "") for form, words in forms.items()]
    return pd.DataFrame(rows, columns=["model", "in figures", "smoke, mini", "paper"])


def list_acquisitions() -> pd.DataFrame:
    """Acquisition functions with the first line of their docstrings."""
    from alpt_lib.acquisition import ACQUISITION_FUNCTIONS, BATCH_FUNCTIONS

    rows = []
    for name, function in {**ACQUISITION_FUNCTIONS, **BATCH_FUNCTIONS}.items():
        rows.append((name, (function.__doc__ or "").strip().splitlines()[0]))
    return pd.DataFrame(rows, columns=["acquisition", "what is asked first"])


def list_presets() -> pd.DataFrame:
    """Presets with the parameters that they change in every notebook."""
    rows = []
    for preset in PRESETS:
        file = notebook_text.NOTEBOOKS / "presets" / f"{preset}.yaml"
        source = file.read_text(encoding="utf-8")
        changes = yaml.safe_load(source)
        del changes["preset"]
        words = source.splitlines()[0].lstrip("# ")
        rows.append((preset, words, in_yaml(changes) if changes else ""))
    return pd.DataFrame(rows, columns=["preset", "for", "sets in every notebook"])


def in_yaml(content: dict[str, Any]) -> str:
    """A mapping in one line, as `--set` takes it."""
    return yaml.safe_dump(content, default_flow_style=True, width=1000).strip()


def list_notebooks() -> pd.DataFrame:
    """Notebooks with their headings and the part of the paper that each is about."""
    rows = []
    for name in notebook_text.notebook_names():
        rows.append((name, notebook_text.heading(name), notebook_text.paper_source(name)))
    return pd.DataFrame(rows, columns=["notebook", "question", "paper"])


def list_runs() -> pd.DataFrame:
    """Stored runs, finished and unfinished."""
    runs = upkeep.listing()
    n_left_out = len(run_folders()) - len(runs)
    if n_left_out:
        said = f"{n_left_out} run(s) left out, config.json cannot be read: `alpt verify` names them"
        print(said, file=sys.stderr)
    return runs_table(runs)


LISTS: dict[str, Callable[[], pd.DataFrame]] = {
    "runs": list_runs,
    "datasets": list_datasets,
    "models": list_models,
    "acquisitions": list_acquisitions,
    "presets": list_presets,
    "notebooks": list_notebooks,
}


def runs_table(runs: pd.DataFrame) -> pd.DataFrame:
    """The columns of `upkeep.listing` that fit a terminal."""
    rounds = runs["rounds_done"].astype(str) + "/" + runs["rounds"].astype(str)
    table = runs.assign(rounds=rounds, failed=runs["failed"].fillna(""))
    run = ["run_id", "dataset", "model", "acquisition", "seed"]
    return table[[*run, "rounds", "started", "failed"]]


def planned_table(plans: dict[str, list[Planned]]) -> pd.DataFrame:
    """Each planned run once, with how much of it is stored."""
    planned = {each.run.run_id: each for plan in plans.values() for each in plan}
    rows = []
    for run_id, each in planned.items():
        c = each.config
        stored = how_much_is_stored(each.run)
        rows.append((run_id, each.dataset, c.model, c.acquisition, c.seed, stored))
    columns = ["run_id", "dataset", "model", "acquisition", "seed", "stored"]
    return pd.DataFrame(rows, columns=columns)


def how_much_is_stored(run: StoredRun) -> str:
    """yes, in part, or no."""
    if run.is_done():
        return "yes"
    return "in part" if run.rounds() else "no"


def text(table: pd.DataFrame, digits: int = 3) -> str:
    """A table for a terminal: words flush left, numbers flush right; an empty one says so.

    Args:
        digits: decimals of numbers that are not whole.
    """
    if table.empty:
        return "none"
    columns = []
    for name in table:
        cells = [str(name), *(_cell(value, digits) for value in table[name])]
        width = max(map(len, cells))
        is_number = pd.api.types.is_numeric_dtype(table[name])
        columns.append([cell.rjust(width) if is_number else cell.ljust(width) for cell in cells])
    return "\n".join("  ".join(row).rstrip() for row in zip(*columns, strict=True))


def _cell(value: Any, digits: int) -> str:
    if pd.isna(value):
        return ""
    return f"{value:.{digits}f}" if isinstance(value, float) else str(value)


def find_run(run_id: str) -> StoredRun:
    """The stored run whose id starts so.

    Raises:
        CompanionError: none does, or several do, or it is broken.
    """
    folders = run_folders()
    matching = [folder for folder in folders if folder.name.startswith(run_id)]
    if len(matching) > 1:
        names = ", ".join(folder.name for folder in matching[:5])
        raise CompanionError(
            f"{len(matching)} runs start with {run_id!r}: {names}; give more digits"
        )
    if not matching:
        raise CompanionError(
            f"none of the {len(folders)} runs in {runs_folder()} starts with {run_id!r}; "
            "`alpt list` shows them"
        )
    return StoredRun.at(matching[0])


def show_run(run_id: str) -> str:
    """One stored run: what it is, what each round did, what it ends with, why it failed."""
    from companion.report.estimates import last_rounds

    run = find_run(run_id)
    lines = [f"{name:12} {value}" for name, value in _facts(run).items() if value is not None]
    metrics = run.metrics()
    if len(metrics):
        columns = ["split", "subgroup", "metric", "value", "n_examples"]
        last = last_rounds(metrics.assign(run_id=run.run_id))[columns]
        lines += ["", "each round:", text(_each_round(run, metrics))]
        lines += ["", "after the last stored round:", text(last)]
    return "\n".join(lines)


def _facts(run: StoredRun) -> dict[str, Any]:
    config = run.config
    record = run.record
    n_done = sum(each.number >= 0 for each in run.rounds())
    packages = record.get("versions", {}).items()
    return {
        "run": run.run_id,
        "dataset": config.dataset,
        "model": config.model,
        "acquisition": config.acquisition,
        "seed": config.seed,
        "rounds": f"{n_done} of {config.protocol.n_rounds + 1}",
        "failed": run.failure(),
        "started": record.get("started"),
        "commit": record.get("commit"),
        "versions": ", ".join(f"{name} {version}" for name, version in packages),
    }


def _each_round(run: StoredRun, metrics: pd.DataFrame) -> pd.DataFrame:
    """Labels, length of the fit and accuracy on every split, a row a round."""
    rows = []
    for each in run.rounds():
        fit = each.fit or {}
        rows.append(
            {
                "round": each.number,
                "labels": each.n_labels,
                "asked": len(each.asked),
                "steps": fit.get("n_steps"),
                "stopped by": fit.get("stopped_by", ""),
            }
        )
    table = pd.DataFrame(rows).astype({"steps": "Int64"})
    overall = metrics[(metrics["metric"] == "accuracy") & (metrics["subgroup"] == "all")]
    accuracy = overall.pivot_table(index="round", columns="split", values="value", sort=False)
    return table.join(accuracy.add_prefix("accuracy, "), on="round")


def check_folder(name: str) -> str:
    """Counts of a dataset folder, after the checks that a run would make.

    Raises:
        DataError, ConfigError: the first thing that is wrong.
    """
    described = [
        t for t in ("mini", "paper") if (home() / "data" / t / name / "dataset.yaml").exists()
    ]
    tier = described[0] if described else "mini"
    folder = datasets.locate(name, tier)
    preset = next(preset for preset, of in PRESETS.items() if of == tier)
    parameters = {"preset": preset, "datasets": [str(folder)], "acquisitions": ["random"]}
    (planned,) = plan_runs(parameters)
    check_protocol(planned.data, planned.config)
    return "\n".join([*_counted(planned.data), *_settings(planned), "nothing wrong with it"])


def _counted(data: datasets.Dataset) -> list[str]:
    """Examples by class, and by subgroup where there are any."""
    described = data.description
    parts = []
    for split in (datasets.POOL, *data.eval_splits):
        parts.append(data.rows(split).assign(split=split, subgroup=data.subgroup(split)))
    rows = pd.concat(parts)
    title = described.title or data.name
    kind = KINDS[described.modality]
    lines = [f"{title}: {kind} in {data.folder}", "", "examples by class"]
    lines.append(_counts(rows, "label", data.classes))
    if described.subgroups:
        columns = " x ".join(described.subgroups)
        minority = ", ".join(data.minority) or "none"
        lines += ["", f"examples by subgroup ({columns}); minority: {minority}"]
        lines.append(_counts(rows, "subgroup", sorted(rows["subgroup"].unique())))
    standard = ("path", "text", "label", "split", "subgroup")
    attributes = [column for column in rows if column not in standard]
    return [*lines, "", f"attributes: {', '.join(attributes) or 'none'}"]


def _settings(planned: Planned) -> list[str]:
    """What a run on this folder would do."""
    protocol = planned.config.protocol
    spent = f"then {protocol.budget} by {protocol.query_batch_size}"
    return [
        f"protocol: {protocol.seed_set_size} labels, {spent}",
        f"model: {planned.data.description.default_model}",
        f"fingerprint: {planned.data.fingerprint}",
    ]


def _counts(rows: pd.DataFrame, column: str, values: list[str]) -> str:
    """A row a value, a column a split, and each value's share of the pool."""
    splits = list(dict.fromkeys(rows["split"]))
    table = pd.crosstab(rows[column], rows["split"])
    table = table.reindex(index=values, columns=splits, fill_value=0)
    n_pool = max(table[datasets.POOL].sum(), 1)
    table["share of the pool"] = table[datasets.POOL] / n_pool
    return text(table.rename_axis(column).reset_index().rename_axis(None, axis=1))


def claims_text(comparison: pd.DataFrame, in_colour: bool) -> str:
    """The claims table of a run beside the reference's.

    Args:
        comparison: as `reference.compare` gives it.
    """
    from companion.report.verdicts import VERDICTS, verdict_in_words

    beside = f" {'reference, 95% interval':>23} {'':7}"
    if not (comparison["compared"] != "").any():
        beside = ""
    rest = f" {'paper':>7} {'ours, 95% interval':>23}{beside} verdict"
    width = max(36, min(88, shutil.get_terminal_size((200, 24)).columns - len(rest) - 18))
    lines = [f"{'claim':{width}}{rest}"]
    for row in comparison.itertuples():
        claim = row.claim if len(row.claim) <= width else f"{row.claim[: width - 1]}…"
        paper = "" if pd.isna(row.paper) else f"{row.paper:+.3f}"
        ours = _estimate(row.ours, row.ci_low, row.ci_high)
        if beside:
            theirs = _estimate(row.reference, row.reference_low, row.reference_high)
            beside = f" {theirs:>23} {row.compared:7}"
        verdict = verdict_in_words(row.verdict, row.seeds_needed)
        if in_colour:
            verdict = f"\033[{VERDICTS[row.verdict].ansi}m{verdict}\033[0m"
        lines.append(f"{claim:{width}} {paper:>7} {ours:>23}{beside} {verdict}")
    return "\n".join(lines)


def _estimate(value: float, low: float, high: float) -> str:
    if pd.isna(value):
        return ""
    return f"{value:+.3f}" if pd.isna(low) else f"{value:+.3f} {low:+.3f} {high:+.3f}"
