"""From a notebook's parameters to its tidy tables: plan the runs, do the missing ones, load all of them.

Every notebook has the parameters of `PARAMETERS` that it needs, as literals in its tagged cell; papermill and the
presets override them. Notebooks share runs: a run that one has done, the others find in the store.
"""

import ast
import fcntl
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise, product
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd
import yaml

from alpt_lib import datasets, models, results
from alpt_lib.config import ConfigError, Protocol, Recipe, RunConfig, override, unknown
from alpt_lib.execute import RunsFailed, execute
from alpt_lib.paths import REPOSITORY, home
from alpt_lib.progress import Progress

STORED_ONLY = "ALPT_STORED_ONLY"  # set while figures are rendered: the runs were done, or have failed, before
PRESETS = {"smoke": "mini", "mini": "mini", "paper": "paper"}  # preset -> tier of datasets and models
PAPER_DATA = {  # dataset at the paper tier -> the script in data_prep/ that makes it
    **{name: f"{name}.py" for name in ("waterbirds", "treeperson", "iwildcam", "amazon", "camelyon17", "fmow")},
    **{f"waterbirds_{percent}": "waterbirds_variants.py" for percent in (50, 60, 70, 80, 90, 95)},
}
GENERATORS = ("mini_text.py", "mini_vision.py")  # of the embedded datasets: seconds, and about half a minute


def _list_of(kind: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(isinstance(v, kind) and not isinstance(v, bool) for v in value)


def _whole(least: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and value >= least


def _models(value: Any) -> bool:
    names = _list_of(str)
    return names(value) or (isinstance(value, dict) and all(names(v) for v in value.values()))


def _weights(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(v, str) for pair in value.items() for v in pair)
    return value is None or (isinstance(value, str) and not value.startswith("{"))  # "{": a mapping that arrived as text


# name -> (check, what it takes)
PARAMETERS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "preset": (lambda v: isinstance(v, str), f"one of {', '.join(PRESETS)}"),
    "datasets": (_list_of(str), "a list of dataset names or folders"),
    "models": (_models, "a list of model names, or a mapping of dataset to such a list; [] takes each dataset's own"),
    "acquisitions": (_list_of(str), "a list of acquisition functions"),
    "seeds": (_list_of(int), "a list of whole numbers"),
    "weights": (_weights, "a file or folder of pretrained weights, a mapping of model to such, or None"),
    "protocol": (lambda v: isinstance(v, dict), "a mapping of protocol settings, e.g. {budget: 40}"),
    "recipe": (lambda v: isinstance(v, dict), "a mapping of recipe settings, e.g. {lr: 0.01}"),
    "stopping": (_list_of(str), "a list of stopping rules; [] takes the recipe's"),
    "probe": (_list_of(str), "a list of attributes, e.g. [label, background]"),
    "collection": (lambda v: isinstance(v, str), "a folder of images or a csv of texts to be labelled"),
    "classes": (_list_of(str), "a list of class names"),
    "check_set": (lambda v: isinstance(v, str), "a csv with the columns id and label"),
    "who": (lambda v: isinstance(v, str), "a name"),
    "n_points": (_whole(1), "a whole number above 0"),
    "output": (lambda v: isinstance(v, str), "a folder for figures"),
    "workers": (_whole(0), "a number of processes; 0 takes one per core"),
}
DEFAULTS = {
    "preset": "mini", "models": [], "acquisitions": ["random", "least_confidence"], "seeds": [1], "weights": None,
    "protocol": {}, "recipe": {}, "stopping": [], "probe": [], "n_points": 500, "output": "figures/custom", "workers": 0,
}


def read_parameters(namespace: dict[str, Any]) -> dict[str, Any]:
    """A notebook's parameters from its globals(), checked.

    Raises:
        ConfigError: papermill injected a name that the tagged cell does not define (papermill itself only warns and runs
            the defaults), or a value has the wrong type; lists what is valid.
    """
    valid, injected = _cells(namespace.get("In", []))
    for name in injected:
        if name not in valid:
            raise ConfigError(unknown("parameter", name, sorted(valid)))
    return check_parameters({name: namespace[name] for name in PARAMETERS if name in namespace and not callable(namespace[name])})


def check_parameters(given: dict[str, Any]) -> dict[str, Any]:
    """Defaults filled in, lists and mappings that arrived as text parsed, every type checked."""
    parameters = dict(DEFAULTS)
    for name, value in given.items():
        if name not in PARAMETERS:
            raise ConfigError(unknown("parameter", name, sorted(PARAMETERS)))
        is_valid, takes = PARAMETERS[name]
        if isinstance(value, str) and not is_valid(value):  # papermill -p seeds "[1, 2]" arrives as text
            with suppress(yaml.YAMLError):
                value = yaml.safe_load(value)
        if not is_valid(value):
            raise ConfigError(f"parameter {name} takes {takes}; got {value!r}")
        parameters[name] = value
    if parameters["preset"] not in PRESETS:
        raise ConfigError(unknown("preset", parameters["preset"], list(PRESETS)))
    for name in ("datasets", "acquisitions", "seeds"):
        if not parameters.get(name):
            raise ConfigError(f"parameter {name} is empty; it takes {PARAMETERS[name][1]}")
    for name, value in parameters.items():
        if isinstance(value, list) and len(set(value)) < len(value):  # a run counted twice would narrow every interval
            raise ConfigError(f"parameter {name} names {next(v for v in value if value.count(v) > 1)!r} twice; got {value}")
    return parameters


def _cells(history: list[str]) -> tuple[set[str], set[str]]:
    """Names assigned in the tagged cell and in the cell that papermill put after it."""
    for tagged, injected in pairwise(history):
        if injected.startswith("# Parameters\n"):
            return _assigned(tagged), _assigned(injected)
    return set(), set()


def _assigned(source: str) -> set[str]:
    assignments = [node for node in ast.parse(source).body if isinstance(node, ast.Assign)]
    return {target.id for node in assignments for target in node.targets if isinstance(target, ast.Name)}


@dataclass(frozen=True)
class Planned:
    """One run and how tables and figures call it."""

    config: RunConfig
    dataset: str
    model: str

    @property
    def columns(self) -> dict[str, Any]:
        c = self.config
        return {"dataset": self.dataset, "model": self.model, "acquisition": c.acquisition, "seed": c.seed,
                "stopping": c.recipe.stopping, "run_id": results.run_id(c)}


@dataclass(frozen=True)
class Expected:
    """A published dataset that is not prepared here, as its script describes it."""

    description: datasets.Description
    sizes: dict[str, int]  # examples of the pool and of each evaluation split
    script: str


def plan(parameters: dict[str, Any], expected: Mapping[str, Expected] = MappingProxyType({})) -> list[Planned]:
    """Every run that these parameters name: datasets x models x stopping rules x acquisition functions x seeds.

    Args:
        expected: datasets that are planned for though they are not here (`--dry-run`).
    Raises:
        ConfigError, DataError, ModelError: anything unknown or unfitting.
    """
    p = check_parameters(parameters)
    tier = PRESETS[p["preset"]]
    planned = []
    for name in p["datasets"]:
        folder = home() / "data" / tier / name if name in expected else _locate(name, tier)
        d = expected[name].description if name in expected else datasets.load(folder).description
        protocol = override(override(Protocol(), d.protocol, f"{d.name} protocol"), p["protocol"], "protocol")
        recipe = override(override(Recipe(), d.recipe, f"{d.name} recipe"), p["recipe"], "recipe")
        wanted = p["models"].get(name, p["models"].get(d.name, [])) if isinstance(p["models"], dict) else p["models"]
        for model, rule, acquisition, seed in product(wanted or [d.default_model], p["stopping"] or [recipe.stopping],
                                                      p["acquisitions"], p["seeds"]):
            config = RunConfig(
                dataset=str(folder), model=models.resolve(model, tier), acquisition=acquisition, seed=seed,
                weights=models.local_weights(model, tier, p["weights"]),
                probe=tuple(p["probe"]), protocol=protocol, recipe=override(recipe, {"stopping": rule}, "recipe"))
            planned.append(Planned(config, d.name, model))
    if isinstance(p["weights"], dict):
        used = [name for each in planned for name in (each.model, each.config.model)]
        bases = [models.split_name(name)[0] for name in used]
        _check_names("model in weights", p["weights"], [*models.ROLES[tier], *used, *bases])
    if isinstance(p["models"], dict):  # the tier's other datasets are for other notebooks
        others = [*datasets.prepared(tier), *(PAPER_DATA if tier == "paper" else ())]
        _check_names("dataset in models", p["models"], [*p["datasets"], *(each.dataset for each in planned), *others])
    return planned


def _locate(name: str, tier: str) -> Path:
    try:
        return datasets.locate(name, tier)
    except datasets.DataError as error:
        if tier != "paper" or name not in PAPER_DATA:
            raise
        raise datasets.DataError(f"{name} is not prepared: run python data_prep/{PAPER_DATA[name]} --root FOLDER, or with "
                                 "--download; --dry-run lists everything that is missing") from error


def _check_names(what: str, names: Iterable[str], known: list[str]) -> None:
    """The names of a mapping must mean something to these runs; a typo would quietly take the default."""
    for name in names:
        if name not in known:
            raise ConfigError(unknown(what, name, list(dict.fromkeys(known))))


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
        return f"{described}: {models.title(model)}" if model else described

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
    planned = plan(parameters)
    why = "the same command again says why"
    try:
        if STORED_ONLY not in os.environ:
            execute([p.config for p in planned], parameters["workers"])
    except RunsFailed as error:
        why = str(error)
    finished = [p for p in planned if results.is_done(p.config)]
    for dataset in {p.dataset for p in planned} - {p.dataset for p in finished}:
        raise RunsFailed(f"no run on {dataset} is finished: {why}")
    if left_out := [p for p in planned if p not in finished]:
        reasons = sorted({reason for p in left_out if (reason := results.failure(p.config))})
        print(f"Left out: {len(left_out)} of {len(planned)} runs, which are not finished. {' '.join(reasons)}".strip())
    return load(notebook, parameters, finished)


def load(notebook: str, parameters: dict[str, Any], planned: list[Planned]) -> Study:
    """The tables of runs that are stored."""
    by_name = {p.dataset: datasets.load(Path(p.config.dataset)) for p in planned}
    return Study(parameters, _table(planned, results.metrics), _table(planned, results.acquisitions), _table(planned, _run_row),
                 by_name, home() / parameters["output"] / notebook)


def _table(planned: list[Planned], read: Callable[[RunConfig], pd.DataFrame]) -> pd.DataFrame:
    frames = []
    for p in planned:
        table = read(p.config)
        columns = pd.DataFrame([p.columns] * len(table), index=table.index)
        frames.append(pd.concat([columns, table[[c for c in table if c not in p.columns]]], axis=1))
    return pd.concat(frames, ignore_index=True)


def _run_row(config: RunConfig) -> pd.DataFrame:
    fits = [r.fit for r in results.read(config) if r.fit]
    return pd.DataFrame([{"n_rounds": config.protocol.n_rounds, "n_fits": len(fits),
                          "mean_steps": sum(f["n_steps"] for f in fits) / len(fits),
                          "share_stopped_by_rule": sum(f["stopped_by"] != "max_steps" for f in fits) / len(fits)}])


def prepare(parameters: dict[str, Any]) -> None:
    """Generate the embedded datasets that these parameters name and that are not there yet (seconds)."""
    target, named = home() / "data" / "mini", [name for name in parameters["datasets"] if not datasets.is_path(name)]
    is_mini = PRESETS.get(parameters.get("preset", "mini")) == "mini"
    if is_mini and not all((target / name / "dataset.yaml").exists() for name in named):
        generate(target)


def generate(target: Path) -> None:
    """Run the generators of data_prep/ into `target`, one process at a time; they skip what is complete."""
    progress = Progress(len(GENERATORS), "embedded datasets, once, about half a minute", "generator")
    target.mkdir(parents=True, exist_ok=True)
    with open(target / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for script in GENERATORS:
            done = subprocess.run([sys.executable, str(REPOSITORY / "data_prep" / script), "--out", str(target)],
                                  capture_output=True, text=True)
            if done.returncode:
                raise datasets.DataError(f"data_prep/{script} failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
            progress.add(1)
    progress.close()
