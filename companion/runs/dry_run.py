"""What a preset would cost on this machine: runs, hours and disk a notebook, and what is missing.

Time comes from a short probe of each network on this machine with made-up inputs, so neither data
nor weights need be here.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from alpt_lib.acquisition import POOL
from alpt_lib.config import RunConfig, input_size
from alpt_lib.datasets import Description, is_path
from alpt_lib.errors import CompanionError, ModelError
from alpt_lib.files import REPOSITORY, home
from alpt_lib.registry import NOT_PRETRAINED, ROLES, split_name, title
from companion.runs.at_hand import is_here
from companion.runs.execute import missing
from companion.runs.parameters import PRESETS
from companion.runs.plan import (
    PAPER_DATA,
    Expected,
    Shelf,
    generate,
    has_weights,
    named_datasets,
    not_generated,
    plan_runs,
)
from companion.runs.steps import Key, key, known_steps
from companion.runs.store import StoredRun
from companion.runs.work import before_queries, shares_seed_set

ROUND_BYTES = 14 * 1024  # of a stored round, the mean over the runs of the mini preset
# at most so many inputs a batch of a probe on a CPU
PROBE_TOKENS = 512
PROBE_NUMBERS = 2 * 512 * 512 * 3
NOTEBOOK_SECONDS = 10  # to execute and render one, measured at the mini preset
SHORT = 2  # hours; below it minutes are told
LONG = 24  # hours; then it is said what a GPU would take
GPU_FLOPS = 2e13  # a second; what large convolutions reach on a data-centre GPU in TF32, about
Run = tuple[StoredRun, dict[str, int]]  # a run, and how many examples each split holds


@dataclass(frozen=True)
class Cost:
    """What one example costs on this machine, in seconds of one process."""

    training: float  # forward, backward and its share of the optimizer's step
    scoring: float
    machine: str  # what it was measured on
    flops: float = 0.0  # floating-point operations of scoring it; 0: not counted


# a head on stored features: 7 ms a fit, spread over all the steps that a network would take
OF_A_HEAD = Cost(5e-7, 2e-7, "this machine's CPU")


def dry_run(parameters: dict[str, dict[str, Any]], workers: int) -> str:
    """The report: each notebook's runs, shared ones counted once; then what has to be got first.

    Args:
        parameters: checked parameters of each notebook.
    """
    if not any(not_generated(p) for p in parameters.values()):
        return _report(parameters, workers)
    own = home()
    with tempfile.TemporaryDirectory() as folder:
        # a home folder for the time being: embedded datasets are generated there to be looked at
        (Path(folder) / "data").mkdir()
        for there in (own / "data" / "paper", own / "runs"):
            if there.exists():
                (Path(folder) / there.relative_to(own)).symlink_to(there)
        os.environ["ALPT_HOME"] = folder
        try:
            named = [name for p in parameters.values() for name in named_datasets(p)]
            generate(Path(folder) / "data" / "mini", named)
            return _report(parameters, workers).replace(folder, str(own))
        finally:
            os.environ["ALPT_HOME"] = str(own)


def _report(parameters: dict[str, dict[str, Any]], workers: int) -> str:
    expected = absent(parameters.values())
    shelf = Shelf()
    plans = {
        name: [planned.run for planned in plan_runs(p, expected, shelf)]
        for name, p in parameters.items()
    }
    sizes = {str(each.data.folder): each.sizes for each in expected.values()}
    todo = _todo(plans, sizes)
    everything = [run for runs in todo.values() for run in runs]
    costs = _measure([run for run, _ in everything])
    steps = known_steps()
    work = _work(everything, steps)
    unit = "minutes" if _hours(work, costs) < SHORT else "hours"
    lines = [f"{'notebook':28} {'runs':>6} {'to do':>6} {'fits':>8} {unit:>9} {'disk':>9}"]
    for name, runs in todo.items():
        lines.append(_row(name, len(set(plans[name])), _work(runs, steps), costs, unit))
    planned = {run for runs in plans.values() for run in runs}
    lines.append(_row("all", len(planned), work, costs, unit))
    lines += ["", *_summary(work, costs, workers, len(plans), unit), _disk(everything)]
    return "\n".join([*lines, *_missing_lines(everything, expected)])


def absent(parameters: Iterable[dict[str, Any]]) -> dict[str, Expected]:
    """Published datasets that these parameters name and that are not prepared here.

    Raises:
        CompanionError: a script that cannot say what it makes.
    """
    folder = home() / "data" / "paper"
    named = {n for p in parameters if PRESETS[p["preset"]] == "paper" for n in named_datasets(p)}
    wanted = {n for n in named if not is_path(n) and not (folder / n / "dataset.yaml").exists()}
    scripts = {PAPER_DATA[name] for name in wanted if name in PAPER_DATA}
    described: dict[str, Expected] = {}
    for script in sorted(scripts):
        described |= _describe(script)
    return {name: described[name] for name in sorted(wanted & set(described))}


def _describe(script: str) -> dict[str, Expected]:
    command = [sys.executable, str(REPOSITORY / "data_prep" / script), "--describe"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        words = done.stderr.strip().splitlines() or ["no message"]
        raise CompanionError(f"data_prep/{script} --describe failed: {words[-1]}")
    datasets = json.loads(done.stdout)
    return {
        name: Expected(Description(**said["description"]), said["sizes"], script)
        for name, said in datasets.items()
    }


def _todo(
    plans: dict[str, list[StoredRun]], expected_sizes: dict[str, dict[str, int]]
) -> dict[str, list[Run]]:
    """Runs that each notebook still needs and no earlier one does, with the sizes of their data."""
    seen: set[StoredRun] = set()
    todo = {}
    for name, plan in plans.items():
        here: list[StoredRun] = []
        waiting: list[StoredRun] = []
        for run in dict.fromkeys(plan):
            is_here = run.config.dataset not in expected_sizes and has_weights(run.config)
            (here if is_here else waiting).append(run)
        new = [run for run in [*missing(here), *waiting] if run not in seen]
        seen.update(new)
        todo[name] = [(run, expected_sizes.get(run.config.dataset) or _sizes(run)) for run in new]
    return todo


def _sizes(run: StoredRun) -> dict[str, int]:
    return {split: len(run.data.rows(split)) for split in (POOL, *run.data.eval_splits)}


@dataclass(frozen=True)
class Work:
    """What a run takes: fits, examples to train on and to score, each as often as it is seen."""

    run: StoredRun
    n_fits: int
    trained: float
    scored: float


def _work(runs: list[Run], steps: dict[Key, float]) -> list[Work]:
    """The work of each run; what runs share is done by the first of them."""
    work = []
    embedded = set()
    seed_sets = set()
    for run, sizes in runs:
        config = run.config
        seed_set = before_queries(config)
        is_fitted = seed_set in seed_sets and shares_seed_set(config)
        seed_sets.add(seed_set)
        n_fits, trained, scored = _examples(config, sizes, steps.get(key(config)), is_fitted)
        if config.recipe.backbone == "frozen" and run.data.description.modality != "features":
            kind = (_kind(config), config.model)
            scored = 0 if kind in embedded else sum(sizes.values())
            trained = 0
            embedded.add(kind)
        work.append(Work(run, n_fits, trained, scored))
    return work


def _row(name: str, n_planned: int, work: list[Work], costs: dict[tuple, Cost], unit: str) -> str:
    n_fits = sum(each.n_fits for each in work)
    disk = human(sum(fits(each.run.config) for each in work) * ROUND_BYTES)
    time = _hours(work, costs) * (60 if unit == "minutes" else 1)
    return f"{name:28} {n_planned:6d} {len(work):6d} {n_fits:8d} {time:9,.2f} {disk:>9}"


def _hours(work: list[Work], costs: dict[tuple, Cost]) -> float:
    seconds = 0.0
    for each in work:
        cost = costs[_kind(each.run.config)]
        seconds += each.trained * cost.training + each.scored * cost.scoring
    return seconds / 3600


def _summary(
    work: list[Work], costs: dict[tuple, Cost], workers: int, n_notebooks: int, unit: str
) -> list[str]:
    processes = workers or os.cpu_count() or 1
    machine = ", ".join(sorted({cost.machine for cost in costs.values()})) or "this machine"
    rendering = n_notebooks * NOTEBOOK_SECONDS / 3600 / min(processes, 2)
    hours = _hours(work, costs) / processes
    lines = [
        f"{unit}: of one process on {machine}; fits take the steps that such fits took before, "
        f"where some are stored or in the reference, else all; about {_duration(hours)} with "
        f"{processes} worker(s), and {_duration(rendering)} to render",
        f"examples: {sum(each.trained for each in work):,.0f} to train on, "
        f"{sum(each.scored for each in work):,.0f} to score",
    ]
    if hours > LONG:
        lines.append(_on_a_gpu(work, costs))
    return lines


def _on_a_gpu(work: list[Work], costs: dict[tuple, Cost]) -> str:
    """Arithmetic, for who plans to rent one."""
    flops = 0.0
    for each in work:
        # backward takes twice what forward takes
        flops += (3 * each.trained + each.scored) * costs[_kind(each.run.config)].flops
    hours = flops / GPU_FLOPS / 3600
    return (
        f"on a GPU: {flops:.1e} floating-point operations; one that sustains "
        f"{GPU_FLOPS / 1e12:.0f} TFLOP/s would take {hours:,.0f} hours (arithmetic, not measured)"
    )


def _disk(runs: list[Run]) -> str:
    return f"disk: runs and figures as above; decoded images {human(_cache_bytes(runs))}"


def fits(config: RunConfig, first: int = 0) -> int:
    """How often a run fine-tunes from its round `first` on."""
    return sum(map(config.trains, range(first, config.protocol.n_rounds + 1)))


def _examples(
    config: RunConfig, sizes: dict[str, int], steps: float | None, is_fitted: bool
) -> tuple[int, float, float]:
    """Fits of a run, examples that it trains on, each as often as it is seen, and that it scores.

    Args:
        steps: a fit, as far as known; None takes as many as there may be.
        is_fitted: another run fits and evaluates its seed set.
    """
    protocol = config.protocol
    recipe = config.recipe
    steps = steps or recipe.max_steps
    first = 1 if is_fitted else 0
    n_pool = min(protocol.pool_subsample or sizes[POOL], sizes[POOL])
    evaluations = sum(map(protocol.evaluates, range(first, protocol.n_rounds + 1)))
    scored: float = evaluations * (sum(sizes.values()) - sizes[POOL])
    if config.acquisition != "random":
        scored += protocol.n_rounds * n_pool
    n_fits = fits(config, first)
    if recipe.stopping == "early_stopping":
        checks = n_fits * steps / recipe.check_every
        scored += checks * sizes.get(recipe.validation_split, 0)
    return n_fits, n_fits * steps * recipe.train_batch_size, scored


def _kind(config: RunConfig) -> tuple:
    """What decides the cost of an example: architecture, size of its inputs, micro-batch."""
    base, _ = split_name(config.model)
    if base.startswith("timm:"):
        base = base.partition("?")[0].partition(".")[0]
    recipe = config.recipe
    how = (recipe.micro_batch_size, recipe.precision, recipe.backbone)
    return base, config.dataset, recipe.resize, recipe.crop, *how


def _measure(runs: list[StoredRun]) -> dict[tuple, Cost]:
    measured: dict[tuple, Cost] = {}
    for kind, run in {_kind(run.config): run for run in runs}.items():
        shape = _shape(run)
        if run.data.description.modality == "features":
            measured[kind] = OF_A_HEAD
            continue
        # datasets of one size share a measurement
        size = (kind[0], shape, *kind[4:])
        if size not in measured:
            words = "x".join(map(str, shape))
            name = title(run.config.model)
            print(f"measuring {name} on inputs of {words}", file=sys.stderr, flush=True)
            measured[size] = cost_of_an_example(run)
        measured[kind] = measured[size]
    return measured


def _shape(run: StoredRun) -> tuple[int, ...]:
    if run.data.is_text:
        return (run.data.description.max_tokens,)
    _, side = input_size(run.config.recipe, run.data.description.image_size)
    return (side, side, 3)


def cost_of_an_example(run: StoredRun) -> Cost:
    """Time forward, and forward with backward, of this architecture on made-up inputs."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from alpt_lib.scoring import choose_kernels, forward_precision

    torch.set_num_threads(1)  # as in a worker
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    is_gpu = device.type == "cuda"
    model = _stand_in(run).to(device)
    shape = _shape(run)
    n = _probe_batch(run, is_gpu)
    if run.data.is_text:
        inputs = torch.randint(5, 500, (n, *shape), device=device)
    else:
        inputs = torch.randint(256, (n, *shape), dtype=torch.uint8, device=device)
    choose_kernels(run.config.recipe, device)
    mixed = forward_precision(run.config.recipe, device)

    def train() -> None:
        with mixed:
            loss = model(inputs).float().logsumexp(dim=1).mean()
        loss.backward()

    def score() -> None:
        with torch.inference_mode():
            model(inputs).softmax(dim=1).cpu()

    machine = torch.cuda.get_device_name() if is_gpu else "this machine's CPU"
    # with gradients: it cannot look at SigLIP's pooling without
    with FlopCounterMode(display=False) as counter:
        model(inputs)
    flops = counter.get_total_flops() / n
    is_frozen = run.config.recipe.backbone == "frozen"
    training = 0.0 if is_frozen else _timed(train, is_gpu) / n
    return Cost(training, _timed(score, is_gpu) / n, machine, flops)


def _probe_batch(run: StoredRun, is_gpu: bool) -> int:
    """On a CPU large activations leave the caches, small batches are as fast, probes short."""
    n = run.config.recipe.micro_batch_size or run.config.recipe.train_batch_size
    if is_gpu:
        return n
    most = PROBE_TOKENS if run.data.is_text else PROBE_NUMBERS
    return max(1, min(n, most // int(np.prod(_shape(run)))))


def _timed(work: Callable[[], None], is_gpu: bool) -> float:
    """Seconds of one call: the best of a few, or the only one where one takes long."""
    import torch

    best = np.inf
    started = time.monotonic()
    for _ in range(3):
        start = time.monotonic()
        work()
        if is_gpu:
            torch.cuda.synchronize()
        best = min(best, time.monotonic() - start)
        if time.monotonic() - started > 5:
            break
    return best


def _stand_in(run: StoredRun):
    """The network without pretrained weights: costs do not depend on them."""
    from alpt_lib.models import create_model

    config = run.config
    base, _ = split_name(config.model)
    is_local = has_weights(config) and not base.startswith("timm:")
    name = base if base.startswith("mini-") else base + NOT_PRETRAINED
    try:
        return create_model(name, run.data, config.weights if is_local else None, seed=0)
    except ModelError:
        if base != ROLES["paper"]["roberta-m"]:
            raise
        return _roberta_large(len(run.data.classes))


def _roberta_large(n_classes: int):
    """RoBERTa-Large's network (Liu et al. 2019, table 9) with random weights, no tokenizer."""
    from transformers import RobertaConfig, RobertaForSequenceClassification

    from alpt_lib.models import TextClassifier

    sizes: dict[str, Any] = {"num_labels": n_classes}
    config = RobertaConfig(
        hidden_size=1024,
        num_hidden_layers=24,
        num_attention_heads=16,
        intermediate_size=4096,
        vocab_size=50265,
        max_position_embeddings=514,
        type_vocab_size=1,
        **sizes,
    )
    tokenizer = SimpleNamespace(pad_token_id=config.pad_token_id)
    return TextClassifier(RobertaForSequenceClassification(config), tokenizer, 512)


def _cache_bytes(runs: list[Run]) -> float:
    """Decoded images of the pool and the evaluation splits, each dataset and size once."""
    n_bytes = {}
    for run, sizes in runs:
        if run.data.is_image:
            side = _shape(run)[0]
            n_bytes[run.config.dataset, side] = sum(sizes.values()) * side**2 * 3
    return sum(n_bytes.values())


def _missing_lines(runs: list[Run], expected: dict[str, Expected]) -> list[str]:
    """What has to be got before the runs can start, a line each, with the command that does."""
    by_script: dict[str, list[str]] = {}
    for name, each in expected.items():
        by_script.setdefault(each.script, []).append(name)
    lines = [
        f"missing: {', '.join(names)}; python data_prep/{script} --download, or --root FOLDER if "
        "you have it"
        for script, names in by_script.items()
    ]
    models = {(run.config.model, run.config.weights or "") for run, _ in runs}
    for name, weights in sorted(models):
        try:
            if not is_here(name, weights or None):
                lines.append(
                    f"missing: {name}; the first run fetches it from the hub, or pass weights: "
                    "FILE_OR_FOLDER"
                )
        except ModelError as error:
            lines.append(f"missing: {error}")
    return lines


def human(n_bytes: float) -> str:
    """Bytes for reading."""
    power = max(0, min(4, int(np.log(max(n_bytes, 1)) / np.log(1024))))
    return f"{n_bytes / 1024**power:.0f} {('B', 'KB', 'MB', 'GB', 'TB')[power]}"


def _duration(hours: float) -> str:
    if hours < SHORT:
        return f"{hours * 60:.1f} min"
    return f"{hours:.0f} hours" if hours < 72 else f"{hours / 24:.0f} days"
