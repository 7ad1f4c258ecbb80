"""Contact sheets: what was asked for, round by round, as the model sees it."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from PIL import Image, ImageOps

from alpt_lib.datasets import POOL, Dataset
from alpt_lib.pictures import decode
from companion.report.plotting import HIGHLIGHT, WIDTH, name

if TYPE_CHECKING:
    from companion.report.study import Study

# pictures a row; few, so that a bird can be told from another
COLUMNS = 5

# px of a picture, of its frame, and of the cell that both stand in
PICTURE = 64
FRAME = 4
CELL = PICTURE + 2 * FRAME + 2

# texts a round, and of each so many lines of so many letters
TEXTS = 3
LINES = 3
LETTERS = 48

# inches a round takes
PICTURE_HEIGHT = 0.54
TEXT_HEIGHT = 1.25

# frame of an example that does not disambiguate; unframed where no subgroups are known
OTHERS = "#b4b4b4"
UNKNOWN = "#ffffff"


def contact_sheet(ax: Axes, data: Dataset, acquired: pd.DataFrame, n_rows: int = 1) -> None:
    """What was asked for, round below round, most wanted first: pictures, or beginnings of texts.

    Disambiguating examples have a vermilion frame, or bar before their text, all others
    a grey one. Pictures are upright and resized to a square, which is what the model gets.

    Args:
        acquired: columns round, rank, index, subgroup; one run's. Unknown subgroups are not marked.
        n_rows: rows of pictures a round.
    """
    rounds = sorted(acquired["round"].unique())
    shown = acquired[acquired["rank"] < COLUMNS * n_rows]
    if not has_pictures(data, shown):
        _text_sheet(ax, data, acquired[acquired["rank"] < TEXTS], rounds)
        return
    height = n_rows * CELL
    sheet = Image.new("RGB", (COLUMNS * CELL, len(rounds) * height), "white")
    for example in shown.itertuples():
        row, column = divmod(example.rank, COLUMNS)
        top = rounds.index(example.round) * height + row * CELL
        tile = ImageOps.expand(picture(data, example.index), FRAME, _frame(data, example.subgroup))
        sheet.paste(tile, (column * CELL + 1, top + 1))
    ax.imshow(np.asarray(sheet), interpolation="none")
    _name_rounds(ax, rounds, height)


def has_pictures(data: Dataset, acquired: pd.DataFrame) -> bool:
    """Whether all these examples can be shown as pictures; of features, where the files are."""
    return all(data.picture_file(POOL, row) for row in acquired["index"].unique())


def picture(data: Dataset, row: int) -> Image.Image:
    """A pool picture as the model gets it, small ones with their pixels showing."""
    size = data.description.image_size
    file = data.folder / data.rows(POOL)["path"][row]
    picture = Image.fromarray(decode(file, size))
    how = Image.Resampling.NEAREST if size < PICTURE else Image.Resampling.BICUBIC
    return picture.resize((PICTURE, PICTURE), how)


def _frame(data: Dataset, subgroup: str) -> str:
    if subgroup in data.minority:
        return HIGHLIGHT
    return OTHERS if data.description.subgroups and subgroup in data.pool_shares else UNKNOWN


def words_of(data: Dataset) -> pd.Series:
    """(n_pool,) what a person reads of each example: its text, or its name and attributes."""
    rows = data.rows(POOL)
    if "text" in rows:
        return rows["text"]
    attributes = rows.drop(columns="split").astype(str)
    named = [f"{column}: " + attributes[column] for column in attributes]
    return named[0].str.cat(named[1:], sep=", ")


def _text_sheet(ax: Axes, data: Dataset, acquired: pd.DataFrame, rounds: list[int]) -> None:
    texts = words_of(data)
    # of a round, in texts
    height = acquired["rank"].max() + 1.5
    for example in acquired.itertuples():
        y = rounds.index(example.round) * height + example.rank + 0.25
        start = textwrap.shorten(texts[example.index], LINES * LETTERS - 6, placeholder=" ...")
        lines = textwrap.wrap(start, LETTERS)[:LINES]
        size: dict[str, Any] = {"fontsize": "x-small", "linespacing": 1.05}
        ax.text(0.025, y + 0.45, "\n".join(lines), va="center", clip_on=True, **size)
        colour = _frame(data, example.subgroup)
        bar = Rectangle((-0.01, y + 0.02), 0.02, 0.86, color=colour, linewidth=0, clip_on=False)
        ax.add_patch(bar)
    ax.set(xlim=(0, 1), ylim=(len(rounds) * height, 0))
    _name_rounds(ax, rounds, height)


def _name_rounds(ax: Axes, rounds: list[int], height: float) -> None:
    middles = [(i + 0.5) * height for i in range(len(rounds))]
    ax.set_yticks(middles, [f"round {number}" for number in rounds], fontsize="small")
    ax.set_xticks([])
    ax.grid(visible=False)
    ax.tick_params(left=False)
    sns.despine(ax=ax, left=True, bottom=True)


def sheets(
    figure: Figure,
    data: Dataset,
    acquired: pd.DataFrame,
    arms: Sequence[str],
    title: str,
    n_rows: int = 1,
) -> None:
    """Contact sheets of several acquisition functions, and what the frames mean below.

    Args:
        figure: or a part of one.
        acquired: whole query batches, as for `contact_sheet`, with acquisition.
        title: goes before the name of each acquisition function.
    """
    are_known = bool(data.description.subgroups) and acquired["subgroup"].isin(
        data.pool_shares.index
    )
    is_marked = bool(np.any(are_known)) and bool(data.minority)
    for ax, arm in zip(figure.subplots(1, len(arms), squeeze=False)[0], arms, strict=True):
        asked = acquired[acquired["acquisition"] == arm]
        contact_sheet(ax, data, asked, n_rows)
        words = f"{title}{name(arm)}"
        if is_marked:
            share = asked["subgroup"].isin(data.minority).mean()
            words += f"\ndisambiguating: {share:.0%} of the whole batches"
        ax.set_title(words, fontsize="small")
    if is_marked:
        figure.legend(handles=_legend(data), loc="outside lower center", ncols=2, handlelength=1)


def sheet_grid(study: Study, acquired: pd.DataFrame) -> Figure:
    """The sheets of every dataset and model, one below the other.

    Args:
        acquired: one seed's query batches, as `Study.acquisitions` has them.
    """
    groups = list(acquired.groupby(["dataset", "model"], sort=False))
    heights = []
    for (dataset, _), rows in groups:
        are_pictures = has_pictures(study.datasets[dataset], rows[rows["rank"] < COLUMNS])
        height = PICTURE_HEIGHT if are_pictures else TEXT_HEIGHT
        heights.append(0.85 + height * rows["round"].nunique())
    figure = plt.figure(figsize=(WIDTH, sum(heights)))
    parts = figure.subfigures(len(groups), squeeze=False, height_ratios=heights).flat
    for part, ((dataset, model), rows) in zip(parts, groups, strict=True):
        title = f"{study.title(dataset, model)}\n"
        sheets(part, study.datasets[dataset], rows, study.parameters["acquisitions"], title)
    return figure


def _legend(data: Dataset) -> list[Patch]:
    names = textwrap.shorten(", ".join(data.minority), 70, placeholder=" ...")
    what = " x ".join(data.description.subgroups)
    return [
        Patch(color=HIGHLIGHT, label=f"disambiguating ({what}): {names}"),
        Patch(color=OTHERS, label="others"),
    ]
