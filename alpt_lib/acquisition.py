"""Acquisition functions: which pool examples are asked for next (paper, sections 2 and 5.2).

A function either scores examples (the highest are asked for) or chooses a query batch together.
Both see `Candidates`, which computes probabilities and features only if they are looked at.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from scipy.special import entr

from alpt_lib.errors import CompanionError

POOL = "pool"
# pool examples: their probabilities are dropped before the next ones come, so only scores add up
SCORED_AT_ONCE = 65_536
# examples scored at once: what a score needs beside the probabilities stays in the CPU's cache
CHUNK = 8192


class Predictor(Protocol):
    """What `Candidates` asks of a learner."""

    def predict_probs(self, split: str, rows: np.ndarray) -> np.ndarray: ...

    def features(self, split: str, rows: np.ndarray) -> np.ndarray: ...

    def probs_of_features(self, features: np.ndarray) -> np.ndarray: ...  # what the head says


@dataclass(frozen=True)
class Answers:
    """What the oracle would say of the whole pool: for controls that cheat, and nothing else."""

    labels: np.ndarray  # (n_pool,) int
    subgroups: np.ndarray  # (n_pool,) str


@dataclass(eq=False)
class Candidates:
    """The pool rows that may be asked for, as an acquisition function sees them.

    Args:
        rows: (n_candidates,) int64 pool rows, kept ascending, so that nothing hangs on their
            order. labelled: (n_labelled,) int64 rows, in the order of acquisition.
        labels: (n_labelled,) int64 their classes.
        _answers: what the oracle would say, for the names in CHEATING alone.
    """

    learner: Predictor
    rows: np.ndarray
    labelled: np.ndarray
    labels: np.ndarray
    _answers: Answers | None = None

    def __post_init__(self) -> None:
        self.rows = np.sort(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def probs(self) -> np.ndarray:
        """(n_candidates, n_classes) float32, predicted class probabilities, rows sum to 1."""
        return self.learner.predict_probs(POOL, self.rows)

    @cached_property
    def features(self) -> np.ndarray:
        """(n_candidates, n_features) float32, activations before the head."""
        return self.learner.features(POOL, self.rows)

    @cached_property
    def labelled_features(self) -> np.ndarray:
        """(n_labelled, n_features) float32."""
        return self.learner.features(POOL, self.labelled)

    def probs_of_features(self, features: np.ndarray) -> np.ndarray:
        """(n, n_classes) what the head says to these features, (n, n_features), made up or not."""
        return self.learner.probs_of_features(features)

    @cached_property
    def n_classes(self) -> int:
        """How many classes there are; costs the prediction of one row."""
        return self.learner.predict_probs(POOL, self.rows[:1]).shape[1]

    @property
    def answers(self) -> Answers:
        """What has not been asked yet.

        Raises:
            CompanionError: to an acquisition function that is not in CHEATING.
        """
        if self._answers is None:
            raise CompanionError(
                "an acquisition function asked for answers that nobody has given: only those named "
                f"in CHEATING get them ({', '.join(sorted(CHEATING))})"
            )
        return self._answers

    def parts(self) -> Iterator["Candidates"]:
        """The same rows, so many at a time that their probabilities fit in memory."""
        for start in range(0, max(len(self), 1), SCORED_AT_ONCE):
            part = self.rows[start : start + SCORED_AT_ONCE]
            yield Candidates(self.learner, part, self.labelled, self.labels, self._answers)


Scorer = Callable[[Candidates, np.random.Generator], np.ndarray]
Chooser = Callable[[Candidates, int, np.random.Generator], np.ndarray]


def random(candidates: Candidates, rng: np.random.Generator) -> np.ndarray:
    """The baseline a(x; M) = rand(0, 1), independent of the model (paper, section 4.1).

    Returns:
        (n_candidates,) float in [0, 1).
    """
    return rng.random(len(candidates))


def least_confidence(candidates: Candidates, rng: np.random.Generator) -> np.ndarray:
    """Minus the probability of the most likely class (paper, eq. 1; Lewis and Gale 1994).

    Returns:
        (n_candidates,) float in [-1, -1/n_classes].
    """
    return -candidates.probs.max(axis=1)


def entropy(candidates: Candidates, rng: np.random.Generator) -> np.ndarray:
    """Entropy of the predictive distribution in nats (paper, section 5.2; Shannon 1948).

    p = 0 counts 0, never NaN.

    Returns:
        (n_candidates,) float in [0, ln n_classes].
    """
    return _by_chunk(lambda probs_NC: entr(probs_NC).sum(axis=1), candidates.probs)


def margin(candidates: Candidates, rng: np.random.Generator) -> np.ndarray:
    """Minus the gap between the two most likely classes (paper, section 5.2; Scheffer et al. 2001).

    A tie scores highest.

    Returns:
        (n_candidates,) float in [-1, 0].
    Raises:
        ValueError: fewer than two classes.
    """
    if candidates.probs.shape[1] < 2:
        shape = candidates.probs.shape
        raise ValueError(f"margin needs at least 2 classes; got probs of shape {shape}")
    return _by_chunk(_minus_gap, candidates.probs)


def _minus_gap(probs_NC: np.ndarray) -> np.ndarray:
    rest_NC = probs_NC.copy()
    rows = np.arange(len(probs_NC))
    top_N = probs_NC.argmax(axis=1)
    # two passes for the maximum take half the time of np.partition
    rest_NC[rows, top_N] = -np.inf
    return rest_NC.max(axis=1) - probs_NC[rows, top_N]


def _by_chunk(score: Callable[[np.ndarray], np.ndarray], probs_NC: np.ndarray) -> np.ndarray:
    starts = range(0, max(len(probs_NC), 1), CHUNK)
    return np.concatenate([score(probs_NC[i : i + CHUNK]) for i in starts])


# score examples, each for itself: the highest are asked for
ACQUISITION_FUNCTIONS: dict[str, Scorer] = {
    "random": random,
    "least_confidence": least_confidence,
    "entropy": entropy,
    "margin": margin,
}
# choose a query batch together: positions among the candidates, most wanted first
BATCH_FUNCTIONS: dict[str, Chooser] = {}
# controls that see the oracle's answers before they ask; they never look at the model
CHEATING: set[str] = set()


def acquisition_names() -> list[str]:
    """Every name that `acquisition` takes."""
    return [*ACQUISITION_FUNCTIONS, *BATCH_FUNCTIONS]


def choose(
    name: str, candidates: Candidates, n: int, rng: np.random.Generator, fidelity: str
) -> tuple[np.ndarray, np.ndarray]:
    """What an acquisition function asks for.

    Args:
        n: all candidates, where there are fewer. fidelity: "released" breaks ties of scores by
            position, "paper" by the rng.
    Returns:
        (n,) int64 pool rows, most wanted first, and (n,) float scores (NaN for a batch function).
    Raises:
        CompanionError: a score that is NaN.
    """
    n = min(n, len(candidates))
    if name in BATCH_FUNCTIONS:
        positions = BATCH_FUNCTIONS[name](candidates, n, rng)
        return candidates.rows[positions], np.full(len(positions), np.nan)
    score = ACQUISITION_FUNCTIONS[name]
    scores = np.concatenate([score(part, rng) for part in candidates.parts()])
    is_nan = np.isnan(scores)
    if is_nan.any():
        row = candidates.rows[is_nan.argmax()]
        raise CompanionError(f"{name} gave {is_nan.sum()} NaN scores, first for pool row {row}")
    best = select(scores, n, None if fidelity == "released" else rng)
    return candidates.rows[best], scores[best]


def select(scores: np.ndarray, n: int, rng: np.random.Generator | None) -> np.ndarray:
    """Positions of the `n` highest scores, best first; ties broken by the rng, or by position.

    Args:
        scores: (n_pool,) float, no NaN.
        n: how many, at most n_pool. rng: None breaks ties by position.
    Returns:
        (n,) int64 positions in `scores`.
    Raises:
        ValueError: a NaN score, or n larger than the pool.
    """
    is_nan = np.isnan(scores)
    if is_nan.any():
        raise ValueError(
            f"{is_nan.sum()} of {len(scores)} scores are NaN, first at row {is_nan.argmax()}"
        )
    if not 0 <= n <= len(scores):
        raise ValueError(f"asked for {n} examples but {len(scores)} remain in the pool")
    ties = np.arange(len(scores)) if rng is None else rng.permutation(len(scores))
    # sorting only what can be chosen is 8 times faster for a million
    worst = np.partition(scores, -n)[-n] if n else np.inf
    eligible = np.flatnonzero(scores >= worst)
    return eligible[np.lexsort((ties[eligible], -scores[eligible]))][:n]
