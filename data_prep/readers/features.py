"""Embeddings of a person's own, from any model or service, with a table that says what they are."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from release.report import note

from alpt_lib.embeddings import named_rows, odd_rows, read_embeddings, require_rows
from alpt_lib.errors import DataError
from alpt_lib.tables import read_table
from readers.source import ROW, Columns, Source, choose, existing


def from_features(
    table: Path, file: Path | None, name: str | None, columns: Columns | None = None
) -> Source:
    """Features with a table of labels, row by row; paths or texts are for people to look at.

    Args:
        file: .npy or .npz; None: the table is a parquet, and `name` its column of lists.
        name: that column, or the array of an .npz that holds several.
        columns: image, text, label, split: the names of these columns; those not given are guessed.
    Raises:
        DataError: unreadable, of different lengths, NaN or infinite values, or a column missing.
    """
    table = existing(table)
    file = existing(file) if file else table
    features = read_embeddings(file, name)
    frame = read_table(table)
    frame.attrs["notes"] = [
        said for said in frame.attrs["notes"] if not (name and said.endswith(f"values: {name}"))
    ]
    require_rows(features, len(frame), file, table.name)
    odd = odd_rows(features)
    if len(odd):
        raise DataError(
            f"{file}: {len(odd)} of {len(features)} rows hold NaN or infinite values, "
            f"{named_rows(odd)}; leave them out of the features and of the table"
        )
    note(f"{len(features):,} x {features.shape[1]:,} features ({features.dtype}) of {file.name}")
    source = choose(frame, {}, columns or {}, table.parent, table.name, needs_content=False)
    rows = pd.Series(range(len(frame)), index=source.frame.index)
    _tell_missing(source)
    return replace(source, frame=source.frame.assign(**{ROW: rows}), features=features)


def _tell_missing(source: Source) -> None:
    if "path" in source.frame:
        paths = source.frame["path"]
        root = source.root
        n_missing = sum(root is None or not (root / path).is_file() for path in paths)
        if n_missing:
            note(f"{n_missing} of {len(paths)} pictures are not there: sheets show names instead")


def content_keys(features: np.ndarray, rows: pd.Series) -> list[str]:
    """Equal for rows of equal features."""
    return [hashlib.sha256(features[row].tobytes()).hexdigest() for row in rows]
