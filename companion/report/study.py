"""TODO: what this room holds."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from alpt_lib import datasets, registry
from alpt_lib.config import RunConfig
from alpt_lib.files import home
from companion.runs import store
from companion.runs.execute import RunsFailed, execute
from companion.runs.parameters import read_parameters
from companion.runs.plan import Planned, plan_runs, prepare

STORED_ONLY = (
    "ALPT_STORED_ONLY"  # set while figures are rendered: the runs were done, or have failed, before
)


@dataclass
class Study:
    """What a notebook works with: tidy tables of all its runs, its datasets, and where its figures go."""

    parameters: dict[str, Any]
    metrics: pd.DataFrame  # run columns, results.METRIC_COLUMNS
    acquisitions: pd.DataFrame  # run columns, results.ACQUISITION_COLUMNS, attributes
    runs: pd.DataFrame  # one row a run: run columns, rounds, steps and stopping reasons
    datasets: dict[str, datasets.Dataset]
    output: Path

    @property
    def main(self) -> pd.DataFrame:
        """The metric rows of each dataset's first evaluation split, the one that figures show."""
        first = {name: data.eval_splits[0] for name, data in self.datasets.items()}
        return self.metrics[self.metrics["split"] == self.metrics["dataset"].map(first)]

    @property
    def headline(self) -> pd.DataFrame:
        """The rows of `main` that curves are drawn of: at most two metrics a dataset, those that it describes, then the
        accuracy on its minority subgroups."""
        rows, parts = self.main[self.main["subgroup"] == "all"], []
        for name, data in self.datasets.items():
            of_dataset = rows[rows["dataset"] == name]
            wanted = dict.fromkeys([*data.description.figure_metrics, "accuracy_minority"])
            found = [m for m in wanted if (of_dataset["metric"] == m).any()][:2]
            parts += [of_dataset[of_dataset["metric"] == m] for m in found]
        return pd.concat(parts, ignore_index=True)

    def title(self, dataset: str, model: str = "") -> str:
        """How figures call a dataset, and one of its models."""
        described = self.datasets[dataset].description.title or dataset
        return f"{described}: {registry.title(model)}" if model else described

    def save(self, figure, name: str) -> None:
        """Write a figure as png and svg."""
        self.output.mkdir(parents=True, exist_ok=True)
        for suffix, options in (("png", {"dpi": 160}), ("svg", {"metadata": {"Date": None}})):
            figure.savefig(self.output / f"{name}.{suffix}", bbox_inches="tight", **options)

    def save_table(self, table: pd.DataFrame, name: str) -> None:
        """Write a tidy table as csv."""
        self.output.mkdir(parents=True, exist_ok=True)
        table.to_csv(self.output / f"{name}.csv", index=False, float_format="%.6g")


def run(notebook: str, namespace: dict[str, Any]) -> Study:
    """The one call of every notebook: read its parameters, do the runs that are missing, load all tables.

    Runs that fail are named and left out of the tables, so figures rest on fewer seeds, and say so.

    Args:
        notebook: its name, e.g. "01_accuracy_curves"; figures go to <output>/<name>.
        namespace: the notebook's globals().
    """
    parameters = read_parameters(namespace)
    prepare(parameters)
    planned = plan_runs(parameters)
    why = "the same command again says why"
    try:
        if STORED_ONLY not in os.environ:
            execute([p.config for p in planned], parameters["workers"])
    except RunsFailed as error:
        why = str(error)
    finished = [p for p in planned if store.is_done(p.config)]
    for dataset in {p.dataset for p in planned} - {p.dataset for p in finished}:
        raise RunsFailed(f"no run on {dataset} is finished: {why}")
    if left_out := [p for p in planned if p not in finished]:
        reasons = sorted({reason for p in left_out if (reason := store.failure(p.config))})
        print(
            f"Left out: {len(left_out)} of {len(planned)} runs, which are not finished. {' '.join(reasons)}".strip()
        )
    return load_study(notebook, parameters, finished)


def load_study(notebook: str, parameters: dict[str, Any], planned: list[Planned]) -> Study:
    """The tables of runs that are stored."""
    by_name = {p.dataset: datasets.read_dataset(Path(p.config.dataset)) for p in planned}
    return Study(
        parameters,
        _table(planned, store.metrics_of),
        _table(planned, store.acquisitions_of),
        _table(planned, _run_row),
        by_name,
        home() / parameters["output"] / notebook,
    )


def _table(planned: list[Planned], read: Callable[[RunConfig], pd.DataFrame]) -> pd.DataFrame:
    frames = []
    for p in planned:
        table = read(p.config)
        columns = pd.DataFrame([p.columns] * len(table), index=table.index)
        frames.append(pd.concat([columns, table[[c for c in table if c not in p.columns]]], axis=1))
    return pd.concat(frames, ignore_index=True)


def _run_row(config: RunConfig) -> pd.DataFrame:
    fits = [r.fit for r in store.read(config) if r.fit]
    return pd.DataFrame(
        [
            {
                "n_rounds": config.protocol.n_rounds,
                "n_fits": len(fits),
                "mean_steps": sum(f["n_steps"] for f in fits) / len(fits),
                "share_stopped_by_rule": sum(f["stopped_by"] != "max_steps" for f in fits)
                / len(fits),
            }
        ]
    )
