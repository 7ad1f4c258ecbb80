"""Which item another tool means: by its id, its full path or its content, never by a guess."""

import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

# Label Studio keeps an uploaded file as /data/upload/PROJECT/HASH-NAME
UPLOAD = re.compile(r"/?data/upload/\d+/[0-9a-f]{8}-([^/]+)")
# and serves files that lie on its machine at this address
LOCAL = "/data/local-files/?d="
UNKNOWN = "not in"
SEVERAL = "ambiguous in"
CONFLICT = "one by id and another by content in"


@dataclass(frozen=True)
class Match:
    """The item that is meant; id "" where there is none, and why."""

    id: str
    name: str  # how it was called
    problem: str = ""


class Finder:
    """Finds the items of a collection.

    Args:
        content: id -> text, or path from `root`. root: folder of the images; None: texts.
    """

    def __init__(self, content: Mapping[str, str], root: Path | None):
        self.content = content
        self.root = root
        self._whole: dict[str, set[str]] = {}
        # a machine calls the folders above the images otherwise than another
        self._from_root: dict[str, set[str]] = {}
        self._uploaded: dict[str, set[str]] = {}
        for id_, value in content.items():
            if root is None:
                self._whole.setdefault(value, set()).add(id_)
                self._whole.setdefault(_one_space(value), set()).add(id_)
            else:
                self._add_path(id_, value, root.absolute())

    def _add_path(self, id_: str, path: str, root: Path) -> None:
        for name in (id_, path, f"{root.name}/{path}", os.path.normpath(os.path.join(root, path))):
            self._whole.setdefault(_plain(name), set()).add(id_)
        self._from_root.setdefault(_plain(f"{root.name}/{path}"), set()).add(id_)
        self._uploaded.setdefault(_as_uploaded(path), set()).add(id_)

    def find(self, ids: Iterable[str], contents: Iterable[str], beside: Path) -> Match:
        """The one item that has one of these ids and one of these contents.

        Args:
            ids, contents: what another tool says of it; both may be empty.
            beside: the folder from which a path may be meant.
        """
        named = list(filter(None, ids))
        values = list(filter(None, contents))
        name = next(iter([*named, *values]), "")
        by_id = {id_ for id_ in named if id_ in self.content}
        by_content: set[str] = set()
        for value in values:
            by_content |= self._by_content(value, beside)
        meant = by_id & by_content if by_id and by_content else by_id | by_content
        is_another_text = self.root is None and by_id and values and not by_content
        if is_another_text or (by_id and not meant):
            return Match("", name, CONFLICT)
        if not meant:
            return Match("", name, UNKNOWN)
        if len({self.content[id_] for id_ in meant}) > 1:
            return Match("", name, SEVERAL)
        return Match(
            min(meant, key=list(self.content).index) if len(meant) > 1 else meant.pop(), name
        )

    def _by_content(self, value: str, beside: Path) -> set[str]:
        """Items of this text, or of this path or address; none, one or several."""
        if self.root is None:
            texts = (value, _one_space(value))
            return next((self._whole[text] for text in texts if text in self._whole), set())
        upload = UPLOAD.search(value)
        if upload:
            return self._uploaded.get(_as_uploaded(unquote(upload[1])), set())
        ids: set[str] = set()
        for path in _meant(value):
            ids |= self._whole.get(_plain(path), set())
            ids |= self._whole.get(_plain(os.path.normpath(beside.absolute() / path)), set())
            parts = PurePosixPath(_plain(path)).parts
            for start in range(1, len(parts)):
                ids |= self._from_root.get("/".join(parts[start:]), set())
        return ids


def _meant(value: str) -> Iterator[str]:
    """What a path or address may stand for: with %20 for a blank, a host, a query, by Windows."""
    path = value.strip().replace("\\", "/").rpartition(LOCAL)[2]
    if "://" in path:
        path = path.partition("://")[2].partition("?")[0]
        # without the host or bucket
        yield unquote(path.partition("/")[2])
    yield path
    yield unquote(path)


def _plain(path: str) -> str:
    """A path with slashes and accents as others write them, from wherever it begins."""
    path = unicodedata.normalize("NFC", path.replace("\\", "/"))
    while path.startswith(("/", "./", "../")):
        path = path.partition("/")[2]
    return path


def _as_uploaded(path: str) -> str:
    """How Label Studio calls a file that was uploaded to it."""
    name = unicodedata.normalize("NFC", path.rpartition("/")[2])
    return re.sub(r"[^-\w.]", "", name.strip().replace(" ", "_"))


def _one_space(text: str) -> str:
    return " ".join(text.split())
