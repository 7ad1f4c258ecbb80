"""The files of a labelling session: they only grow, and each record is on the disk before the next picture shows.

    labels.csv     id, label, who, when, round, score; one row a decision, the last row of an id counts

A label is a class, or one of three reserved words: CANNOT_TELL (never asked again, not trained on), SKIPPED (asked again in a
later batch), and the empty UNDONE (as if it had never been labelled).
"""

import csv
import fcntl
import io
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import astuple, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from companion.labelling.items import LabelError

CANNOT_TELL, SKIPPED, UNDONE = "can't tell", "skipped", ""

RESERVED = (CANNOT_TELL, SKIPPED, UNDONE)


@dataclass(frozen=True)
class Label:
    """One row of labels.csv."""

    id: str
    label: str
    who: str = ""
    when: str = ""  # UTC
    round: int = 0  # the round that first trains on it; 0: before any model was asked
    score: float | None = None  # acquisition score; None: asked at random, or not asked at all


COLUMNS = [f.name for f in fields(Label)]


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


class Lines:
    """A file that only grows, record by record; each is on the disk before `append` returns.

    What a crash left of a last record is cut off on opening: `torn` holds it.

    Args:
        is_csv: line ends within quotes are part of a record.
    Raises:
        LabelError: the file cannot be read or written.
    """

    def __init__(self, file: Path, is_csv: bool = False):
        self.file = file
        with said(file):
            file.touch()
            content = file.read_bytes()
            kept = _whole_records(content) if is_csv else content.rfind(b"\n") + 1
            self.torn = content[kept:].decode(errors="replace")
            if self.torn:
                os.truncate(file, kept)
        self.text = content[:kept].decode(errors="replace")

    def append(self, record: str) -> None:
        """Add a record, which ends in a line end."""
        with said(self.file), open(self.file, "ab") as stream:
            size = stream.seek(0, os.SEEK_END)
            try:
                stream.write(record.encode())
                stream.flush()
                os.fsync(stream.fileno())
            except (
                OSError
            ):  # a full disk took half of it: the next record must not be glued to that
                with suppress(OSError):
                    os.truncate(self.file, size)
                raise

    def records(self) -> list[Any]:
        """The records of a file with one json value a line."""
        found = []
        for number, line in enumerate(self.text.splitlines(), 1):
            try:
                found.append(json.loads(line))
            except ValueError as error:
                raise LabelError(
                    f"{self.file}: line {number} is damaged: {line[:60]!r}; remove it"
                ) from error
        return found


def _whole_records(content: bytes) -> int:
    """Length up to the last line end that is not within quotes; the line ends of a quoted id are part of it."""
    end, is_quoted, start = 0, False, 0
    while (stop := content.find(b"\n", start)) >= 0:
        is_quoted ^= content.count(b'"', start, stop) % 2 == 1
        start = stop + 1
        end = end if is_quoted else start
    return end


@contextmanager
def said(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise LabelError(
            f"cannot write {file}: {error.strerror}; what was labelled before is kept: make the folder writable or "
            "free some space, or give another folder"
        ) from error


class LabelFile:
    """labels.csv: its rows as they were written, and the one of each id that counts."""

    def __init__(self, file: Path):
        self.lines = Lines(file, is_csv=True)
        self.rows = _parse(self.lines.text, file)
        if not self.lines.text:
            self.lines.append(",".join(COLUMNS) + "\n")
        self.current = {row.id: row for row in self.rows}
        self.at = {row.id: i for i, row in enumerate(self.rows)}  # id -> number of its last row

    def append(self, label: Label) -> None:
        score = "" if label.score is None else f"{label.score:.6g}"
        self.lines.append(_csv_line([*astuple(label)[:-1], score]))
        self.at[label.id] = len(self.rows)
        self.rows.append(label)
        self.current[label.id] = label


def _csv_line(values: list[Any]) -> str:
    stream = io.StringIO()
    quoting = (
        csv.QUOTE_ALL if "\r" in "".join(map(str, values)) else csv.QUOTE_MINIMAL
    )  # Python 3.11 leaves \r bare
    csv.writer(stream, lineterminator="\n", quoting=quoting).writerow(values)
    return stream.getvalue()


def _parse(text: str, file: Path) -> list[Label]:
    rows = list(csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline="")))
    if rows and rows[0] != COLUMNS:
        raise LabelError(
            f"{file} is no label file: its columns are {', '.join(rows[0])}, not {', '.join(COLUMNS)}; give another "
            "folder, or import the file"
        )
    labels = []
    for number, row in enumerate(rows[1:], 2):
        try:
            id_, label, who, when, round_, score = row
            labels.append(
                Label(id_, label, who, when, int(round_ or 0), float(score) if score else None)
            )
        except ValueError as error:
            raise LabelError(
                f"{file}: record {number} is no label: {row}; mend or remove it"
            ) from error
    return labels


def hold(folder: Path) -> io.TextIOWrapper:
    """Lock a folder of labels for this process, until the returned file is closed or the process dies, however it dies.

    Raises:
        LabelError: another process labels into it, or it cannot be written.
    """
    with said(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = open(folder / "lock", "a+")  # noqa: SIM115 (the session closes it)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            owner = lock.read().strip() or "unknown"
            lock.close()
            raise LabelError(
                f"{folder} is being labelled by another process ({owner}): shut that notebook's kernel down, or "
                "give another folder and import its labels later"
            ) from None
        lock.truncate(0)
        lock.write(f"process {os.getpid()}")
        lock.flush()
    return lock
