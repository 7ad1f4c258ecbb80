"""From parameters to runs: datasets, models and settings, checked before anything is done."""

import fnmatch
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from alpt_lib.acquisition import POOL
from alpt_lib.checkpoints import local_weights
from alpt_lib.config import (
    FROZEN_SETTINGS,
    Protocol,
    Recipe,
    RunConfig,
    frozen_recipe,
    input_size,
    override,
)
from alpt_lib.datasets import Dataset, Description, is_path, locate, prepared, read_dataset
from alpt_lib.errors import CompanionError, ConfigError, DataError, ModelError, one_line, unknown
from alpt_lib.files import REPOSITORY, hash_file, hashed, home, locked, write_whole
from alpt_lib.progress import Progress
from alpt_lib.registry import FEATURES, NOT_PRETRAINED, ROLES, resolve, split_name
from companion.runs.parameters import PRESETS, check_parameters, each_setting
from companion.runs.store import StoredRun, start_fingerprint

# dataset at the paper tier -> the script in data_prep/ that makes it
RELEASES = ("waterbirds", "treeperson", "iwildcam", "amazon", "camelyon17", "fmow")
MATCHED = (50, 60, 70, 80, 90, 95)  # percent, of the Waterbirds variants
PAPER_DATA = {
    **{name: f"{name}.py" for name in RELEASES},
    **{f"waterbirds_{percent}": "waterbirds_variants.py" for percent in MATCHED},
}
CHANGED = "its data or weights changed after it was planned: start the same command again"
EMBEDDED = ("real_waterbirds", "eurosat")  # how the names of embedded features begin
GENERATED = ".generated"  # beside the datasets: what they were made of
# of the embedded datasets: a moment, seconds, and about half a minute
GENERATORS = ("embedded.py", "mini_text.py", "mini_vision.py")
# makes a dataset of another one, and the name of such a dataset
VARIANTS = "resampled.py"
MADE_OF = re.compile(r"(.+?)_(matched|wrong|unsure|copies)_\w*\d")


class Shelf:
    """The datasets and weights of one command, each read once; the next one reads them again."""

    def __init__(self) -> None:
        self._datasets: dict[Path, Dataset] = {}
        self._weights: dict[tuple[str, str, str | None], str] = {}

    def dataset(self, folder: Path) -> Dataset:
        if folder not in self._datasets:
            self._datasets[folder] = read_dataset(folder)
        return self._datasets[folder]

    def run(self, config: RunConfig, data: Dataset | None = None) -> StoredRun:
        """The run of a config, with its dataset and the fingerprint of its weights."""
        data = data or self.dataset(Path(config.dataset))
        key = (config.dataset, config.model, config.weights)
        if key not in self._weights:
            self._weights[key] = start_fingerprint(config, data)
        return StoredRun(config, data, self._weights[key])


def as_planned(runs: Iterable[StoredRun]) -> list[StoredRun]:
    """Those runs whose data and weights are still what was planned; the others fail, and say why.

    Raises:
        StoreError: it cannot be stored why.
    """
    shelf = Shelf()
    unchanged = []
    for run in runs:
        why = CHANGED
        try:
            now = shelf.run(run.config)
            if now.run_id == run.run_id:
                unchanged.append(now)
                continue
        except CompanionError as error:
            why = one_line(error)
        run.fail(why)
    return unchanged


@dataclass(frozen=True)
class Planned:
    """One run and how tables and figures call it."""

    run: StoredRun
    dataset: str
    model: str
    # "" as the parameters are, or the one of `settings` that asks for it
    setting: str = ""
    # left out where its network's weights cannot be had, see `at_hand.within_reach`
    optional: bool = False

    @property
    def config(self) -> RunConfig:
        return self.run.config

    @property
    def data(self) -> Dataset:
        return self.run.data

    @property
    def columns(self) -> dict[str, Any]:
        c = self.config
        return {
            "dataset": self.dataset,
            "model": self.model,
            "acquisition": c.acquisition,
            "seed": c.seed,
            "stopping": c.recipe.stopping,
            "run_id": self.run.run_id,
        }


@dataclass(frozen=True)
class Expected:
    """A published dataset that is not prepared here, as its script describes it."""

    description: Description
    sizes: dict[str, int]  # examples of the pool and of each evaluation split
    script: str
    data: Dataset = field(init=False)  # without rows

    def __post_init__(self) -> None:
        folder = home() / "data" / "paper" / self.description.name
        no_rows = pd.DataFrame({"split": [], "label": []})
        object.__setattr__(self, "data", Dataset(folder, self.description, no_rows))


def plan_runs(
    parameters: dict[str, Any],
    expected: Mapping[str, Expected] = MappingProxyType({}),
    shelf: Shelf | None = None,
) -> list[Planned]:
    """Every run that these parameters name.

    Datasets x models x stopping rules x acquisition functions x seeds, then those of each of the
    settings.

    Args:
        expected: datasets that are planned for though they are not here (dry runs).
        shelf: holds what other plans of the same command have read.
    Raises:
        ConfigError, DataError, ModelError: anything unknown or unfitting.
    """
    shelf = shelf or Shelf()
    planned = []
    settings = each_setting(check_parameters(parameters))
    for setting, p in settings.items():
        of_setting = _plan_setting(p, expected, shelf)
        planned += [replace(each, setting=setting) for each in of_setting]
    for p in settings.values():
        _check_weights(p, planned)
    return planned


def _plan_setting(
    p: dict[str, Any], expected: Mapping[str, Expected], shelf: Shelf
) -> list[Planned]:
    tier = PRESETS[p["preset"]]
    planned = []
    folders: dict[str, Path] = {}
    for name in p["datasets"]:
        # an embedded dataset of the same name is another one
        is_here = tier != "paper" or name not in expected
        data = shelf.dataset(_locate(name, tier)) if is_here else expected[name].data
        if data.name in folders:
            # tables and figures would take them for one
            raise ConfigError(
                f"two datasets are called {data.name!r}: {folders[data.name]} and {data.folder}; "
                "leave one out, or give it another name in its dataset.yaml"
            )
        folders[data.name] = data.folder
        planned += _plan_dataset(p, name, data, shelf, is_here)
    _check_frozen(p, planned)
    _check_mappings(p, tier, planned)
    return planned


def _plan_dataset(
    p: dict[str, Any], name: str, data: Dataset, shelf: Shelf, is_here: bool
) -> list[Planned]:
    d = data.description
    tier = PRESETS[p["preset"]]
    protocol = override(Protocol(), d.protocol, f"{d.name} protocol")
    protocol = override(protocol, p["protocol"], "protocol")
    recipe = override(Recipe(), d.recipe, f"{d.name} recipe")
    recipe = override(recipe, p["recipe"], "recipe")
    holds_features = d.modality == "features"
    is_frozen = holds_features or recipe.backbone == "frozen"
    if is_frozen:
        recipe = frozen_recipe(recipe)
    # a head has no stopping rule to choose
    rules = [recipe.stopping] if is_frozen else p["stopping"] or [recipe.stopping]
    planned = []
    for model, rule, acquisition, seed in product(
        _models(p, name, data), rules, p["acquisitions"], _seeds(p, name, d.name)
    ):
        config = RunConfig(
            dataset=str(data.folder),
            model=_feature_model(data, model) if holds_features else resolve(model, tier),
            acquisition=acquisition,
            seed=seed,
            weights=None if holds_features else local_weights(model, tier, p["weights"]),
            probe=tuple(p["probe"]),
            protocol=protocol,
            recipe=override(recipe, {"stopping": rule}, "recipe"),
        )
        can_identify = is_here and has_weights(config)
        run = shelf.run(config, data) if can_identify else StoredRun(config, data)
        planned.append(Planned(run, d.name, model, optional=p["optional"]))
    return planned


def _models(p: dict[str, Any], name: str, data: Dataset) -> list[str]:
    """The models of a dataset, which a mapping may name; of features, "all" are those it holds."""
    models = p["models"]
    if isinstance(models, dict):
        models = models.get(name, models.get(data.name, []))
    if models == ["all"] and data.description.modality == "features":
        # the pretrained ones first
        return sorted(data.feature_names(), key=lambda model: model.endswith(NOT_PRETRAINED))
    return models or [data.description.default_model]


def cautions(planned: Iterable[Planned]) -> list[str]:
    """What a person may not expect of these runs: the datasets' own settings, made for others."""
    # of each remark the datasets that it is made of
    said: dict[str, list[str]] = {}
    for each in planned:
        d = each.data.description
        ignored = [name for name in d.recipe if name not in FROZEN_SETTINGS]
        is_frozen = each.config.recipe.backbone == "frozen"
        if is_frozen and ignored:
            remark = f"a linear head has no use for {', '.join(ignored)} of its dataset.yaml"
            said.setdefault(remark, []).append(each.dataset)
        is_other = ":" in each.model and ":" not in d.default_model
        if d.modality == "image" and is_other:
            size = input_size(each.config.recipe, d.image_size)[1]
            remark = (
                f"its dataset.yaml was made for {d.default_model}; {each.model} gets its {size} px "
                "and settings, unless recipe says otherwise"
            )
            said.setdefault(remark, []).append(each.dataset)
    lines = []
    for remark, datasets in said.items():
        first, *others = dict.fromkeys(datasets)
        more = f" and {len(others)} more" if others else ""
        lines.append(f"{first}{more}: {remark}")
    return lines


def _feature_model(data: Dataset, model: str) -> str:
    """Concrete name of the features that a dataset holds.

    Raises:
        ModelError: it holds none of this name; lists those that it holds.
    """
    name = model.removeprefix(FEATURES)
    if name not in data.feature_names():
        raise ModelError(
            f"{data.name} holds features, not images or texts, of: "
            f"{', '.join(data.feature_names())}; got model {model!r}"
        )
    return FEATURES + name


def _seeds(p: dict[str, Any], *names: str) -> list[int]:
    """The seeds of a dataset, which a mapping may name, or cover by a pattern such as "real_*".

    Raises:
        ConfigError: the mapping has none for it.
    """
    if isinstance(p["seeds"], list):
        return p["seeds"]
    for pattern, seeds in p["seeds"].items():
        if any(fnmatch.fnmatchcase(name, pattern) for name in names):
            return seeds
    if "others" in p["seeds"]:
        return p["seeds"]["others"]
    raise ConfigError(f"parameter seeds names none for {names[0]}; add it, or others: [...]")


def _check_frozen(p: dict[str, Any], planned: list[Planned]) -> None:
    """Refuse settings that only fine-tuning has, where nothing is fine-tuned."""
    if any(each.config.recipe.backbone != "frozen" for each in planned):
        return
    silly = [name for name in p["recipe"] if name not in FROZEN_SETTINGS]
    silly += ["stopping"] if p["stopping"] else []
    if silly:
        raise ConfigError(
            f"a linear head is trained to convergence and has no {', '.join(silly)}; its recipe "
            f"settings are {', '.join(FROZEN_SETTINGS)}"
        )
    if p["recipe"].get("backbone", "frozen") != "frozen":
        raise ConfigError("a dataset of features can only be read by a head: backbone: frozen")


def has_weights(config: RunConfig) -> bool:
    """Whether local weights that a run names are there."""
    return not config.weights or Path(config.weights).expanduser().exists()


def _locate(name: str, tier: str) -> Path:
    if _is_embedded(name, tier):
        tier = "mini"
    try:
        return locate(name, tier)
    except DataError as error:
        if tier != "paper" or name not in PAPER_DATA:
            raise
        raise DataError(
            f"{name} is not prepared: run python data_prep/{PAPER_DATA[name]} --root FOLDER, or "
            "with --download; --dry-run lists everything that is missing"
        ) from error


def _check_mappings(p: dict[str, Any], tier: str, planned: list[Planned]) -> None:
    """The names of a mapping must mean something here; a typo would quietly take the default."""
    if isinstance(p["models"], dict):
        # the tier's other datasets are for other notebooks
        others = [*prepared(tier), *(PAPER_DATA if tier == "paper" else ())]
        here = [each.dataset for each in planned]
        _check_names("dataset in models", p["models"], [*p["datasets"], *here, *others])
    if isinstance(p["seeds"], dict):
        known = [*p["datasets"], *(each.dataset for each in planned), "others", *prepared(tier)]
        unmatched = [name for name in p["seeds"] if not fnmatch.filter(known, name)]
        _check_names("dataset in seeds", unmatched, known)


def _check_weights(p: dict[str, Any], planned: list[Planned]) -> None:
    """As `_check_mappings`; weights may be those of another setting's networks."""
    if isinstance(p["weights"], dict):
        used = [name for each in planned for name in (each.model, each.config.model)]
        bases = [split_name(name)[0] for name in used]
        known = [*ROLES[PRESETS[p["preset"]]], *used, *bases]
        _check_names("model in weights", p["weights"], known)


def _check_names(what: str, names: Iterable[str], known: list[str]) -> None:
    for name in names:
        if name not in known:
            raise ConfigError(unknown(what, name, list(dict.fromkeys(known))))


def check_protocol(data: Dataset, config: RunConfig) -> None:
    """Refuse a protocol that this dataset cannot serve, before anything is trained.

    Raises:
        ConfigError: what was asked, what there is.
    """
    protocol = config.protocol
    n_pool = len(data.rows(POOL))
    if protocol.seed_set_size + protocol.budget > n_pool:
        raise ConfigError(
            f"{data.name}: asked for {protocol.seed_set_size + protocol.budget} labels (seed set "
            f"{protocol.seed_set_size} + budget {protocol.budget}) but the pool holds {n_pool}"
        )
    if 0 < protocol.pool_subsample < protocol.query_batch_size:
        raise ConfigError(
            f"pool_subsample {protocol.pool_subsample} is smaller than query_batch_size "
            f"{protocol.query_batch_size}"
        )
    for attribute in config.probe:
        attributes = list(data.attributes(POOL))
        if attribute not in attributes:
            raise ConfigError(f"{data.name}: {unknown('probe attribute', attribute, attributes)}")
    _check_recipe(data, config.recipe)
    try:
        rng = np.random.default_rng(0)
        data.pool().seed_set(protocol.seed_set_size, protocol.seed_set, rng)
    except ValueError as error:
        raise ConfigError(f"{data.name}: {error}") from error


def _check_recipe(data: Dataset, recipe: Recipe) -> None:
    resize, crop = input_size(recipe, data.description.image_size)
    if crop > resize and data.is_image:
        raise ConfigError(
            f"{data.name}: crop {crop} exceeds the image size {resize}; set recipe resize too"
        )
    uses_validation = recipe.stopping == "early_stopping"
    if uses_validation and data.rows(recipe.validation_split) is data.rows(POOL):
        raise ConfigError(
            f"{data.name}: validation_split must not be the pool, whose labels are not bought yet"
        )


def not_generated(parameters: dict[str, Any]) -> bool:
    """Whether these parameters name an embedded dataset that is not there yet."""
    tier = PRESETS.get(parameters.get("preset", "mini"), "paper")
    target = home() / "data" / "mini"
    named = [name for name in named_datasets(parameters) if _is_embedded(name, tier)]
    if not all((target / name / "dataset.yaml").exists() for name in named):
        return True
    return bool(named) and (target / GENERATED).exists() and not _is_fresh(target)


def _generators() -> str:
    """Hash of what the embedded datasets are made of: another checkout may hold others."""
    folder = REPOSITORY / "data_prep"
    files = [folder / script for script in (*GENERATORS, VARIANTS)]
    files += sorted((folder / "embedded").glob("*/dataset.yaml"))
    return hashed({str(file.relative_to(folder)): hash_file(file) for file in files})


def _is_fresh(target: Path) -> bool:
    stamp = target / GENERATED
    return stamp.exists() and stamp.read_text(encoding="utf-8") == _generators()


def _is_embedded(name: str, tier: str) -> bool:
    """Whether a dataset comes with the companion: all at the mini tier, features at each."""
    if is_path(name):
        return False
    return tier == "mini" or name.startswith(EMBEDDED)


def named_datasets(parameters: dict[str, Any]) -> list[str]:
    """The datasets that parameters and their settings name, each once."""
    changes = parameters.get("settings", {}).values()
    lists = [parameters["datasets"], *(change.get("datasets", []) for change in changes)]
    return list(dict.fromkeys(name for names in lists for name in names))


def prepare_datasets(parameters: dict[str, Any]) -> None:
    """Generate the embedded datasets that these parameters name and that are not there yet."""
    if not_generated(parameters):
        generate(home() / "data" / "mini", named_datasets(parameters))


def generate(target: Path, named: Iterable[str] = ()) -> None:
    """Run the generators of data_prep/ into `target`; they skip what is complete.

    Args:
        named: datasets that are wanted; those that are made of another (digits_wrong_20) are only
            made on demand.
    """
    # of each source the kinds of change that are wanted
    kinds: dict[str, list[str]] = {}
    for name in named:
        if not is_path(name):
            made = MADE_OF.fullmatch(name)
            source, wanted = (made[1], [made[2]]) if made else (name, [])
            kinds.setdefault(source, []).extend(wanted)
    with locked(target / ".lock"):
        are_there = all((target / source / "dataset.yaml").exists() for source in kinds)
        if not are_there or not _is_fresh(target):
            _generate_all(target)
        for source, wanted in kinds.items():
            if wanted and (target / source / "dataset.yaml").exists():
                _prepare(target, VARIANTS, str(target / source), "--kinds", *sorted(set(wanted)))


def _generate_all(target: Path) -> None:
    label = "embedded datasets, once, about half a minute"
    progress = Progress(len(GENERATORS), label, "generator")
    with ThreadPoolExecutor() as together:
        for _ in together.map(partial(_prepare, target), GENERATORS):
            progress.add(1)
    write_whole(target / GENERATED, _generators())
    progress.close()


def _prepare(target: Path, script: str, *options: str) -> None:
    file = f"{REPOSITORY}/data_prep/{script}"
    command = [sys.executable, file, "--out", str(target), *options]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        words = done.stderr.strip().splitlines() or ["no message"]
        raise DataError(f"data_prep/{script} failed: {words[-1]}")
