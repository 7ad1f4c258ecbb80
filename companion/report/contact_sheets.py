"""TODO: what this room holds."""

import textwrap

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from PIL import Image, ImageOps

from alpt_lib.datasets import POOL, Dataset
from companion.report.plotting import HIGHLIGHT, name, subgroup_colours


def contact_sheet(
    ax: Axes, data: Dataset, acquired: pd.DataFrame, columns: int = 8, size: int = 56
) -> None:
    """What was asked for, a row per round, most wanted first: pictures, or the first lines of texts.

    Disambiguating (minority) examples are framed; the bar below each picture, or before each text, has its subgroup's colour.

    Args:
        acquired: columns round, rank, index, subgroup; one run's. Subgroups that the dataset does not have are not marked.
        columns: pictures a row. size: px of each. Of texts the first three of a round are shown.
    """
    rounds = sorted(acquired["round"].unique())
    if data.description.modality == "text":
        return _text_sheet(ax, data, acquired[acquired["rank"] < 3], rounds)
    colours = subgroup_colours(sorted(data.pool_shares.index))
    sheet = Image.new("RGB", (columns * size, len(rounds) * size), "white")
    for example in acquired[acquired["rank"] < columns].itertuples():
        with Image.open(data.folder / data.rows(POOL)["path"][example.index]) as image:
            tile = image.convert("RGB").resize(
                (size - 10, size - 10), Image.Resampling.NEAREST if image.width < size else None
            )
        tile = ImageOps.expand(
            tile, 4, HIGHLIGHT if example.subgroup in data.minority else "#ffffff"
        )
        if example.subgroup in colours:
            tile.paste(to_hex(colours[example.subgroup]), (0, size - 8, size - 2, size - 2))
        sheet.paste(tile, (example.rank * size + 1, rounds.index(example.round) * size + 1))
    ax.imshow(np.asarray(sheet), interpolation="none")
    _rounds_on_the_left(ax, rounds, size)


def _text_sheet(ax: Axes, data: Dataset, acquired: pd.DataFrame, rounds: list[int]) -> None:
    colours, texts = subgroup_colours(sorted(data.pool_shares.index)), data.rows(POOL)["text"]
    height = acquired["rank"].max() + 1.5  # of a round, in texts
    for example in acquired.itertuples():
        y = rounds.index(example.round) * height + example.rank + 0.25
        lines = textwrap.wrap(textwrap.shorten(texts[example.index], 138, placeholder=" ..."), 48)[
            :3
        ]
        ax.text(
            0.025,
            y + 0.45,
            "\n".join(lines),
            va="center",
            fontsize="x-small",
            linespacing=1.05,
            clip_on=True,
        )
        if example.subgroup in colours:
            frame = (
                {"edgecolor": HIGHLIGHT, "linewidth": 2}
                if example.subgroup in data.minority
                else {"linewidth": 0}
            )
            ax.add_patch(
                Rectangle(
                    (-0.01, y + 0.02),
                    0.02,
                    0.86,
                    facecolor=colours[example.subgroup],
                    clip_on=False,
                    **frame,
                )
            )
    ax.set(xlim=(0, 1), ylim=(len(rounds) * height, 0))
    _rounds_on_the_left(ax, rounds, height)


def _rounds_on_the_left(ax: Axes, rounds: list[int], height: float) -> None:
    ax.set_yticks(
        [(i + 0.5) * height for i in range(len(rounds))],
        [f"round {r}" for r in rounds],
        fontsize="small",
    )
    ax.set_xticks([])
    ax.grid(visible=False)
    ax.tick_params(left=False)
    sns.despine(ax=ax, left=True, bottom=True)


def sheets(
    figure: Figure, data: Dataset, acquired: pd.DataFrame, arms: list[str], title: str
) -> None:
    """Contact sheets of several arms side by side, with a legend of the subgroups' colours below.

    Args:
        figure: or a part of one. acquired: as for `contact_sheet`, with acquisition.
    """
    for ax, arm in zip(figure.subplots(1, len(arms), squeeze=False)[0], arms, strict=True):
        asked = acquired[acquired.acquisition == arm]
        contact_sheet(ax, data, asked)
        known = asked.subgroup.isin(data.pool_shares.index).any() and data.minority
        share = f": {asked.subgroup.isin(data.minority).mean():.0%} minority" if known else ""
        ax.set_title(f"{title}{name(arm)}{share}", fontsize="small")
    if acquired.subgroup.isin(data.pool_shares.index).any() and data.description.subgroups:
        handles = [
            Patch(
                facecolor=colour,
                label=name(str(key)),
                linewidth=1.5,
                edgecolor=HIGHLIGHT if key in data.minority else colour,
            )
            for key, colour in subgroup_colours(sorted(data.pool_shares.index)).items()
        ]
        figure.legend(
            handles=handles, loc="outside lower center", ncols=min(len(handles), 5), handlelength=1
        )
