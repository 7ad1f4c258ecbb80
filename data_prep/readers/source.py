"""What every reader gives: rows under the manifest's names, with the columns chosen by role."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
from release.report import note

from alpt_lib.errors import DataError
from alpt_lib.tables import INDEX, with_names
from companion.paths import find_file

POOL = "pool"
# a column that no manifest keeps: the rows of features
ROW = "row of the features"
SPLITS = {
    **dict.fromkeys(("train", "training", POOL), POOL),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
# what pictures are called; .heic and its like take a plug-in of Pillow's
IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"),
    *(".avif", ".jp2", ".heic", ".heif"),
)
# columns looked for where none is named
GUESSES = {
    "image": ("image", "path", "file", "filename", "file_name"),
    "text": ("text", "sentence"),
    "label": ("label", "class"),
    "split": ("split",),
}
# what the manifest calls them
NAMES = {"image": "path", "text": "text", "label": "label", "split": "split"}
# columns of the manifest and of the result tables, and what pandas adds: an attribute must
# not be called so
TAKEN = {
    *(INDEX, *NAMES.values(), "dataset", "model", "acquisition", "seed", "stopping", "run_id"),
    *("round", "rank", "index", "score", "subgroup"),
}
Columns = Mapping[str, str | None]  # image, text, label, split -> a column; None: guessed


@dataclass(frozen=True)
class Source:
    """What was found: all values are text, "" where there is none."""

    # path (from root) or text, label, split (as the source calls it; "": none), attributes
    frame: pd.DataFrame
    root: Path | None  # folder of the images; None: texts
    name: str  # for messages
    # (n, n_features) float, of a source of features; the frame's column ROW says which is whose
    features: np.ndarray | None = None

    @property
    def modality(self) -> str:
        """What the model reads: image, text or features."""
        if self.features is not None:
            return "features"
        return "text" if self.root is None else "image"


def existing(path: Path) -> Path:
    """The whole path of a file or folder of the person's.

    Raises:
        DataError: it is not there.
    """
    path = Path(path).expanduser().absolute()
    if not path.exists():
        raise DataError(f"{path} does not exist")
    return path


def choose(
    frame: pd.DataFrame,
    typed: Mapping[str, list[str]],
    columns: Columns,
    root: Path,
    name: str,
    needs_content: bool = True,
) -> Source:
    """The columns that matter under the manifest's names, the others as attributes.

    Args:
        typed: image, label -> the columns that a format says are such.
        columns: those that the person names.
        root: folder that image paths start from.
        needs_content: False: neither images nor texts need to be there, and both may be.
    Raises:
        DataError: a column missing, or which one is meant cannot be told.
    """
    frame = with_names(frame, chain.from_iterable(GUESSES.values()))
    for said in frame.attrs["notes"]:
        note(said)
    chosen = _columns_by_role(frame, typed, columns, name, needs_content)
    names = {column: NAMES[role] for role, column in chosen.items() if column}
    dropped = sorted(TAKEN.intersection(frame.columns).difference(names))
    if dropped:
        note(f"columns left out, for their names are taken: {', '.join(dropped)}")
    kept = frame.drop(columns=dropped).rename(columns=names)
    is_path = bool(chosen["image"])
    if is_path and not needs_content:
        # names and nothing more where no file is there
        is_path = any(find_file(root, path) for path in kept["path"])
    if not is_path:
        return Source(kept, None, name)
    paths, root = _from_root(kept["path"].tolist(), root)
    return Source(kept.assign(path=paths), root, name)


def _columns_by_role(
    frame: pd.DataFrame,
    typed: Mapping[str, list[str]],
    columns: Columns,
    name: str,
    needs_content: bool,
) -> dict[str, str | None]:
    has = f"it has {', '.join(map(str, frame.columns))}"
    chosen: dict[str, str | None] = {}
    for role in GUESSES:
        column = columns.get(role) or _guess(frame, typed.get(role, []), role)
        if column and column not in frame:
            raise DataError(f"{name}: no {role} column {column!r}; {has}")
        if f"{column}.1" in frame:
            raise DataError(f"{name}: column {column!r} appears twice; rename one of them")
        chosen[role] = column
    if needs_content and columns.get("image"):
        chosen["text"] = None
    elif needs_content and columns.get("text"):
        chosen["image"] = None
    if needs_content:
        _require_one_content(chosen, name, has)
    if not chosen["label"]:
        raise DataError(
            f"{name}: which column holds the labels? name it with --label-column; {has}"
        )
    return chosen


def _require_one_content(chosen: Mapping[str, str | None], name: str, has: str) -> None:
    contents = [repr(chosen[role]) for role in ("image", "text") if chosen[role]]
    if len(contents) != 1:
        what = f"both {' and '.join(contents)}" if contents else "neither images nor texts"
        header = "" if contents else ", or put a header above the first line"
        raise DataError(
            f"{name}: {what} found; name one with --image-column or --text-column{header}; {has}"
        )


def _guess(frame: pd.DataFrame, typed: list[str], role: str) -> str | None:
    if len(typed) == 1:
        return typed[0]
    return next((name for name in GUESSES[role] if name in frame), None)


def _from_root(names: Sequence[str], root: Path) -> tuple[list[str], Path]:
    """Image paths from the folder of their table or, if some lie elsewhere, from one above all."""
    root = root.absolute()
    paths = [find_file(root, name) or name for name in names]
    _tell_respelled(names, paths)
    whole = [Path(os.path.abspath(root / path)) for path in paths]
    if not all(path.is_relative_to(root) for path in whole):
        root = Path(os.path.commonpath([path.parent for path in whole]))
    return [path.relative_to(root).as_posix() for path in whole], root


def _tell_respelled(names: Sequence[str], paths: Sequence[str]) -> None:
    respelled = [(name, path) for name, path in zip(names, paths, strict=True) if name != path]
    if respelled:
        # accents that are put together otherwise look alike
        name, path = map(ascii, respelled[0])
        note(f"{len(respelled)} paths are read in another spelling, first {name} as {path}")
