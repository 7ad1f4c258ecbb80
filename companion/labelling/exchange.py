"""Labels to and from other tools: csv or parquet, and Label Studio."""

import json
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from alpt_lib.errors import LabelError, unknown
from alpt_lib.files import one_line_errors, whole_file, write_whole
from alpt_lib.formulas import guarded
from alpt_lib.tables import read_table
from companion.labelling import label_studio
from companion.labelling.items import CHECK, Collection
from companion.labelling.matching import Match
from companion.labelling.records import noted
from companion.labelling.spreadsheet import COLUMNS, Label
from companion.labelling.storage import RESERVED, UNDONE

REMEDY = "make its folder writable or free some space"


def table(
    collection: Collection, labels: Mapping[str, Label], copies: bool = False
) -> pd.DataFrame:
    """What is labelled with a class, one item a row.

    Args:
        copies: also the items of equal content, with the label of the one that stands for them.
    Returns:
        path or text, label, id, who, when, round, score; with a check set also its items and a
        column `split`.
    """
    named = [label for label in labels.values() if label.label in collection.classes]
    pool = {label.id: label for label in named if label.id in collection.row}
    rows = [_as_row(collection, label, "pool") for label in pool.values()]
    for copy, first in collection.copies.items() if copies else ():
        if first in pool:
            rows.append(_as_row(collection, replace(pool[first], id=copy, score=None), "pool"))
    for id_ in collection.check_ids:
        rows.append(_as_row(collection, Label(id_, collection.check[id_]), CHECK))
    content = collection.description.content
    columns = [content, "label", *(name for name in COLUMNS if name != "label")]
    return pd.DataFrame(rows, columns=[*columns, "split"] if collection.check_ids else columns)


def _as_row(collection: Collection, label: Label, split: str) -> dict[str, Any]:
    row: dict[str, Any] = {name: getattr(label, name) for name in COLUMNS}
    row["split"] = split
    if collection.is_text:
        return {**row, "text": collection.content[label.id]}
    return {**row, "path": str(collection.file(label.id).absolute())}


def write_table(labelled: pd.DataFrame, file: Path) -> Path:
    """A table as csv or parquet, its image paths relative to it; `your_dataset.py` takes both.

    In the csv, what a spreadsheet would execute has an apostrophe before it; the parquet has each
    text as it is.
    """
    if "path" in labelled:
        folder = file.absolute().parent
        paths = [os.path.relpath(path, folder) for path in labelled["path"]]
        labelled = labelled.assign(path=paths)
    with one_line_errors(file, LabelError, REMEDY):
        if file.suffix.lower() == ".parquet":
            with whole_file(file) as stream:
                labelled.to_parquet(stream, index=False)
            return file
        for name in labelled.columns.drop(["round", "score"]):
            labelled = labelled.assign(**{name: [guarded(cell) for cell in labelled[name]]})
        write_whole(file, labelled.to_csv(index=False, float_format="%.6g"))
    return file


def write_label_studio(collection: Collection, labels: Mapping[str, Label], file: Path) -> Path:
    """All items as Label Studio's JSON, to be imported there."""
    tasks = label_studio.tasks(collection, labels)
    with one_line_errors(file, LabelError, REMEDY):
        write_whole(file, json.dumps(tasks, indent=1, ensure_ascii=False) + "\n")
    return file


def read_labels(file: Path, collection: Collection) -> tuple[list[Label], list[str]]:
    """Labels made elsewhere: a table with the columns label and id, path or text, or an export of
    Label Studio as JSON, JSON-MIN or CSV.

    Returns:
        the labels, one an item, and notes on what was left out, with counts.
    Raises:
        LabelError: unknown or ambiguous items, unknown classes; says how many, and the first.
    """
    if file.suffix.lower() == ".json":
        return _from_answers(file, label_studio.answers_in(file), collection, [])
    frame = read_table(file)
    notes = list(frame.attrs.get("notes", []))
    rows = frame.to_dict("records")
    if label_studio.is_export(frame):
        # which has no apostrophes of ours
        rows = read_table(file, is_guarded=False).to_dict("records")
        answers = [label_studio.of_row(row) for row in rows]
        return _from_answers(file, answers, collection, notes)
    columns = [name for name in collection.content_columns if name in frame]
    if "label" not in frame or not (columns or "id" in frame):
        raise LabelError(f"{file}: labels need the columns id and label; it has {', '.join(frame)}")
    find = collection.finder.find
    matches = [
        find([row.get("id", "")], [row[name] for name in columns], file.parent) for row in rows
    ]
    # of several rows of an item, the last counts
    last: dict[str, Label] = {}
    for id_, row in zip(_checked_ids(file, matches, collection), rows, strict=True):
        last[id_] = Label(id_, row["label"], row.get("who", ""), row.get("when", ""))
    return _checked(file, list(last.values()), collection, notes)


def _from_answers(
    file: Path, answers: list[label_studio.Answer], collection: Collection, notes: list[str]
) -> tuple[list[Label], list[str]]:
    control, others = label_studio.control_of(answers, collection.classes)
    matches = []
    for answer in answers:
        data = {key: value for key, value in answer.data.items() if key != control}
        item = data.pop("item", "")
        matches.append(collection.finder.find([item], data.values(), file.parent))
    by_item: dict[str, list[label_studio.Answer]] = {}
    for id_, answer in zip(_checked_ids(file, matches, collection), answers, strict=True):
        by_item.setdefault(id_, []).append(answer)
    labels, further = label_studio.agreed(by_item, control)
    ignored = [name for name in others if name not in ("item", *collection.content_columns)]
    notes += noted(f"{control!r} is read for the labels; left out", ignored)
    return _checked(file, labels, collection, [*notes, *further])


def _checked_ids(file: Path, matches: list[Match], collection: Collection) -> list[str]:
    problems = Counter(match.problem for match in matches if match.problem)
    for problem, n in problems.items():
        first = next(match.name for match in matches if match.problem == problem)
        raise LabelError(
            f"{file.name}: {n} of {len(matches)} items are {problem} {collection.source.name}, "
            f"first {first!r}; ids there look like {collection.ids[0]!r}; nothing was imported"
        )
    return [match.id for match in matches]


def _checked(
    file: Path, labels: list[Label], collection: Collection, notes: list[str]
) -> tuple[list[Label], list[str]]:
    known = (*collection.classes, *RESERVED)
    taken = []
    held_out = []
    empty = []
    for label in labels:
        word = label.label
        if word not in known:
            raise LabelError(
                f"{file.name}: {unknown('class', word, collection.classes)}; nothing was imported"
            )
        if label.id in collection.check_ids:
            held_out.append(label.id)
        elif word == UNDONE:
            empty.append(label.id)
        else:
            taken.append(label)
    notes += noted("items of the check set, left out", held_out)
    notes += noted("items without a label, left out", empty)
    return taken, notes
