"""What two notebooks draw alike, in one style: curves with seed bands, bars against the pool's share, contact sheets."""

import textwrap
from functools import partial
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from alpt_lib.registry import TITLES, title
from companion.report.estimates import interval

# one colour per acquisition function everywhere; distinguishable with every common colour blindness (Okabe and Ito)
COLOURS = {
    "random": "#6b6b6b",
    "least_confidence": "#0072b2",
    "entropy": "#009e73",
    "margin": "#cc79a7",
}

MODEL_COLOURS = {  # pretrained in blue, darker with size; not pretrained in grey
    "bit-s": "#56b4e9",
    "bit-m": "#0072b2",
    "bit-m-deep": "#00395a",
    "roberta-m": "#0072b2",
    "bit-m-np": "#9a9a9a",
    "bit-m-deep-np": "#555555",
    "roberta-m-np": "#9a9a9a",
}

SUBGROUP_COLOURS = [
    "#0072b2",
    "#e69f00",
    "#cc79a7",
    "#009e73",
    "#56b4e9",
    "#d55e00",
    "#000000",
    "#f0e442",
]

WIDTH = 6.4  # inches: every figure, so that its text is readable in a column of 640 px, or printed at 9 cm

HIGHLIGHT = "#d55e00"  # frames of disambiguating examples, lines of the pool's share

NAMES = {
    "random": "random",
    "least_confidence": "least confidence",
    "entropy": "entropy",
    "margin": "margin",
    "accuracy": "accuracy",
    "accuracy_minority": "accuracy, minority subgroups",
    "accuracy_worst_group": "worst-group accuracy",
    "accuracy_class_balanced": "class-balanced accuracy",
    "accuracy_train_weighted": "accuracy, weighted as the pool",
}


def name(key: str) -> str:
    """A metric or acquisition function in words: `accuracy_reviewer_p10` -> accuracy, worst 10th percentile of reviewers."""
    over = key.removeprefix("accuracy_")
    if key not in NAMES and over.endswith("_p10"):
        return f"accuracy, worst 10th percentile by {over.removesuffix('_p10')}"
    if key not in NAMES and over.endswith("_mean"):
        return f"accuracy, mean by {over.removesuffix('_mean')}"
    return NAMES.get(key) or (title(key) if key in TITLES or ":" in key else key.replace("_", " "))


def house_style() -> None:
    """Set seaborn's theme and what makes the same figure the same bytes."""
    sns.set_theme(
        context="paper",
        style="ticks",
        font_scale=0.95,
        rc={
            "axes.spines.right": False,
            "axes.spines.top": False,
            "axes.grid": True,
            "grid.color": "#e6e6e6",
            "axes.titlesize": "medium",
            "axes.titlelocation": "left",
            "figure.dpi": 100,
            "figure.constrained_layout.use": True,
            "legend.frameon": False,
            "legend.fontsize": "small",
            "svg.fonttype": "none",
            "svg.hashsalt": "alpt",
            "xtick.bottom": True,
            "ytick.left": True,
        },
    )


def panels(n: int, height: float = 2.3, **options: Any) -> tuple[Figure, list[Axes]]:
    """A figure of n panels, two a row, each `height` inches high; options as for `plt.subplots`."""
    figure, axes = plt.subplots(
        -(-n // 2), 2, figsize=(WIDTH, height * -(-n // 2)), squeeze=False, **options
    )
    for ax in axes.flat[n:]:
        ax.set_visible(False)
    return figure, list(axes.flat[:n])


def show_table(table: pd.DataFrame):
    """A table for reading: columns in words, metrics and acquisition functions too, three decimals."""
    words = table.copy()
    for column, say in (("metric", name), ("acquisition", name), ("model", title)):
        if column in words:
            words[column] = words[column].map(say)
    return (
        words.rename(columns=lambda c: str(c).replace("_", " "))
        .style.hide(axis="index")
        .format(precision=3, na_rep="–")
    )


def subgroup_colours(names: list[str]) -> dict[str, Any]:
    """A colour for each subgroup; more than eight are told apart by hue alone."""
    palette = (
        SUBGROUP_COLOURS
        if len(names) <= len(SUBGROUP_COLOURS)
        else sns.color_palette("husl", len(names))
    )
    return dict(zip(names, palette, strict=False))


def seed_note(runs: pd.DataFrame) -> str:
    """What the bands and error bars of a figure show, and how many seeds they rest on (fewer where runs failed).

    Args:
        runs: one row a run, with dataset, model, acquisition and seed.
    """
    n = runs.groupby(["dataset", "model", "acquisition"]).seed.nunique()
    if n.max() < 2:
        return "1 seed: no interval can be drawn"
    return f"95% CI over {n.min() if n.min() == n.max() else f'{n.min()} to {n.max()}'} seeds (Gaussian approximation)"


def curve(
    ax: Axes,
    rows: pd.DataFrame,
    by: str = "acquisition",
    x: str = "n_labels",
    colours: dict | None = None,
) -> None:
    """A line a group, its mean over seeds and a 95% band, named at its right end.

    Args:
        rows: one number a seed, group and x: columns `by`, `x`, value.
    """
    lines = {}
    for key, of_group in rows.groupby(by, sort=False):
        table = interval(of_group, [x]).sort_values(x)
        colour = (colours or COLOURS).get(key)
        (line,) = ax.plot(table[x], table["mean"], "o-", markersize=3.5, color=colour)
        ax.fill_between(
            table[x],
            table["ci_low"],
            table["ci_high"],
            alpha=0.15,
            linewidth=0,
            color=line.get_color(),
        )
        lines[key] = (table[x].iloc[-1], table["mean"].iloc[-1], line.get_color())
    if x == "round":
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    _label_ends(ax, lines)


def _label_ends(ax: Axes, ends: dict[str, tuple[float, float, str]]) -> None:
    """Names beside line ends, moved apart where lines end close together: such a group is spread about its own middle."""
    low, high = ax.get_ylim()
    gap, groups = (high - low) * 0.09, []
    for end in sorted(ends.items(), key=lambda item: item[1][1]):
        groups.append([end])
        while (
            len(groups) > 1
            and _middle(groups[-1]) - _middle(groups[-2])
            < gap * (len(groups[-1]) + len(groups[-2])) / 2
        ):
            last = groups.pop()
            groups[-1] += last
    previous = -np.inf
    for group in groups:
        lowest = max(
            _middle(group) - gap * (len(group) - 1) / 2, min(low, _middle(group))
        )  # not below the panel
        for i, (key, (x, _, colour)) in enumerate(group):
            previous = max(lowest + i * gap, previous + gap)
            ax.annotate(
                name(key),
                (x, previous),
                xytext=(6, 0),
                textcoords="offset points",
                va="center",
                color=colour,
                fontsize="small",
                annotation_clip=False,
            )


def _middle(group: list[tuple[str, tuple[float, float, str]]]) -> float:
    return float(np.mean([y for _, (_, y, _) in group]))


def bars(
    ax: Axes, rows: pd.DataFrame, x: str, by: str = "acquisition", colours: dict | None = None
) -> None:
    """A group of bars per value of `x`, one per value of `by`, means over seeds with 95% error bars.

    Args:
        rows: one number a seed, x and group: columns `x`, `by`, value.
    """
    positions, groups = list(dict.fromkeys(rows[x])), list(dict.fromkeys(rows[by]))
    width = 0.8 / len(groups)
    for i, key in enumerate(groups):
        table = interval(rows[rows[by] == key], [x]).set_index(x).reindex(positions)
        at = np.arange(len(positions)) + (i - (len(groups) - 1) / 2) * width
        ax.bar(
            at, table["mean"], width * 0.92, color=(colours or COLOURS).get(key), label=name(key)
        )
        ax.errorbar(
            at,
            table["mean"],
            (table["ci_high"] - table["ci_low"]) / 2,
            fmt="none",
            ecolor="black",
            elinewidth=1,
        )
    words = [name(str(p)).replace("/", "\n").replace(", ", "\n") for p in positions]
    wrap = partial(textwrap.wrap, width=12 if len(positions) > 3 else 16, break_on_hyphens=False)
    narrow = ["\n".join(line for part in w.split("\n") for line in wrap(part)) for w in words]
    ax.set_xticks(
        range(len(positions)),
        words if len(positions) > 6 else narrow,
        rotation=90 if len(positions) > 6 else 0,
    )
    ax.grid(axis="x", visible=False)


def bars_with_pool_share(ax: Axes, rows: pd.DataFrame, pool: pd.Series, x: str) -> None:
    """Shares among acquired examples as `bars`, with a line at each value's share of the pool (paper, Figs. 4, 5)."""
    bars(ax, rows, x)
    for position, value in enumerate(dict.fromkeys(rows[x])):
        ax.plot(
            [position - 0.46, position + 0.46],
            [pool[value]] * 2,
            color=HIGHLIGHT,
            linewidth=2,
            label="share of the pool" if position == 0 else None,
        )
