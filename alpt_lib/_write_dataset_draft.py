"""For `alpt_lib.datasets`, beside the reader: how a dataset folder is written."""

import csv
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from alpt_lib.errors import DataError
from alpt_lib.files import whole_file, write_whole


def write_dataset(
    folder: Path,
    frame: pd.DataFrame,
    description: dict[str, Any],
    images: Path | None = None,
) -> None:
    """Write a dataset folder; dataset.yaml comes last, so that a folder that has it is complete.

    Args:
        frame: one row an example: path or text, label, split, attributes. A manifest of texts is
            stored as parquet, for it may be large; one of images as csv.
        description: content of dataset.yaml.
        images: folder that the paths start from; a link to it is made, nothing is copied. None:
            they start from `folder`.
    Raises:
        DataError: `images` of this folder is a folder of its own, where the link should be.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for old in ("dataset.yaml", "manifest.csv", "manifest.parquet"):
        (folder / old).unlink(missing_ok=True)
    if "path" in frame:
        if images is not None:
            start = "images" if _is_linked(images, folder / "images") else str(images)
            frame = frame.assign(path=start + "/" + frame["path"])
        # a bare carriage return would end a record
        has_return = frame["path"].str.contains("\r", regex=False).any()
        quoting = csv.QUOTE_ALL if has_return else csv.QUOTE_MINIMAL
        with whole_file(folder / "manifest.csv") as stream:
            frame.to_csv(stream, index=False, quoting=quoting)
    else:
        with whole_file(folder / "manifest.parquet") as stream:
            frame.to_parquet(stream, index=False)
    written = yaml.safe_dump(description, sort_keys=False, allow_unicode=True)
    write_whole(folder / "dataset.yaml", written)


def _is_linked(images: Path, link: Path) -> bool:
    """Point `link` at the images; False where links cannot be made."""
    if link.exists() and not link.is_symlink():
        raise DataError(f"{link} exists and is no link; choose another --out or move it away")
    try:
        link.unlink(missing_ok=True)
        link.symlink_to(images.resolve(), target_is_directory=True)
    except OSError:
        return False
    return True
