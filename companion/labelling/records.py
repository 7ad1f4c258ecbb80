"""A file of records that only grows; what somebody else does to it is seen, kept and said."""

import json
import shutil
from codecs import BOM_UTF8
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from alpt_lib.errors import LabelError, visible
from alpt_lib.files import append_durably, one_line_errors, write_whole

REMEDY = (
    "what was labelled before is kept: make the folder writable or free some space, or give "
    "another folder"
)


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def noted(what: str, names: list[str]) -> list[str]:
    """One line with a count and the first names; none where there are no names."""
    if not names:
        return []
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return [visible(f"{what} ({len(names)}): {', '.join(names[:3])}{more}")]


def kept_beside(file: Path) -> str:
    """Copy a file to the first free NAME.damaged-1, -2 ...; the name that it has there."""
    number = 1
    while (copy := file.with_name(f"{file.name}.damaged-{number}")).exists():
        number += 1
    shutil.copy2(file, copy)
    return copy.name


def look(file: Path) -> tuple[int, ...]:
    """What changes when somebody else writes a file or puts another in its place."""
    try:
        status = file.stat()
    except FileNotFoundError:
        return ()
    return (status.st_size, status.st_mtime_ns, status.st_ino)


class Records:
    """A file that only grows, one json value a line; each is on the disk before `append` returns.

    Args:
        kind: of what each line holds: a dataclass or dict. notes: told what could not be read.
    Raises:
        LabelError: the file cannot be read or written.
    """

    def __init__(self, file: Path, kind: Any, notes: list[str]):
        self.file = file
        self.rows: list[Any] = []
        self._kind = TypeAdapter(kind)
        self._notes = notes
        with one_line_errors(file, LabelError, REMEDY):
            content = file.read_bytes().removeprefix(BOM_UTF8) if file.exists() else b""
            damaged = [
                line for line in content.splitlines() if line.strip() and not self._reads(line)
            ]
            if damaged:
                shown = [repr(line[:40].decode(errors="replace")) for line in damaged]
                where = f"all of it is kept as {kept_beside(file)}"
                notes += noted(f"lines of {file.name} cannot be read, {where}", shown)
            if damaged or not content.endswith(b"\n"):
                write_whole(file, self._text())
            self._left = look(file)

    def _reads(self, line: bytes) -> bool:
        with suppress(ValueError):
            self.rows.append(self._kind.validate_json(line))
            return True
        return False

    def _text(self) -> str:
        return "".join(map(_json_line, self.rows))

    def append(self, *rows: Any) -> None:
        with one_line_errors(self.file, LabelError, REMEDY):
            if look(self.file) != self._left:
                self._restore()
            try:
                append_durably(self.file, "".join(map(_json_line, rows)))
            except OSError:
                # nothing of the record stays; if something does, the next one finds it
                if look(self.file)[:1] == self._left[:1]:
                    self._left = look(self.file)
                raise
            self._left = look(self.file)
        self.rows += rows

    def _restore(self) -> None:
        """Somebody else wrote or deleted the file: it becomes what it was."""
        where = (
            f"; as it was found it is kept as {kept_beside(self.file)}"
            if self.file.exists()
            else ""
        )
        self._notes.append(
            f"{self.file.name} was changed elsewhere while it was in use, and is whole again{where}"
        )
        write_whole(self.file, self._text())


def _json_line(row: Any) -> str:
    # ASCII: a line end of whatever kind in an id is no line end in the file
    return json.dumps(row if isinstance(row, dict) else asdict(row)) + "\n"
