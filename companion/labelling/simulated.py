"""A dataset's pool as a collection to be labelled: what a person would say is known."""

from pathlib import Path

import numpy as np
import pandas as pd

from alpt_lib.datasets import POOL, Dataset
from alpt_lib.errors import DataError
from alpt_lib.files import whole_file


def as_collection(data: Dataset, folder: Path) -> tuple[Path, dict[str, str], dict[str, str]]:
    """Write the pool and the first evaluation split as a table without labels, in the same order.

    Args:
        folder: for the table, its features if they are stored, and a link to the images.
    Returns:
        the table, the check set (id -> class of the evaluation split), and the truth (id -> class
        of the pool).
    Raises:
        DataError: features of examples that nobody can look at here.
    """
    folder.mkdir(parents=True, exist_ok=True)
    n_pool = len(data.rows(POOL))
    splits = (POOL, data.eval_splits[0])
    rows = pd.concat([data.rows(split) for split in splits])
    for name in data.feature_names():
        with whole_file(folder / "features" / f"{name}.npy") as stream:
            np.save(stream, np.concatenate([data.features(name, split) for split in splits]))
    has_text = "text" in rows
    if not has_text and not data.picture_file(POOL, 0):
        raise DataError(f"{data.name} holds features whose pictures are not here: nobody can label")
    if has_text:
        ids = [str(row) for row in range(len(rows))]
        content = pd.DataFrame({"id": ids, "text": rows["text"].tolist()})
    else:
        link = folder / "pictures"
        link.unlink(missing_ok=True)
        link.symlink_to(data.folder.resolve())
        ids = [f"pictures/{path}" for path in rows["path"]]
        content = pd.DataFrame({"path": ids})
    table = folder / f"{data.name}.csv"
    content.to_csv(table, index=False)
    labels = rows["label"].tolist()
    check = dict(zip(ids[n_pool:], labels[n_pool:], strict=True))
    truth = dict(zip(ids[:n_pool], labels[:n_pool], strict=True))
    return table, check, truth
