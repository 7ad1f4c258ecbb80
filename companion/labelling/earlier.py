"""Sessions of earlier versions: a labels.csv that counts, and beside it seen.jsonl.

They knew a text without an id by the number of its row, which another row above it changes.
"""

from dataclasses import replace
from pathlib import Path

from alpt_lib.errors import LabelError
from alpt_lib.files import write_whole
from companion.labelling.items import content_id
from companion.labelling.records import Records, kept_beside
from companion.labelling.spreadsheet import Label, parsed, rendered

Seen = dict[str, list[dict[str, str]]]


def of_earlier_version(folder: Path, by_content: bool, notes: list[str]) -> list[Label]:
    """The rows of a labels.csv without a told.jsonl, with the content that each was given to.

    Args:
        by_content: texts are known by their content now.
    Raises:
        LabelError: no label file, or it cannot be told which text a label was given to.
    """
    file = folder / "labels.csv"
    if not file.exists():
        return []
    labels, unread = parsed(file.read_bytes())
    if unread and not labels:
        raise LabelError(
            f"{file} is no label file, first {unread[0][:60]!r}; give another folder, or import "
            "the file"
        )
    seen = _seen(folder / "seen.jsonl", notes)
    if by_content:
        names = _names_by_content(file, labels, seen)
        if any(row.id != names[row.id] for row in labels):
            notes.append(
                f"{len(names)} labels of an earlier version, which knew texts by their row, now "
                f"belong to the texts; the file of then is kept as {kept_beside(file)}"
            )
            labels = [replace(row, id=names[row.id]) for row in labels]
            write_whole(file, rendered(labels))
    given_to = {id_: records[-1] for id_, records in seen.items()}
    return [_with_content(row, given_to) for row in labels]


def _seen(file: Path, notes: list[str]) -> Seen:
    """The contents that each item had when it was labelled, as far as they are known."""
    seen: Seen = {}
    if file.exists():
        for record in Records(file, dict[str, str], notes).rows:
            seen.setdefault(record["id"], []).append(record)
    return seen


def _names_by_content(file: Path, labels: list[Label], seen: Seen) -> dict[str, str]:
    """Row number -> the id of the text that was labelled, where that is certain."""
    names: dict[str, str] = {}
    unclear = []
    for id_ in {row.id: None for row in labels}:
        hashes = {record["hash"] for record in seen.get(id_, [])}
        if not id_.isdigit():
            names[id_] = id_
        elif len(hashes) == 1:
            names[id_] = content_id(*hashes)
        else:
            unclear.append(id_)
    if unclear:
        raise LabelError(
            f"{file} is of an earlier version, which knew texts by their row; which text was "
            f"labelled is not clear for {len(unclear)}, first row {unclear[0]}: give the table a "
            "column id with the row numbers of then, or give another folder"
        )
    return names


def _with_content(row: Label, given_to: dict[str, dict[str, str]]) -> Label:
    record = given_to.get(row.id)
    return replace(row, stamp=record["stamp"], hash=record["hash"]) if record else row
