"""What a person is to label: a folder of images, or a table of texts or image paths. Opened without decoding anything.

An item is known by its id: an image by its path relative to the folder (in a table: by the path written there), a text by the
column `id` or, without one, by its row number from 0. Items whose content occurs before (the same bytes, the same text) are
copies: the first stands for them, they are neither asked for nor trained on. Pictures for people are scaled once and cached.
"""

import hashlib
import io
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from threading import get_ident

import numpy as np
import pandas as pd
from PIL import Image, ImageOps

from alpt_lib.datasets import POOL, Dataset, Description
from alpt_lib.errors import CompanionError, unknown
from alpt_lib.files import cache_folder
from alpt_lib.inputs import OnDemand

CHECK = (
    "val"  # the split of the check set, so that an exported table has it as its validation split
)

IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")

GUESSES = {
    "path": ("path", "image", "file", "filename", "file_name"),
    "text": ("text", "sentence", "review"),
}

READING = (
    OSError,
    ValueError,
    SyntaxError,
    Image.DecompressionBombError,
)  # what Pillow raises for files that are no images

SHOWN = 640  # px, longest side of a picture on the screen

HEAD = 1 << 16  # bytes hashed of files of equal size before whole files are

CHUNK = 64  # images decoded between two reports


class LabelError(CompanionError):
    """Something to be labelled, or a label, cannot be taken; the message says what was found and what to do."""


class Collection(Dataset):
    """Items without labels as a dataset whose pool they are. Rows never move: what cannot be read stays one and is not asked for.

    Args:
        source: the folder or table. frame: id, path (from `root`) or text, in the order of the pool.
        check: id -> class of the items that are held out to estimate the accuracy.
        description: classes, modality, image size and settings, see `alpt_lib.datasets`.
    Attributes:
        ids, row: of the pool, in its order, and back. unreadable: id -> why. copies: id -> the first item with its content.
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
        super().__init__(
            root,
            description,
            frame.assign(label=[check.get(id_, "") for id_ in frame["id"]], split=split),
        )
        self.source, self.is_text = source, description.modality == "text"
        self.ids = self.rows(POOL)["id"].tolist()
        self.row = {id_: row for row, id_ in enumerate(self.ids)}
        self.known = np.full(
            len(self.row), -1
        )  # (n_pool,) class numbers that training reads; -1: none
        self.check_ids = self.rows(CHECK)["id"].tolist() if CHECK in self._rows else []
        self.unreadable = dict(self._missing())
        self.copies = self._find_copies()
        self.report: Callable[[int, int], None] = lambda done, total: None  # told of images decoded

    def labels(self, split: str) -> np.ndarray:
        return self.known if split == POOL else super().labels(split)

    def file(self, id_: str) -> Path:
        """The file of an image."""
        return self.folder / self._content[id_]

    def text(self, id_: str) -> str:
        return self._content[id_]

    @cached_property
    def _content(self) -> dict[str, str]:
        column = "text" if self.is_text else "path"
        return {
            id_: value
            for rows in self._rows.values()
            for id_, value in zip(rows["id"], rows[column], strict=True)
        }

    def _missing(self) -> Iterator[tuple[str, str]]:
        for id_, content in self._content.items():
            if self.is_text and not content.strip():
                yield id_, "no text"
            elif not self.is_text and not (self.folder / content).is_file():
                yield id_, "no such file"

    def _find_copies(self) -> dict[str, str]:
        """Copy -> the first item with its content. Files are compared by size, then by their beginning, then as a whole."""
        ids = [id_ for id_ in [*self.check_ids, *self.row] if id_ not in self.unreadable]
        if self.is_text:
            return _first_of(ids, self.text)
        size = {id_: self.stamp(id_).partition("-")[0] for id_ in ids}
        for key in (size.get, lambda id_: (size[id_], self.hash(id_, HEAD)), self.hash):
            groups: dict[object, list[str]] = {}
            for id_ in ids:
                groups.setdefault(key(id_), []).append(id_)
            ids = [id_ for group in groups.values() if len(group) > 1 for id_ in group]
        return {copy: first for first, *others in groups.values() for copy in others}

    @cached_property
    def fingerprint(self) -> str:
        """Hash of what a model sees: ids, sizes and times of files, or texts; an image that changed is decoded anew."""
        return hashlib.sha256(
            repr([(id_, self.stamp(id_)) for id_ in self._content]).encode()
        ).hexdigest()[:16]

    def stamp(self, id_: str) -> str:
        """What changes when a file is written: its size and time, without reading it; of a text its hash."""
        if self.is_text:
            return self.hash(id_)
        try:
            status = self.file(id_).stat()
        except OSError:
            return ""
        return f"{status.st_size}-{status.st_mtime_ns}"

    def hash(self, id_: str, n_bytes: int = -1) -> str:
        """16 hexadecimal digits of the content, or of the first bytes of a file; one that cannot be read is like no other."""
        if self.is_text:
            return hashlib.sha256(self.text(id_).encode()).hexdigest()[:16]
        try:
            return _hash(self.file(id_), n_bytes)
        except OSError:
            return f"unreadable {id_}"

    def images(self, split: str, size: int) -> np.ndarray:
        """(n, size, size, 3) uint8, memory-mapped, decoded once. Unlike in a dataset, what cannot be read is no error: it is
        left black and goes to `unreadable`."""
        target = cache_folder() / f"labelling_{self.fingerprint}_{split}_{size}.npy"
        ids = self.rows(split)["id"].tolist()
        broken = target.with_suffix(".unreadable")
        if not (target.exists() and broken.exists()):
            self._decode(ids, size, target, broken)
        for row in broken.read_text(encoding="utf-8").split():
            self.unreadable.setdefault(ids[int(row)], "cannot be read as an image")
        return np.load(target, mmap_mode="r")

    def _decode(self, ids: list[str], size: int, target: Path, broken: Path) -> None:
        def read(id_: str) -> np.ndarray | None:
            try:
                return OnDemand([self.file(id_)], size)[[0]][0]
            except READING:
                return None

        rows, black = [], np.zeros((size, size, 3), dtype=np.uint8)
        with _atomic(target) as stream, ThreadPoolExecutor(os.cpu_count()) as threads:
            header = {"descr": "|u1", "fortran_order": False, "shape": (len(ids), size, size, 3)}
            np.lib.format.write_array_header_1_0(stream, header)
            for start in range(0, len(ids), CHUNK):
                self.report(start, len(ids))
                for i, image in enumerate(
                    threads.map(read_collection, ids[start : start + CHUNK]), start
                ):
                    rows += [] if image is not None else [i]
                    stream.write((black if image is None else image).tobytes())
            broken.write_text(" ".join(map(str, rows)), encoding="utf-8")

    def picture(self, id_: str) -> tuple[bytes, str]:
        """An image for the screen and its format, png or jpeg; scaled down once, then from the cache.

        Raises:
            LabelError: the file cannot be read; it is in `unreadable` from then on.
        """
        key = hashlib.sha256(
            f"{self.file(id_).absolute()}\n{self.stamp(id_)}".encode()
        ).hexdigest()[:32]
        for kind in ("png", "jpeg"):
            with_suffix = cache_folder() / "pictures" / f"{key}.{kind}"
            if with_suffix.exists():
                return with_suffix.read_bytes(), kind
        try:
            content, kind = _scaled(self.file(id_))
        except READING as error:
            self.unreadable[id_] = "cannot be read as an image"
            raise LabelError(
                f"{id_} cannot be read as an image ({type(error).__name__}); it is left out"
            ) from error
        with _atomic(cache_folder() / "pictures" / f"{key}.{kind}") as stream:
            stream.write(content)
        return content, kind


def read_collection(
    source: str | Path,
    classes: list[str],
    check: dict[str, str] | str | Path | None = None,
    column: str | None = None,
    **described,
) -> Collection:
    """The images of a folder, or the rows of a csv, tsv or parquet file with a column of texts or of image paths.

    Args:
        check: the check set, id -> class or a csv with the columns id and label; [] or None: there is none.
        column: which one holds the texts or paths; None: guessed by its name.
        described: further settings of the `Description`: image_size, max_tokens ...
    Raises:
        LabelError: nothing there, classes that cannot be told apart, ids that are not unique, a check set that does not fit.
    """
    source = Path(source).expanduser()
    if len(set(classes)) < max(2, len(classes)) or not all(
        isinstance(c, str) and c.strip() for c in classes
    ):
        raise LabelError(f"classes must be two or more names, each once; got {classes}")
    if not source.exists():
        raise LabelError(
            f"{source} does not exist; give a folder of images, or a csv, tsv or parquet file"
        )
    frame, root = (
        (_images_of(source), source) if source.is_dir() else (_table(source, column), source.parent)
    )
    odd = [
        id_ for id_ in frame["id"] if not _is_utf8(id_)
    ]  # could not be written to the label file
    frame = frame[~frame["id"].isin(odd)]
    check = dict(check) if isinstance(check, dict) else _check_set(Path(check)) if check else {}
    known = set(frame["id"])
    for id_, label in check.items():
        if id_ not in known:
            raise LabelError(
                f"check set: {id_!r} is not in {source.name}; its ids look like {frame['id'].iloc[0]!r}"
            )
        if label not in classes:
            raise LabelError(f"check set: {unknown('class', label, classes)}")
    if len(check) == len(frame):
        raise LabelError(
            f"check set: it holds all {len(frame)} items of {source.name}; nothing is left to label"
        )
    modality = "text" if "text" in frame else "image"
    found = Collection(
        source, root, frame, check, Description(source.stem, list(classes), modality, **described)
    )
    found.unreadable.update({ascii(id_): "its name is no valid UTF-8" for id_ in odd})
    return found


def _is_utf8(name: str) -> bool:
    try:
        return bool(name.encode())
    except UnicodeEncodeError:
        return False


def _images_of(folder: Path) -> pd.DataFrame:
    files = list(_files(folder))
    found = sorted(path for path in files if path.lower().endswith(IMAGES))
    if not found:
        kinds = Counter(os.path.splitext(path)[1].lower() or "no extension" for path in files)
        listed = ", ".join(f"{n} x {kind}" for kind, n in kinds.most_common(5))
        raise LabelError(
            f"{folder} holds no images, only {listed or 'nothing'}; images end in {', '.join(IMAGES)}"
        )
    return pd.DataFrame(
        {"id": found, "path": found}, dtype=object
    )  # a name may be no UTF-8, which pandas' str refuses


def _files(folder: Path) -> Iterator[str]:
    """Paths below the folder, with slashes; links are followed, hidden names left out."""
    seen = set()
    for parent, names, files in os.walk(folder, followlinks=True):
        names[:] = sorted(
            name
            for name in names
            if not name.startswith(".") and os.path.realpath(f"{parent}/{name}") not in seen
        )
        seen.update(
            os.path.realpath(f"{parent}/{name}") for name in names
        )  # a link to a parent would never end
        for name in files:
            if not name.startswith("."):
                yield Path(parent, name).relative_to(folder).as_posix()


def _table(file: Path, column: str | None) -> pd.DataFrame:
    frame = read_table(file)
    names = [column] if column else [*GUESSES["path"], *GUESSES["text"]]
    found = next(
        (name for name in names if name in frame),
        frame.columns[0] if len(frame.columns) == 1 else None,
    )
    if found is None:
        what = (
            unknown("column", column, list(frame))
            if column
            else f"which column holds the texts? It has {', '.join(frame)}"
        )
        raise LabelError(f"{file.name}: {what}")
    is_path = found in GUESSES["path"] or frame[found].str.lower().str.endswith(IMAGES).all()
    ids = frame[found] if is_path else frame["id"] if "id" in frame else frame.index.astype(str)
    frame = pd.DataFrame({"id": ids, "path" if is_path else "text": frame[found]})
    twice = frame["id"][frame["id"].duplicated() | (frame["id"] == "")]
    if len(twice):
        raise LabelError(
            f"{file.name}: ids must be there and unique; {len(twice)} are not, first {twice.iloc[0]!r} in row "
            f"{twice.index[0]}"
        )
    return frame


def read_table(file: Path) -> pd.DataFrame:
    """A csv, tsv or parquet as text, "" where nothing is.

    Raises:
        LabelError: it cannot be read, or has no rows.
    """
    try:
        if file.suffix.lower() == ".parquet":
            frame = pd.read_parquet(file).astype(object).fillna("").astype(str)
        else:
            frame = pd.read_csv(
                file,
                dtype=str,
                keep_default_na=False,
                sep="\t" if file.suffix.lower() == ".tsv" else ",",
            )
    except (ValueError, OSError) as error:
        raise LabelError(
            f"{file} cannot be read: {' '.join(str(error).split())}; give a csv, tsv or parquet file"
        ) from error
    if frame.empty:
        raise LabelError(f"{file} has no rows")
    return frame.reset_index(drop=True)


def _check_set(file: Path) -> dict[str, str]:
    frame = read_table(file)
    for column in ("id", "label"):
        if column not in frame:
            raise LabelError(
                f"check set {file.name}: column {column!r} missing; it has {', '.join(frame)}"
            )
    return dict(zip(frame["id"], frame["label"], strict=True))


def _first_of(ids: Iterable[str], key: Callable[[str], str]) -> dict[str, str]:
    first: dict[str, str] = {}
    found = {id_: first.setdefault(key(id_), id_) for id_ in ids}
    return {id_: original for id_, original in found.items() if id_ != original}


def _hash(file: Path, n_bytes: int = -1) -> str:
    with open(file, "rb") as stream:
        if n_bytes < 0:
            return hashlib.file_digest(stream, "sha256").hexdigest()[:16]
        return hashlib.sha256(stream.read(n_bytes)).hexdigest()[:16]


def _scaled(file: Path) -> tuple[bytes, str]:
    """Upright, no longer than SHOWN px; png where the original is small, lest pixels blur."""
    with Image.open(file) as image:
        is_small = max(image.size) <= SHOWN // 2
        image.draft(
            "RGB", (SHOWN, SHOWN)
        )  # a large jpeg is decoded at a fraction of its size, ten times as fast
        image = ImageOps.exif_transpose(image).convert("RGB")
        image.thumbnail((SHOWN, SHOWN))
    stream = io.BytesIO()
    kind = "png" if is_small else "jpeg"
    image.save(stream, kind, **({} if is_small else {"quality": 88}))
    return stream.getvalue(), kind


@contextmanager
def _atomic(target: Path) -> Iterator[io.BufferedWriter]:
    """Write a whole file or none: what a crash leaves never carries the file's name.

    Raises:
        LabelError: no space, or no permission.
    """
    partial = target.with_name(f"{target.name}.{os.getpid()}.{get_ident()}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, "wb") as stream:
            yield stream
        os.replace(partial, target)
    except OSError as error:
        raise LabelError(
            f"cannot write {target.parent}: {error.strerror}; free some space or make it writable"
        ) from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
