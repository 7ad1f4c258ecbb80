"""The files of a labelling session.

    told.jsonl   every decision, with the content it was given to: this is what counts
    labels.csv   the same for people and spreadsheets; what they change in it counts from then on
    asked.jsonl  what was asked: a queue a line, the last one counts
    fits.jsonl   how each training went, and its accuracy on the check set

A label is a class, or one of three reserved words: CANNOT_TELL (never asked again, not trained
on), SKIPPED (asked again in a later batch), and the empty UNDONE (as if never labelled). What
cannot be read is first kept beside its file, as NAME.damaged-1.
"""

import os
from collections import Counter
from collections.abc import Container, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from alpt_lib.errors import LabelError, unknown
from alpt_lib.files import locked, one_line_errors, write_whole
from companion.labelling.earlier import of_earlier_version
from companion.labelling.records import REMEDY, Records, kept_beside, look, noted, now
from companion.labelling.spreadsheet import Label, as_line, parsed, rendered

CANNOT_TELL = "can't tell"
SKIPPED = "skipped"
UNDONE = ""
RESERVED = (CANNOT_TELL, SKIPPED, UNDONE)


class Labels:
    """What was told, decision by decision; of each item the last one counts.

    Args:
        ids: of the items. classes: what a label may be, beside the reserved words.
        by_content: items are known by their content; earlier versions knew them by row number.
        notes: told what was found in the files.
    Attributes:
        current: id -> its last decision. at: id -> the number of that.
    """

    def __init__(
        self,
        folder: Path,
        ids: Container[str],
        classes: list[str],
        by_content: bool,
        notes: list[str],
    ):
        self.folder = folder
        self.file = folder / "labels.csv"
        self.current: dict[str, Label] = {}
        self.at: dict[str, int] = {}
        self._ids = ids
        self._classes = classes
        self._notes = notes
        self._left: tuple[int, ...] = ()
        self._told = Records(folder / "told.jsonl", Label, notes)
        with one_line_errors(self.file, LabelError, REMEDY):
            older = [] if self.rows else of_earlier_version(folder, by_content, notes)
            self._require_classes(older or self.rows)
            self._told.append(*older)
            for number, row in enumerate(self.rows):
                self._count(number, row)
            self._match_file()

    @property
    def rows(self) -> list[Label]:
        """Decisions in their order."""
        return self._told.rows

    def append(self, label: Label) -> None:
        """Take a decision; it is on the disk when this returns."""
        with one_line_errors(self.file, LabelError, REMEDY):
            if look(self.file) != self._left:
                self._match_file()
        self._tell(label)
        try:
            with open(self.file, "a", encoding="utf-8", newline="") as stream:
                stream.write(as_line(label))
            self._left = look(self.file)
        except OSError as error:
            self._left = ()
            self._notes.append(
                f"labels.csv cannot be written ({error.strerror}); the labels are in told.jsonl"
            )

    def label(self, id_: str) -> str:
        """What counts for an item now: a class, CANNOT_TELL, SKIPPED or UNDONE."""
        row = self.current.get(id_)
        return row.label if row else UNDONE

    def _tell(self, label: Label) -> None:
        self._told.append(label)
        self._count(len(self.rows) - 1, label)

    def _count(self, number: int, label: Label) -> None:
        self.at[label.id] = number
        self.current[label.id] = label

    def _require_classes(self, rows: list[Label]) -> None:
        for row in {row.id: row for row in rows}.values():
            if row.label not in (*self._classes, *RESERVED):
                raise LabelError(
                    f"{self.folder} has labels of another class: "
                    f"{unknown('class', row.label, self._classes)}; name it as well, or give "
                    "another folder"
                )

    # --- labels.csv, which others may change

    def _match_file(self) -> None:
        """Bring labels.csv and what was told together; nothing of either is lost."""
        content = self.file.read_bytes() if self.file.exists() else b""
        told = rendered(self.rows).encode()
        if content != told:
            if not told.startswith(content):
                self._notes.append(
                    "labels.csv was changed elsewhere; as it was found it is kept as "
                    f"{kept_beside(self.file)}"
                )
            self._take_edits(*parsed(content))
            write_whole(self.file, rendered(self.rows))
        self._left = look(self.file)

    def _take_edits(self, shown: list[Label], unread: list[str]) -> None:
        """Take what labels.csv shows and nobody told; name what it does not show.

        As ever, the last row of an item counts.
        """
        told = Counter((row.id, row.label) for row in self.rows)
        rows = list(map(self._upright, shown))
        last = {row.id: number for number, row in enumerate(rows)}
        by_hand: list[Label] = []
        others = [repr(line[:40]) for line in unread]
        for number, row in enumerate(rows):
            is_known = row.id in self._ids and row.label in (*self._classes, *RESERVED)
            if told[row.id, row.label]:
                told[row.id, row.label] -= 1
            elif is_known and row.label == self.label(row.id):
                continue
            elif is_known and number == last[row.id]:
                by_hand.append(row)
            else:
                others.append(f"{row.id} {row.label!r}")
        missing = {id_ for (id_, _), n in told.items() if n} - {row.id for row in by_hand}
        edits = [f"{row.id} {row.label!r}" for row in by_hand]
        self._notes += noted("labels that labels.csv shows and nobody told count now", edits)
        self._notes += noted("decisions missing in labels.csv are back", sorted(missing))
        self._notes += noted("lines of labels.csv that do not count or hold no label", others)
        for row in by_hand:
            earlier = self.current.get(row.id, row)
            self._tell(replace(row, when=now(), stamp=earlier.stamp, hash=earlier.hash))

    def _upright(self, row: Label) -> Label:
        """A row made by hand may have its label first."""
        if row.label in self._ids and row.id in self._classes:
            return replace(row, id=row.label, label=row.id)
        return row


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
