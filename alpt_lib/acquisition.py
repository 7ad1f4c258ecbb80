"""Acquisition functions: predicted probabilities -> scores; higher is queried sooner (paper, sections 2 and 5.2)."""

import numpy as np
from scipy.special import entr

CHUNK = 8192  # examples scored at once: what a score needs beside the probabilities stays small, and in the CPU's cache


def random_score(probs: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The baseline a(x; M) = rand(0, 1), independent of the model (paper, section 4.1). (n_pool,) in [0, 1)."""
    return rng.random(len(probs))


def least_confidence_score(probs: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
    """Minus the probability of the most likely class (paper, eq. 1).

    Args:
        probs: (n_pool, n_classes) float, predicted class probabilities, rows sum to 1.
    Returns:
        (n_pool,) float in [-1, -1/n_classes].
    """
    return -probs.max(axis=1)


def entropy_score(probs: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
    """Entropy of the predictive distribution in nats (paper, section 5.2); p = 0 counts 0, never NaN.

    Args:
        probs: (n_pool, n_classes) float, rows sum to 1.
    Returns:
        (n_pool,) float in [0, ln n_classes].
    """
    return _by_chunk(lambda part: entr(part).sum(axis=1), probs)


def margin_score(probs: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
    """Minus the gap between the two most likely classes (paper, section 5.2); a tie scores highest.

    Args:
        probs: (n_pool, n_classes) float, rows sum to 1.
    Returns:
        (n_pool,) float in [-1, 0].
    Raises:
        ValueError: fewer than two classes.
    """
    if probs.shape[1] < 2:
        raise ValueError(f"margin needs at least 2 classes; got probs of shape {probs.shape}")
    return _by_chunk(_minus_gap, probs)


def _minus_gap(probs: np.ndarray) -> np.ndarray:
    rest, rows, top = probs.copy(), np.arange(len(probs)), probs.argmax(axis=1)
    rest[rows, top] = -np.inf  # two passes for the maximum take half the time of np.partition
    return rest.max(axis=1) - probs[rows, top]


def _by_chunk(score, probs: np.ndarray) -> np.ndarray:
    return np.concatenate(
        [score(probs[i : i + CHUNK]) for i in range(0, max(len(probs), 1), CHUNK)]
    )


ACQUISITION_FUNCTIONS = {
    "random": random_score,
    "least_confidence": least_confidence_score,
    "entropy": entropy_score,
    "margin": margin_score,
}


def select(scores: np.ndarray, n: int, rng: np.random.Generator | None) -> np.ndarray:
    """Positions of the `n` highest scores, best first; ties broken at random, or by position without an rng (released code).

    Args:
        scores: (n_pool,) float, no NaN.
        n: how many, at most n_pool.
    Returns:
        (n,) int64 positions in `scores`.
    Raises:
        ValueError: a NaN score, or n larger than the pool.
    """
    if np.isnan(scores).any():
        raise ValueError(
            f"{np.isnan(scores).sum()} of {len(scores)} scores are NaN, first at row {np.isnan(scores).argmax()}"
        )
    if not 0 <= n <= len(scores):
        raise ValueError(f"asked for {n} examples but {len(scores)} remain in the pool")
    ties = np.arange(len(scores)) if rng is None else rng.permutation(len(scores))
    worst = (
        np.partition(scores, -n)[-n] if n else np.inf
    )  # sorting only what can be chosen: 8 times faster for a million
    candidates = np.flatnonzero(scores >= worst)
    return candidates[np.lexsort((ties[candidates], -scores[candidates]))][:n]
