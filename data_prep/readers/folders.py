"""Images in folders named by their class."""

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
from PIL import Image
from release.report import note

from alpt_lib.errors import DataError
from companion.paths import files_below
from readers.source import IMAGE_SUFFIXES, SPLITS, Source, existing


def from_folders(root: Path) -> Source:
    """Images whose label is the folder that they lie in: <class>/... or <split>/<class>/...

    Raises:
        DataError: no images, images outside the class folders, or splits mixed with classes.
    """
    root = existing(root)
    if not root.is_dir():
        raise DataError(f"{root} is no folder of images; give --table for a table of their paths")
    _tell_hidden(root)
    root, paths = _below_shared_folders(root)
    tops = {path.split("/")[0] for path in paths if "/" in path}
    splits = {top for top in tops if top.lower() in SPLITS}
    if len(splits) > 1 and splits != tops:
        raise DataError(
            f"{root}: {', '.join(sorted(splits))} are splits, {min(tops - splits)} is not; move "
            "the classes into the split folders"
        )
    n_above = int(bool(tops) and splits == tops)
    folders = pd.Series(paths, dtype="str").str.rpartition("/")[0]
    top = folders.str.partition("/")[0] if n_above else ""
    # an image that lies in a split, but in no class of it, has no label
    labels = folders.str.rpartition("/")[2].mask(folders == top, "")
    frame = pd.DataFrame({"path": paths, "label": labels, "split": top}, dtype="str")
    _check_labels(root, frame, n_above)
    return Source(frame, root, root.name)


def _tell_hidden(root: Path) -> None:
    hidden = [entry for entry in sorted(root.iterdir()) if entry.name.startswith(".")]
    named = [
        entry.name for entry in hidden if entry.is_dir() and files_below(entry, IMAGE_SUFFIXES)
    ]
    if named:
        note(
            f"hidden folders with images are left out: {', '.join(named)}; rename them to have them"
        )


def _below_shared_folders(root: Path) -> tuple[Path, list[str]]:
    """The images, from the folder that holds the classes or splits: often it is one level down."""
    paths = _images_below(root)
    while True:
        tops = {path.split("/")[0] for path in paths}
        top = min(tops)
        is_shared = len(tops) == 1 and all(path.count("/") > 1 for path in paths)
        if not is_shared or top.lower() in SPLITS:
            return root, paths
        note(f"all images lie in {top}/: they are read from there")
        root = root / top
        paths = [path.removeprefix(f"{top}/") for path in paths]


def _images_below(root: Path) -> list[str]:
    """Paths of the images; what else is there is said, with counts."""
    files = files_below(root)
    readable = set(IMAGE_SUFFIXES).intersection(Image.registered_extensions())
    images = [path for path in files if _kind(path) in readable]
    others = [path for path in files if _kind(path) not in IMAGE_SUFFIXES]
    unreadable = set(files).difference(images, others)
    if not images:
        listed = _counted([*others, *unreadable]) or "nothing"
        suffixes = ", ".join(sorted(readable))
        raise DataError(f"{root} holds no images, only {listed}; images end in {suffixes}")
    if others:
        note(f"left out, for their names are not those of images: {_counted(others)}")
    if unreadable:
        note(
            f"left out, for Pillow has no decoder for them here: {_counted(unreadable)}; for .heic "
            "and .heif: pip install pillow-heif"
        )
    return _with_utf8_names(images)


def _kind(path: str) -> str:
    return os.path.splitext(path)[1].lower()


def _counted(paths: Iterable[str]) -> str:
    kinds = Counter(_kind(path) or "no extension" for path in paths)
    return ", ".join(f"{n} x {kind}" for kind, n in kinds.most_common(5))


def _with_utf8_names(paths: list[str]) -> list[str]:
    """Paths that can be written into a manifest; others are said."""
    named = [path for path in paths if path.isascii() or _is_utf8(path)]
    odd = sorted(set(paths).difference(named))
    if odd:
        note(f"left out, for their names are no UTF-8: {len(odd)}, first {odd[0]}; rename them")
    return named


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_labels(root: Path, frame: pd.DataFrame, n_above: int) -> None:
    """Refuse images outside class folders; say what may be meant otherwise.

    Args:
        n_above: folders above those of the classes: 1 where splits stand on top, else 0.
    """
    # a split without any label is a contest's test set
    has_labels = frame.groupby("split")["label"].transform("max") != ""
    outside = frame.loc[(frame["label"] == "") & (has_labels | (frame["split"] == "")), "path"]
    if len(outside):
        raise DataError(
            f"{root}: {len(outside)} of {len(frame)} images lie in no class folder, first "
            f"{outside.iloc[0]}; put each into a folder named by its class"
        )
    labels = sorted(set(frame["label"]) - {""})
    if len(labels) > 1 and not n_above and all(label.lower() in SPLITS for label in labels):
        raise DataError(
            f"{root}: images lie in {', '.join(labels)}, which are splits; put these on top, as "
            "<split>/<class>/..."
        )
    if not n_above and (odd := [label for label in labels if label.lower() in SPLITS]):
        note(f"{', '.join(odd)} counts as a class, beside others; if it is a split, move it away")
    folders = frame["path"].str.rpartition("/")[0].drop_duplicates()
    nested = folders[folders.str.count("/") > n_above]
    if len(nested):
        note(
            f"labels are the folders that images lie in, not those above them: {nested.iloc[0]} "
            f"gives {nested.iloc[0].split('/')[-1]}; classes: {', '.join(labels[:10])}"
        )
