"""TODO: what this room holds."""

from __future__ import annotations

import fcntl
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from types import MappingProxyType
from typing import Any

from alpt_lib import checkpoints, datasets, errors, registry
from alpt_lib.config import Protocol, Recipe, RunConfig, override
from alpt_lib.datasets import POOL, Dataset
from alpt_lib.errors import ConfigError, unknown
from alpt_lib.files import REPOSITORY, home
from alpt_lib.loop import start_pool
from alpt_lib.progress import Progress
from companion.runs import store
from companion.runs.parameters import PRESETS, check_parameters

PAPER_DATA = {  # dataset at the paper tier -> the script in data_prep/ that makes it
    **{
        name: f"{name}.py"
        for name in ("waterbirds", "treeperson", "iwildcam", "amazon", "camelyon17", "fmow")
    },
    **{f"waterbirds_{percent}": "waterbirds_variants.py" for percent in (50, 60, 70, 80, 90, 95)},
}

GENERATORS = (
    "mini_text.py",
    "mini_vision.py",
)  # of the embedded datasets: seconds, and about half a minute


@dataclass(frozen=True)
class Planned:
    """One run and how tables and figures call it."""

    config: RunConfig
    dataset: str
    model: str

    @property
    def columns(self) -> dict[str, Any]:
        c = self.config
        return {
            "dataset": self.dataset,
            "model": self.model,
            "acquisition": c.acquisition,
            "seed": c.seed,
            "stopping": c.recipe.stopping,
            "run_id": store.run_id(c),
        }


@dataclass(frozen=True)
class Expected:
    """A published dataset that is not prepared here, as its script describes it."""

    description: datasets.Description
    sizes: dict[str, int]  # examples of the pool and of each evaluation split
    script: str


def plan_runs(
    parameters: dict[str, Any], expected: Mapping[str, Expected] = MappingProxyType({})
) -> list[Planned]:
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
        d = (
            expected[name].description
            if name in expected
            else datasets.read_dataset(folder).description
        )
        protocol = override(
            override(Protocol(), d.protocol, f"{d.name} protocol"), p["protocol"], "protocol"
        )
        recipe = override(override(Recipe(), d.recipe, f"{d.name} recipe"), p["recipe"], "recipe")
        wanted = (
            p["models"].get(name, p["models"].get(d.name, []))
            if isinstance(p["models"], dict)
            else p["models"]
        )
        for model, rule, acquisition, seed in product(
            wanted or [d.default_model],
            p["stopping"] or [recipe.stopping],
            p["acquisitions"],
            p["seeds"],
        ):
            config = RunConfig(
                dataset=str(folder),
                model=registry.resolve(model, tier),
                acquisition=acquisition,
                seed=seed,
                weights=checkpoints.local_weights(model, tier, p["weights"]),
                probe=tuple(p["probe"]),
                protocol=protocol,
                recipe=override(recipe, {"stopping": rule}, "recipe"),
            )
            planned.append(Planned(config, d.name, model))
    if isinstance(p["weights"], dict):
        used = [name for each in planned for name in (each.model, each.config.model)]
        bases = [registry.split_name(name)[0] for name in used]
        _check_names("model in weights", p["weights"], [*registry.ROLES[tier], *used, *bases])
    if isinstance(p["models"], dict):  # the tier's other datasets are for other notebooks
        others = [*datasets.prepared(tier), *(PAPER_DATA if tier == "paper" else ())]
        _check_names(
            "dataset in models",
            p["models"],
            [*p["datasets"], *(each.dataset for each in planned), *others],
        )
    return planned


def _locate(name: str, tier: str) -> Path:
    try:
        return datasets.locate(name, tier)
    except errors.DataError as error:
        if tier != "paper" or name not in PAPER_DATA:
            raise
        raise errors.DataError(
            f"{name} is not prepared: run python data_prep/{PAPER_DATA[name]} --root FOLDER, or with "
            "--download; --dry-run lists everything that is missing"
        ) from error


def _check_names(what: str, names: Iterable[str], known: list[str]) -> None:
    """The names of a mapping must mean something to these runs; a typo would quietly take the default."""
    for name in names:
        if name not in known:
            raise ConfigError(unknown(what, name, list(dict.fromkeys(known))))


def prepare(parameters: dict[str, Any]) -> None:
    """Generate the embedded datasets that these parameters name and that are not there yet (seconds)."""
    target, named = (
        home() / "data" / "mini",
        [name for name in parameters["datasets"] if not datasets.is_path(name)],
    )
    is_mini = PRESETS.get(parameters.get("preset", "mini")) == "mini"
    if is_mini and not all((target / name / "dataset.yaml").exists() for name in named):
        generate(target)


def generate(target: Path) -> None:
    """Run the generators of data_prep/ into `target`, one process at a time; they skip what is complete."""
    progress = Progress(
        len(GENERATORS), "embedded datasets, once, about half a minute", "generator"
    )
    target.mkdir(parents=True, exist_ok=True)
    with open(target / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for script in GENERATORS:
            done = subprocess.run(
                [sys.executable, str(REPOSITORY / "data_prep" / script), "--out", str(target)],
                capture_output=True,
                text=True,
            )
            if done.returncode:
                raise errors.DataError(
                    f"data_prep/{script} failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}"
                )
            progress.add(1)
    progress.close()


def check_protocol(data: Dataset, config: RunConfig) -> None:
    """Refuse a protocol that this dataset cannot serve, before anything is trained.

    Raises:
        ConfigError: what was asked, what there is.
    """
    protocol, n_pool = config.protocol, len(data.rows(POOL))
    asked = protocol.seed_set_size + protocol.budget
    if asked > n_pool:
        raise ConfigError(
            f"{data.name}: asked for {asked} labels (seed set {protocol.seed_set_size} + budget "
            f"{protocol.budget}) but the pool holds {n_pool}"
        )
    if 0 < protocol.pool_subsample < protocol.query_batch_size:
        raise ConfigError(
            f"pool_subsample {protocol.pool_subsample} is smaller than query_batch_size "
            f"{protocol.query_batch_size}"
        )
    attributes = [c for c in data.rows(POOL).columns if c not in ("path", "text", "split")]
    for attribute in config.probe:
        if attribute not in attributes:
            raise ConfigError(f"{data.name}: {unknown('probe attribute', attribute, attributes)}")
    recipe, size = config.recipe, config.recipe.resize or data.description.image_size
    if recipe.crop > size and data.description.modality == "image":
        raise ConfigError(
            f"{data.name}: crop {recipe.crop} exceeds the image size {size}; set recipe resize too"
        )
    if recipe.stopping == "early_stopping" and data.rows(recipe.validation_split) is data.rows(
        POOL
    ):
        raise ConfigError(
            f"{data.name}: validation_split must not be the pool, whose labels are not bought yet"
        )
    try:
        start_pool(data, config)
    except ValueError as error:
        raise ConfigError(f"{data.name}: {error}") from error
