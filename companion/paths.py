"""Files as people name them: all below a folder, and the one that a path in a table means."""

import os
import re
import unicodedata
from collections.abc import Collection, Iterator
from itertools import islice
from pathlib import Path
from urllib.parse import unquote

from alpt_lib.errors import DataError

LOOKED_INTO = 1000  # folders, for a file that is not where it should be


def files_below(folder: Path, suffixes: Collection[str] = ()) -> list[str]:
    """Files below a folder, as paths from it with slashes, in the order of their parts.

    Links are followed, but not in a circle; hidden files and folders are left out.

    Args:
        suffixes: in lower case: files whose names end so, in any case; (): all files.
    """

    def below(at: str, above: tuple[str, ...]) -> Iterator[str]:
        real = os.path.realpath(at)
        if real in above:
            return
        for entry in os.scandir(at):
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                yield from below(entry.path, (*above, real))
            elif not suffixes or entry.name.lower().endswith(tuple(suffixes)):
                yield entry.path[len(top) :]

    top = os.path.join(folder, "")
    try:
        return sorted(below(top, ()), key=lambda path: path.split("/"))
    except OSError as error:
        where = error.filename.rstrip("/")
        raise DataError(f"{where} cannot be read: {error.strerror}") from error


def find_file(folder: Path, name: str) -> str | None:
    """The path from a folder under which a file is found, None if it is not.

    As it is written; else as it may be meant: by Windows, as an address (file://, %20), with
    accents put together otherwise, with spaces around it, with its suffix in another case.
    """
    return next((path for path in _spellings(name) if (folder / path).is_file()), None)


def why_missing(folder: Path, name: str) -> str:
    """What may be wrong with a path from a folder where no file is, and what to do."""
    if re.match(r"\s*(https?|s3|gs):/", name):
        return "a web address: download the images first"
    last = re.split(r"[/\\]", unquote(name.strip()))[-1]
    for top, _, files in islice(os.walk(folder), LOOKED_INTO):
        if last in files:
            path = os.path.relpath(os.path.join(top, last), folder)
            return f"there is {path!r}: write paths from the folder of the table"
    return "no such file"


def _spellings(name: str) -> Iterator[str]:
    yield name
    written = os.path.expanduser(name.strip().removeprefix("file://").replace("\\", "/"))
    for path in (written, unquote(written)):
        for form in ("NFC", "NFD"):
            stem, suffix = os.path.splitext(unicodedata.normalize(form, path))
            yield from (stem + suffix, stem + suffix.lower(), stem + suffix.upper())
