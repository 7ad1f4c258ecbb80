"""Ours against the plain loop of baseline.py: per round, per run and per part.

    python benchmarks/loop_speed.py [--quick] [--workers 8] [--threads 1]

Cases: the mini model on mini Waterbirds; EfficientNet-Lite0 at 128 px, on real Waterbirds and with
real weights where ALPT_REAL_DATA names a folder with them (else JPEGs of noise, random weights);
R50x1 at 96 px with random weights, few steps.
"""

import gc
import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from baseline import MICRO_BATCH, PlainLearner, plain_active_learning
from common import best, mini, options, photos, report, seconds, settings
from torch.nn import functional as F

from alpt_lib.acquisition import POOL
from alpt_lib.config import RunConfig, stream
from alpt_lib.datasets import Dataset, read_dataset
from alpt_lib.fast_layers import keep_freed_memory
from alpt_lib.loop import active_learning
from alpt_lib.training import FineTunedNetwork
from companion.runs.work import SharedSeedSet

# steps of a fine-tuning: about the mean of mini Waterbirds, pretrained, until its loss is at 0.1%
FIT = 40
Asked = list[list[int]]  # of each round


def cases(is_quick: bool, folder: Path) -> dict[str, RunConfig]:
    """Name -> a run. Steps are fixed, so that both sides do as many."""
    birds = mini("waterbirds")
    fixed = {"stopping": "fixed_steps", "max_steps": 3 if is_quick else FIT}
    spent = {"budget": 30, "eval_every": 1}
    parts = settings(read_dataset(birds).description, recipe=fixed, protocol=spent)
    small = RunConfig(str(birds), "mini-bit-m", "least_confidence", 1, **parts)
    if is_quick:
        return {"mini": small}
    lite = lite_case(small, folder)
    side = {"augment": "crop_flip", "resize": 112, "crop": 96, "max_steps": 2}
    bit = replace(
        lite,
        dataset=str(photos(100, 50, 112, folder / "few")),
        model="timm:resnetv2_50x1_bit-np",
        weights=None,
        recipe=replace(small.recipe, **side),
    )
    drawn = "" if lite.weights else ", random weights"
    return {
        "mini": small,
        f"Lite0 128 px{drawn}": lite,
        "R50x1 96 px, random weights": bit,
    }


def lite_case(small: RunConfig, folder: Path) -> RunConfig:
    real = Path(os.environ.get("ALPT_REAL_DATA", "/nowhere"))
    weights = next(real.glob("weights/tf_efficientnet_lite0*.safetensors"), None)
    recipe = replace(
        small.recipe,
        optimizer="adamw",
        lr=5e-4,
        freeze_batch_norm=True,
        augment="crop_flip",
        resize=144,
        crop=128,
        max_steps=5,
    )
    return replace(
        small,
        dataset=str(photos(300, 100, 128, folder / "photos")),
        model="timm:tf_efficientnet_lite0" + ("" if weights else "-np"),
        weights=str(weights) if weights else None,
        recipe=recipe,
        protocol=replace(small.protocol, budget=20, query_batch_size=20),
    )


def plain_run(config: RunConfig, workers: int, our_network: bool = False) -> Asked:
    data = read_dataset(config.dataset)
    learner = PlainLearner(data, config, workers, our_network)
    return [now.asked for now in plain_active_learning(data, learner, config)]


def our_run(config: RunConfig, kept: dict | None = None) -> Asked:
    data = read_dataset(config.dataset)
    network = FineTunedNetwork(data, config)
    learner = SharedSeedSet(network, config.protocol.seed_set_size, {} if kept is None else kept)
    return [now.asked for now in active_learning(learner, data.pool(), config)]


def our_pair(config: RunConfig) -> None:
    """Both arms, the seed-set fit done once, as `execute` runs them."""
    kept: dict = {}
    for acquisition in ("random", config.acquisition):
        our_run(replace(config, acquisition=acquisition), kept)


def agreement(one: Asked, other: Asked) -> str:
    """Acquired indices that are the same at the same rank of the same round, of all.

    Without the seed set, which is the same.
    """
    flat = [[row for asked in rounds[1:] for row in asked] for rounds in (one, other)]
    is_same = [i == j for i, j in zip(*flat, strict=True)]
    return f"{sum(is_same)} of {len(is_same)}"


class Timer:
    """Least seconds of each side, and what it asked for."""

    def __init__(self) -> None:
        self.least: dict[str, float] = {}
        self.asked: dict[str, Asked] = {}

    def time(self, side: str, function: Callable, *arguments) -> None:
        gc.collect()

        def keep() -> None:
            self.asked[side] = function(*arguments)

        self.least[side] = min(self.least.get(side, np.inf), seconds(keep))


def compare(name: str, config: RunConfig, workers: int, repeats: int) -> list[dict]:
    """Rows of one case: the parts, then a round, then the two arms of a seed."""
    exact = replace(config, recipe=replace(config.recipe, micro_batch_size=MICRO_BATCH))
    short = replace(config.recipe, max_steps=1)
    first = replace(config, protocol=replace(config.protocol, budget=0), recipe=short)
    # decoding, and the first call of everything
    decoding = seconds(our_run, first)
    timer = Timer()
    for _ in range(repeats):
        timer.time("baseline", plain_run, config, workers)
        timer.time("ours", our_run, config)
        timer.time("exact", our_run, exact)
    timer.time("baseline, exact", plain_run, config, workers, True)
    timer.time("baseline, random", plain_run, replace(config, acquisition="random"), workers)
    timer.time("ours, two arms", our_pair, config)
    rounds = config.protocol.n_rounds + 1
    rows = parts(name, read_dataset(config.dataset), config, workers, repeats)
    for part, one, other in (
        ("round", "baseline", "ours"),
        ("round, arithmetic equal", "baseline, exact", "exact"),
    ):
        same = agreement(timer.asked[one], timer.asked[other])
        rows.append(row(name, part, timer.least[one] / rounds, timer.least[other] / rounds, same))
    plain = (timer.least["baseline"] + timer.least["baseline, random"]) / 2
    ours = timer.least["ours, two arms"] / 2
    rows.append(row(name, "run (mean of random and least confidence)", plain, ours))
    rows.append(row(name, "run, decoding and first calls included", plain, ours + decoding / 2))
    return rows


def row(case: str, part: str, baseline_s: float, ours_s: float, same: str = "") -> dict:
    return {
        "case": case,
        "part": part,
        "baseline_s": baseline_s,
        "ours_s": ours_s,
        "ratio": baseline_s / ours_s,
        "same_indices": same,
    }


def parts(name: str, data: Dataset, config: RunConfig, workers: int, repeats: int) -> list[dict]:
    """A step of 32 images, also beside a bare one; scoring 960 (or the pool); evaluating 400."""
    plain = PlainLearner(data, config, workers)
    ours = FineTunedNetwork(data, config)
    plain.reset()
    protocol = config.protocol
    rng = stream(config.seed, "seed set")
    labelled = data.pool().seed_set(protocol.seed_set_size, protocol.seed_set, rng)
    split = data.eval_splits[0]
    scored = np.arange(min(960, len(data.rows(POOL))))
    evaluated = np.arange(min(400, len(data.rows(split))))

    def fit(learner: FineTunedNetwork) -> None:
        learner.reset()
        learner.fit(labelled, stream(1, "training"))

    def score(learner: FineTunedNetwork) -> None:
        learner.predict_probs(POOL, scored)

    def evaluate(learner: FineTunedNetwork) -> None:
        learner.predict_probs(split, evaluated)

    work = {
        "step of 32 images": (config.recipe.max_steps, fit),
        f"scoring {len(scored)} images": (1, score),
        f"evaluating {len(evaluated)} images": (1, evaluate),
    }
    rows = []
    for part, (divisor, do) in work.items():
        least = best(repeats + 1, baseline=lambda do=do: do(plain), ours=lambda do=do: do(ours))
        rows.append(row(name, part, least["baseline"] / divisor, least["ours"] / divisor))
    n = config.recipe.max_steps
    bare = bare_steps(ours, labelled)
    least = best(repeats + 1, bare=lambda: bare(n), ours=lambda: fit(ours))
    rows.append(
        row(name, "step, beside a bare one in memory", least["bare"] / n, least["ours"] / n)
    )
    return rows


def bare_steps(learner: FineTunedNetwork, labelled: np.ndarray) -> Callable[[int], None]:
    """So many steps on one batch that is in memory: network, loss and optimizer, nothing else."""
    batch = labelled[: learner.recipe.train_batch_size]
    images = learner.inputs(POOL).batch(batch, learner.device)
    labels = torch.from_numpy(learner.data.labels(POOL)[batch])

    def steps(n: int) -> None:
        learner.reset()
        learner.training_mode()
        optimizer = learner.optimizer()
        for _ in range(n):
            optimizer.zero_grad()
            F.cross_entropy(learner.model(images), labels).backward()
            optimizer.step()

    return steps


if __name__ == "__main__":
    chosen = options(
        __doc__,
        workers=(8, "loader workers of the baseline"),
        case=(-1, "only the case of this number"),
    )
    keep_freed_memory()
    threads = f"_{chosen.threads}_threads" if chosen.threads > 1 else ""
    with tempfile.TemporaryDirectory() as folder:
        for number, (case, run) in enumerate(cases(chosen.quick, Path(folder)).items()):
            if chosen.case in (-1, number):
                table = compare(case, run, chosen.workers, 1 if chosen.quick or number else 2)
                name = f"loop_speed_{case.split()[0].lower()}{threads}"
                report(name, table, is_stored=not chosen.quick)
