"""Ours against the plain loop of baseline.py: per round, per run and per part.

    python benchmarks/loop_speed.py [--quick] [--workers 8] [--threads 1]

Cases: the mini model on mini Waterbirds; MobileNetV2 at 128 px, on real Waterbirds and with real weights where
ALPT_REAL_DATA names a folder with them (else JPEGs of noise, random weights); R50x1 at 96 px with random weights, few steps.
"""

import gc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from baseline import MICRO_BATCH, PlainLearner, plain_active_learning
from common import best, mini, np, options, os, photos, report, seconds, tempfile

from alpt_lib import datasets
from alpt_lib.config import Protocol, Recipe, RunConfig, override
from alpt_lib.datasets import POOL
from alpt_lib.loop import active_learning, start_pool, stream
from alpt_lib.training import Learner
from companion.runs.work import _keep_freed_memory

FIT = 40  # steps of a fine-tuning: about the mean of mini Waterbirds, pretrained, until its loss is at 0.1%


def cases(quick: bool, folder: Path) -> dict[str, RunConfig]:
    """Name -> a run. Steps are fixed, so that both sides do as many."""
    described = datasets.read_dataset(mini("waterbirds")).description
    recipe = override(
        Recipe(),
        {**described.recipe, "stopping": "fixed_steps", "max_steps": 3 if quick else FIT},
        "recipe",
    )
    protocol = override(
        Protocol(), {**described.protocol, "budget": 30, "eval_every": 1}, "protocol"
    )
    small = RunConfig(
        str(mini("waterbirds")),
        "mini-bit-m",
        "least_confidence",
        1,
        protocol=protocol,
        recipe=recipe,
    )

    if quick:
        return {"mini": small}
    images, few = (
        str(photos(300, 100, 128, folder / "photos")),
        str(photos(100, 50, 112, folder / "few")),
    )
    weights = next(
        Path(os.environ.get("ALPT_REAL_DATA", "/nowhere")).glob(
            "weights/mobilenetv2_100*.safetensors"
        ),
        None,
    )
    adam = replace(
        recipe,
        optimizer="adamw",
        lr=1e-4,
        freeze_batch_norm=True,
        augment="crop_flip",
        resize=144,
        crop=128,
        max_steps=5,
    )
    name = "timm:mobilenetv2_100?pad_type=same&mean=0.5&std=0.5" + ("" if weights else "-np")
    mobile = replace(
        small,
        dataset=images,
        model=name,
        weights=weights and str(weights),
        recipe=adam,
        protocol=replace(protocol, budget=20, query_batch_size=20),
    )
    bit = replace(
        mobile,
        dataset=few,
        model="timm:resnetv2_50x1_bit-np",
        weights=None,
        recipe=replace(recipe, augment="crop_flip", resize=112, crop=96, max_steps=2),
    )
    return {
        "mini": small,
        f"MobileNetV2 128 px{'' if weights else ', random weights'}": mobile,
        "R50x1 96 px, random weights": bit,
    }


def plain_run(config: RunConfig, workers: int, our_network: bool = False) -> list[list[int]]:
    data = datasets.read_dataset(Path(config.dataset))
    return [
        r.query
        for r in plain_active_learning(
            data, PlainLearner(data, config, workers, our_network), config
        )
    ]


def our_run(config: RunConfig, shared: dict | None = None) -> list[list[int]]:
    data = datasets.read_dataset(Path(config.dataset))
    learner = Learner(data, config.model, config.recipe, config.weights, config.seed)
    return [r.query for r in active_learning(data, learner, config, shared=shared)]


def our_pair(config: RunConfig) -> None:
    """Both arms, the seed-set fit done once, as `execute` runs them."""
    shared: dict = {}
    for acquisition in ("random", config.acquisition):
        our_run(replace(config, acquisition=acquisition), shared)


def agreement(a: list[list[int]], b: list[list[int]]) -> str:
    """Acquired indices that are the same at the same rank of the same round, of all."""
    same = sum(i == j for x, y in zip(a, b, strict=True) for i, j in zip(x, y, strict=True))
    return f"{same} of {sum(map(len, a))}"


def compare(name: str, config: RunConfig, workers: int, repeats: int) -> list[dict]:
    """Rows of one case: the parts, then a round, then the two arms of a seed."""
    data = datasets.read_dataset(Path(config.dataset))
    exact = replace(config, recipe=replace(config.recipe, micro_batch_size=MICRO_BATCH))
    decode = seconds(
        our_run,
        replace(
            config,
            protocol=replace(config.protocol, budget=0),
            recipe=replace(config.recipe, max_steps=1),
        ),
    )  # also the first call of everything
    rounds = config.protocol.n_rounds + 1
    times, queries = {}, {}

    def timed(key: str, function: Callable, *arguments) -> None:
        gc.collect()
        times.setdefault(key, []).append(
            seconds(lambda: queries.update({key: function(*arguments)}))
        )

    for _ in range(repeats):
        timed("baseline", plain_run, config, workers)
        timed("ours", our_run, config)
        timed("exact", our_run, exact)
    timed("baseline, exact", plain_run, config, workers, True)
    timed("baseline, random", plain_run, replace(config, acquisition="random"), workers)
    timed("ours, two arms", our_pair, config)
    t = {key: min(values) for key, values in times.items()}
    two_arms = t["baseline"] + t["baseline, random"]
    return [
        *parts(name, data, config, workers, repeats),
        row(
            name,
            "round",
            t["baseline"] / rounds,
            t["ours"] / rounds,
            agreement(queries["baseline"], queries["ours"]),
        ),
        row(
            name,
            "round, arithmetic equal",
            t["baseline, exact"] / rounds,
            t["exact"] / rounds,
            agreement(queries["baseline, exact"], queries["exact"]),
        ),
        row(
            name, "run (mean of random and least confidence)", two_arms / 2, t["ours, two arms"] / 2
        ),
        row(
            name,
            "run, decoding and first calls included",
            two_arms / 2,
            (t["ours, two arms"] + decode) / 2,
        ),
    ]


def row(case: str, part: str, baseline_s: float, ours_s: float, same: str = "") -> dict:
    return {
        "case": case,
        "part": part,
        "baseline_s": baseline_s,
        "ours_s": ours_s,
        "ratio": baseline_s / ours_s,
        "same_indices": same,
    }


def parts(
    name: str, data: datasets.Dataset, config: RunConfig, workers: int, repeats: int
) -> list[dict]:
    """A step of 32 images, scoring 960 (or the whole pool), evaluating 400."""
    plain = PlainLearner(data, config, workers)
    ours = Learner(data, config.model, config.recipe, config.weights, config.seed)
    plain.reset()
    labelled, steps = start_pool(data, config).labelled, config.recipe.max_steps
    scored, evaluated = (
        np.arange(min(n, len(data.rows(s)))) for n, s in ((960, POOL), (400, data.eval_splits[0]))
    )

    def fit(learner) -> None:
        learner.reset()
        learner.fit(labelled, stream(1, "training"))

    work = {
        "step of 32 images": (steps, fit),
        f"scoring {len(scored)} images": (1, lambda learner: learner.predict_probs(POOL, scored)),
        f"evaluating {len(evaluated)} images": (
            1,
            lambda learner: learner.predict_probs(data.eval_splits[0], evaluated),
        ),
    }
    rows = []
    for part, (divisor, do) in work.items():
        t = best(repeats + 1, baseline=lambda do=do: do(plain), ours=lambda do=do: do(ours))
        rows.append(row(name, part, t["baseline"] / divisor, t["ours"] / divisor))
    return rows


if __name__ == "__main__":
    chosen = options(
        __doc__,
        workers=(8, "loader workers of the baseline"),
        case=(-1, "only the case of this number"),
    )
    _keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        for number, (case, run) in enumerate(cases(chosen.quick, Path(folder)).items()):
            if chosen.case in (-1, number):
                table = compare(case, run, chosen.workers, 1 if chosen.quick or number else 2)
                threads = f"_{chosen.threads}_threads" if chosen.threads > 1 else ""
                report(
                    f"loop_speed_{case.split()[0].lower()}{threads}", table, store=not chosen.quick
                )
