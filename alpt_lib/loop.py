"""The active-learning loop (paper, section 2)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any
from zlib import crc32

import numpy as np
import pandas as pd

from alpt_lib.acquisition import ACQUISITION_FUNCTIONS, select
from alpt_lib.config import RunConfig
from alpt_lib.datasets import POOL, Dataset
from alpt_lib.errors import CompanionError
from alpt_lib.metrics import accuracy_rows
from alpt_lib.pool import Pool
from alpt_lib.training import Learner
from companion.runs.plan import check_protocol

SCORED_AT_ONCE = 65_536  # pool examples: their probabilities are dropped before the next ones come, so only scores add up


@dataclass
class Round:
    """One round: the labels it added, what the model trained on all of them scores, what it asks for next."""

    round: int
    n_labels: int
    query: list[
        int
    ]  # pool rows to be labelled for the next round, most wanted first; empty in the last
    scores: list[float]  # their acquisition scores
    metrics: list[dict[str, Any]] = field(
        default_factory=list
    )  # metric, split, subgroup, value, n_examples
    fit: dict[str, Any] | None = None  # None where nothing needed to be trained


def active_learning(
    data: Dataset,
    learner: Learner,
    config: RunConfig,
    *,
    history: list[list[int]] = (),
    shared: dict | None = None,
    observe: Callable[[int], list[dict]] | None = None,
) -> Iterator[Round]:
    """Fine-tune on the seed set, then acquire a query batch a round until the budget is spent (paper, section 2).

    Args:
        data: pool and evaluation splits. learner: the initial model. config: acquisition function, seed, protocol.
        history: query batches of rounds already done; they are replayed, not trained again (unless `released`: below).
        shared: a dict kept between runs that differ in nothing before the first query; the seed-set fit is done and evaluated
            once. Not under the recipe's fidelity "released": there a fit also leaves the momentum that the next one starts
            with, so each arm fits every round, and a resumed run those before it again.
        observe: called after each fit with the round, adds metric rows (linear probes).
    Yields:
        one Round per round, the seed set's being round 0.
    """
    protocol = config.protocol
    check_protocol(data, config)
    pool = start_pool(data, config)
    released = config.recipe.fidelity == "released"
    optimizer = learner.new_optimizer() if released else None

    def train(round_: int) -> dict[str, Any]:
        learner.reset()
        return asdict(
            learner.fit(pool.labelled, stream(config.seed, "training", round_), optimizer)
        )

    for round_, done in enumerate(history):
        if released:
            train(round_)
        pool.acquire(np.array(done))
    for round_ in range(len(history), protocol.n_rounds + 1):
        result = Round(round_, len(pool.labelled), [], [])
        kept = shared if round_ == 0 and shared is not None and not released else {}
        if config.trains(round_):
            if "fit" in kept:
                learner.model.load_state_dict(kept["weights"])
            else:
                kept["fit"] = train(round_)
                if kept is shared:
                    kept["weights"] = {k: v.clone() for k, v in learner.model.state_dict().items()}
            result.fit = kept["fit"]
        with learner.scoring():  # evaluation splits and pool in one pass
            if protocol.evaluates(round_):
                if "metrics" not in kept:
                    kept["metrics"] = evaluate(data, learner)
                result.metrics = kept["metrics"] + (observe(round_) if observe else [])
            if round_ < protocol.n_rounds:
                batch, scores = query(learner, pool, config, round_)
                pool.acquire(batch)
                result.query, result.scores = batch.tolist(), scores.tolist()
        yield result


def start_pool(data: Dataset, config: RunConfig) -> Pool:
    """The pool with its seed set labelled: the same for every model and acquisition function of a seed."""
    pool = Pool(data.labels(POOL), len(data.classes))
    protocol = config.protocol
    pool.acquire(
        pool.seed_set(protocol.seed_set_size, protocol.seed_set, stream(config.seed, "seed set"))
    )
    return pool


def query(
    learner: Learner, pool: Pool, config: RunConfig, round_: int
) -> tuple[np.ndarray, np.ndarray]:
    """The next query batch and its scores: score the unlabelled pool, take the highest (paper, eq. 1)."""
    rng = stream(config.seed, "acquisition", round_)
    protocol, candidates = config.protocol, pool.unlabelled
    if (
        protocol.pool_subsample
    ):  # released iWildCam code: a fresh random part of the pool each round
        candidates = np.sort(rng.permutation(candidates)[: protocol.pool_subsample])
    is_random = config.acquisition == "random"
    parts = [
        candidates[i : i + SCORED_AT_ONCE]
        for i in range(0, max(len(candidates), 1), SCORED_AT_ONCE)
    ]
    probs = (
        np.empty((len(part), 0)) if is_random else learner.predict_probs(POOL, part)
        for part in parts
    )
    scores = np.concatenate([ACQUISITION_FUNCTIONS[config.acquisition](p, rng) for p in probs])
    if np.isnan(scores).any():
        row = candidates[np.isnan(scores).argmax()]
        raise CompanionError(
            f"{config.acquisition} gave {np.isnan(scores).sum()} NaN scores in round {round_}, "
            f"first for pool row {row}"
        )
    remaining = protocol.seed_set_size + protocol.budget - len(pool.labelled)
    ties = None if config.recipe.fidelity == "released" else rng
    best = select(scores, min(protocol.query_batch_size, remaining), ties)
    return candidates[best], scores[best]


def evaluate(data: Dataset, learner: Learner) -> list[dict[str, Any]]:
    """All accuracies on all evaluation splits."""
    rows = []
    for split in data.eval_splits:
        correct = learner.predict_probs(split).argmax(axis=1) == data.labels(split)
        rows.append(
            accuracy_rows(
                correct,
                data.rows(split),
                subgroup=data.subgroup(split),
                minority=data.minority,
                percentile_over=data.description.percentile_over,
                train_weights=data.pool_shares,
            ).assign(split=split)
        )
    return pd.concat(rows).to_dict("records")


def stream(seed: int, name: str, round_: int = 0) -> np.random.Generator:
    """The run's random stream of this name: independent of every other, and of what was drawn before."""
    return np.random.default_rng([seed, crc32(name.encode()), round_])
