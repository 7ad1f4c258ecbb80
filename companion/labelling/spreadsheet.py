"""labels.csv as we write it, and as people and their spreadsheets leave it.

A cell that a spreadsheet would take for a formula has an apostrophe before it.
"""

import csv
import io
import re
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from dataclasses import dataclass, field
from typing import Any

from alpt_lib.formulas import guarded, number, unguarded

# lines that a record may span: an id may hold line ends
LONGEST = 50


@dataclass(frozen=True)
class Label:
    """One decision of a person."""

    id: str
    label: str
    who: str = ""
    when: str = ""  # UTC
    round: int = 0  # the round that first trains on it; 0: before any model was asked
    score: float | None = None  # acquisition score; None: asked at random, or not asked at all
    # the content it was given to, see `Collection.stamp` and `hash`; "": not known
    stamp: str = field(default="", compare=False)
    hash: str = field(default="", compare=False)


COLUMNS = ["id", "label", "who", "when", "round", "score"]


def rendered(labels: list[Label]) -> str:
    """labels.csv, the header included."""
    return line(COLUMNS) + "".join(as_line(label) for label in labels)


def as_line(label: Label) -> str:
    score = "" if label.score is None else f"{label.score:.6g}"
    return line([label.id, label.label, label.who, label.when, label.round, score])


def line(values: list[Any]) -> str:
    """A line of csv."""
    stream = io.StringIO()
    cells = [guarded(str(value)) for value in values]
    # Python 3.11 leaves \r bare
    has_return = "\r" in "".join(cells)
    quoting: Any = csv.QUOTE_ALL if has_return else csv.QUOTE_MINIMAL
    csv.writer(stream, lineterminator="\n", quoting=quoting).writerow(cells)
    return stream.getvalue()


def parsed(content: bytes) -> tuple[list[Label], list[str]]:
    """The labels in a file, and the lines that hold none; what can be read is read.

    Separator, order of columns, encoding and line ends may be a spreadsheet's. A line with a stray
    quote costs nothing but itself, at most.
    """
    lines = _lines(content)
    labels: list[Label] = []
    unread: list[str] = []
    separator = max(",;\t", key=lines[0].count) if lines else ","
    header = [cell.strip().lower() for cell in _cells(lines[0], separator)] if lines else []
    has_header = {"id", "label"} <= set(header)
    # without a header a record must be whole, so that no other table is taken for labels
    n_cells = 2 if has_header else len(COLUMNS)
    columns = header if has_header else COLUMNS
    at = int(has_header)
    while at < len(lines):
        label, n_lines = _label_at(lines, at, separator, columns, n_cells)
        if label is not None:
            labels.append(label)
        elif lines[at].strip(f"{separator} \r\n"):
            unread.append(lines[at])
        at += n_lines
    return labels, unread


def _lines(content: bytes) -> list[str]:
    """Lines with their ends, of whatever kind; a crash may have left NULs between them."""
    is_utf16 = content.startswith((BOM_UTF16_LE, BOM_UTF16_BE))
    try:
        text = content.decode("utf-16" if is_utf16 else "utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("cp1252", errors="replace")
    return re.findall(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+$", text.replace("\0", ""))


def _label_at(
    lines: list[str], at: int, separator: str, columns: list[str], n_cells: int
) -> tuple[Label | None, int]:
    """The label that begins in a line, and how many lines it takes; without one, 1 line."""
    for n_lines in range(1, LONGEST):
        record = "".join(lines[at : at + n_lines])
        label = _label(_cells(record, separator), columns, n_cells)
        if label is not None or record.count('"') % 2 == 0:
            break
    if label is not None:
        return label, n_lines
    without_quotes = _cells(lines[at].replace('"', ""), separator)
    return _label(without_quotes, columns, n_cells), 1


def _cells(record: str, separator: str) -> list[str]:
    """The cells of a record; none if it ends within quotes, or is more than one."""
    try:
        stream = io.StringIO(record, newline="")
        rows = list(csv.reader(stream, delimiter=separator, strict=True))
    except csv.Error:
        return []
    return rows[0] if len(rows) == 1 else []


def _label(cells: list[str], columns: list[str], n_cells: int) -> Label | None:
    """A record as a label, None if it is none; cells after `n_cells` may be missing."""
    row = dict(zip(columns, map(unguarded, cells), strict=False))
    is_short = len(cells) < len(columns)
    if len(cells) < n_cells or not row.get("id") or "label" not in row:
        return None
    if any(cells[len(columns) :]):
        return None
    # half a record may end in the middle of the label
    if re.search(r"[\r\n]", row["label"]) or (is_short and not row["label"]):
        return None
    round_ = number(row.get("round", "")) or 0.0
    score = number(row.get("score", ""))
    who = row.get("who", "")
    return Label(row["id"], row["label"], who, row.get("when", ""), int(round_), score)
