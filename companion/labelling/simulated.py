"""A dataset's pool as a collection to be labelled, for trying a session out: what a person would say is known."""

from pathlib import Path

import pandas as pd

from alpt_lib.datasets import POOL, Dataset


def as_collection(data: Dataset, folder: Path) -> tuple[Path, dict[str, str], dict[str, str]]:
    """Write the pool and the first evaluation split of a dataset as a table without labels, in the same order.

    Args:
        folder: for the table, and a link to the images.
    Returns:
        the table, the check set (id -> class of the evaluation split), and the truth (id -> class of the pool).
    """
    folder.mkdir(parents=True, exist_ok=True)
    is_text, rows = (
        data.description.modality == "text",
        pd.concat([data.rows(POOL), data.rows(data.eval_splits[0])]),
    )
    if is_text:
        content = pd.DataFrame(
            {"id": [str(i) for i in range(len(rows))], "text": rows["text"].tolist()}
        )
    else:
        link = folder / "pictures"
        link.unlink(missing_ok=True)
        link.symlink_to(data.folder.resolve())
        content = pd.DataFrame({"path": [f"pictures/{path}" for path in rows["path"]]})
    table = folder / f"{data.name}.csv"
    content.to_csv(table, index=False)
    labels = dict(zip(content["id" if is_text else "path"], rows["label"], strict=True))
    n_pool = len(data.rows(POOL))
    return table, dict(list(labels.items())[n_pool:]), dict(list(labels.items())[:n_pool])
