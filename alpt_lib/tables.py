"""TODO: what this room holds."""

from pathlib import Path

import pandas as pd


def read_csv(file: Path) -> pd.DataFrame:
    frame = pd.read_csv(file, dtype=str, keep_default_na=False)
    header = pd.read_csv(file, dtype=str, keep_default_na=False, header=None, nrows=1).iloc[0]
    if header.duplicated().any():
        raise ValueError(f"column {header[header.duplicated()].iloc[0]!r} appears twice")
    if not isinstance(
        frame.index, pd.RangeIndex
    ):  # pandas would take the first column for row names
        raise ValueError("its rows have more fields than its header")
    return frame
