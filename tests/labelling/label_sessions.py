"""What the tests of labelling share."""

import csv
from pathlib import Path

import pandas as pd

from companion import labelling

CLASSES = ["tall", "wide"]
FAST = {
    "model": "bit-m-np",
    "protocol": {"seed_set_size": 4, "query_batch_size": 3},
    "recipe": {"backbone": "fine-tuned", "max_steps": 2},
}


def truth(id_: str) -> str:
    return id_.split("/")[0]


def label(session, n: int) -> list[str]:
    """Tell the truth about the next n items."""
    done = []
    for _ in range(n):
        item = session.ask()[0]
        session.tell(item.id, truth(item.id))
        done.append(item.id)
    return done


def decisions(session) -> dict[str, str]:
    return {id_: row.label for id_, row in session.labels.current.items() if row.label}


def write_texts(file: Path, texts: list[str], ids: list[str] | None = None) -> Path:
    columns = {"text": texts} if ids is None else {"id": ids, "text": texts}
    pd.DataFrame(columns).to_csv(file, index=False, quoting=csv.QUOTE_ALL)
    return file


def open_texts(folder: Path, classes: list[str] = CLASSES, **settings):
    return labelling.open_session(folder / "t.csv", classes, folder / "labels", **settings)
