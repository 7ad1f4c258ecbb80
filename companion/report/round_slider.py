"""Drag through the rounds of one run: what was asked for, how the accuracy moved; needs no kernel.

A piece of html with its data as JSON and a plain script: it works in a page without a network, and
in JupyterLab.
"""

from __future__ import annotations

import base64
import io
import json
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import pandas as pd

from alpt_lib.datasets import POOL, Dataset
from alpt_lib.files import write_whole
from companion.report.contact_sheets import has_pictures, picture
from companion.report.estimates import matched_share
from companion.report.pages import fill
from companion.report.plotting import COLOURS, name

if TYPE_CHECKING:
    from IPython.display import HTML

    from companion.report.study import Study

FILE = "rounds.html"

# px of a thumbnail, and how many a page can hold; letters of a text
THUMBNAIL = 40
MOST_THUMBNAILS = 400
LETTERS = 70


def round_slider(study: Study) -> HTML:
    """The slider of the study's first dataset, model and seed, all arms; saved for the page."""
    from IPython.display import HTML

    dataset, data = next(iter(study.datasets.items()))
    runs = study.runs[study.runs["dataset"] == dataset]
    model, seed = runs["model"].iloc[0], int(runs["seed"].min())
    run = {"dataset": dataset, "model": model, "seed": seed}
    content = _content(study, data, run)
    title = f"{study.title(dataset, model)}, seed {seed}"
    html = fill("rounds.html", title=title, content=_as_json(content))
    write_whole(study.output / FILE, html)
    return HTML(html)


def _content(study: Study, data: Dataset, run: dict[str, Any]) -> dict[str, Any]:
    """What the script shows: of each arm its curves, and what it asked for in each round."""
    curves = _of_run(study.headline, run)
    asked = _of_run(study.acquisitions, run)
    metrics = list(curves["metric"].unique())
    arms = []
    for arm in study.parameters["acquisitions"]:
        wide = curves[curves["acquisition"] == arm].pivot_table(
            index=["round", "n_labels"], columns="metric", values="value"
        )
        measured = wide[metrics].round(4).astype(object).where(wide[metrics].notna(), None)
        points = measured.reset_index().to_numpy().tolist()
        batches = _batches(data, asked[(asked["acquisition"] == arm) & (asked["round"] > 0)])
        arms.append({"name": name(arm), "colour": COLOURS[arm], "points": points, "asked": batches})
    return {
        "metrics": [name(metric) for metric in metrics],
        "arms": arms,
        "share": 1 - matched_share(data) if data.minority else None,
        "thumbnails": _thumbnails(data, asked),
    }


def _of_run(rows: pd.DataFrame, run: dict[str, Any]) -> pd.DataFrame:
    for column, value in run.items():
        rows = rows[rows[column] == value]
    return rows


def _batches(data: Dataset, asked: pd.DataFrame) -> dict[int, list[tuple[str, str, int, int]]]:
    """Round -> of each example asked for: its name, subgroup, whether it disambiguates, its row."""
    names = _names(data)
    batches: dict[int, list[tuple[str, str, int, int]]] = {}
    ordered = asked.rename(columns={"index": "row"}).sort_values(["round", "rank"])
    for row in ordered.itertuples():
        group = row.subgroup if data.description.subgroups else row.label
        shown = (names[row.row], str(group), int(row.subgroup in data.minority), row.row)
        batches.setdefault(int(row.round), []).append(shown)
    return batches


def _names(data: Dataset) -> list[str]:
    """(n_pool,) what an example is called: its file, the start of its text, or its row."""
    rows = data.rows(POOL)
    if "path" in rows:
        return [PurePosixPath(path).name for path in rows["path"]]
    if data.is_text:
        return [text[:LETTERS] for text in rows["text"]]
    return [f"row {row}" for row in range(len(rows))]


def _thumbnails(data: Dataset, asked: pd.DataFrame) -> dict[int, str]:
    """Row -> its picture as an address that holds it; none where there are none, or too many."""
    rows = asked.loc[asked["round"] > 0, "index"].unique()
    if len(rows) > MOST_THUMBNAILS or not has_pictures(data, asked):
        return {}
    pictures = {}
    for row in rows.tolist():
        target = io.BytesIO()
        picture(data, row).resize((THUMBNAIL, THUMBNAIL)).save(target, "webp", quality=50)
        pictures[row] = f"data:image/webp;base64,{base64.b64encode(target.getvalue()).decode()}"
    return pictures


def _as_json(content: Any) -> str:
    """JSON that no browser reads as html, whatever names hold."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text
