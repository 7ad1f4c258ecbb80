"""The one reader of tables (csv, tsv, parquet), as frames of text.

A table is read as its writer meant it, or refused. What is not plain is said in `attrs["notes"]`.
"""

import csv
import gzip
import io
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from alpt_lib import formulas
from alpt_lib.errors import DataError

SEPARATORS = {",": "comma", "\t": "tab", ";": "semicolon", "|": "bar"}
MARKS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
OTHERS = (".xlsx", ".xls", ".ods", ".json", ".jsonl")
INDEX = "__index_level_0__"  # what pandas adds to a parquet
ROWS_AT_ONCE = 20_000
REMEDY = "put such texts in quotes, and double the quotes within them"
Span = tuple[int, int, list[str]]  # a record of several lines: the first of them, the last, fields


def read_table(file: Path, is_guarded: bool = True) -> pd.DataFrame:
    """A csv, tsv (either may be .gz) or parquet file as text, "" where nothing is.

    Args:
        is_guarded: take off the apostrophe that our exports put before what a spreadsheet would
            run, in a csv; False: each cell as it is.
    Returns:
        one row a record; `attrs["notes"]` says, in words, what was not plain: the encoding, the
        separator, records of several lines, empty lines left out.
    Raises:
        DataError: it cannot be read, has no rows, or a record does not fit its header.
    """
    notes: list[str] = []
    try:
        if file.suffix.lower() in OTHERS:
            raise DataError("it is another kind of file; save it as csv, in UTF-8")
        is_parquet = file.suffix.lower() == ".parquet"
        frame = _parquet(file, notes) if is_parquet else _text_table(file, notes)
        if is_guarded and not is_parquet:
            frame = _without_guards(frame, notes)
    except (OSError, ValueError, pa.ArrowException) as error:
        advice = "" if isinstance(error, DataError) else "; give a csv, tsv or parquet file"
        raise DataError(f"{file} cannot be read: {error}{advice}") from error
    if frame.empty:
        raise DataError(f"{file} has no rows")
    frame.attrs["notes"] = [f"{file.name}: {note}" for note in notes]
    return frame


def _without_guards(frame: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """The cells without the apostrophe that keeps a spreadsheet from running them."""
    guarded: list[str] = []
    for column in frame:
        # most columns have none
        if frame[column].str.startswith("'").any():
            guarded += filter(formulas.is_guarded, frame[column])
            frame[column] = frame[column].map(formulas.unguarded)
    if guarded:
        notes.append(
            f"{len(guarded)} cells without the apostrophe that keeps a spreadsheet from running "
            f"them, first {guarded[0][:40]!r}"
        )
    return frame


def _parquet(file: Path, notes: list[str]) -> pd.DataFrame:
    opened = parquet.ParquetFile(file)
    schema = opened.schema_arrow
    names = [field.name for field in schema if is_plain(field.type)]
    others = sorted(set(schema.names) - set(names))
    if others:
        notes.append(f"columns left out, for they hold no plain values: {', '.join(others)}")
    if len(set(names)) < len(names):
        raise DataError(f"a column appears twice; it has {', '.join(names)}")
    table = opened.read(columns=names)
    columns = {name: as_text(table.column(name)) for name in names if name != INDEX}
    return pd.DataFrame(columns, dtype="str")


def is_plain(kind: pa.DataType) -> bool:
    """Whether values of an arrow type are words or numbers: no lists, no bytes, no pictures."""
    return not (pa.types.is_nested(kind) or "binary" in str(kind))


def as_text(values: pa.ChunkedArray | pa.Array) -> list[str]:
    """Values as text, "" where none is; whole numbers stay so, though a gap made them floats."""

    def word(value: Any) -> str:
        if value is None or value != value:
            return ""
        is_whole = isinstance(value, float) and value.is_integer()
        return str(int(value)) if is_whole else str(value)

    return [word(value) for value in values.to_pylist()]


def _text_table(file: Path, notes: list[str]) -> pd.DataFrame:
    """A csv or tsv by the first separator, of those in its header, that fits all its records."""
    encoding = _encoding(file, notes)
    with _opened(file, encoding) as stream:
        first = stream.readline()
    usual = "\t" if ".tsv" in file.name.lower() else ","
    tells = re.fullmatch(r"sep=(.)\s*", first)
    if tells:
        usual = tells[1]
        notes.append(f"separator {usual!r}, as its first line says")
    faults = []
    dialects = [(usual, csv.QUOTE_MINIMAL)] if tells else _dialects(first, usual)
    for separator, quoting in dialects:
        said = []
        if separator != usual:
            said.append(f"read with the separator {SEPARATORS[separator]}")
        if quoting == csv.QUOTE_NONE:
            said.append("quotes are taken as parts of the texts, for else they do not fit")
        try:
            with _opened(file, encoding) as stream:
                if tells:
                    stream.readline()
                frame = _records(stream, separator, quoting, said)
            notes += said
            return frame
        except DataError as fault:
            faults.append(fault)
    if first.startswith("#"):
        raise DataError("its first line is a comment: delete what stands above the header")
    raise faults[0]


def _dialects(header: str, usual: str) -> list[tuple[str, Any]]:
    """Separators to try and how quotes are read: the usual one first, then others in the header."""
    ordered = sorted(SEPARATORS, key=lambda separator: separator != usual)
    separators = [separator for separator in ordered if separator in header] or [usual]
    dialects: list[tuple[str, Any]] = [(separator, csv.QUOTE_MINIMAL) for separator in separators]
    if "\t" in separators and '"' not in header:
        # in a tsv, quotes are often parts of the texts, but not where the header is quoted
        dialects.insert(separators.index("\t") + 1, ("\t", csv.QUOTE_NONE))
    return dialects


def _encoding(file: Path, notes: list[str]) -> str:
    """What a byte-order mark tells, else UTF-8, else the encoding of Windows in the West."""
    with _opened(file) as stream:
        head = stream.read(100)
    marked = [name for mark, name in MARKS.items() if head.startswith(mark)]
    if not marked and b"\0" in head:
        raise DataError("it is no text, or UTF-16 without its mark; save it as UTF-8")
    for name in marked or ("utf-8", "cp1252"):
        try:
            with _opened(file, name) as stream:
                odd = _first_odd_word(stream)
        except UnicodeDecodeError:
            continue
        if name != "utf-8":
            example = f", so that it has {odd!r}" if odd else ""
            remedy = "; if that is wrong, save it as UTF-8" if odd and name == "cp1252" else ""
            notes.append(f"read as {name}{example}{remedy}")
        return name
    raise DataError("it is no text in UTF-8, UTF-16 or cp1252; save it as UTF-8")


def _first_odd_word(stream: io.TextIOBase) -> str:
    """Read a text to its end; the first of its words that is not plain ASCII."""
    odd = ""
    while chunk := stream.read(1 << 20):
        if not odd and not chunk.isascii():
            words = re.split(r"[\s,;|]+", chunk)
            # what is not ASCII may be a kind of space, which no word holds
            odd = next((word for word in words if not word.isascii()), "")[:30]
    return odd


@contextmanager
def _opened(file: Path, encoding: str = "") -> Iterator[Any]:
    """A file, unpacked if it is a .gz: its bytes, or its text with the line ends that it has."""
    opener: Any = gzip.open if file.suffix.lower() == ".gz" else open
    with opener(file, "rb") as stream:
        yield io.TextIOWrapper(stream, encoding, newline="") if encoding else stream


def _records(stream: Any, separator: str, quoting: Any, notes: list[str]) -> pd.DataFrame:
    csv.field_size_limit(1 << 30)
    reader = csv.reader(stream, delimiter=separator, quoting=quoting, strict=True)
    parts = []
    spans: list[Span] = []
    empty: list[int] = []
    try:
        names = _unique(next(reader, []), notes)
        rows = _checked(reader, names, spans, empty)
        while batch := list(islice(rows, ROWS_AT_ONCE)):
            parts.append(pd.DataFrame(batch, columns=names, dtype="str"))
    except csv.Error as error:
        raise DataError(f"line {reader.line_num}: {error}; {REMEDY}") from error
    if empty:
        notes.append(f"{len(empty)} empty lines left out")
    if spans:
        first, last, _ = spans[0]
        notes.append(f"{len(spans)} records of several lines, the first in lines {first} to {last}")
    frame = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
    _refuse_swallowed(frame, spans, separator)
    return frame


def _unique(names: list[str], notes: list[str]) -> list[str]:
    """Column names as pandas gives them: `Unnamed: 2` where none is, `text.1` for a second one."""
    unique = []
    for i, given in enumerate(names):
        name = given or f"Unnamed: {i}"
        if name in names[:i]:
            name = f"{given}.{names[:i].count(given)}"
            notes.append(f"column {given!r} appears twice; the later one is called {name!r}")
        unique.append(name)
    return unique


def _checked(
    reader: Any, names: list[str], spans: list[Span], empty: list[int]
) -> Iterator[list[str]]:
    """The records, each as long as the header; those of several lines and empty ones are noted."""
    line = reader.line_num
    for row in reader:
        begins, line = line + 1, reader.line_num
        if not any(row):
            empty.append(begins)
            continue
        if len(row) != len(names):
            raise DataError(
                f"line {begins} has {len(row)} fields, its header {len(names)} "
                f"({', '.join(names)}); {REMEDY}"
            )
        if line > begins:
            spans.append((begins, line, row))
        yield row


def _refuse_swallowed(frame: pd.DataFrame, spans: list[Span], separator: str) -> None:
    """Refuse a record that a stray quote made of many: it holds whole fields that others have."""
    suspects = [span for span in spans if _fields_within(span[2], separator)]
    values = [set(frame[name]) - {""} for name in frame] if suspects else []
    for first, last, row in suspects:
        if any(value in values[i] for i, value in _fields_within(row, separator)):
            raise DataError(
                f"lines {first} to {last} would be one record, though each looks like one: a quote "
                f"begins a text there; {REMEDY}"
            )


def _fields_within(row: list[str], separator: str) -> list[tuple[int, str]]:
    """Column and value of the fields that lie whole within the quotes of a longer one.

    [] unless each line of the record has as many fields as the record.
    """
    width = len(row)
    for i, field in enumerate(row):
        lines = [line.rstrip("\r").split(separator) for line in field.split("\n")]
        n_inner = len(lines) - 2
        expected = [width - i, *[width] * n_inner, i + 1]
        if [len(line) for line in lines] == expected:
            # cut at the quotes: the first field of the first line, the last of the last
            fields = list(enumerate(lines[0], i))[1:]
            for line in lines[1:]:
                fields += enumerate(line)
            return fields[:-1]
    return []


def with_names(frame: pd.DataFrame, wanted: Iterable[str]) -> pd.DataFrame:
    """The table with columns called as wanted where only case or spaces differ; notes say which.

    Args:
        wanted: names in lower case.
    """
    present = {name.strip().casefold(): name for name in reversed(frame.columns)}
    missing = [name for name in wanted if name in present and name not in frame.columns]
    renamed = {present[name]: name for name in missing}
    said = [f"column {old!r} is taken for {new!r}" for old, new in renamed.items()]
    frame = frame.rename(columns=renamed)
    frame.attrs["notes"] = [*frame.attrs.get("notes", []), *said]
    return frame
