"""Acquisition functions that look at features alone: the model's prediction plays no part."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from alpt_lib.acquisition import Candidates
from companion.acquisition.geometry import (
    best,
    chunks,
    in_turn,
    k_means,
    squared_distances,
)

if TYPE_CHECKING:
    from scipy.sparse import csr_array

# of typi_clust: their code's numbers
MOST_CLUSTERS = 500
FEWEST_MEMBERS = 5
NEIGHBOURS = 20
# of prob_cover
PURITY = 0.95
# pool examples whose balls are looked at; of more, a random part
MOST_BALLS = 5000
# the last graph of balls, by the features that it is of
KEPT_GRAPH: dict[tuple, csr_array] = {}


def core_set(candidates: Candidates, n: int, rng: np.random.Generator) -> np.ndarray:
    """What is furthest from all that is labelled (Sener and Savarese 2018, algorithm 1).

    Greedy k-centre: again and again the example whose nearest labelled or chosen one is furthest
    away in feature space. With nothing labelled, the first is drawn.

    Returns:
        (n,) int64 positions, in the order chosen.
    """
    features_ND = candidates.features
    nearest_N = nearest(features_ND, candidates.labelled_features)
    squares_N = np.einsum("nd,nd->n", features_ND, features_ND)
    chosen: list[int] = []
    while len(chosen) < n:
        i = best(nearest_N, rng)
        chosen.append(i)
        to_it = squares_N + squares_N[i] - 2 * (features_ND @ features_ND[i])
        np.minimum(nearest_N, np.maximum(to_it, 0), out=nearest_N)
        # behind every duplicate, whose distance is 0
        nearest_N[chosen] = -1
    return np.array(chosen, dtype=np.int64)


def nearest(features_ND: np.ndarray, others_MD: np.ndarray) -> np.ndarray:
    """(N,) squared distance to the nearest of the others; infinite where there is none."""
    nearest_N = np.empty(len(features_ND))
    for part in chunks(len(features_ND), 512):
        # an example's own square is the same to all: it is added last
        rest_NM = features_ND[part] @ (-2 * others_MD.T)
        rest_NM += (others_MD**2).sum(axis=1)
        nearest_N[part] = rest_NM.min(axis=1, initial=np.inf)
    return np.maximum(nearest_N + (features_ND**2).sum(axis=1), 0)


def typi_clust(candidates: Candidates, n: int, rng: np.random.Generator) -> np.ndarray:
    """The most typical example of each unlabelled cluster (Hacohen et al. 2022, TypiClust).

    Features of unit length form as many clusters as there will be labels (500 at most), by k-means.
    Clusters without a label come first, the largest of them first, those of five or fewer last;
    each gives its example with the least mean distance to its 20 nearest neighbours.

    Returns:
        (n,) int64 positions, in the order of clusters.
    """
    if n == 0:
        return np.empty(0, dtype=np.int64)
    features_ND = np.concatenate([candidates.labelled_features, candidates.features])
    lengths_N = np.linalg.norm(features_ND, axis=1, keepdims=True)
    features_ND /= np.where(lengths_N > 0, lengths_N, 1)
    n_labelled = len(candidates.labelled)
    k = min(n_labelled + n, MOST_CLUSTERS, len(features_ND))
    cluster_N, _ = k_means(features_ND, k, rng)
    sizes_K = np.bincount(cluster_N, minlength=k)
    n_labelled_K = np.bincount(cluster_N[:n_labelled], minlength=k)
    order = np.lexsort((-sizes_K, n_labelled_K, sizes_K <= FEWEST_MEMBERS))
    queues: list[np.ndarray] = []
    for cluster in order:
        members = n_labelled + np.flatnonzero(cluster_N[n_labelled:] == cluster)
        if len(members):
            # two alone are equally typical
            ties_M = rng.random(len(members))
            by_typicality = np.lexsort((ties_M, mean_distances(features_ND[members])))
            queues.append(members[by_typicality] - n_labelled)
        if len(queues) == n:
            break
    return in_turn(queues, n)


def mean_distances(features_ND: np.ndarray) -> np.ndarray:
    """(N,) mean distance to the 20 nearest of the others (their typicality is its inverse)."""
    k = min(NEIGHBOURS, len(features_ND) - 1)
    means = []
    for part in chunks(len(features_ND), 1024):
        distances_MN = np.sqrt(squared_distances(features_ND[part], features_ND))
        # the nearest of all is the example itself
        distances_MN[np.arange(len(distances_MN)), np.arange(len(features_ND))[part]] = 0
        means.append(np.partition(distances_MN, k, axis=1)[:, : k + 1].sum(axis=1) / max(k, 1))
    return np.concatenate(means)


def prob_cover(candidates: Candidates, n: int, rng: np.random.Generator) -> np.ndarray:
    """Examples whose neighbourhoods cover most of the pool (Yehuda et al. 2022, algorithm 1).

    A ball around each example covers what lies in it. Again and again the example is asked for
    whose ball holds most of what no labelled or chosen one covers. The balls are as large as leaves
    95% of them pure, classes being guessed by k-means (so they choose delta). Of a pool beyond
    5,000, a random part of that size is looked at; where it is smaller than n, chance adds the
    rest.

    Returns:
        (n,) int64 positions, in the order chosen.
    """
    n_labelled = len(candidates.labelled)
    sample = np.sort(rng.permutation(len(candidates))[:MOST_BALLS])
    rows = np.concatenate([candidates.labelled, candidates.rows[sample]])
    # by rows, so that the graph of frozen features is made once
    order = np.argsort(rows)
    features = np.concatenate([candidates.labelled_features, candidates.features[sample]])[order]
    graph = balls(features, candidates.n_classes)
    place = np.argsort(order)
    is_open = np.ones(len(rows), dtype=bool)
    is_open[graph[place[:n_labelled]].sum(axis=0) > 0] = False
    degrees = graph @ is_open.astype(np.int32)
    degrees[place[:n_labelled]] = -1
    chosen: list[int] = []
    while len(chosen) < min(n, len(sample)):
        i = best(degrees, rng)
        chosen.append(order[i] - n_labelled)
        covered = graph.indices[graph.indptr[i] : graph.indptr[i + 1]]
        newly = covered[is_open[covered]]
        is_open[newly] = False
        # a ball is mutual: whoever covers it is among its own
        degrees = degrees - graph[newly].sum(axis=0) * (degrees >= 0)
        degrees[i] = -1
    rest = rng.permutation(np.setdiff1d(np.arange(len(candidates)), sample))
    return np.concatenate([sample[chosen], rest[: n - len(chosen)]]).astype(np.int64)


def balls(features_ND: np.ndarray, n_classes: int) -> csr_array:
    """(N, N) int8, 1 where an example lies in the ball around another, itself included.

    The last graph is kept: features of a frozen network are the same in every round and run.
    """
    digest = hashlib.blake2b(np.ascontiguousarray(features_ND).data).hexdigest()
    key = (digest, features_ND.shape, n_classes)
    if key not in KEPT_GRAPH:
        graph = _balls(features_ND, n_classes)
        KEPT_GRAPH.clear()
        KEPT_GRAPH[key] = graph
    return KEPT_GRAPH[key]


def _balls(features_ND: np.ndarray, n_classes: int) -> csr_array:
    from scipy.sparse import csr_array, vstack

    n = len(features_ND)
    # in an order of their own, from a fixed start: the graph is a function of the features alone
    order = np.lexsort(features_ND.T)
    guess_N = np.empty(n, dtype=np.int64)
    guess_N[order], _ = k_means(features_ND[order], min(n_classes, n), np.random.default_rng(0))
    to_others = []
    for part in chunks(n, 256):
        distances_MN = squared_distances(features_ND[part], features_ND)
        distances_MN[guess_N[part, None] == guess_N] = np.inf
        to_others.append(distances_MN.min(axis=1, initial=np.inf))
    # an open ball is pure up to the nearest example of another class
    radius = np.sort(np.concatenate(to_others))[int((1 - PURITY) * n)]
    neighbours = []
    for part in chunks(n, 256):
        within_MN = squared_distances(features_ND[part], features_ND) < radius
        rows = np.arange(n)[part]
        within_MN[np.arange(len(rows)), rows] = True
        neighbours.append(csr_array(within_MN.astype(np.int8)))
    return vstack(neighbours, format="csr")
