"""What each way of asking finds, gains and costs: tables and figures over acquisition functions."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace
from itertools import combinations_with_replacement
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from alpt_lib.acquisition import POOL
from alpt_lib.datasets import Dataset
from alpt_lib.files import runs_folder
from alpt_lib.learners import create_learner
from alpt_lib.loop import ask
from alpt_lib.registry import title
from companion.report import plotting
from companion.report.estimates import (
    RANDOM,
    RUN,
    paired_gains,
    pool_values,
    seed_means,
    shares_together,
)
from companion.report.measures import LEAST_CONFIDENCE
from companion.runs.store import StoredRun

if TYPE_CHECKING:
    from companion.report.study import Study

METRICS = ["accuracy", "accuracy_minority", "accuracy_worst_group"]
REPEATS = 3
# the run itself, in tables of settings
AS_ABOVE = "as above"
# the setting of notebook 12 that has networks beside each other, from the preset real
FOUNDATION = "foundation models"
# images (CLIP, SigLIP: with texts) that a network was pretrained on: Russakovsky et al. 2015, Oquab
# et al. 2023, Radford et al. 2021; SigLIP's are WebLI's, of which it saw a part (Chen et al. 2022)
PRETRAINING_IMAGES = {
    "lite0": 1.28e6,
    "dinov2-s": 142e6,
    "dinov2-b": 142e6,
    "clip-b32": 400e6,
    "siglip-b16": 10e9,
}


def shares_asked(study: Study, column: str = "subgroup") -> pd.DataFrame:
    """Of each run: how many times their share of the pool disambiguating examples were asked for.

    Args:
        column: "label" counts the rarest class in their place.
    Returns:
        dataset, model, acquisition, seed, share_acquired, share_pool, value (the ratio); no rows of
        a dataset without minority subgroups.
    """
    tables = []
    for name, data in study.datasets.items():
        asked = study.acquisitions[study.acquisitions["dataset"] == name]
        counts = pool_values(data, column).value_counts()
        wanted = data.minority if column == "subgroup" else [counts.idxmin()]
        if wanted and (asked["round"] > 0).any():
            shares = shares_together(asked, data, column, wanted)
            tables.append(shares.rename(columns={"ratio": "value"}))
    columns = [*RUN, "share_acquired", "share_pool", "value"]
    return pd.concat(tables)[columns] if tables else pd.DataFrame(columns=columns)


def in_common(study: Study) -> pd.DataFrame:
    """Share of least confidence's questions that two networks have in common, seed by seed.

    Networks are compared that choose from the same pool, as photographs or as features. One and the
    same is compared with itself from another seed set, each seed with the next.

    Returns:
        pool (its first dataset), network, other (their names in figures), seed, value, by_chance.
    """
    own = study.acquisitions[study.acquisitions["acquisition"] == LEAST_CONFIDENCE]
    alike = _alike(study.datasets)
    networks: dict[str, dict[str, dict[int, pd.DataFrame]]] = {}
    for (dataset, model), rows in own.groupby(["dataset", "model"], sort=False):
        first, *others = alike[dataset]
        of_pool = networks.setdefault(first, {})
        name = title(model)
        if others:
            config = StoredRun.at(runs_folder() / rows["run_id"].iloc[0]).config
            name = f"{name}, {config.recipe.backbone}"
        if name in of_pool:
            name = f"{name} ({dataset})"
        of_pool[name] = dict(list(rows.groupby("seed")))
    parts = []
    for pool, of_pool in networks.items():
        n_pool = len(study.datasets[pool].rows(POOL))
        for one, other in combinations_with_replacement(of_pool, 2):
            seeds = list(of_pool[one])
            for seed, following in zip(seeds, [*seeds[1:], *seeds[:1]], strict=True):
                rows = of_pool[one][seed]
                rival = of_pool[other].get(following if one == other else seed)
                if rival is None or rival is rows:
                    continue
                asked = [set(each.loc[each["round"] > 0, "index"]) for each in (rows, rival)]
                shared = len(asked[0] & asked[1]) / len(asked[0])
                n_left = n_pool - (rows["round"] == 0).sum()
                parts.append((pool, one, other, seed, shared, len(asked[1]) / n_left))
    columns = ["pool", "network", "other", "seed", "value", "by_chance"]
    return pd.DataFrame(parts, columns=columns)


def _alike(datasets: dict[str, Dataset]) -> dict[str, list[str]]:
    """Of each dataset those whose pools hold the same examples, by labels and attributes."""
    pools = {}
    for name, data in datasets.items():
        pools[name] = data.rows(POOL).drop(columns="path", errors="ignore")
    return {
        name: [other for other in pools if pools[other].equals(pool)]
        for name, pool in pools.items()
    }


def draw_in_common(ax: Axes, common: pd.DataFrame, **labels: str) -> None:
    """Percent of questions in common, a row and a column for each network of a pool.

    Args:
        common: rows of `in_common` of one pool. labels: as for `plotting.curve`.
    """
    means = common.groupby(["other", "network"], sort=False)["value"].mean().unstack(sort=False)
    options = {"annot": True, "fmt": ".0f", "cmap": "Blues", "vmin": 0, "cbar": False}
    sns.heatmap(100 * means, ax=ax, linewidths=1, **options)
    ax.set_xticks(ax.get_xticks(), means.columns, rotation=50, ha="right", rotation_mode="anchor")
    ax.grid(visible=False)
    ax.tick_params(length=0)
    ax.set(xlabel="", ylabel="", **labels)


def query_times(study: Study) -> pd.DataFrame:
    """How long each acquisition function takes for one query, on this machine, now.

    The model is one of the study's, fitted on what its random run had labelled before the last
    query; features of a frozen network are there already, those of a fine-tuned one are part of the
    time, as are predictions.

    Returns:
        dataset, model, acquisition, n_labels, milliseconds (the least of 3).
    """
    rows = []
    runs = study.runs.drop_duplicates(["dataset", "model"])
    for of_model in runs.to_dict("records"):
        data = study.datasets[of_model["dataset"]]
        config = StoredRun.at(runs_folder() / of_model["run_id"]).config
        last = config.protocol.n_rounds - 1
        asked = study.acquisitions[study.acquisitions["run_id"] == of_model["run_id"]]
        pool = data.pool()
        pool.acquire(asked.loc[asked["round"] <= last, "index"].to_numpy())
        learner = create_learner(data, config)
        learner.fit(pool.labelled, np.random.default_rng(0))
        for acquisition in study.parameters["acquisitions"]:
            other = replace(config, acquisition=acquisition)
            times = []
            for _ in range(REPEATS):
                started = time.perf_counter()
                ask(learner, pool, other, last)
                times.append(1000 * (time.perf_counter() - started))
            place = (of_model["dataset"], of_model["model"], acquisition)
            rows.append((*place, len(pool), min(times)))
    columns = ["dataset", "model", "acquisition", "n_labels", "milliseconds"]
    return pd.DataFrame(rows, columns=columns)


def gains_by_setting(study: Study) -> pd.DataFrame:
    """`paired_gains` of the METRICS and headline metrics, in every setting of a study.

    Returns:
        setting (AS_ABOVE for the study's own), then the columns of `paired_gains`.
    """
    parts = []
    for setting, of_setting in {AS_ABOVE: study, **study.settings}.items():
        overall = of_setting.main[of_setting.main["subgroup"] == "all"]
        shown = [*METRICS, *of_setting.headline["metric"].unique()]
        parts.append(overall[overall["metric"].isin(shown)].assign(setting=setting))
    gains = paired_gains(pd.concat(parts), ["setting", "dataset", "model", "metric"])
    # not every function is in every setting
    return gains.dropna(subset="gain").reset_index(drop=True)


def side_by_side(gains: pd.DataFrame, times: pd.DataFrame, **asked: pd.DataFrame) -> pd.DataFrame:
    """One line a function, for reading: gains over random, how often asked, time of a query.

    Args:
        gains: as `gains_by_setting`, of one setting. times: as `query_times`.
        asked: what is counted -> as `shares_asked`.
    """
    by = ["dataset", "model", "acquisition"]
    words = gains.assign(words=_with_interval(gains, "gain", "{:+.3f}"))
    table = words.pivot_table(
        index=by, columns="metric", values="words", aggfunc="first", sort=False
    )
    table = table[[metric for metric in METRICS if metric in table]]
    for what, shares in asked.items():
        if len(shares):
            ratios = seed_means(shares, by).set_index(by)
            times_their_share = pd.Series(_with_interval(ratios, "mean", "{:.2f}"), ratios.index)
            table = table.join(times_their_share.rename(f"{what}: times their share"), how="outer")
    table = table.join(times.set_index(by)["milliseconds"].round(1).rename("ms a query"))
    return table.loc[times.set_index(by).index].rename(columns=plotting.name).reset_index()


def _with_interval(table: pd.DataFrame, column: str, form: str) -> list[str]:
    """Numbers with their intervals, such as "+0.10 (+0.07 to +0.13)"."""
    values = table[[column, "ci_low", "ci_high"]].to_numpy()
    return [f"{form} ({form} to {form})".format(*row) for row in values]


def dots(ax: Axes, table: pd.DataFrame, chance: float = 0, **labels: str) -> None:
    """A dot an acquisition function, with its 95% interval; the dashed line is random sampling.

    Args:
        table: acquisition, mean, ci_low, ci_high; the first on top. chance: where the line is.
        labels: title, xlabel, xscale.
    """
    names = [plotting.name(acquisition) for acquisition in table["acquisition"]]
    _dots_at(ax, table, range(len(table)), names, chance)
    ax.set(**labels)


def _dots_at(
    ax: Axes, table: pd.DataFrame, places: Iterable[float], rows: list[str], chance: float
) -> None:
    """A dot and its interval at each place; the names of the rows, from the top."""
    for place, row in zip(places, table.itertuples(), strict=True):
        style: dict[str, Any] = {"color": plotting.COLOURS.get(row.acquisition)}
        ax.plot([row.ci_low, row.ci_high], [place, place], linewidth=1.5, **style)
        label = plotting.name(row.acquisition)
        ax.plot(row.mean, place, "o", markersize=4.5, label=label, **style)
    ax.set_yticks(range(len(rows)), rows)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.axvline(chance, color=plotting.HIGHLIGHT, linestyle="--", linewidth=1.2)
    ax.grid(axis="y", visible=False)


def dots_grid(
    gains: pd.DataFrame, by: list[str], titles: dict[tuple, str], sharex: bool = True
) -> Figure:
    """A panel of gains for each of the titled groups, two a row, on one scale where `sharex`.

    Args:
        gains: rows of `paired_gains` of one metric a group. by: the columns of a group.
        titles: values of `by` -> the panel's title, in order.
    """
    table = gains.rename(columns={"gain": "mean"})
    groups = {key: rows for key, rows in table.groupby(by, sort=False) if key in titles}
    longest = max(len(rows) for rows in groups.values())
    # a title of two lines and the axis leave no room for a single row in less
    height = max(1.5, 0.75 + 0.19 * longest)
    figure, axes = plotting.grid(-(-len(groups) // 2), height, sharex=sharex)
    for ax in axes.flat[len(groups) :]:
        ax.set_visible(False)
    for ax, (key, rows) in zip(axes.flat, groups.items(), strict=False):
        dots(ax, rows, title=titles[key], xlabel="gain over random")
        ax.tick_params(labelbottom=True)
    return figure


def found_and_gained(gains: pd.DataFrame, asked: pd.DataFrame, metrics: list[str]) -> Figure:
    """How often each function asks for disambiguating examples, and what it gains, side by side.

    Args:
        gains: as `gains_by_setting`, of one setting, dataset and model. asked: as `shares_asked`,
            of the same; without rows, the first panel is left out. metrics: a panel each.
    """
    ratios = seed_means(asked, ["acquisition"]).sort_values("mean", ascending=False)
    ratios = ratios[ratios["acquisition"] != RANDOM]
    columns = (len(ratios) > 0) + len(metrics)
    height = 0.9 + 0.21 * gains["acquisition"].nunique()
    figure, axes = plotting.grid(1, height, columns, sharey=True)
    panels = list(axes.flat)
    if len(ratios):
        dots(panels[0], ratios, 1, title="asked for, times\nthe pool's share", xscale="log")
        ticks = [tick for tick in (0.5, 1, 2, 4, 8, 16) if tick < ratios["ci_high"].max()]
        panels[0].set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        panels[0].minorticks_off()
    order = ratios["acquisition"] if len(ratios) else gains["acquisition"].drop_duplicates()
    for ax, metric in zip(panels[-len(metrics) :], metrics, strict=True):
        rows = gains[gains["metric"] == metric].rename(columns={"gain": "mean"})
        rows = rows.set_index("acquisition").loc[list(order)].reset_index()
        words = plotting.name(metric).removeprefix("accuracy, ").removesuffix(" examples")
        dots(ax, rows, title=f"gain over random:\n{words}")
    return figure


def by_network(gains: pd.DataFrame, asked: pd.DataFrame) -> Figure:
    """How often networks ask for disambiguating examples, and what they gain, least images first.

    A row a network, with the number of images that it was pretrained on where PRETRAINING_IMAGES
    has it, else last; a dot an acquisition function, with its 95% interval.

    Args:
        gains: as `gains_by_setting`, of one setting, dataset and metric. asked: as `shares_asked`,
            of the same.
    """
    n_images = {m: PRETRAINING_IMAGES.get(m, np.inf) for m in gains["model"].unique()}
    order = sorted(n_images, key=lambda model: n_images[model])
    names = [f"{title(model)}\n{_many(n_images[model])}" for model in order]
    functions = list(gains["acquisition"].unique())
    ratios = seed_means(asked[asked["acquisition"] != RANDOM], ["model", "acquisition"])
    figure, axes = plotting.grid(1, 1 + 0.34 * len(order), sharey=True)
    panels = [(ratios, 1, "asked for, times\nthe pool's share")]
    panels.append((gains.rename(columns={"gain": "mean"}), 0, "gain over random:\ndisambiguating"))
    for ax, (table, chance, words) in zip(axes.flat, panels, strict=True):
        middle = (len(functions) - 1) / 2
        shifts = table["acquisition"].map(functions.index) - middle
        _dots_at(ax, table, table["model"].map(order.index) + 0.24 * shifts, names, chance)
        ax.set(title=words)
        ax.locator_params(axis="x", nbins=5)
    dots_of = dict(zip(*reversed(axes[0, 0].get_legend_handles_labels()), strict=True))
    figure.legend(dots_of.values(), dots_of, loc="outside upper right", ncols=len(dots_of))
    return figure


def _many(n: float) -> str:
    """1.28 M images, 10 bn images; nothing where the number is not known."""
    if not np.isfinite(n):
        return ""
    return f"{n / 1e6:.3g} M images" if n < 1e9 else f"{n / 1e9:.3g} bn images"
