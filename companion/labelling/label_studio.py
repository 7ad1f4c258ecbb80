"""Label Studio's tasks and exports (JSON, JSON-MIN, CSV), both ways.

Its own task numbers are not our ids: an item is known by `item`, which our tasks hold, by its text
or by its path. Who labelled is in `meta`, for Label Studio refuses annotations by users that it
does not know.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from alpt_lib.errors import LabelError
from companion.labelling.items import Collection
from companion.labelling.matching import LOCAL
from companion.labelling.records import noted
from companion.labelling.spreadsheet import Label
from companion.labelling.storage import CANNOT_TELL

# columns of a JSON-MIN or CSV export that are neither data nor choices
OWN = ("id", "annotator", "annotation_id", "created_at", "updated_at", "lead_time", "meta")


@dataclass(frozen=True)
class Answer:
    """One annotation of one task; or a task that has none yet."""

    data: dict[str, str]  # the task's own, by which its item is known
    choices: dict[str, list[str]]  # control -> what was chosen
    who: str = ""
    when: str = ""
    is_skipped: bool = False
    is_truth: bool = False
    is_made: bool = True  # by a person
    is_predicted: bool = False
    meta: Mapping[str, Any] = field(default_factory=dict)


def is_export(columns: Iterable[str]) -> bool:
    """Whether a csv with these columns comes from Label Studio."""
    return {"annotation_id", "annotator"} <= set(columns)


def tasks(collection: Collection, labels: Mapping[str, Label]) -> list[dict]:
    """A collection as tasks, labelled ones with an annotation; "can't tell" is a skipped task.

    An image is named by the address at which Label Studio serves it once the collection's folder
    is a local storage of the project and the folder above it is LOCAL_FILES_DOCUMENT_ROOT (Label
    Studio refuses one folder as both).
    """
    key = "text" if collection.is_text else "image"
    folder = collection.folder.absolute().name
    made = []
    for id_ in collection.ids:
        if id_ in collection.copies or id_ in collection.unreadable:
            continue
        value = collection.content[id_]
        shown = value if collection.is_text else LOCAL + quote(f"{folder}/{value}")
        task: dict[str, Any] = {"data": {key: shown, "item": id_}}
        label = labels.get(id_)
        if label and label.label in (*collection.classes, CANNOT_TELL):
            task["annotations"] = [_annotation(label, key)]
            task["meta"] = {"who": label.who, "round": label.round, "score": label.score}
        made.append(task)
    return made


def _annotation(label: Label, key: str) -> dict[str, Any]:
    is_skipped = label.label == CANNOT_TELL
    value = {"choices": [label.label]}
    choice = {"from_name": "label", "to_name": key, "type": "choices", "value": value}
    result = [] if is_skipped else [choice]
    return {
        "result": result,
        "was_cancelled": is_skipped,
        "created_at": label.when,
        # without a word on it, Label Studio takes what is imported for the ground truth
        "ground_truth": False,
    }


def config(collection: Collection) -> str:
    """The labelling interface to paste into a project that these tasks are imported into."""
    kind, key = ("Text", "text") if collection.is_text else ("Image", "image")
    choices = "".join(f"\n    <Choice value={quoteattr(name)}/>" for name in collection.classes)
    shown = f'<{kind} name="{key}" value="${key}"/>'
    control = f'<Choices name="label" toName="{key}" choice="single">{choices}\n  </Choices>'
    return f"<View>\n  {shown}\n  {control}\n</View>\n"


def answers_in(file: Path) -> list[Answer]:
    """The annotations in a JSON or JSON-MIN export.

    Raises:
        LabelError: it is none.
    """
    try:
        exported = json.loads(file.read_text(encoding="utf-8-sig"))
        return [
            answer
            for task in exported
            for answer in (_of_task(task) if "data" in task else [of_row(task)])
        ]
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise LabelError(
            f"{file} is no export of Label Studio: {type(error).__name__} {str(error)[:80]}; "
            "export it as JSON, JSON-MIN or CSV with one choice an item"
        ) from error


def _of_task(task: dict[str, Any]) -> list[Answer]:
    data = {key: str(value) for key, value in task["data"].items()}
    annotations = task.get("annotations") or task.get("completions")
    if not annotations:
        return [Answer(data, {}, is_made=False, is_predicted=bool(task.get("predictions")))]
    return [_of_annotation(annotation, data, task.get("meta") or {}) for annotation in annotations]


def _of_annotation(
    annotation: dict[str, Any], data: dict[str, str], meta: dict[str, Any]
) -> Answer:
    choices: dict[str, list[str]] = {}
    for result in annotation.get("result") or ():
        chosen = result.get("value", {}).get("choices", [])
        if chosen:
            choices.setdefault(str(result.get("from_name", "")), []).extend(chosen)
    by = annotation.get("completed_by")
    person = (by.get("email") or by.get("id")) if isinstance(by, dict) else by
    return Answer(
        data,
        choices,
        who=str(meta.get("who") or person or ""),
        when=str(annotation.get("created_at") or ""),
        is_skipped=bool(annotation.get("was_cancelled")),
        is_truth=bool(annotation.get("ground_truth")),
        meta=meta,
    )


def of_row(row: dict[str, Any]) -> Answer:
    """The annotation in a row of JSON-MIN or CSV.

    Data and choices stand side by side there, under the names that the project gives them.
    """
    data = {}
    choices = {}
    for key, value in row.items():
        if key in OWN or not value:
            continue
        if isinstance(value, str) and value.startswith('{"choices"'):
            value = json.loads(value)
        if isinstance(value, dict):
            choices[key] = list(value["choices"])
        elif isinstance(value, str):
            data[key] = value
            choices[key] = [value]
    when = str(row.get("created_at") or "")
    return Answer(data, choices, str(row.get("annotator") or ""), when)


def control_of(answers: list[Answer], classes: list[str]) -> tuple[str, list[str]]:
    """The control whose choices are the classes; and what else was chosen from.

    Raises:
        LabelError: there is none, or more than one.
    """
    chosen: dict[str, set[str]] = {}
    for answer in answers:
        for control, choices in answer.choices.items():
            chosen.setdefault(control, set()).update(choices)
    whole = [control for control, choices in chosen.items() if choices <= set(classes)]
    partly = [control for control, choices in chosen.items() if choices & set(classes)]
    fitting = whole or partly or (list(chosen) if len(chosen) == 1 else [])
    if len(fitting) == 1:
        return fitting[0], [name for name in chosen if name != fitting[0]]
    if chosen:
        which = f"{len(fitting)} of its controls hold" if fitting else "none of its controls holds"
        raise LabelError(
            f"{which} the classes {', '.join(classes)}; it has {', '.join(chosen)}: export one"
        )
    return "", []


def agreed(answers: dict[str, list[Answer]], control: str) -> tuple[list[Label], list[str]]:
    """The label of each item on which its annotators agree, and notes on the rest.

    Args:
        answers: by the id of their item.
    Raises:
        LabelError: several choices in one answer.
    """
    labels = []
    remarks: dict[str, list[str]] = {}
    for id_, given in answers.items():
        label, remark, words = _agreement(id_, given, control)
        if label is not None:
            labels.append(label)
        if remark:
            remarks.setdefault(remark, []).append(words)
    return labels, [note for remark in remarks for note in noted(remark, remarks[remark])]


def _agreement(id_: str, given: list[Answer], control: str) -> tuple[Label | None, str, str]:
    """The label of an item, what is to be said of it, and in which words it is named then."""
    done = [answer for answer in given if answer.is_made and not answer.is_skipped]
    told = [answer for answer in done if answer.choices.get(control)]
    if told:
        counts = Counter(_choice(id_, answer, control) for answer in told)
        words = f"{id_}: " + ", ".join(f"{name} {n}" for name, n in counts.most_common())
        truth = {_choice(id_, answer, control) for answer in told if answer.is_truth}
        label = _label(id_, min(truth or counts), told[0])
        if len(counts) == 1:
            return label, "", id_
        if len(truth) == 1:
            return label, "items whose ground truth counts, though annotators disagree", words
        return None, "items whose annotators disagree, left out", words
    if any(answer.is_skipped for answer in given):
        label = _label(id_, CANNOT_TELL, given[0])
        return label, f"items skipped there, {CANNOT_TELL!r} here", id_
    if done:
        return None, "items without a choice, left out", id_
    predicted = "items with predictions only, which are no labels, left out"
    return None, predicted if given[0].is_predicted else "", id_


def _choice(id_: str, answer: Answer, control: str) -> str:
    choices = answer.choices[control]
    if len(choices) != 1:
        raise LabelError(f"{id_!r} has {len(choices)} choices, not one: {choices}")
    return choices[0]


def _label(id_: str, label: str, answer: Answer) -> Label:
    round_ = int(answer.meta.get("round") or 0)
    return Label(id_, label, answer.who, answer.when, round_, answer.meta.get("score"))
