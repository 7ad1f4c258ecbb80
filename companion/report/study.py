"""A study is what a notebook works with: the tidy tables of its runs, those missing done first."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from alpt_lib import registry
from alpt_lib.datasets import Dataset
from alpt_lib.errors import StoreError
from alpt_lib.files import home, one_line_errors
from companion.notebook_text import NARROW
from companion.report.export import write_csv
from companion.runs.at_hand import within_reach
from companion.runs.execute import RunsFailed, execute
from companion.runs.parameters import each_setting, read_parameters
from companion.runs.plan import Planned, cautions, plan_runs, prepare_datasets
from companion.runs.store import StoredRun

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# environment variable, set while figures are rendered: the runs were done, or have failed, before
STORED_ONLY = "ALPT_STORED_ONLY"


@dataclass
class Study:
    """What a notebook works with: tidy tables of its runs, datasets, where its figures go."""

    parameters: dict[str, Any]
    # run columns, then store.METRIC_COLUMNS
    metrics: pd.DataFrame
    # run columns, then store.ACQUISITION_COLUMNS and the manifest's attributes
    acquisitions: pd.DataFrame
    # one row a run: run columns, rounds, steps and stopping reasons
    runs: pd.DataFrame
    datasets: dict[str, Dataset]
    output: Path
    # of each of the parameter `settings` a study of its own, as far as its runs are finished
    settings: dict[str, Study] = field(default_factory=dict)

    @property
    def main(self) -> pd.DataFrame:
        """The metric rows of each dataset's first evaluation split, the one that figures show."""
        first = {name: data.eval_splits[0] for name, data in self.datasets.items()}
        return self.metrics[self.metrics["split"] == self.metrics["dataset"].map(first)]

    @property
    def headline(self) -> pd.DataFrame:
        """The rows of `main` that curves are drawn of: at most two metrics a dataset.

        They are those that the dataset describes, then the accuracy on disambiguating examples.
        """
        overall = self.main[self.main["subgroup"] == "all"]
        parts = []
        for name, data in self.datasets.items():
            rows = overall[overall["dataset"] == name]
            wanted = dict.fromkeys([*data.description.figure_metrics, "accuracy_minority"])
            measured = [metric for metric in wanted if (rows["metric"] == metric).any()]
            parts += [rows[rows["metric"] == metric] for metric in measured[:2]]
        return pd.concat(parts, ignore_index=True)

    def title(self, dataset: str, model: str = "") -> str:
        """How figures call a dataset, and one of its models."""
        described = self.datasets[dataset].description.title or dataset
        return f"{described}: {registry.title(model)}" if model else described

    def save(self, figure: Figure, name: str) -> None:
        """Write a figure as png and svg, and as png for a phone, its panels stacked."""
        import matplotlib.pyplot as plt

        from companion.report.plotting import stacked

        self.output.mkdir(parents=True, exist_ok=True)
        target = self.output / name
        with one_line_errors(target, StoreError, "free some space, then start it again"):
            with stacked(figure):
                figure.savefig(f"{target}{NARROW}", dpi=160, bbox_inches="tight")
            # laid out and measured once for both files
            figure.draw_without_rendering()
            figure.set_layout_engine("none")
            box = figure.get_tightbbox().padded(plt.rcParams["savefig.pad_inches"])
            for suffix, options in (("png", {"dpi": 160}), ("svg", {"metadata": {"Date": None}})):
                figure.savefig(f"{target}.{suffix}", bbox_inches=box, **options)
        # the notebook's own picture is one more drawing, not two
        figure.stale = False

    def save_table(self, table: pd.DataFrame, name: str) -> None:
        """Write a tidy table as csv."""
        write_csv(table, self.output / f"{name}.csv", float_format="%.6g")


def run_study(notebook: str, namespace: dict[str, Any]) -> Study:
    """The one call of every notebook: read parameters, do the runs that are missing, load tables.

    Runs that fail are named and left out of the tables, so figures rest on fewer seeds, and say so.

    Args:
        notebook: its name, e.g. "01_accuracy_curves"; figures go to <output>/<name>.
        namespace: the notebook's globals().
    Raises:
        RunsFailed: no run on one of the datasets is finished.
    """
    parameters = read_parameters(namespace)
    prepare_datasets(parameters)
    planned, left_out = within_reach(plan_runs(parameters))
    for line in [*cautions(planned), *left_out]:
        print(line)
    n_stored = sum(each.run.is_done() for each in planned)
    why = "the same command again says why"
    try:
        if STORED_ONLY not in os.environ:
            execute([each.run for each in planned], parameters["workers"])
    except RunsFailed as error:
        why = str(error)
    finished = [each for each in planned if each.run.is_done()]
    _check_datasets(planned, finished, why)
    study = load_study(notebook, parameters, finished)
    where = os.path.relpath(study.output, home())
    print(f"{n_stored} runs found, {len(finished) - n_stored} done now; figures go to {where}")
    _say_left_out([each.run for each in planned if each not in finished], len(planned))
    return study


def _check_datasets(planned: list[Planned], finished: list[Planned], why: str) -> None:
    """Raises RunsFailed for a dataset that has no finished run, in any of the settings."""
    places = [{(each.dataset, each.setting) for each in runs} for runs in (planned, finished)]
    without = sorted(places[0] - places[1])
    if without:
        raise RunsFailed(f"no run on {' '.join(without[0]).strip()} is finished: {why}")


def _say_left_out(runs: Sequence[StoredRun], n_planned: int) -> None:
    if runs:
        reasons = sorted({reason for run in runs if (reason := run.failure())})
        first = f"Left out: {len(runs)} of {n_planned} runs, which are not finished."
        print(" ".join([first, *reasons]))


def load_study(notebook: str, parameters: dict[str, Any], planned: Sequence[Planned]) -> Study:
    """The tables of runs that are stored, and of each of the settings.

    Args:
        parameters: checked. planned: finished runs, with their datasets.
    """
    by_setting: dict[str, list[Planned]] = {}
    for each in planned:
        by_setting.setdefault(each.setting, []).append(each)
    every = each_setting(parameters)
    studies = {
        name: _load_setting(notebook, every[name], runs) for name, runs in by_setting.items()
    }
    return replace(studies.pop(""), parameters=parameters, settings=studies)


def _load_setting(notebook: str, parameters: dict[str, Any], planned: Sequence[Planned]) -> Study:
    return Study(
        parameters,
        _gather(planned, StoredRun.metrics),
        _gather(planned, StoredRun.acquisitions),
        _gather(planned, _run_row),
        {each.dataset: each.data for each in planned},
        home() / parameters["output"] / notebook,
    )


def _gather(planned: Sequence[Planned], read: Callable[[StoredRun], pd.DataFrame]) -> pd.DataFrame:
    """One table of all runs, each row with the columns that tell its run."""
    tables = [read(each.run) for each in planned]
    runs = pd.DataFrame([each.columns for each in planned])
    of_row = np.repeat(np.arange(len(planned)), [len(table) for table in tables])
    columns = runs.iloc[of_row].reset_index(drop=True)
    body = pd.concat(tables, ignore_index=True).drop(columns=list(columns), errors="ignore")
    return pd.concat([columns, body], axis=1)


def _run_row(run: StoredRun) -> pd.DataFrame:
    fits = [each.fit for each in run.rounds() if each.fit]
    row = {
        "n_rounds": run.config.protocol.n_rounds,
        "n_fits": len(fits),
        "mean_steps": sum(fit["n_steps"] for fit in fits) / len(fits),
        "share_stopped_by_rule": sum(fit["stopped_by"] != "max_steps" for fit in fits) / len(fits),
    }
    return pd.DataFrame([row])
