"""What a preset would cost on this machine, before anything runs: runs, hours and disk per notebook, and what is missing.

Time comes from a short probe of each network on this machine with made-up inputs, so neither data nor weights need be here.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from alpt_lib import checkpoints, datasets, errors, models, registry
from alpt_lib.config import RunConfig
from alpt_lib.errors import CompanionError
from alpt_lib.files import REPOSITORY, home
from companion.runs.execute import missing
from companion.runs.plan import PAPER_DATA, Expected, plan_runs

ROUND_BYTES = 12 * 1024  # of a stored round, the mean over the runs of the mini preset

PROBE_NUMBERS = 2 * 512 * 512 * 3  # at most so many inputs a batch of a probe on a CPU

NOTEBOOK_SECONDS = 10  # to execute and render one, measured at the mini preset


@dataclass(frozen=True)
class Cost:
    """What one example costs on this machine, in seconds of one process."""

    training: float  # forward, backward and its share of the optimizer's step
    scoring: float
    machine: str  # what it was measured on


def absent(parameters: Iterable[dict[str, Any]]) -> dict[str, Expected]:
    """Published datasets that these parameters name and that are not prepared here, as their scripts describe them.

    Raises:
        CompanionError: a script that cannot say what it makes.
    """
    wanted = {
        name
        for p in parameters
        if parameters.PRESETS[p["preset"]] == "paper"
        for name in p["datasets"]
        if not datasets.is_path(name)
        and not (home() / "data" / "paper" / name / "dataset.yaml").exists()
    }
    scripts = {PAPER_DATA[name] for name in wanted if name in PAPER_DATA}
    described = {
        name: value for script in sorted(scripts) for name, value in _describe(script).items()
    }
    return {name: described[name] for name in sorted(wanted & set(described))}


def _describe(script: str) -> dict[str, Expected]:
    command = [sys.executable, str(REPOSITORY / "data_prep" / script), "--describe"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise CompanionError(
            f"data_prep/{script} --describe failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}"
        )
    return {
        name: Expected(datasets.Description(**found["description"]), found["sizes"], script)
        for name, found in json.loads(done.stdout).items()
    }


def dry_run(parameters: dict[str, dict[str, Any]], workers: int) -> str:
    """The report: each notebook's runs, shared ones counted once, with hours and disk; then what has to be got first.

    Args:
        parameters: checked parameters of each notebook.
    """
    expected = absent(parameters.values())
    plans = {
        name: [planned.config for planned in plan_runs(p, expected)]
        for name, p in parameters.items()
    }
    places = {str(home() / "data" / "paper" / name): found for name, found in expected.items()}
    todo = _todo(plans, places)
    costs = _measure([c for configs in todo.values() for c in configs], places)
    lines = [f"{'notebook':28} {'runs':>6} {'to do':>6} {'fits':>8} {'hours':>9} {'disk':>9}"]
    for name, configs in todo.items():
        seconds = sum(_seconds(c, costs[_kind(c)], places) for c in configs)
        disk = sum(fits(c) for c in configs) * ROUND_BYTES
        lines.append(
            f"{name:28} {len(set(plans[name])):6d} {len(configs):6d} {sum(map(fits, configs)):8d} "
            f"{seconds / 3600:9.2f} {human(disk):>9}"
        )
    everything = [c for configs in todo.values() for c in configs]
    hours = sum(_seconds(c, costs[_kind(c)], places) for c in everything) / 3600
    processes = workers or os.cpu_count() or 1
    machine = ", ".join(sorted({cost.machine for cost in costs.values()})) or "this machine"
    rendering = len(plans) * NOTEBOOK_SECONDS / 3600 / min(processes, 2)
    trained, scored = np.sum([_examples(c, places) for c in everything] or [(0, 0)], axis=0)
    lines += [
        f"{'all':28} {len({c for plan in plans.values() for c in plan}):6d} {len(everything):6d} "
        f"{sum(map(fits, everything)):8d} {hours:9.2f} {human(sum(map(fits, everything)) * ROUND_BYTES):>9}",
        "",
        f"hours: of one process on {machine}, if every fit takes all its steps and every text its full length; at most "
        f"{_duration(hours / processes)} with {processes} worker(s), and {_duration(rendering)} to render",
        f"examples: {trained:,} to train on, {scored:,} to score",
        f"disk: runs and figures as above; decoded images {human(_cache_bytes(everything, places))}",
        *_missing_lines(everything, expected),
    ]
    return "\n".join(lines)


def _todo(plans: dict[str, list[RunConfig]], places: dict) -> dict[str, list[RunConfig]]:
    """Runs that each notebook still needs and no earlier one does."""
    seen: set[RunConfig] = set()
    todo = {}
    for name, plan in plans.items():
        here = [c for c in plan if c.dataset not in places and _has_weights(c)]
        waiting = [c for c in dict.fromkeys(plan) if c.dataset in places or not _has_weights(c)]
        todo[name] = [c for c in [*missing(here), *waiting] if c not in seen]
        seen.update(todo[name])
    return todo


def _has_weights(config: RunConfig) -> bool:
    return not config.weights or Path(config.weights).expanduser().exists()


def fits(config: RunConfig) -> int:
    """How often a run fine-tunes."""
    return sum(map(config.trains, range(config.protocol.n_rounds + 1)))


def _seconds(config: RunConfig, cost: Cost, places: dict) -> float:
    trained, scored = _examples(config, places)
    return trained * cost.training + scored * cost.scoring


def _examples(config: RunConfig, places: dict) -> tuple[int, int]:
    """How many examples a run trains on, each as often as it is seen, and how many it scores or evaluates; at most."""
    sizes, protocol, recipe = _sizes(config, places), config.protocol, config.recipe
    n_pool = min(protocol.pool_subsample or sizes["pool"], sizes["pool"])
    evaluations = sum(map(protocol.evaluates, range(protocol.n_rounds + 1)))
    scored = evaluations * (sum(sizes.values()) - sizes["pool"])
    if config.acquisition != "random":
        scored += protocol.n_rounds * n_pool
    return fits(config) * recipe.max_steps * recipe.train_batch_size, scored


def _sizes(config: RunConfig, places: dict) -> dict[str, int]:
    if config.dataset in places:
        return places[config.dataset].sizes
    data = datasets.read_dataset(Path(config.dataset))
    return {split: len(data.rows(split)) for split in (datasets.POOL, *data.eval_splits)}


def _data(config: RunConfig, places: dict) -> datasets.Dataset:
    if config.dataset not in places:
        return datasets.read_dataset(Path(config.dataset))
    return datasets.Dataset(
        Path(config.dataset),
        places[config.dataset].description,
        pd.DataFrame({"split": [], "label": []}),
    )


def _kind(config: RunConfig) -> tuple:
    """What decides the cost of an example: the architecture, the size of its inputs and the micro-batch."""
    base, _ = registry.split_name(config.model)
    architecture = base.partition("?")[0].partition(".")[0] if base.startswith("timm:") else base
    recipe = config.recipe
    return (
        architecture,
        config.dataset,
        recipe.resize,
        recipe.crop,
        recipe.micro_batch_size,
        recipe.mixed_precision,
    )


def _measure(configs: list[RunConfig], places: dict) -> dict[tuple, Cost]:
    kinds = {_kind(config): config for config in configs}
    measured: dict[tuple, Cost] = {}
    for kind, config in kinds.items():
        data = _data(config, places)
        size = (
            kind[0],
            _shape(config, data),
            *kind[4:],
        )  # datasets of one size share a measurement
        if size not in measured:
            shape = "x".join(map(str, _shape(config, data)))
            print(
                f"measuring {registry.title(config.model)} on inputs of {shape}",
                file=sys.stderr,
                flush=True,
            )
            measured[size] = _probe(config, data)
        measured[kind] = measured[size]
    return measured


def _shape(config: RunConfig, data: datasets.Dataset) -> tuple[int, ...]:
    if data.description.modality == "text":
        return (data.description.max_tokens,)
    side = config.recipe.crop or config.recipe.resize or data.description.image_size
    return (side, side, 3)


def _probe(config: RunConfig, data: datasets.Dataset) -> Cost:
    """Time forward, and forward with backward, of a network of this architecture on made-up inputs."""
    import torch

    torch.set_num_threads(1)  # as in a worker
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = _stand_in(config, data).to(device)
    n = config.recipe.micro_batch_size or config.recipe.train_batch_size
    if (
        device.type == "cpu"
    ):  # large activations leave the caches, small batches are as fast, and a probe should be short
        n = (
            max(1, min(n, PROBE_NUMBERS // int(np.prod(_shape(config, data)))))
            if data.description.modality == "image"
            else 1
        )
    if data.description.modality == "text":
        inputs = torch.randint(5, 500, (n, *_shape(config, data)), device=device)
    else:
        inputs = torch.randint(256, (n, *_shape(config, data)), dtype=torch.uint8, device=device)
    mixed = torch.autocast(
        device.type, torch.bfloat16, enabled=config.recipe.mixed_precision and device.type == "cuda"
    )

    def train() -> None:
        with mixed:
            loss = model(inputs).float().logsumexp(dim=1).mean()
        loss.backward()

    def score() -> None:
        with torch.inference_mode():
            model(inputs).softmax(dim=1).cpu()

    machine = torch.cuda.get_device_name() if device.type == "cuda" else "this machine's CPU"
    return Cost(_timed(train, device) / n, _timed(score, device) / n, machine)


def _timed(work: Callable[[], None], device) -> float:
    """Seconds of one call: the best of a few, or the only one where one takes long."""
    import torch

    best, started = np.inf, time.monotonic()
    for _ in range(3):
        start = time.monotonic()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.monotonic() - start)
        if time.monotonic() - started > 5:
            break
    return best


def _stand_in(config: RunConfig, data: datasets.Dataset):
    """The network without pretrained weights: costs do not depend on them, and they may not be here."""

    base, _ = registry.split_name(config.model)
    weights = config.weights if _has_weights(config) and not base.startswith("timm:") else None
    try:
        return models.create(
            base if base.startswith("mini-") else base + registry.NOT_PRETRAINED,
            data,
            weights,
            seed=0,
        )
    except errors.ModelError:
        if base != registry.ROLES["paper"]["roberta-m"]:
            raise
        return _roberta_large(len(data.classes))


def _roberta_large(n_classes: int):
    """RoBERTa-Large's network (Liu et al. 2019, table 9) with random weights and no tokenizer, to measure its speed."""
    from transformers import RobertaConfig, RobertaForSequenceClassification

    from alpt_lib.models import TextClassifier

    config = RobertaConfig(
        hidden_size=1024,
        num_hidden_layers=24,
        num_attention_heads=16,
        intermediate_size=4096,
        vocab_size=50265,
        max_position_embeddings=514,
        type_vocab_size=1,
        num_labels=n_classes,
    )
    return TextClassifier(
        RobertaForSequenceClassification(config),
        SimpleNamespace(pad_token_id=config.pad_token_id),
        512,
    )


def _cache_bytes(configs: list[RunConfig], places: dict) -> float:
    """Decoded images of the pool and the evaluation splits, each dataset and size once."""
    sides = {
        (c.dataset, side): sum(_sizes(c, places).values()) * side**2 * 3
        for c in configs
        for side in [_shape(c, _data(c, places))[0]]
        if _data(c, places).description.modality == "image"
    }
    return sum(sides.values())


def _missing_lines(configs: list[RunConfig], expected: dict[str, Expected]) -> list[str]:
    """What has to be got before the runs can start, one line each, with the command that gets it."""
    by_script: dict[str, list[str]] = {}
    for name, found in expected.items():
        by_script.setdefault(found.script, []).append(name)
    lines = [
        f"missing: {', '.join(names)}; python data_prep/{script} --download, or --root FOLDER if you have it"
        for script, names in by_script.items()
    ]
    for name, weights in sorted({(c.model, c.weights or "") for c in configs}):
        try:
            if not _is_here(name, weights or None):
                lines.append(
                    f"missing: {name}; the first run fetches it from the hub, or pass weights: FILE_OR_FOLDER"
                )
        except errors.ModelError as error:
            lines.append(f"missing: {error}")
    return lines


def _is_here(name: str, weights: str | None) -> bool:
    """Whether everything that a model needs is on this machine; False if the hub would be asked for it.

    Raises:
        ModelError: local weights that are not there.
    """
    from huggingface_hub import try_to_load_from_cache

    base, suffix = registry.split_name(name)
    if weights:
        return bool(checkpoints.existing(weights))
    if (
        base in registry.MINI_BIT_LAYERS
        or checkpoints.embedded_weights(base)
        or (suffix and base.startswith("timm:"))
    ):
        return True
    if base.startswith("hf:"):
        files = ["config.json", *([] if suffix else ["model.safetensors"])]
        repository = base.removeprefix("hf:")
        return Path(repository).is_dir() or all(
            isinstance(try_to_load_from_cache(repository, file), str) for file in files
        )
    import timm

    config = timm.get_pretrained_cfg(base.removeprefix("timm:").partition("?")[0])
    return bool(config and config.hf_hub_id) and isinstance(
        try_to_load_from_cache(config.hf_hub_id, "model.safetensors"), str
    )


def human(n_bytes: float) -> str:
    """Bytes for reading."""
    power = max(0, min(4, int(np.log(max(n_bytes, 1)) / np.log(1024))))
    return f"{n_bytes / 1024**power:.0f} {('B', 'KB', 'MB', 'GB', 'TB')[power]}"


def _duration(hours: float) -> str:
    return (
        f"{hours * 60:.1f} min"
        if hours < 2
        else f"{hours:.0f} hours"
        if hours < 72
        else f"{hours / 24:.0f} days"
    )
