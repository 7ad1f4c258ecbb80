"""The active-learning loop (paper, section 2)."""

import typing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from alpt_lib.acquisition import CHEATING, Answers, Candidates, Predictor, choose
from alpt_lib.config import RunConfig, stream
from alpt_lib.pool import Pool


@dataclass
class Round:
    """One round: how the model trained on its labels does, and which rows it asks for next."""

    number: int  # 0 trains on the seed set; -1 comes before any label and asks for the seed set
    n_labels: int
    asked: list[int] = field(default_factory=list)  # most wanted first; none in the last round
    scores: list[float | None] = field(default_factory=list)  # of what is asked; seed set: None
    metrics: list[dict[str, Any]] = field(default_factory=list)
    fit: dict[str, Any] | None = None  # how training went; None where nothing was to be trained


class Learner(Predictor, typing.Protocol):
    """What the loop asks of a model, whatever it is; rows are rows of the pool."""

    def reset(self) -> None: ...  # back to the initial weights

    def fit(self, rows: np.ndarray, rng: np.random.Generator) -> dict[str, Any]: ...

    def evaluate(self, number: int) -> list[dict[str, Any]]: ...  # metric rows of a round

    def replay(self, past: Round, rows: np.ndarray) -> None: ...  # a stored round goes by


def active_learning(
    learner: Learner, pool: Pool, config: RunConfig, done: Sequence[Round] = ()
) -> Iterator[Round]:
    """Ask for a seed set; then retrain and ask for a query batch, until the budget is spent.

    Args:
        pool: nothing in it is labelled yet. done: rounds of an earlier, interrupted call.
    """
    protocol = config.protocol
    for past in done:
        learner.replay(past, pool.labelled)
        pool.acquire(np.array(past.asked))
    for number in range(len(done) - 1, protocol.n_rounds + 1):
        now = Round(number, len(pool))
        if config.trains(number):
            learner.reset()  # each round starts from the pretrained weights
            now.fit = learner.fit(pool.labelled, stream(config.seed, "training", number))
        if protocol.evaluates(number):
            now.metrics = learner.evaluate(number)
        if number < protocol.n_rounds:
            now.asked, now.scores = ask(learner, pool, config, number)
            pool.acquire(np.array(now.asked))
        yield now


def ask(
    learner: Predictor, pool: Pool, config: RunConfig, number: int
) -> tuple[list[int], list[Any]]:
    """The rows that a round asks for and their scores, most wanted first (paper, eq. 1)."""
    protocol = config.protocol
    if number < 0:
        rng = stream(config.seed, "seed set")
        seed_set = pool.seed_set(protocol.seed_set_size, protocol.seed_set, rng)
        return seed_set.tolist(), [None] * len(seed_set)
    rng = stream(config.seed, "acquisition", number)
    rows = pool.candidates(protocol.pool_subsample, rng)
    answers = Answers(pool.labels, pool.subgroups) if config.acquisition in CHEATING else None
    candidates = Candidates(learner, rows, pool.labelled, pool.labels[pool.labelled], answers)
    n = min(protocol.query_batch_size, protocol.seed_set_size + protocol.budget - len(pool))
    asked, scores = choose(config.acquisition, candidates, n, rng, config.recipe.fidelity)
    return asked.tolist(), scores.tolist()
