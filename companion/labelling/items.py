"""What a person is to label: a folder of images, or a table of texts or image paths.

An item is known by its id: an image by its path relative to the folder (in a table: by the path
written there), a text by the column `id` or, without one, by its row number from 0. Items whose
content occurs before (the same bytes, the same text) are copies: the first stands for them, they
are neither asked for nor trained on. Nothing is decoded on opening.
"""

import hashlib
import io
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from alpt_lib.datasets import POOL, Dataset, Description
from alpt_lib.errors import DataError, LabelError, unknown
from alpt_lib.files import cache_folder, hash_files, one_line_errors, whole_file
from alpt_lib.tables import files_below, read_table

# the split of the check set, so that an exported table has it as its validation split
CHECK = "val"
IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
PATH_COLUMNS = ("path", "image", "file", "filename", "file_name")
TEXT_COLUMNS = ("text", "sentence", "review")
# px, longest side of a picture on the screen
SHOWN = 640


class Collection(Dataset):
    """Items without labels as a dataset whose pool they are.

    Rows never move: what cannot be read stays one and is not asked for.

    Args:
        source: the folder or table.
        frame: id, path (from `root`) or text, in the order of the pool.
        check: id -> class of the items that are held out to estimate the accuracy.
        description: classes, modality, image size and settings.
    Attributes:
        source, check: as given.
        ids, row: of the pool, in its order, and back. unreadable: id -> why.
        copies: id -> the first item with its content.
        known: (n_pool,) class numbers that training reads; -1: none.
        report: told how many images are decoded, and of how many.
    """

    def __init__(
        self,
        source: Path,
        root: Path,
        frame: pd.DataFrame,
        check: dict[str, str],
        description: Description,
    ):
        split = np.where(frame["id"].isin(list(check)), CHECK, POOL)
        labels = [check.get(id_, "") for id_ in frame["id"]]
        super().__init__(root, description, frame.assign(label=labels, split=split))
        self.source = source
        self.check = check
        self.ids = self.rows(POOL)["id"].tolist()
        self.row = {id_: row for row, id_ in enumerate(self.ids)}
        self.check_ids = self.rows(CHECK)["id"].tolist() if check else []
        self.known = np.full(len(self.ids), -1)
        self.report: Callable[[int, int], None] = lambda done, total: None
        self.unreadable = dict(self._missing())
        self.copies = self._find_copies()

    def labels(self, split: str) -> np.ndarray:
        return self.known if split == POOL else super().labels(split)

    def decoding(self, done: int, total: int) -> None:
        self.report(done, total)

    def unreadable_images(self, split: str, reasons: dict[int, str]) -> None:
        """They stay black, are remembered, and asked for no more."""
        ids = self.rows(split)["id"]
        for row, why in reasons.items():
            self.unreadable.setdefault(ids[row], why)

    def file(self, id_: str) -> Path:
        """The file of an image."""
        return self.folder / self.content[id_]

    @cached_property
    def content(self) -> dict[str, str]:
        """Id -> text, or path from the folder; pool first, then the check set."""
        column = self.description.content
        contents: dict[str, str] = {}
        for rows in self._rows.values():
            contents |= dict(zip(rows["id"], rows[column], strict=True))
        return contents

    def _missing(self) -> Iterator[tuple[str, str]]:
        for id_, content in self.content.items():
            if self.is_text and not content.strip():
                yield id_, "no text"
            elif not self.is_text and not self.file(id_).is_file():
                yield id_, "no such file"
            elif not self.is_text and not os.access(self.file(id_), os.R_OK):
                yield id_, "no permission to read it"

    def _find_copies(self) -> dict[str, str]:
        """Copy -> the first item with its content; only files of equal size are compared."""
        ids = [id_ for id_ in [*self.check_ids, *self.ids] if id_ not in self.unreadable]
        if self.is_text:
            return _first_of(ids, [self.content[id_] for id_ in ids])
        sizes = {id_: self.stamp(id_).partition("-")[0] for id_ in ids}
        n_of_size = Counter(sizes.values())
        alike = [id_ for id_ in ids if n_of_size[sizes[id_]] > 1]
        return _first_of(alike, hash_files([self.file(id_) for id_ in alike], self.source))

    @cached_property
    def fingerprint(self) -> str:
        """Hash of what a model sees: ids, and texts or the content of files."""
        contents = list(self.content.values())
        if not self.is_text:
            files = [self.file(id_) for id_ in self.content if id_ not in self.unreadable]
            contents += hash_files(files, self.source)
        seen = repr((list(self.content), contents))
        return hashlib.sha256(seen.encode(errors="surrogateescape")).hexdigest()[:16]

    def stamp(self, id_: str) -> str:
        """What changes when a file is written: its size and time; of a text its hash."""
        if self.is_text:
            return self.hash(id_)
        try:
            status = self.file(id_).stat()
        except OSError:
            return ""
        return f"{status.st_size}-{status.st_mtime_ns}"

    def hash(self, id_: str) -> str:
        """16 hexadecimal digits of the content; a file that cannot be read is like no other."""
        if self.is_text:
            return hashlib.sha256(self.content[id_].encode()).hexdigest()[:16]
        try:
            with open(self.file(id_), "rb") as stream:
                return hashlib.file_digest(stream, "sha256").hexdigest()[:16]
        except OSError:
            return f"unreadable {id_}"

    def picture(self, id_: str) -> tuple[bytes, str]:
        """An image for the screen and its format, png or jpeg; scaled once, then from the cache.

        Raises:
            LabelError: the file cannot be read; it is in `unreadable` from then on.
        """
        file = self.file(id_)
        key = hashlib.sha256(f"{file.absolute()}\n{self.stamp(id_)}".encode()).hexdigest()[:32]
        for kind in ("png", "jpeg"):
            kept = cache_folder() / "shown" / f"{key}.{kind}"
            if kept.exists():
                return kept.read_bytes(), kind
        try:
            content, kind = _scaled(file)
        except DataError as error:
            self.unreadable[id_] = str(error)
            raise LabelError(
                f"{id_} cannot be read as an image ({error}); it is left out"
            ) from error
        kept = cache_folder() / "shown" / f"{key}.{kind}"
        with one_line_errors(kept.parent, LabelError, "free some space"), whole_file(kept) as new:
            new.write(content)
        return content, kind


def read_collection(
    source: str | Path,
    classes: list[str],
    check: dict[str, str] | str | Path | None = None,
    column: str | None = None,
    **described,
) -> Collection:
    """The images of a folder, or the rows of a table of texts or of image paths.

    Args:
        check: the check set, id -> class or a table with the columns id and label; None: none.
        column: which one holds the texts or paths; None: guessed by its name.
        described: further settings of the `Description`: image_size, max_tokens ...
    Raises:
        LabelError: nothing there, classes that cannot be told apart, ids that are not unique, a
            check set that does not fit. DataError: a table that cannot be read.
    """
    source = Path(source).expanduser()
    are_names = all(isinstance(name, str) and name.strip() for name in classes)
    if len(set(classes)) < max(2, len(classes)) or not are_names:
        raise LabelError(f"classes must be two or more names, each once; got {classes}")
    if not source.exists():
        raise LabelError(f"{source} does not exist; give a folder of images, or a table")
    root = source if source.is_dir() else source.parent
    frame = _images_of(source) if source.is_dir() else _items_of(source, column)
    # could not be written to the label file
    odd = [id_ for id_ in frame["id"] if not _is_utf8(id_)]
    frame = frame[~frame["id"].isin(odd)]
    held_out = _check_set(check or {}, frame["id"].tolist(), classes, source.name)
    modality = "text" if "text" in frame else "image"
    description = Description(source.stem, list(classes), modality, **described)
    collection = Collection(source, root, frame, held_out, description)
    collection.unreadable.update({ascii(id_): "its name is no valid UTF-8" for id_ in odd})
    return collection


def _is_utf8(name: str) -> bool:
    try:
        return bool(name.encode())
    except UnicodeEncodeError:
        return False


def _images_of(folder: Path) -> pd.DataFrame:
    paths = sorted(files_below(folder, IMAGES))
    if not paths:
        ends = [Path(path).suffix.lower() or "no extension" for path in files_below(folder)]
        kinds = [f"{n} x {end}" for end, n in Counter(ends).most_common(5)]
        listed = ", ".join(kinds) or "nothing"
        raise LabelError(
            f"{folder} holds no images, only {listed}; images end in {', '.join(IMAGES)}"
        )
    # a name may be no UTF-8, which pandas' own kind of text refuses
    return pd.DataFrame({"id": paths, "path": paths}, dtype=object)


def _items_of(file: Path, column: str | None) -> pd.DataFrame:
    table = read_table(file)
    names = [column] if column else [*PATH_COLUMNS, *TEXT_COLUMNS]
    if not column and len(table.columns) == 1:
        names.append(table.columns[0])
    chosen = next((name for name in names if name in table), None)
    if chosen is None:
        asked = f"which column holds the texts? It has {', '.join(table)}"
        what = unknown("column", column, list(table)) if column else asked
        raise LabelError(f"{file.name}: {what}")
    content = table[chosen]
    is_path = chosen in PATH_COLUMNS or content.str.lower().str.endswith(IMAGES).all()
    row_numbers = table.index.astype(str)
    ids = content if is_path else table.get("id", row_numbers)
    frame = pd.DataFrame({"id": ids, "path" if is_path else "text": content})
    twice = frame["id"][frame["id"].duplicated() | (frame["id"] == "")]
    if len(twice):
        raise LabelError(
            f"{file.name}: ids must be there and unique; {len(twice)} are not, first "
            f"{twice.iloc[0]!r} in row {twice.index[0]}"
        )
    return frame


def _check_set(
    check: dict[str, str] | str | Path, ids: list[str], classes: list[str], name: str
) -> dict[str, str]:
    if not isinstance(check, dict):
        table = read_table(Path(check))
        for column in ("id", "label"):
            if column not in table:
                raise LabelError(
                    f"check set {Path(check).name}: column {column!r} missing; it has "
                    f"{', '.join(table)}"
                )
        check = dict(zip(table["id"], table["label"], strict=True))
    known = set(ids)
    for id_, label in check.items():
        if id_ not in known:
            raise LabelError(f"check set: {id_!r} is not in {name}; its ids look like {ids[0]!r}")
        if label not in classes:
            raise LabelError(f"check set: {unknown('class', label, classes)}")
    if len(check) == len(ids):
        raise LabelError(f"check set: it holds all {len(ids)} items of {name}; none are left")
    return check


def _first_of(ids: Iterable[str], contents: Iterable[str]) -> dict[str, str]:
    first: dict[str, str] = {}
    copies: dict[str, str] = {}
    for id_, content in zip(ids, contents, strict=True):
        original = first.setdefault(content, id_)
        if original != id_:
            copies[id_] = original
    return copies


def _scaled(file: Path) -> tuple[bytes, str]:
    """No longer than SHOWN px; png where the original is small, so that no pixel blurs."""
    # opening a session takes no seconds for torch
    from alpt_lib.inputs import open_picture

    # a large jpeg is decoded at a fraction of its size, ten times as fast
    image = open_picture(file, draft=SHOWN)
    stream = io.BytesIO()
    if max(image.size) <= SHOWN // 2:
        image.save(stream, "png")
        return stream.getvalue(), "png"
    image.thumbnail((SHOWN, SHOWN))
    image.save(stream, "jpeg", quality=88)
    return stream.getvalue(), "jpeg"
