"""Where the items come from: a folder of images, or a table of texts or image paths.

An item is known by its id: an image by its path from the folder (in a table: by the path written
there), a text by the column `id` or, without one, by its content.
"""

import os
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from alpt_lib.datasets import Description
from alpt_lib.embeddings import named_rows, odd_rows, read_embeddings, require_rows
from alpt_lib.errors import LabelError, unknown
from alpt_lib.pictures import ASSUMED, DEEP_GREYS, assumptions, open_picture
from alpt_lib.tables import read_table, with_names
from companion.labelling.items import Collection, content_id, text_hash
from companion.labelling.matching import Finder
from companion.paths import files_below, find_file

# what pictures are called; .heic and its like only with a plug-in of Pillow's
IMAGES = (
    *(".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"),
    *(".avif", ".jp2", ".heic", ".heif"),
)
# formats that hold greys of more than 8 bits, and how many of them are looked at on opening
MAYBE_DEEP = (".png", ".tif", ".tiff", ".ppm", ".pgm")
LOOKED_AT = 20
PATH_COLUMNS = ("path", "image", "file", "filename", "file_name")
TEXT_COLUMNS = ("text", "sentence", "review")


def read_collection(
    source: str | Path,
    classes: list[str],
    check: dict[str, str] | str | Path | None = None,
    column: str | None = None,
    features: str = "",
    **described,
) -> Collection:
    """The images of a folder, or the rows of a table of texts or of image paths.

    Args:
        check: the check set: id or text -> class, or a table with label and id, path or text.
        column: which one holds the texts or paths; None: guessed by its name.
        features: a file of features with a row for each row of the table, or NAME for
            features/NAME.npy beside it; "": a model computes them.
        described: further settings of the `Description`: image_size, max_tokens ...
    Raises:
        LabelError: nothing there, classes that cannot be told apart, ids that are not unique, a
            check set that does not fit. DataError: a table that cannot be read.
    """
    source = Path(source).expanduser()
    _require_classes(classes)
    if not source.exists():
        raise LabelError(f"{source} does not exist; give a folder of images, or a table")
    root = source if source.is_dir() else source.parent
    frame = _images_of(source) if source.is_dir() else _items_of(source, column)
    attrs = frame.attrs
    is_text = "text" in frame
    embeddings = _embeddings(source, features, len(frame)) if features else None
    # could not be written to the label file
    odd = {id_: "its name is no valid UTF-8" for id_ in frame["id"] if not _is_utf8(id_)}
    frame = frame[~frame["id"].isin(list(odd))]
    names = (*attrs["columns"], *(TEXT_COLUMNS if is_text else PATH_COLUMNS))
    items = dict(zip(frame["id"], frame["text" if is_text else "path"], strict=True))
    finder = Finder(items, None if is_text else root)
    held_out = _check_set(check, finder, names, classes, source.name) if check else {}
    about = Description(source.stem, list(classes), "text" if is_text else "image", **described)
    is_by_content = attrs["is_by_content"]
    collection = Collection(source, root, frame, held_out, about, names, is_by_content)
    if embeddings is not None:
        collection.embeddings = embeddings[frame.index.to_numpy()]
    collection.unreadable |= {ascii(id_): why for id_, why in odd.items()}
    collection.unreadable |= _without_decoder(collection)
    collection.notes += [*attrs["notes"], *_assumed_greys(collection)]
    return collection


def _embeddings(table: Path, name: str, n_rows: int) -> np.ndarray:
    if table.is_dir():
        raise LabelError(f"features need a table with a row for each of theirs; {table} is none")
    beside = table.parent / "features" / f"{name}.npy"
    places = [Path(name).expanduser(), table.parent / name, beside]
    file = next((place for place in places if place.is_file()), None)
    if file is None:
        raise LabelError(f"there are no features {name!r}, neither as a file nor as {beside}")
    embeddings = read_embeddings(file)
    require_rows(embeddings, n_rows, file, table.name)
    odd = odd_rows(embeddings)
    if len(odd):
        raise LabelError(f"{file}: {len(odd)} rows hold NaN or infinite values, {named_rows(odd)}")
    return embeddings


def _require_classes(classes: list[str]) -> None:
    if isinstance(classes, str):
        raise LabelError(f"classes must be a list such as ['cat', 'dog']; got the text {classes!r}")
    are_names = all(isinstance(name, str) and name.strip() for name in classes)
    if len(set(classes)) < max(2, len(classes)) or not are_names:
        raise LabelError(f"classes must be two or more names, each once; got {classes}")


def _is_utf8(name: str) -> bool:
    try:
        return bool(name.encode())
    except UnicodeEncodeError:
        return False


def _images_of(folder: Path) -> pd.DataFrame:
    files = sorted(files_below(folder))
    paths = [path for path in files if path.lower().endswith(IMAGES)]
    suffixes = [os.path.splitext(path)[1].lower() for path in files]
    others = Counter(suffix or "no extension" for suffix in suffixes if suffix not in IMAGES)
    listed = ", ".join(f"{n} x {suffix}" for suffix, n in others.most_common(5))
    if not paths:
        raise LabelError(
            f"{folder} holds no images, only {listed or 'nothing'}; images end in "
            f"{', '.join(IMAGES)}"
        )
    # a name may be no UTF-8, which pandas' own kind of text refuses
    frame = pd.DataFrame({"id": paths, "path": paths}, dtype=object)
    left_out = [f"files that are no images, left out ({others.total()}): {listed}"]
    notes = left_out if others else []
    frame.attrs = {"columns": (), "notes": notes, "is_by_content": False}
    return frame


def _without_decoder(collection: Collection) -> dict[str, str]:
    """Items of a format that Pillow does not read here: id -> why."""
    if collection.is_text:
        return {}
    readable = Image.registered_extensions()
    reasons = {}
    for id_, path in collection.content.items():
        suffix = Path(path).suffix.lower()
        if suffix in IMAGES and suffix not in readable:
            reasons[id_] = f"Pillow has no decoder for {suffix} here: pip install pillow-heif"
    return reasons


def _assumed_greys(collection: Collection) -> list[str]:
    """What is taken for black and white in deep greys, by the first pictures that may be such."""
    if collection.is_text:
        return []
    files = [Path(path) for path in collection.content.values()]
    first = [file for file in files if file.suffix.lower() in MAYBE_DEEP][:LOOKED_AT]
    assumed = []
    for file in first:
        # what cannot be read is said elsewhere
        with suppress(Exception):
            # only such are decoded
            if Image.open(collection.folder / file).mode in DEEP_GREYS:
                assumed.append(open_picture(collection.folder / file).info.get(ASSUMED, ""))
    said = assumptions(assumed)
    return [f"{said}, of the first {len(first)} looked at"] if said else []


def _items_of(file: Path, column: str | None) -> pd.DataFrame:
    table = with_names(read_table(file), ("id", *PATH_COLUMNS, *TEXT_COLUMNS))
    chosen = column or _content_column(file, table)
    if chosen not in table:
        raise LabelError(f"{file.name}: {unknown('column', chosen, list(table))}")
    content = table[chosen]
    if chosen in PATH_COLUMNS or _are_images(content):
        found = [find_file(file.parent, path) or path for path in content]
        frame = pd.DataFrame({"id": content, "path": found})
    else:
        ids = table["id"] if "id" in table else _content_ids(content)
        frame = pd.DataFrame({"id": ids, "text": content})
    twice = frame["id"][frame["id"].duplicated() | (frame["id"] == "")]
    if len(twice):
        raise LabelError(
            f"{file.name}: ids must be there and unique; {len(twice)} are not, first "
            f"{twice.iloc[0]!r} in row {twice.index[0]}"
        )
    is_by_content = "text" in frame and "id" not in table
    notes = table.attrs["notes"]
    frame.attrs = {"columns": (chosen,), "notes": notes, "is_by_content": is_by_content}
    return frame


def _content_column(file: Path, table: pd.DataFrame) -> str:
    """The column of texts or image paths, by its name; a lone column is it, whatever its name."""
    if len(table.columns) == 1:
        return table.columns[0]
    texts = [name for name in TEXT_COLUMNS if name in table]
    paths = [name for name in PATH_COLUMNS if name in table]
    pictures = [name for name in paths if _are_images(table[name])]
    if texts and pictures:
        raise LabelError(
            f"{file.name} has images ({pictures[0]}) and texts ({texts[0]}): say which are to be "
            f"labelled, column={pictures[0]!r} or column={texts[0]!r}"
        )
    fitting = [*pictures, *texts, *paths]
    if not fitting:
        raise LabelError(
            f"{file.name}: which column holds the texts? It has {', '.join(table)}; name it with "
            "column=..., or put a header above the first line"
        )
    return fitting[0]


def _are_images(values: pd.Series) -> bool:
    return bool(values.str.strip().str.lower().str.endswith(IMAGES).all())


def _content_ids(texts: pd.Series) -> list[str]:
    """Ids that stay with the texts, whatever their row; copies are numbered."""
    met: Counter[str] = Counter()
    ids = []
    for text in texts:
        id_ = content_id(text_hash(text))
        met[id_] += 1
        ids.append(id_ if met[id_] == 1 else f"{id_}-{met[id_]}")
    return ids


def _check_set(
    check: Any, finder: Finder, columns: tuple[str, ...], classes: list[str], name: str
) -> dict[str, str]:
    """Id -> class of what is held out."""
    rows = _check_rows(check, finder, columns)
    held_out = {}
    for ids, contents, label, beside in rows:
        match = finder.find(ids, contents, beside)
        if match.problem:
            looks = next(iter(finder.content))
            raise LabelError(
                f"check set: {match.name!r} is {match.problem} {name}; its ids look like {looks!r}"
            )
        if label not in classes:
            raise LabelError(f"check set: {unknown('class', label, classes)}")
        held_out[match.id] = label
    if len(held_out) == len(finder.content):
        raise LabelError(f"check set: it holds all {len(held_out)} items of {name}; none are left")
    return held_out


def _check_rows(
    check: Any, finder: Finder, columns: tuple[str, ...]
) -> list[tuple[list[str], list[str], str, Path]]:
    """Ids, contents, label and folder of each row of a check set."""
    if isinstance(check, dict):
        return [
            ([key], [], label, Path()) if key in finder.content else ([], [key], label, Path())
            for key, label in check.items()
        ]
    table = read_table(Path(check))
    present = [column for column in columns if column in table]
    if "label" not in table or not ("id" in table or present):
        raise LabelError(
            f"check set {Path(check).name}: it needs the columns label and id, path or text; it "
            f"has {', '.join(table)}"
        )
    return [
        ([row.get("id", "")], [row[name] for name in present], row["label"], Path(check).parent)
        for row in table.to_dict("records")
    ]
