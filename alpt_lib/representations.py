"""What a frozen network knows: linear probes and t-SNE coordinates (paper, section 6.3 and Appendix H)."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from alpt_lib import results
from alpt_lib.config import Protocol, RunConfig
from alpt_lib.datasets import POOL, load, new_array, once
from alpt_lib.paths import cache_folder

one_thread = threadpool_limits.wrap(limits=1)  # the same sums, so the same tables, wherever it is called


def balanced_rows(groups: np.ndarray, per_group: int, rng: np.random.Generator) -> np.ndarray:
    """Up to `per_group` rows of each group, equally many of each (paper, Fig. 7: rebalanced to 25% each).

    Args:
        groups: (n,) str. Returns: (n_groups * m,) int rows, m = min(per_group, smallest group).
    """
    names, counts = np.unique(groups, return_counts=True)
    m = min(per_group, counts.min())
    return np.concatenate([rng.permutation(np.flatnonzero(groups == name))[:m] for name in names])


@one_thread
def linear_probe(train: np.ndarray, train_groups: np.ndarray, test: np.ndarray, test_groups: np.ndarray) -> np.ndarray:
    """Which test rows a linear classifier of frozen features gets right (paper, section 6.3).

    Args:
        train: (n_train, n_features) float. train_groups: (n_train,) str. test, test_groups: likewise.
    Returns:
        (n_test,) bool.
    """
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
    return probe.fit(train, train_groups).predict(test) == test_groups


@one_thread
def tsne(features: np.ndarray, seed: int, perplexity: float = 30.0, n_iter: int = 400) -> pd.DataFrame:
    """Two-dimensional t-SNE of features (paper, Appendix H).

    Args:
        features: (n, n_features) float. Returns: (n, 2) frame with columns x, y.
    """
    from openTSNE import TSNE

    perplexity = min(perplexity, (len(features) - 1) / 3)
    scaled = StandardScaler().fit_transform(features)
    embedding = TSNE(perplexity=perplexity, n_iter=n_iter, early_exaggeration_iter=150, random_state=seed, n_jobs=1).fit(scaled)
    return pd.DataFrame(np.asarray(embedding), columns=["x", "y"])


@one_thread
def initial_features(config: RunConfig, rows: np.ndarray) -> np.ndarray:
    """(n, n_features) float32 features of these pool rows under a run's model before any fine-tuning; computed once."""
    data, model = load(Path(config.dataset)), replace(config, acquisition="random", protocol=Protocol(), probe=())
    key = results.hashed({"model": results.identity(model), "rows": rows.tolist()})
    target = cache_folder() / f"{data.name}_features_{key}.npy"

    def compute() -> None:
        from alpt_lib.training import Learner

        features = Learner(data, config.model, config.recipe, config.weights, config.seed).features(POOL, rows)
        with new_array(target, features.shape, np.float32) as array:
            array[:] = features

    return np.array(once(target, compute))


def neighbour_agreement(features: np.ndarray, groups: np.ndarray, n_neighbours: int = 10) -> np.ndarray:
    """How alike a point's surroundings are: the share of its nearest neighbours that belong to its own group.

    Args:
        features: (n, n_features) float, standardised before distances are taken. groups: (n,) str.
    Returns:
        (n,) float in [0, 1]; near 1 well inside a group, low at the border between groups.
    """
    scaled = StandardScaler().fit_transform(features)
    nearest = NearestNeighbors(n_neighbors=min(n_neighbours, len(scaled) - 1)).fit(scaled).kneighbors(return_distance=False)
    return (groups[nearest] == groups[:, None]).mean(axis=1)
