"""What two notebooks draw or show alike, in one style: curves with seed bands, bars, tables."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator

from alpt_lib.registry import TITLES, split_name, title
from companion.report.estimates import seed_means

if TYPE_CHECKING:
    from pandas.io.formats.style import Styler

    from companion.report.study import Study

# one colour per acquisition function: of the paper's, told apart with every colour blindness
# (Okabe and Ito); of the others by family, in blue what looks at predictions, in green at both, in
# orange at features, in black what cheats
COLOURS = {
    "random": "#6b6b6b",
    "least_confidence": "#0072b2",
    "entropy": "#009e73",
    "margin": "#cc79a7",
    "power_least_confidence": "#56b4e9",
    "bald": "#3a4cc0",
    "badge": "#00735c",
    "cluster_margin": "#5aae61",
    "drop_query": "#a6d96a",
    "core_set": "#d55e00",
    "typi_clust": "#e69f00",
    "prob_cover": "#a6761d",
    "cheating_class_balance": "#333333",
    "cheating_group_balance": "#000000",
}

# points of a curve that are marked one by one
FEW_POINTS = 20
# pretrained in blue, darker with size; not pretrained in grey
MODEL_COLOURS = {
    "bit-s": "#56b4e9",
    "bit-m": "#0072b2",
    "bit-m-deep": "#00395a",
    "roberta-m": "#0072b2",
    "bit-m-np": "#9a9a9a",
    "bit-m-deep-np": "#555555",
    "roberta-m-np": "#9a9a9a",
    "lite0": "#0072b2",
    "mobilenet-birds": "#009e73",
    "mobilenet-imagenet": "#56b4e9",
    "mobilenet-insects": "#e69f00",
    "lite2": "#00395a",
    "lite0-np": "#9a9a9a",
    "lite0-1-np": "#9a9a9a",
    "lite0-2-np": "#7d7d7d",
    "lite0-3-np": "#5f5f5f",
}

HEAD_COLOURS = {
    "plain": "#0072b2",
    "class-balanced": "#e69f00",
    "group-balanced": "#009e73",
    "temperature": "#cc79a7",
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

# inches: every figure, so that its text is readable in a column of 640 px, or printed at 9 cm
WIDTH = 6.4

# inches: the same figure for a phone
NARROW = 3.7

# letters of a title in a line of it
TITLE = 42

# frames of disambiguating examples, lines of the pool's share
HIGHLIGHT = "#d55e00"

NAMES = {
    "random": "random",
    "least_confidence": "least confidence",
    "entropy": "entropy",
    "margin": "margin",
    "power_least_confidence": "power least confidence",
    "bald": "BALD",
    "badge": "BADGE",
    "drop_query": "DropQuery",
    "core_set": "CoreSet",
    "typi_clust": "TypiClust",
    "prob_cover": "ProbCover",
    "cheating_class_balance": "classes balanced (cheats)",
    "cheating_group_balance": "groups balanced (cheats)",
    "accuracy": "accuracy",
    "accuracy_minority": "accuracy, disambiguating examples",
    "accuracy_worst_group": "worst-group accuracy",
    "accuracy_class_balanced": "class-balanced accuracy",
    "accuracy_train_weighted": "accuracy, weighted as the pool",
    "calibration_error": "calibration error",
    "overconfidence": "confidence minus accuracy",
    "brier_score": "Brier score",
}

# columns whose names say too little at the head of a table
HEADINGS = {
    "own": "asking",
    "value_of": "value",
    "ci_low": "95% from",
    "ci_high": "to",
    "n_seeds": "seeds",
}

STYLE = {
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
    # an ordinary "$5 or $6" in somebody's text or class name is no formula
    "text.parse_math": False,
    "xtick.bottom": True,
    "ytick.left": True,
}


def name(key: str) -> str:
    """A metric, acquisition function or model in words, such as "accuracy, mean by reviewer"."""
    if key in NAMES:
        return NAMES[key]
    if key in TITLES or split_name(key)[0] in TITLES or ":" in key:
        return title(key)
    over = key.removeprefix("accuracy_")
    if over.endswith("_p10"):
        return f"accuracy, worst 10th percentile by {over.removesuffix('_p10')}"
    if over.endswith("_mean"):
        return f"accuracy, mean by {over.removesuffix('_mean')}"
    return key.replace("_", " ")


def house_style() -> None:
    """Set seaborn's theme and what makes the same figure the same bytes."""
    sns.set_theme(context="paper", style="ticks", font_scale=0.95, rc=STYLE)


@contextmanager
def stacked(figure: Figure) -> Iterator[None]:
    """Meanwhile the figure is as a phone shows it: NARROW, panels that stood side by side stacked.

    Of four or more panels side by side half as many stay so.
    """
    width, height = figure.get_size_inches()
    places = {ax: place for ax in figure.axes if (place := ax.get_subplotspec())}
    has_labels = {ax: ax.yaxis.get_tick_params().get("labelleft", True) for ax in places}
    columns = max((place.get_gridspec().ncols for place in places.values()), default=1)
    kept = max(1, columns // 2) if columns > 1 else 1
    for part in (figure, *figure.subfigs):
        _restack(part, [ax for ax in places if ax.get_figure(root=False) is part], kept)
    for ax in places:
        ax.tick_params(axis="y", labelleft=True)
    words = _reword(figure, places)
    figure.set_size_inches(NARROW, height * columns / kept)
    try:
        yield
    finally:
        for text, before in words.items():
            text.set_text(before)
        figure.set_size_inches(width, height)
        for ax, place in places.items():
            ax.set_subplotspec(place)
            ax.tick_params(axis="y", labelleft=has_labels[ax])


def _reword(figure: Figure, axes: Iterable[Axes]) -> dict[Text, str]:
    """Break titles that are wider than a phone, notes go below a legend; returns what was there."""
    before = {}
    for ax in axes:
        for text in ax.findobj(Text, include_self=False):
            if text.get_text() and text.get_text() == ax.get_title(loc="left"):
                before[text] = text.get_text()
                lines = text.get_text().split("\n")
                text.set_text("\n".join(textwrap.fill(line, TITLE) for line in lines))
    for note in figure.texts:
        if figure.legends and note.get_text():
            before[note] = note.get_text()
            note.set_text(f"\n{note.get_text()}")
    return before


def _restack(part: FigureBase, axes: list[Axes], columns: int) -> None:
    """Panels in so many columns, in their order; hidden ones take no room."""
    shown = [ax for ax in axes if ax.get_visible()]
    cells = part.add_gridspec(-(-len(shown) // columns) or 1, columns)
    for i, ax in enumerate(shown):
        ax.set_subplotspec(cells[divmod(i, columns)])
    for ax in axes:
        if not ax.get_visible():
            ax.set_subplotspec(cells[0, 0])


def grid(n_rows: int, height: float, columns: int = 2, **options: Any) -> tuple[Figure, np.ndarray]:
    """A figure and its axes; rows are `height` inches high, options as for `plt.subplots`."""
    size = (WIDTH, height * n_rows)
    return plt.subplots(n_rows, columns, figsize=size, squeeze=False, **options)


def panels(n: int, **options: Any) -> tuple[Figure, list[Axes]]:
    """A figure of n panels, two a row."""
    figure, axes = grid(-(-n // 2), 2.3, **options)
    for ax in axes.flat[n:]:
        ax.set_visible(False)
    return figure, list(axes.flat[:n])


def show_table(table: pd.DataFrame) -> Styler:
    """A table for reading: metrics, acquisition functions, models and columns in words."""
    words = table.copy()
    for column, say in (("metric", name), ("acquisition", name), ("model", title)):
        if column in words:
            words[column] = words[column].map(say)
    return reading_style(words)


def reading_style(table: pd.DataFrame) -> Styler:
    """Numbers with three decimals; what users named is shown as text, never run as html."""
    words = table.rename(columns=lambda column: HEADINGS.get(column, str(column).replace("_", " ")))
    shown = words.style.hide(axis="index")
    shown = shown.format(precision=3, na_rep="–", escape="html")
    return shown.format_index(escape="html", axis="columns")


def subgroup_colours(names: list[str]) -> dict[str, Any]:
    """A colour for each subgroup; more than eight are told apart by hue alone."""
    palette = SUBGROUP_COLOURS
    if len(names) > len(palette):
        palette = sns.color_palette("husl", len(names))
    return dict(zip(names, palette, strict=False))


def seed_note(runs: pd.DataFrame) -> str:
    """What a figure's bands and error bars show, and how many seeds they rest on.

    Args:
        runs: one row a run, with dataset, model, acquisition and seed.
    """
    n_seeds = runs.groupby(["dataset", "model", "acquisition"])["seed"].nunique()
    fewest = n_seeds.min()
    most = n_seeds.max()
    if most < 2:
        return "1 seed: no interval can be drawn"
    number = most if fewest == most else f"{fewest} to {most}"
    return f"95% CI over {number} seeds (Student's t)"


def curve(
    ax: Axes,
    rows: pd.DataFrame,
    by: str = "acquisition",
    x: str = "n_labels",
    colours: dict | None = None,
    **labels: Any,
) -> None:
    """A line a group, its mean over seeds and a 95% band, named at its right end.

    Args:
        rows: one number a seed, group and x: columns `by`, `x`, value.
        labels: title, xlabel, ylim and what else `ax.set` takes.
    """
    ax.set(**labels)
    ends = []
    for key, of_group in rows.groupby(by, sort=False):
        table = seed_means(of_group, [x]).sort_values(x)
        colour = (colours or COLOURS).get(key)
        # of many rounds the points would hide the line
        marker = "o-" if len(table) <= FEW_POINTS else "-"
        (line,) = ax.plot(table[x], table["mean"], marker, markersize=3.5, color=colour)
        band: dict[str, Any] = {"alpha": 0.15, "linewidth": 0, "color": line.get_color()}
        ax.fill_between(table[x], table["ci_low"], table["ci_high"], **band)
        ends.append((table["mean"].iloc[-1], table[x].iloc[-1], name(key), line.get_color()))
    if x == "round":
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    label_ends(ax, ends)


def label_ends(ax: Axes, ends: list[tuple[float, float, str, Any]]) -> None:
    """Names beside line ends, moved apart where lines end close together.

    Args:
        ends: of each line its last y and x, its name and its colour.
    """
    ends = sorted(ends, key=lambda end: end[0])
    low, high = ax.get_ylim()
    heights = spread([y for y, *_ in ends], gap=(high - low) * 0.09, floor=low)
    for height, (_, x, text, colour) in zip(heights, ends, strict=True):
        ax.annotate(
            text,
            (x, height),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            color=colour,
            fontsize="small",
            annotation_clip=False,
        )


def spread(heights: list[float], gap: float, floor: float) -> list[float]:
    """Ascending heights at least `gap` apart; those too close are spread about their middle."""
    groups: list[list[float]] = []
    for height in heights:
        groups.append([height])
        while len(groups) > 1 and _are_close(groups[-2], groups[-1], gap):
            last = groups.pop()
            groups[-1] += last
    placed: list[float] = []
    for group in groups:
        middle = float(np.mean(group))
        lowest = max(middle - gap * (len(group) - 1) / 2, min(floor, middle))
        for i in range(len(group)):
            previous = placed[-1] + gap if placed else -np.inf
            placed.append(max(lowest + i * gap, previous))
    return placed


def _are_close(below: list[float], above: list[float], gap: float) -> bool:
    """Whether two groups of names would overlap, each spread about its middle."""
    between = float(np.mean(above)) - float(np.mean(below))
    return between < gap * (len(below) + len(above)) / 2


def bars(
    ax: Axes,
    rows: pd.DataFrame,
    x: str,
    by: str = "acquisition",
    colours: dict | None = None,
    **labels: Any,
) -> None:
    """A group of bars per value of `x`, a bar per value of `by`: means over seeds, 95% whiskers.

    Args:
        rows: one number a seed, x and group: columns `x`, `by`, value.
        labels: as for `curve`.
    """
    positions = list(dict.fromkeys(rows[x]))
    groups = list(dict.fromkeys(rows[by]))
    width = 0.8 / len(groups)
    whiskers: dict[str, Any] = {"fmt": "none", "ecolor": "black", "elinewidth": 1}
    for i, key in enumerate(groups):
        table = seed_means(rows[rows[by] == key], [x]).set_index(x).reindex(positions)
        at = np.arange(len(positions)) + (i - (len(groups) - 1) / 2) * width
        colour = (colours or COLOURS).get(key)
        ax.bar(at, table["mean"], width * 0.92, color=colour, label=name(key))
        ax.errorbar(at, table["mean"], (table["ci_high"] - table["ci_low"]) / 2, **whiskers)
    _name_groups(ax, [name(str(position)) for position in positions])
    ax.grid(axis="x", visible=False)
    ax.set(**labels)


def _name_groups(ax: Axes, words: list[str]) -> None:
    """Names below groups of bars: a few in short lines, many upright."""
    lines = [text.replace("/", "\n").replace(", ", "\n") for text in words]
    if len(words) > 6:
        ax.set_xticks(range(len(words)), lines, rotation=90)
        return
    width = 12 if len(words) > 3 else 16
    narrow = []
    for text in lines:
        # at its hyphen only where a word has no room
        is_long = any(len(word) > width for word in text.split())
        short: list[str] = []
        for part in text.split("\n"):
            short += textwrap.wrap(part, width, break_on_hyphens=is_long)
        narrow.append("\n".join(short))
    ax.set_xticks(range(len(words)), narrow)


def bars_with_pool_share(
    ax: Axes, rows: pd.DataFrame, pool: pd.Series, x: str, **labels: Any
) -> None:
    """Shares among acquired examples, a line at each share of the pool (paper, Figs. 4, 5)."""
    bars(ax, rows, x)
    for position, value in enumerate(dict.fromkeys(rows[x])):
        ax.plot(
            [position - 0.46, position + 0.46],
            [pool[value]] * 2,
            color=HIGHLIGHT,
            linewidth=2,
            label=None if position else "share of the pool",
        )
    ax.set(**labels)


def pool_line(ax: Axes, share: float) -> None:
    """What chance would give: a share of the pool, or a ratio of 1."""
    ax.axhline(share, color=HIGHLIGHT, linestyle="--", linewidth=1.5)


def note_seeds(figure: Figure, runs: pd.DataFrame) -> None:
    """`seed_note` above a figure."""
    figure.suptitle(seed_note(runs), fontsize="small", x=0.01, ha="left")


def legend(figure: Figure, ax: Axes, columns: int = 2) -> None:
    """One legend for a figure whose panels have the same, taken from one of them."""
    figure.legend(*ax.get_legend_handles_labels(), loc="outside upper right", ncols=columns)


def mark_stops(ax: Axes, rows: pd.DataFrame, stops: pd.DataFrame) -> None:
    """A triangle on the mean curve for every run that a stopping rule would have ended there.

    Args:
        rows: as for `curve`, by acquisition function. stops: acquisition, n_labels (NaN: no end).
    """
    for key, of_arm in rows.groupby("acquisition", sort=False):
        mean = of_arm.groupby("n_labels")["value"].mean()
        at = stops.loc[stops["acquisition"] == key, "n_labels"].dropna()
        heights = np.interp(at, mean.index, mean)
        ax.plot(at, heights, "v", color=COLOURS.get(key), markersize=5, markeredgecolor="white")


def curve_grid(study: Study, curves: pd.DataFrame, stops: pd.DataFrame | None = None) -> Figure:
    """Learning curves (paper, Fig. 2): a row a dataset and model, a column a metric.

    Args:
        curves: as `Study.headline`, at most two metrics each.
        stops: where runs could have ended, as `heads_after.stopping_points`.
    """
    groups = list(curves.groupby(["dataset", "model"], sort=False))
    figure, axes = grid(len(groups), 2.2)
    for pair, ((dataset, model), rows) in zip(axes, groups, strict=True):
        for ax in pair[rows["metric"].nunique() :]:
            ax.set_visible(False)
        for ax, (metric, of_panel) in zip(pair, rows.groupby("metric", sort=False), strict=False):
            title = f"{study.title(dataset, model)}\n{name(metric)}"
            curve(ax, of_panel, title=title, xlabel="labels", ylabel="validation accuracy")
            if stops is not None:
                here = (stops["dataset"] == dataset) & (stops["model"] == model)
                mark_stops(ax, of_panel, stops[here])
    return figure


def gain_matrix(ax: Axes, gains: pd.DataFrame, models: list[str], **labels: Any) -> None:
    """Who chose (rows) x who learns (columns): the gain over a random set and half its interval.

    Gains whose interval lies on one side of 0 are bold; below them what random sets give.

    Args:
        gains: as `paired_gains`: acquisition (the model that chose), model, random, gain, ci_low,
            ci_high. models: in the order of rows and columns.
        labels: as for `curve`.
    """
    table = gains.set_index(["acquisition", "model"])
    square = table["gain"].unstack().reindex(index=models, columns=models)
    limit = np.nanmax(np.abs(square.to_numpy()), initial=0.01)
    ax.imshow(square, cmap="RdBu", vmin=-limit, vmax=limit, aspect="auto")
    for (chooser, model), row in table.iterrows():
        place = (models.index(model), models.index(chooser))
        is_dark = abs(row["gain"]) > 0.6 * limit
        weight = "bold" if row["ci_low"] > 0 or row["ci_high"] < 0 else "normal"
        style: dict[str, Any] = {"ha": "center", "color": "white" if is_dark else "black"}
        ax.annotate(f"{row['gain']:+.2f}", place, va="bottom", weight=weight, **style)
        half = (row["ci_high"] - row["ci_low"]) / 2
        ax.annotate(f"±{half:.2f}", place, va="top", fontsize="small", **style)
    drawn = table["random"].groupby("model").first()
    for column, model in enumerate(models):
        accuracy = f"{drawn[model]:.2f}" if model in drawn else ""
        ax.annotate(accuracy, (column, len(models)), ha="center", va="center", color="#555555")
    words = [textwrap.fill(name(model), 13, break_on_hyphens=False) for model in models]
    ax.set_xticks(range(len(models)), words, rotation=50, ha="right", rotation_mode="anchor")
    ax.set_yticks(range(len(models) + 1), [*words, "random sets"])
    ax.set_ylim(len(models) + 0.5, -0.5)
    ax.grid(visible=False)
    ax.tick_params(length=0)
    ax.set(**labels)


def upsampling_grid(study: Study, counts: pd.DataFrame) -> Figure:
    """What was asked for, a row an attribute: as a share, and as a multiple of the pool's share.

    Args:
        counts: as `upsampling_by_run`, with attribute and value_of.
    """
    groups = list(counts.groupby(["dataset", "model", "attribute"], sort=False))
    figure, axes = grid(len(groups), 2.1)
    for (left, right), ((dataset, model, attribute), rows) in zip(axes, groups, strict=True):
        shares = rows.assign(value=rows["share_acquired"])
        pool = shares.groupby("value_of")["share_pool"].first()
        title = f"{study.title(dataset, model)}, by {attribute}"
        labels: dict[str, Any] = {"title": title, "ylabel": "share of queried", "ylim": (0, None)}
        bars_with_pool_share(left, shares, pool, "value_of", **labels)
        labels = {"title": "relative to the pool", "ylabel": "times the pool's share"}
        bars(right, rows.assign(value=rows["ratio"]), "value_of", ylim=(0, None), **labels)
        right.axhline(1, color=HIGHLIGHT, linewidth=2)
    legend(figure, axes[0, 0], columns=3)
    return figure
