"""Items that a person is to label, as a dataset whose pool they are.

Items whose content occurs before (the same bytes, the same text) are copies: the first stands for
them, they are neither asked for nor trained on. Nothing is decoded on opening.
"""

import hashlib
import io
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from alpt_lib.datasets import POOL, Dataset, Description
from alpt_lib.errors import DataError, LabelError
from alpt_lib.files import cache_folder, hash_files, one_line_errors, whole_file
from alpt_lib.pictures import open_picture
from companion.labelling.matching import Finder
from companion.paths import why_missing

# the split of the check set, so that an exported table has it as its validation split
CHECK = "val"
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
        columns: by which other tools may call the content.
        is_by_content: its ids are those of `content_id`.
    Attributes:
        notes: what was found in the source, in words.
        ids, row: of the pool, in its order, and back. unreadable: id -> why.
        copies: id -> the first item with its content.
        known: (n_pool,) class numbers that training reads; -1: none.
        embeddings: (n_rows, n_features) features of the user's own, in the order of the frame.
        report: told what is under way for the model, how far it is, and of how many.
    """

    def __init__(
        self,
        source: Path,
        root: Path,
        frame: pd.DataFrame,
        check: dict[str, str],
        description: Description,
        columns: Sequence[str] = (),
        is_by_content: bool = False,
    ):
        split = np.where(frame["id"].isin(list(check)), CHECK, POOL)
        labels = [check.get(id_, "") for id_ in frame["id"]]
        super().__init__(root, description, frame.assign(label=labels, split=split))
        self.source = source
        self.check = check
        self.content_columns = columns
        self.is_by_content = is_by_content
        self.notes: list[str] = []
        self.ids = self.rows(POOL)["id"].tolist()
        self.row = {id_: row for row, id_ in enumerate(self.ids)}
        self.check_ids = self.rows(CHECK)["id"].tolist() if check else []
        self.known = np.full(len(self.ids), -1)
        self.embeddings: np.ndarray | None = None
        self.report: Callable[[str, int, int], None] = lambda doing, done, total: None
        self.unreadable = dict(self._missing())
        self.copies = self._find_copies()

    def labels(self, split: str) -> np.ndarray:
        return self.known if split == POOL else super().labels(split)

    def working(self, doing: str, done: int, total: int) -> None:
        self.report(doing, done, total)

    def unreadable_images(self, split: str, reasons: dict[int, str]) -> None:
        """They stay black, are remembered, and asked for no more."""
        ids = self.rows(split)["id"]
        for row, why in reasons.items():
            self.unreadable.setdefault(ids[row], why)

    def features(self, name: str, split: str) -> np.ndarray:
        if self.embeddings is None:
            raise DataError(f"{self.source.name} has no features called {name!r}")
        return self.embeddings[self._positions[split]]

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

    @cached_property
    def finder(self) -> Finder:
        """Which item another tool means."""
        return Finder(self.content, None if self.is_text else self.folder)

    def shown(self, id_: str) -> str:
        """How an item is called in words: a text by how it begins, too."""
        if not self.is_text or id_ not in self.content:
            return id_
        begins = " ".join(self.content[id_].split())[:40]
        return f"{id_} {begins!r}"

    def _missing(self) -> Iterator[tuple[str, str]]:
        why = ""
        for id_, content in self.content.items():
            if self.is_text:
                if not content.strip():
                    yield id_, "no text"
                continue
            file = self.file(id_)
            if not file.is_file():
                # of the first alone, for that takes a while
                yield id_, "no such file" if why else (why := why_missing(self.folder, content))
            elif not os.access(file, os.R_OK):
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
            return text_hash(self.content[id_])
        try:
            with open(self.file(id_), "rb") as stream:
                return hashlib.file_digest(stream, "sha256").hexdigest()[:16]
        except OSError:
            return f"unreadable {id_}"

    def where(self, hashes: Mapping[str, str]) -> dict[str, str]:
        """Hash -> the first item of the pool that has this content now.

        Args:
            hashes: hash -> stamp of when it was taken; a file of another size is not read.
        """
        sizes = {stamp.partition("-")[0] for stamp in hashes.values()}
        places: dict[str, str] = {}
        for id_ in self.ids if hashes else ():
            if self.is_text or self.stamp(id_).partition("-")[0] in sizes:
                places.setdefault(self.hash(id_), id_)
        return {digest: places[digest] for digest in hashes if digest in places}

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


def content_id(digest: str) -> str:
    """The id of a text that has none of its own; no spreadsheet takes it for a number."""
    return f"text-{digest}"


def text_hash(text: str) -> str:
    """16 hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


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
    # a large jpeg is decoded at a fraction of its size, ten times as fast
    image = open_picture(file, draft=SHOWN)
    stream = io.BytesIO()
    if max(image.size) <= SHOWN // 2:
        image.save(stream, "png")
        return stream.getvalue(), "png"
    image.thumbnail((SHOWN, SHOWN))
    image.save(stream, "jpeg", quality=88)
    return stream.getvalue(), "jpeg"
