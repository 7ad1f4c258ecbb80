"""Acquisition functions that look at predictions and at features: unsure, but not alike."""

import numpy as np

from alpt_lib.acquisition import Candidates, margin, select
from companion.acquisition.geometry import (
    best,
    chunks,
    d2_seeding,
    in_turn,
    k_means,
    squared_distances,
)

# of drop_query: predictions with features left out, and the share that is
N_MASKS = 3
DROPPED = 0.75
# of cluster_margin: examples looked at for each that is asked for, and how many at most
LOOKED_AT = 10
MOST = 5000


def badge(candidates: Candidates, n: int, rng: np.random.Generator) -> np.ndarray:
    """Large gradients that point in different directions (Ash et al. 2020, algorithm 1, eq. 1).

    An example's gradient embedding is (p - onehot(argmax p)) x features, the head's gradient if
    its guess were right; the batch is what k-means++ seeds there. The embedding is an outer
    product a x h, so that ||a x h - a' x h'||² = |a|²|h|² + |a'|²|h'|² - 2 (a.a')(h.h'): memory
    grows with classes + features, not with their product. As in their code, the first is the
    largest gradient.

    Returns:
        (n,) int64 positions, in the order drawn.
    """
    if n == 0:
        return np.empty(0, dtype=np.int64)
    errors_NC = candidates.probs.astype(np.float64)
    errors_NC[np.arange(len(errors_NC)), errors_NC.argmax(axis=1)] -= 1
    features_ND = candidates.features
    norms_N = (errors_NC**2).sum(axis=1) * np.einsum("nd,nd->n", features_ND, features_ND)

    def squared_to(i: int) -> np.ndarray:
        alike_N = (errors_NC @ errors_NC[i]) * (features_ND @ features_ND[i])
        return np.maximum(norms_N + norms_N[i] - 2 * alike_N, 0)

    return d2_seeding(squared_to, best(norms_N, rng), n, rng)


def drop_query(candidates: Candidates, n: int, rng: np.random.Generator) -> np.ndarray:
    """Central ones of those whose class hangs on a few features (Gupte et al. 2024, DropQuery).

    Three times three quarters of an example's features are set to 0. The examples whose class
    changes more than half of the times form n clusters, by k-means, and the nearest to each centre
    is asked for. Where they are fewer than n, those come next whose class changes most often.

    Returns:
        (n,) int64 positions, the largest cluster's first.
    """
    changes_N = np.concatenate([_changes(candidates, p, rng) for p in chunks(len(candidates))])
    doubtful = select(changes_N, max(n, int((changes_N > N_MASKS / 2).sum())), rng)
    if len(doubtful) == n:
        return doubtful
    # in the order of the pool
    doubtful.sort()
    features_MD = candidates.features[doubtful]
    cluster_M, centres_KD = k_means(features_MD, n, rng) if n else (doubtful, features_MD[:0])
    distances_MK = squared_distances(features_MD, centres_KD)
    sizes_K = np.bincount(cluster_M, minlength=n)[:n]
    chosen = []
    for k in np.argsort(-sizes_K, kind="stable"):
        chosen.append(best(-distances_MK[:, k], rng))
        # of duplicates two centres may have the same nearest one
        distances_MK[chosen[-1]] = np.inf
    return doubtful[np.array(chosen, dtype=np.int64)]


def _changes(candidates: Candidates, part: slice, rng: np.random.Generator) -> np.ndarray:
    """(n,) how many of the masks change the class."""
    features_ND = candidates.features[part]
    usual_N = candidates.probs[part].argmax(axis=1)
    changes_N = np.zeros(len(features_ND))
    for _ in range(N_MASKS):
        kept_ND = rng.random(features_ND.shape, dtype=np.float32) >= DROPPED
        probs_NC = candidates.probs_of_features(features_ND * kept_ND / (1 - DROPPED))
        changes_N += probs_NC.argmax(axis=1) != usual_N
    return changes_N


def cluster_margin(candidates: Candidates, n: int, rng: np.random.Generator) -> np.ndarray:
    """Small margins from different clusters (Citovsky et al. 2021, algorithm 2).

    The ten times n examples with the smallest margins are grouped by average linkage, and one of
    each cluster in turn is asked for at random, the smallest clusters first. Departure: they group
    the whole pool once, at a distance that makes clusters of ten; we group what was kept, into n
    clusters, so ten again, and memory does not grow with the square of the pool.

    Returns:
        (n,) int64 positions, the smallest cluster's first.
    """
    n_kept = min(len(candidates), max(n, min(LOOKED_AT * n, MOST)))
    kept = select(margin(candidates, rng), n_kept, rng)
    if n_kept == n:
        return kept
    from scipy.cluster.hierarchy import fcluster, linkage

    tree = linkage(candidates.features[kept], "average")
    cluster_M = fcluster(tree, n, "maxclust")
    members = [rng.permutation(kept[cluster_M == c]) for c in np.unique(cluster_M)]
    members.sort(key=len)
    return in_turn(members, n)
