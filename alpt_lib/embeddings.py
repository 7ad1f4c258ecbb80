"""Features in files, one row an example: npy, npz, a parquet's column of lists; checked by row."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from alpt_lib.errors import DataError, unknown

ROWS_AT_ONCE = 65_536
# rows that are named where some are wrong
NAMED = 3


def read_embeddings(file: Path, name: str | None = None) -> np.ndarray:
    """(n, n_features) float16 to float64, as the file holds them; a .npy is memory-mapped.

    Args:
        name: the column of a parquet, or the array of an .npz that holds several.
    Raises:
        DataError: it cannot be read, holds Python objects, or no table of floats.
    """
    if file.suffix.lower() in (".parquet", ".pq"):
        return _from_parquet(file, name)
    array = _from_numpy(file, name)
    if array.ndim != 2 or array.dtype.kind != "f" or array.dtype.itemsize > 8 or not array.size:
        raise DataError(
            f"{file} must hold rows of floats (float16, float32 or float64), one row an example; "
            f"it is {array.dtype} of shape {array.shape}"
        )
    return array


def _from_numpy(file: Path, name: str | None) -> np.ndarray:
    try:
        opened: Any = np.load(file, mmap_mode="r", allow_pickle=False)
        if isinstance(opened, np.ndarray):
            return opened
        with opened:
            return opened[_array_name(file, opened.files, name)]
    except DataError:
        raise
    except Exception as error:  # a damaged zip raises whatever it likes
        is_object = "object" in str(error).lower()
        remedy = "it holds Python objects: save np.stack(rows) as floats" if is_object else error
        raise DataError(f"{file} cannot be read as an array of numbers: {remedy}") from error


def _array_name(file: Path, names: list[str], name: str | None) -> str:
    if name is not None and name not in names:
        raise DataError(f"{file}: {unknown('array', name, names)}")
    if name is None and len(names) != 1:
        raise DataError(f"{file} holds {len(names)} arrays ({', '.join(names)}); name one of them")
    return name or names[0]


def _from_parquet(file: Path, name: str | None) -> np.ndarray:
    try:
        schema = parquet.read_schema(file)
        lists = [field.name for field in schema if _is_list(field.type)]
        if name not in lists:
            has = f"its columns of lists: {', '.join(lists) or 'none'}"
            asked = f"no column of lists called {name!r}" if name else "which column is meant?"
            raise DataError(f"{file}: {asked}; {has}")
        return _stacked(parquet.read_table(file, columns=[name]).column(0), f"{file}: {name}")
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{file} cannot be read: {error}") from error


def _is_list(kind: pa.DataType) -> bool:
    is_any = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(is_kind(kind) for is_kind in is_any) and pa.types.is_floating(kind.value_type)


def _stacked(column: pa.ChunkedArray, what: str) -> np.ndarray:
    """(n, n_features) of a column of lists of equal length; a missing number is NaN."""
    lengths = pc.list_value_length(column).to_numpy(zero_copy_only=False).astype(float)
    usual = np.nanmedian(lengths) if np.isfinite(lengths).any() else 0
    odd = np.flatnonzero(lengths != usual)
    if len(odd):
        raise DataError(
            f"{what}: {len(odd)} of {len(lengths)} rows are not of {usual:.0f} numbers as the "
            f"others are, {named_rows(odd)}"
        )
    values = pc.list_flatten(column).to_numpy(zero_copy_only=False)
    return values.reshape(len(lengths), int(usual))


def require_rows(features: np.ndarray, n_rows: int, what: object, table: str) -> None:
    """Refuse features of another length than their table.

    Raises:
        DataError: says both lengths.
    """
    if len(features) != n_rows:
        raise DataError(
            f"{what} must hold {n_rows} rows of floats, one for each row of {table}; it is "
            f"{features.dtype} of shape {features.shape}"
        )


def odd_rows(features: np.ndarray) -> np.ndarray:
    """Rows that hold NaN or infinite values."""
    starts = range(0, len(features), ROWS_AT_ONCE)
    parts = [np.isfinite(features[i : i + ROWS_AT_ONCE]).all(axis=1) for i in starts]
    return np.flatnonzero(~np.concatenate(parts)) if parts else np.empty(0, dtype=int)


def named_rows(rows: np.ndarray) -> str:
    """first row 7; or rows 7, 9, 11 and 4 more."""
    if len(rows) == 1:
        return f"first row {rows[0]}"
    more = f" and {len(rows) - NAMED} more" if len(rows) > NAMED else ""
    return f"first rows {', '.join(map(str, rows[:NAMED]))}{more}"
