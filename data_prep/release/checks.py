"""Whether a release is what its publisher says: tables, codes, counts, images."""

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
from tqdm.auto import tqdm

from alpt_lib.errors import DataError
from alpt_lib.pictures import ASSUMED, assumptions, open_picture
from alpt_lib.tables import read_table
from release.report import note


def release_table(file: Path, columns: Sequence[str], what_to_do: str) -> pd.DataFrame:
    """A table of the release, as text, with at least these columns.

    Raises:
        DataError: missing, unreadable, empty, or without one of the columns.
    """
    if not file.is_file():
        raise DataError(f"{file} is missing: {what_to_do}")
    table = read_table(file)
    for said in table.attrs["notes"]:
        note(said)
    check_columns(file, table.columns, columns)
    return table


def check_columns(file: Path, present: Iterable[str], wanted: Iterable[str]) -> None:
    """Raises a DataError that names the first column that is missing."""
    present = list(present)
    for column in wanted:
        if column not in present:
            raise DataError(f"{file}: column {column!r} missing; it has {', '.join(present)}")


def decode(table: pd.DataFrame, column: str, names: Sequence[str], file: Path) -> pd.Series:
    """The names of a column of codes "0", "1", ...

    Raises:
        DataError: a value outside the codes, with its row.
    """
    codes = {str(code): name for code, name in enumerate(names)}
    unknown = table.index[~table[column].isin(codes)]
    if len(unknown):
        row = unknown[0]
        value = table[column][row]
        raise DataError(
            f"{file}: {column} must be one of {', '.join(codes)}; got {value!r} in row {row}"
        )
    return table[column].map(codes)


def check_counts(counts: pd.DataFrame, published: pd.DataFrame, allow_different: bool) -> list[str]:
    """One phrase for each count that is not the published one (NaN there: not published).

    Raises:
        DataError: there are such counts and they are not allowed.
    """
    counts = counts.reindex(index=published.index, columns=published.columns, fill_value=0)
    expected = published.stack().dropna()
    found = counts.stack()
    different = [
        f"{row} {column}: {found[row, column]} instead of {value:.0f}"
        for (row, column), value in expected.items()
        if found[row, column] != value
    ]
    if different and not allow_different:
        more = "; ..." if len(different) > 8 else ""
        raise DataError(
            f"{len(different)} of {len(expected)} counts differ from the published ones: "
            f"{'; '.join(different[:8])}{more}; use the original release, or --allow-different"
        )
    return different


def check_filled(manifest: pd.DataFrame, classes: Sequence[str], splits: Sequence[str]) -> None:
    """Every class has an example in the pool, every split one at all: no variant may lack these.

    Raises:
        DataError: the class or split that has none.
    """
    sizes = manifest["split"].value_counts().to_dict()
    for split in splits:
        if split not in sizes:
            raise DataError(f"split {split!r} is empty; the release has {sizes}")
    pool = manifest.loc[manifest["split"] == "pool", "label"].value_counts().to_dict()
    for name in classes:
        if name not in pool:
            raise DataError(f"no example of class {name!r} in the pool; it has {pool}")


def check_images(root: Path, names: Sequence[str], trust: bool = False) -> None:
    """Every image is there and, unless trusted, can be read (JPEGs at an eighth of their size).

    Raises:
        DataError: missing or broken images, the first of them named with the reason.
    """
    missing = [name for name in names if not (root / name).is_file()]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(names)} images missing, first {root / missing[0]}; "
            "unpack the release again"
        )
    if trust:
        return
    assumed: list[str] = []

    def fault(name: str) -> str:
        try:
            assumed.append(open_picture(root / name, draft=1).info.get(ASSUMED, ""))
        except DataError as error:
            return f"{name} ({error})"
        return ""

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        checks = tqdm(
            threads.map(fault, names),
            total=len(names),
            desc="check images",
            unit="image",
            disable=None,
        )
        faults = [said for said in checks if said]
    if said := assumptions(assumed):
        note(said)
    if faults:
        more = ", ..." if len(faults) > 5 else ""
        raise DataError(
            f"{len(faults)} of {len(names)} images cannot be read: {', '.join(faults[:5])}{more}; "
            "get them again"
        )
