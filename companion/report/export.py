"""How results leave: tables as csv or parquet, each with its data dictionary, and stored runs as TensorBoard event files."""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from alpt_lib.errors import CompanionError, unknown
from alpt_lib.progress import Progress
from companion.runs import store, upkeep

DICTIONARY = Path(__file__).parent / "data_dictionary.csv"

TABLES = ("metrics", "acquisitions", "runs")

ATTRIBUTE = {
    "type": "text",
    "range": "",
    "meaning": "attribute of the example, as in the dataset's manifest",
}


def dictionary() -> pd.DataFrame:
    """Every column of every table, exported or beside a figure: type, unit or range, meaning. Indexed by column."""
    return pd.read_csv(DICTIONARY, keep_default_na=False).set_index("column")


def describe(columns: list[str]) -> list[dict[str, str]]:
    """The dictionary's entries of these columns, in their order; what it does not know is an attribute of the manifest."""
    known = dictionary().to_dict("index")
    return [{"column": column, **known.get(column, ATTRIBUTE)} for column in columns]


def table(what: str, where: dict[str, Any] | None = None) -> pd.DataFrame:
    """One of TABLES, over all stored runs or those that `where` leaves (`results.load`).

    Raises:
        CompanionError: unknown table or column; nothing is left.
    """
    if what not in TABLES:
        raise CompanionError(unknown("table", what, TABLES))
    found = store.all_runs("metrics" if what == "runs" else what, **(where or {}))
    if what == "runs":
        runs = upkeep.listing()
        found = runs[runs["run_id"].isin(found["run_id"])] if where else runs
    if found.empty:
        raise CompanionError(
            f"nothing to export: no stored run has {what}{f' where {where}' if where else ''}; "
            "`python -m alpt_lib list` shows what is stored"
        )
    return found


def export(file: Path, what: str, where: dict[str, Any] | None = None) -> str:
    """Write a table as FILE.csv or FILE.parquet and its columns as FILE.columns.json; says what was written.

    Raises:
        CompanionError: another ending, nothing to export, or the folder cannot be written.
    """
    if file.suffix not in (".csv", ".parquet"):
        raise CompanionError(f"--to takes a file that ends in .csv or .parquet; got {file}")
    found, columns = table(what, where), file.with_suffix(".columns.json")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.suffix == ".csv":
            found.to_csv(file, index=False)
        else:
            found.to_parquet(file, index=False)
        columns.write_text(json.dumps(describe(list(found)), indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise CompanionError(f"cannot write {file}: {error.strerror}") from error
    return f"{len(found):,} rows, {len(found.columns)} columns, in {file}; what each column means, in {columns}"


def tensorboard(folder: Path) -> str:
    """Write all stored runs as event files, one folder a run: DATASET/MODEL/ACQUISITION/seed_N_ID. Steps are labels.

    Events of an earlier call are replaced, other files stay.

    Raises:
        CompanionError: TensorBoard is not installed, or there are no runs.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise CompanionError(
            "TensorBoard is not installed: pip install -e '.[tensorboard]'"
        ) from error
    runs = list(table("metrics").groupby("run_id", sort=False))
    progress = Progress(len(runs), "event files", "run")
    for run_id, rows in runs:
        first = rows.iloc[0]
        model = first["model"].replace("/", "_").replace(":", "_")
        target = (
            folder
            / first["dataset"]
            / model
            / first["acquisition"]
            / f"seed_{first['seed']}_{run_id[:8]}"
        )
        for old in target.glob("events.out.tfevents.*"):
            old.unlink()
        with SummaryWriter(target) as writer:
            for row in rows.itertuples():
                group = "" if row.subgroup == "all" else f"/{row.subgroup.replace('/', '_')}"
                writer.add_scalar(f"{row.split}/{row.metric}{group}", row.value, row.n_labels)
            _add_fits(writer, run_id)
        progress.add(1)
    progress.close()
    return f"{len(runs)} runs in {folder}; look at them with: tensorboard --logdir {folder}"


def _add_fits(writer, run_id: str) -> None:
    for round_ in store.read_rounds(store.runs_folder() / run_id / "rounds.jsonl"):
        for name, value in (round_.fit or {}).items():
            if isinstance(value, int | float):
                writer.add_scalar(f"fit/{name}", value, round_.n_labels)
