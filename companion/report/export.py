"""How results leave: tables as csv or parquet with a data dictionary, TensorBoard events."""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from alpt_lib.errors import CompanionError, StoreError, unknown
from alpt_lib.files import one_line_errors, runs_folder, write_whole
from alpt_lib.progress import Progress
from companion.runs import store, upkeep

DICTIONARY = Path(__file__).parent / "data_dictionary.csv"

TABLES = ("metrics", "acquisitions", "runs")

# what the dictionary does not know
ATTRIBUTE = {
    "type": "text",
    "range": "",
    "meaning": "attribute of the example, as in the dataset's manifest",
}


def dictionary() -> pd.DataFrame:
    """Every column of every table, exported or beside a figure: type, unit or range, meaning."""
    return pd.read_csv(DICTIONARY, keep_default_na=False).set_index("column")


def describe(columns: list[str]) -> list[dict[str, str]]:
    """The dictionary's entries of these columns, in their order."""
    known = dictionary().to_dict("index")
    return [{"column": column, **known.get(column, ATTRIBUTE)} for column in columns]


def stored_table(what: str, where: dict[str, Any] | None = None) -> pd.DataFrame:
    """One of TABLES, over all stored runs or those that `where` leaves (`store.all_runs`).

    Raises:
        CompanionError: unknown table or column; nothing is left.
    """
    if what not in TABLES:
        raise CompanionError(unknown("table", what, TABLES))
    table = store.all_runs("metrics" if what == "runs" else what, **(where or {}))
    if what == "runs":
        runs = upkeep.listing()
        table = runs[runs["run_id"].isin(table["run_id"])] if where else runs
    if table.empty:
        which = f" where {where}" if where else ""
        raise CompanionError(
            f"nothing to export: no stored run has {what}{which}; `alpt list` shows what is stored"
        )
    return table


def write_csv(table: pd.DataFrame, file: Path, **options: Any) -> None:
    """A table as csv that a spreadsheet only shows.

    Texts that one would run as a formula (they begin with = + - @) get an apostrophe in front;
    numbers stay as they are.
    """
    shown = table.copy()
    for column in table.columns[[not pd.api.types.is_numeric_dtype(t) for t in table.dtypes]]:
        shown[column] = table[column].map(_as_text)
    shown.columns = [_as_text(column) for column in table.columns]
    write_whole(file, shown.to_csv(index=False, **options))


def _as_text(value: Any) -> Any:
    if not isinstance(value, str) or value[:1] not in tuple("=+-@\t\r"):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value


def export(file: Path, what: str, where: dict[str, Any] | None = None) -> str:
    """Write a table as FILE.csv or FILE.parquet, its columns as FILE.columns.json; says so.

    Raises:
        CompanionError: another ending, nothing to export, or the folder cannot be written.
    """
    if file.suffix not in (".csv", ".parquet"):
        raise CompanionError(f"--to takes a file that ends in .csv or .parquet; got {file}")
    table = stored_table(what, where)
    columns = file.with_suffix(".columns.json")
    with one_line_errors(file, StoreError, "choose another folder, or free some space"):
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.suffix == ".csv":
            write_csv(table, file)
        else:
            table.to_parquet(file, index=False)
        columns.write_text(json.dumps(describe(list(table)), indent=1) + "\n", encoding="utf-8")
    size = f"{len(table):,} rows, {len(table.columns)} columns"
    return f"{size}, in {file}; what each column means, in {columns}"


def tensorboard(folder: Path) -> str:
    """Write all stored runs as event files: DATASET/MODEL/ACQUISITION/seed_N_ID. Steps are labels.

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
    runs = list(stored_table("metrics").groupby("run_id", sort=False))
    progress = Progress(len(runs), "event files", "run")
    for run_id, rows in runs:
        target = _event_folder(folder, run_id, rows.iloc[0])
        for old in target.glob("events.out.tfevents.*"):
            old.unlink()
        with SummaryWriter(target) as writer:
            _write_events(writer, run_id, rows)
        progress.add(1)
    progress.close()
    return f"{len(runs)} runs in {folder}; look at them with: tensorboard --logdir {folder}"


def _event_folder(folder: Path, run_id: str, run: pd.Series) -> Path:
    model = run["model"].replace("/", "_").replace(":", "_")
    last = f"seed_{run['seed']}_{run_id[:8]}"
    return folder / run["dataset"] / model / run["acquisition"] / last


def _write_events(writer: Any, run_id: str, rows: pd.DataFrame) -> None:
    for row in rows.itertuples():
        group = "" if row.subgroup == "all" else f"/{row.subgroup.replace('/', '_')}"
        writer.add_scalar(f"{row.split}/{row.metric}{group}", row.value, row.n_labels)
    for each in store.StoredRun.at(runs_folder() / run_id).rounds():
        for name, value in (each.fit or {}).items():
            if isinstance(value, int | float):
                writer.add_scalar(f"fit/{name}", value, each.n_labels)
