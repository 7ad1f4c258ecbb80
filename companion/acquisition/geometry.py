"""What acquisition functions that look at features share: distances, seeding, clusters."""

import warnings
from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np
from threadpoolctl import ThreadpoolController

from alpt_lib.acquisition import CHUNK

# the same sums, so the same rows, whatever the number of workers
one_thread = ThreadpoolController().wrap(limits=1)
# beyond so many clusters, k-means starts at random points and takes ten steps
FEW_CLUSTERS = 50


def squared_distances(a_ND: np.ndarray, b_MD: np.ndarray) -> np.ndarray:
    """(N, M) squared Euclidean distances; rounding never makes one negative."""
    squares_NM = (a_ND**2).sum(axis=1)[:, None] + (b_MD**2).sum(axis=1)
    squares_NM -= 2 * (a_ND @ b_MD.T)
    return np.maximum(squares_NM, 0, out=squares_NM)


def chunks(n: int, size: int = CHUNK) -> Iterator[slice]:
    """Slices that cover n rows, at most so many at a time; an empty one where there are none."""
    for start in range(0, max(n, 1), size):
        yield slice(start, start + size)


def best(scores: np.ndarray, rng: np.random.Generator) -> int:
    """Position of the highest score; the rng decides among equal ones."""
    winners = np.flatnonzero(scores == scores.max())
    return int(winners[0] if len(winners) == 1 else rng.choice(winners))


def draw(weights: np.ndarray, is_free: np.ndarray, rng: np.random.Generator) -> int:
    """A free position, in proportion to its weight; where all weights are 0, each alike."""
    eligible = np.flatnonzero(is_free & (weights > 0))
    if not len(eligible):
        return int(rng.choice(np.flatnonzero(is_free)))
    total = np.cumsum(weights[eligible], dtype=np.float64)
    place = np.searchsorted(total, rng.random() * total[-1], side="right")
    return int(eligible[min(place, len(eligible) - 1)])


def d2_seeding(
    squared_to: Callable[[int], np.ndarray], first: int, n: int, rng: np.random.Generator
) -> np.ndarray:
    """Seeds of k-means++ (Arthur and Vassilvitskii 2007): each drawn by squared distance.

    Args:
        squared_to: of a position the (n_points,) squared distances to it. first: the first seed.
        n: how many, at most n_points.
    Returns:
        (n,) int64 positions, distinct, `first` first.
    """
    chosen = [first]
    nearest = squared_to(first)
    is_free = np.ones(len(nearest), dtype=bool)
    while len(chosen) < n:
        is_free[chosen[-1]] = False
        chosen.append(draw(nearest, is_free, rng))
        np.minimum(nearest, squared_to(chosen[-1]), out=nearest)
    return np.array(chosen)


def in_turn(queues: list[np.ndarray], n: int) -> np.ndarray:
    """(n,) int64 the first of each queue, then the second of those that have one, and so on."""
    turns = [(turn, i) for i, queue in enumerate(queues) for turn in range(len(queue))]
    return np.array([queues[i][turn] for turn, i in sorted(turns)[:n]], dtype=np.int64)


@lru_cache(maxsize=1)
def _controller() -> ThreadpoolController:
    """Of all threads, scikit-learn's own among them; to look for them takes milliseconds."""
    return ThreadpoolController()


def k_means(
    features_ND: np.ndarray, k: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """(N,) cluster of each row and (k, D) centres.

    Few clusters start at k-means++ seeds and converge. Of many the start alone would take longer
    than ten steps from random points, and these do (TypiClust's own code takes mini-batches then).
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    few = k <= FEW_CLUSTERS
    solver = KMeans(
        k,
        init="k-means++" if few else "random",
        max_iter=300 if few else 10,
        n_init=1,
        random_state=int(rng.integers(2**31)),
    )
    with warnings.catch_warnings(), _controller().limit(limits=1):
        # of duplicates there may be fewer than k kinds
        warnings.simplefilter("ignore", ConvergenceWarning)
        # ten steps in single precision end where they do in double
        solver.fit(features_ND if few else features_ND.astype(np.float32, copy=False))
    return solver.labels_, solver.cluster_centers_
