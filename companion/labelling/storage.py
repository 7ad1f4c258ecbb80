"""The files of a labelling session: they only grow, and each record is on the disk at once.

    labels.csv   id, label, who, when, round, score; one row a decision, the last of an id counts
    asked.jsonl  what was asked: a queue a line (its round, its items, how many rows labels.csv had)
    seen.jsonl   the content that each label was given to, to notice a file that changed
    fits.jsonl   how each training went, and its accuracy on the check set

A label is a class, or one of three reserved words: CANNOT_TELL (never asked again, not trained
on), SKIPPED (asked again in a later batch), and the empty UNDONE (as if never labelled).
"""

import csv
import io
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from alpt_lib.errors import LabelError
from alpt_lib.files import append_durably, locked, one_line_errors

CANNOT_TELL = "can't tell"
SKIPPED = "skipped"
UNDONE = ""
RESERVED = (CANNOT_TELL, SKIPPED, UNDONE)
REMEDY = (
    "what was labelled before is kept: make the folder writable or free some space, or give "
    "another folder"
)


@dataclass(frozen=True)
class Label:
    """One row of labels.csv."""

    id: str
    label: str
    who: str = ""
    when: str = ""  # UTC
    round: int = 0  # the round that first trains on it; 0: before any model was asked
    score: float | None = None  # acquisition score; None: asked at random, or not asked at all


COLUMNS = [field.name for field in fields(Label)]


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
        with one_line_errors(file, LabelError, REMEDY):
            file.touch()
            content = file.read_bytes()
            kept = _whole_records(content) if is_csv else content.rfind(b"\n") + 1
            self.torn = content[kept:].decode(errors="replace")
            if self.torn:
                os.truncate(file, kept)
        self.text = content[:kept].decode(errors="replace")

    def append(self, record: str) -> None:
        """Add a record, which ends in a line end."""
        with one_line_errors(self.file, LabelError, REMEDY):
            append_durably(self.file, record)

    def add(self, record: dict[str, Any]) -> None:
        """Add a record of a file with one json value a line."""
        # ASCII: a line end of whatever kind in an id is no line end in the file
        self.append(json.dumps(record) + "\n")

    def records(self) -> list[Any]:
        """The records of a file with one json value a line."""
        records = []
        for number, line in enumerate(self.text.splitlines(), 1):
            try:
                records.append(json.loads(line))
            except ValueError as error:
                raise LabelError(
                    f"{self.file}: line {number} is damaged: {line[:60]!r}; remove it"
                ) from error
        return records


def _whole_records(content: bytes) -> int:
    """Length up to the last line end that is not within quotes."""
    end = 0
    start = 0
    is_quoted = False
    while (stop := content.find(b"\n", start)) >= 0:
        is_quoted ^= content.count(b'"', start, stop) % 2 == 1
        start = stop + 1
        end = end if is_quoted else start
    return end


class Labels:
    """labels.csv: its rows as they were written, and the one of each id that counts.

    Attributes:
        rows: decisions in their order. current: id -> its last one. at: id -> the number of that.
    """

    def __init__(self, file: Path):
        self.lines = Lines(file, is_csv=True)
        self.rows = _parse(self.lines.text, file)
        if not self.lines.text:
            self.lines.append(",".join(COLUMNS) + "\n")
        self.current = {row.id: row for row in self.rows}
        self.at = {row.id: number for number, row in enumerate(self.rows)}

    def append(self, label: Label) -> None:
        score = "" if label.score is None else f"{label.score:.6g}"
        self.lines.append(_csv_line([*astuple(label)[:-1], score]))
        self.at[label.id] = len(self.rows)
        self.rows.append(label)
        self.current[label.id] = label

    def label(self, id_: str) -> str:
        """What counts for an item now: a class, CANNOT_TELL, SKIPPED or UNDONE."""
        row = self.current.get(id_)
        return row.label if row else UNDONE


def _csv_line(values: list[Any]) -> str:
    stream = io.StringIO()
    # Python 3.11 leaves \r bare
    has_return = "\r" in "".join(map(str, values))
    quoting = csv.QUOTE_ALL if has_return else csv.QUOTE_MINIMAL
    csv.writer(stream, lineterminator="\n", quoting=quoting).writerow(values)
    return stream.getvalue()


def _parse(text: str, file: Path) -> list[Label]:
    rows = list(csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline="")))
    if rows and rows[0] != COLUMNS:
        raise LabelError(
            f"{file} is no label file: its columns are {', '.join(rows[0])}, not "
            f"{', '.join(COLUMNS)}; give another folder, or import the file"
        )
    labels = []
    for number, row in enumerate(rows[1:], 2):
        try:
            id_, label, who, when, round_, score = row
            asked = float(score) if score else None
            labels.append(Label(id_, label, who, when, int(round_ or 0), asked))
        except ValueError as error:
            raise LabelError(
                f"{file}: record {number} is no label: {row}; mend or remove it"
            ) from error
    return labels


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """A folder of labels for this process alone, also if it dies, however it dies.

    Raises:
        LabelError: another process labels into it, or it cannot be written.
    """
    lock = folder / "lock"
    with one_line_errors(folder, LabelError, REMEDY):
        folder.mkdir(parents=True, exist_ok=True)
        lock.touch()
    with locked(lock, wait=False) as is_ours:
        if not is_ours:
            owner = lock.read_text(encoding="utf-8") or "unknown"
            raise LabelError(
                f"{folder} is being labelled by another process ({owner}): shut that notebook's "
                "kernel down, or give another folder and import its labels later"
            )
        with one_line_errors(lock, LabelError, REMEDY):
            lock.write_text(f"process {os.getpid()}", encoding="utf-8")
        yield
