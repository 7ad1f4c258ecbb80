"""TODO: what this room holds."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from alpt_lib import datasets, files
from alpt_lib.config import Protocol, RunConfig
from alpt_lib.datasets import POOL, read_dataset
from alpt_lib.files import cache_folder, made_once, new_array
from companion.runs import store


def probe_observer(data: datasets.Dataset, learner, config: RunConfig):
    """Rows of linear-probe accuracies: half of a split balanced over the probed groups trains, half tests, both ways."""
    from alpt_lib.metrics import accuracy_rows

    split = data.eval_splits[0]
    frame = data.rows(split)
    groups = frame[list(config.probe)].astype(str).agg("/".join, axis=1).to_numpy(dtype=object)
    rows = np.random.default_rng([config.seed, 5]).permutation(
        balanced_rows(groups, 200, np.random.default_rng(config.seed))
    )
    halves = rows[::2], rows[1::2]

    def observe(round_: int) -> list[dict]:
        features = learner.features(split)
        correct = np.zeros(len(frame), dtype=bool)
        for train, test in (halves, halves[::-1]):
            correct[test] = linear_probe(
                features[train], groups[train], features[test], groups[test]
            )
        table = accuracy_rows(
            correct[rows],
            frame.iloc[rows].reset_index(drop=True),
            subgroup=groups[rows],
            minority=[],
            train_weights=data.pool_shares,
        )
        return table.assign(split=split, metric="probe_" + table["metric"]).to_dict("records")

    return observe


one_thread = threadpool_limits.wrap(
    limits=1
)  # the same sums, so the same tables, wherever it is called


def balanced_rows(groups: np.ndarray, per_group: int, rng: np.random.Generator) -> np.ndarray:
    """Up to `per_group` rows of each group, equally many of each (paper, Fig. 7: rebalanced to 25% each).

    Args:
        groups: (n,) str. Returns: (n_groups * m,) int rows, m = min(per_group, smallest group).
    """
    names, counts = np.unique(groups, return_counts=True)
    m = min(per_group, counts.min())
    return np.concatenate([rng.permutation(np.flatnonzero(groups == name))[:m] for name in names])


@one_thread
def linear_probe(
    train: np.ndarray, train_groups: np.ndarray, test: np.ndarray, test_groups: np.ndarray
) -> np.ndarray:
    """Which test rows a linear classifier of frozen features gets right (paper, section 6.3).

    Args:
        train: (n_train, n_features) float. train_groups: (n_train,) str. test, test_groups: likewise.
    Returns:
        (n_test,) bool.
    """
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
    return probe.fit(train, train_groups).predict(test) == test_groups


@one_thread
def tsne(
    features: np.ndarray, seed: int, perplexity: float = 30.0, n_iter: int = 400
) -> pd.DataFrame:
    """Two-dimensional t-SNE of features (paper, Appendix H).

    Args:
        features: (n, n_features) float. Returns: (n, 2) frame with columns x, y.
    """
    from openTSNE import TSNE

    perplexity = min(perplexity, (len(features) - 1) / 3)
    scaled = StandardScaler().fit_transform(features)
    embedding = TSNE(
        perplexity=perplexity,
        n_iter=n_iter,
        early_exaggeration_iter=150,
        random_state=seed,
        n_jobs=1,
    ).fit(scaled)
    return pd.DataFrame(np.asarray(embedding), columns=["x", "y"])


@one_thread
def initial_features(config: RunConfig, rows: np.ndarray) -> np.ndarray:
    """(n, n_features) float32 features of these pool rows under a run's model before any fine-tuning; computed once."""
    data, model = (
        read_dataset(Path(config.dataset)),
        replace(config, acquisition="random", protocol=Protocol(), probe=()),
    )
    key = files.hashed({"model": store.identity(model), "rows": rows.tolist()})
    target = cache_folder() / f"{data.name}_features_{key}.npy"

    def compute() -> None:
        from alpt_lib.training import Learner

        features = Learner(data, config.model, config.recipe, config.weights, config.seed).features(
            POOL, rows
        )
        with new_array(target, features.shape, np.float32) as array:
            array[:] = features

    return np.array(made_once(target, compute))


def neighbour_agreement(
    features: np.ndarray, groups: np.ndarray, n_neighbours: int = 10
) -> np.ndarray:
    """How alike a point's surroundings are: the share of its nearest neighbours that belong to its own group.

    Args:
        features: (n, n_features) float, standardised before distances are taken. groups: (n,) str.
    Returns:
        (n,) float in [0, 1]; near 1 well inside a group, low at the border between groups.
    """
    scaled = StandardScaler().fit_transform(features)
    nearest = (
        NearestNeighbors(n_neighbors=min(n_neighbours, len(scaled) - 1))
        .fit(scaled)
        .kneighbors(return_distance=False)
    )
    return (groups[nearest] == groups[:, None]).mean(axis=1)
