"""Labels to and from other tools: csv, and Label Studio's JSON both ways."""

import json
import os
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote
from xml.sax.saxutils import quoteattr

import pandas as pd

from alpt_lib.errors import LabelError, unknown
from alpt_lib.files import one_line_errors, write_whole
from alpt_lib.tables import read_table
from companion.labelling.items import CHECK, PATH_COLUMNS, Collection
from companion.labelling.storage import CANNOT_TELL, RESERVED, Label

REMEDY = "make its folder writable or free some space"


def table(collection: Collection, labels: dict[str, Label], copies: bool = False) -> pd.DataFrame:
    """What is labelled with a class, one item a row.

    Args:
        copies: also the items of equal content, with the label of the one that stands for them.
    Returns:
        path or text, label, id, who, when, round, score; with a check set also its items and a
        column `split`.
    """
    named = [label for label in labels.values() if label.label in collection.classes]
    pool = {label.id: label for label in named if label.id in collection.row}
    rows = [{**_as_row(collection, label), "split": "pool"} for label in pool.values()]
    for copy, first in collection.copies.items() if copies else ():
        if first in pool:
            label = replace(pool[first], id=copy, score=None)
            rows.append({**_as_row(collection, label), "split": "pool"})
    for id_ in collection.check_ids:
        label = Label(id_, collection.check[id_])
        rows.append({**_as_row(collection, label), "split": CHECK})
    content = collection.description.content
    columns = [content, "label", "id", "who", "when", "round", "score"]
    if collection.check_ids:
        columns.append("split")
    return pd.DataFrame(rows, columns=columns)


def _as_row(collection: Collection, label: Label) -> dict[str, Any]:
    if collection.is_text:
        return {"text": collection.content[label.id], **asdict(label)}
    return {"path": str(collection.file(label.id).absolute()), **asdict(label)}


def write_csv(labelled: pd.DataFrame, file: Path) -> Path:
    """A table as csv, its image paths relative to the csv; `your_dataset.py --table` takes it."""
    if "path" in labelled:
        folder = file.absolute().parent
        paths = [os.path.relpath(path, folder) for path in labelled["path"]]
        labelled = labelled.assign(path=paths)
    with one_line_errors(file, LabelError, REMEDY):
        write_whole(file, labelled.to_csv(index=False, float_format="%.6g"))
    return file


def read_csv(file: Path, collection: Collection) -> list[Label]:
    """Labels made elsewhere: a csv with the columns label and id (for images also path, image ...; for texts also text).

    Raises:
        LabelError: a column missing, unknown ids or classes; says how many, and the first.
    """
    frame = read_table(Path(file))
    key = next(
        (c for c in ("id", *PATH_COLUMNS, "text") if c in frame),
        None,
    )
    if key is None or "label" not in frame:
        raise LabelError(f"{file}: labels need the columns id and label; it has {', '.join(frame)}")
    find = _finder(collection)
    others = [frame[c] if c in frame else [""] * len(frame) for c in ("who", "when")]
    rows = zip(frame[key], frame["label"], *others, strict=True)
    return _checked(
        [Label(find(name) or name, label, who, when) for name, label, who, when in rows],
        collection,
        Path(file),
    )


def _checked(labels: list[Label], collection: Collection, file: Path) -> list[Label]:
    strange = [
        row.id
        for row in labels
        if row.id not in collection.row and row.id not in collection.check_ids
    ]
    if strange:
        raise LabelError(
            f"{file.name}: {len(strange)} of {len(labels)} items are not in {collection.source.name}, first "
            f"{strange[0]!r}; ids there look like {collection.ids[0]!r}; nothing was imported"
        )
    for row in labels:
        if row.label not in (*collection.classes, *RESERVED):
            raise LabelError(
                f"{file.name}: {unknown('class', row.label, collection.classes)}; nothing was imported"
            )
    return [row for row in labels if row.id in collection.row]


def _finder(collection: Collection) -> Callable[[str], str | None]:
    """Id of an item by what another tool calls it: its id, its text, or a path or address that ends like no other id."""
    by_name: dict[str, list[str]] = {}
    for id_ in [*collection.row, *collection.check_ids]:
        by_name.setdefault(
            collection.content[id_] if collection.is_text else PurePosixPath(id_).name, []
        ).append(id_)
    known = {*collection.row, *collection.check_ids}

    def find(name: str) -> str | None:
        if name in known:
            return name
        if collection.is_text:
            return (by_name.get(name) or [None])[0]
        path = PurePosixPath(unquote(name.rpartition("?d=")[2]).replace("\\", "/"))
        # Label Studio puts eight digits and a dash before the names of files that were uploaded to it
        last = path.name[9:] if path.name not in by_name and path.name[8:9] == "-" else path.name
        named = by_name.get(last, [])
        at_the_end = [id_ for id_ in named if f"/{path.parent / last}".endswith(f"/{id_}")]
        return max(at_the_end, key=len) if at_the_end else named[0] if len(named) == 1 else None

    return find


def label_studio_tasks(
    collection: Collection, labels: dict[str, Label], prefix: str = "/data/local-files/?d="
) -> list[dict]:
    """The collection as Label Studio tasks, labelled ones with an annotation; "can't tell" is a skipped task there.

    Who labelled is in `meta`: Label Studio refuses annotations by users that it does not know.

    Args:
        prefix: what Label Studio puts before an image's path (this one: local storage).
    """
    key, tasks = "text" if collection.is_text else "image", []
    for id_ in collection.ids:
        if id_ in collection.copies or id_ in collection.unreadable:
            continue
        row = labels.get(id_)
        value = (
            collection.content[id_] if collection.is_text else f"{prefix}{collection.content[id_]}"
        )
        task: dict[str, Any] = {"data": {key: value, "item": id_}}
        if row and (row.label in collection.classes or row.label == CANNOT_TELL):
            choice = {
                "from_name": "label",
                "to_name": key,
                "type": "choices",
                "value": {"choices": [row.label]},
            }
            task["annotations"] = [
                {
                    "result": [] if row.label == CANNOT_TELL else [choice],
                    "was_cancelled": row.label == CANNOT_TELL,
                    "created_at": row.when,
                }
            ]
            task["meta"] = {"who": row.who, "round": row.round, "score": row.score}
        tasks.append(task)
    return tasks


def label_studio_config(collection: Collection) -> str:
    """The labelling interface to paste into a Label Studio project that these tasks are imported into."""
    kind, key = ("Text", "text") if collection.is_text else ("Image", "image")
    choices = "".join(f"\n    <Choice value={quoteattr(c)}/>" for c in collection.classes)
    return (
        f'<View>\n  <{kind} name="{key}" value="${key}"/>\n  <Choices name="label" toName="{key}" choice="single">{choices}\n'
        "  </Choices>\n</View>\n"
    )


def write_label_studio(
    collection: Collection, labels: dict[str, Label], file: Path, **options
) -> Path:
    """Label Studio JSON with all items, to be imported there."""
    tasks = label_studio_tasks(collection, labels, **options)
    with one_line_errors(file, LabelError, REMEDY):
        write_whole(file, json.dumps(tasks, indent=1, ensure_ascii=False) + "\n")
    return file


def read_label_studio(file: Path, collection: Collection) -> list[Label]:
    """Labels from Label Studio's export, JSON or JSON-MIN; of each task the first annotation that was not skipped.

    Predictions are no labels and are left out.

    Raises:
        LabelError: no such export, items or classes that are not in this collection, several choices for one item.
    """
    file = Path(file)
    try:
        tasks = json.loads(file.read_text(encoding="utf-8"))
        find = _finder(collection)
        found = [_from_task(task, find, file) for task in tasks]
    except (OSError, ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        if isinstance(error, LabelError):
            raise
        raise LabelError(
            f"{file} is no export of Label Studio: {type(error).__name__} {str(error)[:80]}; export it as JSON or "
            "JSON-MIN with one choice an item"
        ) from error
    return _checked([label for label in found if label], collection, file)


def _from_task(task: dict[str, Any], find, file: Path) -> Label | None:
    data = task.get("data", task)
    name = str(data.get("item") or data.get("image") or data["text"])
    id_ = find(name) or name
    if "data" not in task:  # JSON-MIN: the choice stands under the name that the project gives it
        known = {
            "id",
            "item",
            "image",
            "text",
            "annotator",
            "annotation_id",
            "created_at",
            "updated_at",
            "lead_time",
            "meta",
        }
        (choice,) = [
            value for key, value in task.items() if key not in known and isinstance(value, str)
        ] or [None]
        return (
            Label(id_, choice, str(task.get("annotator", "")), task.get("created_at", ""))
            if choice
            else None
        )
    annotations = task.get("annotations") or task.get("completions") or []
    chosen = next((a for a in annotations if a.get("result") and not a.get("was_cancelled")), None)
    skipped = next((a for a in annotations if a.get("was_cancelled")), None)
    if chosen is None and skipped is None:
        return None
    choices = [
        c
        for result in (chosen or {}).get("result", ())
        for c in result.get("value", {}).get("choices", ())
    ]
    if chosen and len(choices) != 1:
        raise LabelError(f"{file.name}: {id_!r} has {len(choices)} choices, not one: {choices}")
    by = (chosen or skipped).get("completed_by")
    meta = task.get("meta") or {}
    who = meta.get("who") or (by.get("email") or by.get("id") if isinstance(by, dict) else by)
    return Label(
        id_,
        choices[0] if chosen else CANNOT_TELL,
        str(who or ""),
        str((chosen or skipped).get("created_at") or ""),
        int(meta.get("round") or 0),
        meta.get("score"),
    )
