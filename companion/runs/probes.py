"""What a network's features hold: linear probes and t-SNE (paper, section 6.3 and Appendix H)."""

from typing import Any

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from alpt_lib.acquisition import POOL
from alpt_lib.checkpoints import weights_fingerprint
from alpt_lib.config import RunConfig, input_size
from alpt_lib.datasets import Dataset, subgroup_names
from alpt_lib.files import cache_folder, hashed, made_once, new_array
from alpt_lib.heads import frozen_features, mean_norm
from alpt_lib.loop import Learner, Round
from alpt_lib.metrics import COLUMNS, Groups, accuracy_rows

# the same sums, so the same tables, wherever it is called; looked up at each call, for openTSNE
# loads its libraries late
one_thread = threadpool_limits.wrap(limits=1)
PER_GROUP = 200  # examples of each group that a probe is trained and tested on, at most


class Probed:
    """A learner whose evaluations also hold a linear probe of its features (paper, Fig. 7).

    Of the first evaluation split, balanced over the probed groups, one half trains the probe and
    the other tests it, both ways.

    Args:
        learner: the learner that is probed. config: names the attributes that are told apart.
    """

    def __init__(self, learner: Learner, data: Dataset, config: RunConfig):
        self.learner = learner
        self.data = data
        self.split = data.eval_splits[0]
        self.groups = subgroup_names(data.rows(self.split), list(config.probe)).to_numpy(object)
        balanced = balanced_rows(self.groups, PER_GROUP, np.random.default_rng(config.seed))
        self.rows = np.random.default_rng([config.seed, 5]).permutation(balanced)
        self.is_frozen = config.recipe.backbone == "frozen"
        self.probed: list[dict[str, Any]] = []

    def reset(self) -> None:
        self.learner.reset()

    def fit(self, rows: np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
        return self.learner.fit(rows, rng)

    def replay(self, past: Round, rows: np.ndarray) -> None:
        self.learner.replay(past, rows)

    def predict_probs(self, split: str, rows: np.ndarray) -> np.ndarray:
        return self.learner.predict_probs(split, rows)

    def features(self, split: str, rows: np.ndarray) -> np.ndarray:
        return self.learner.features(split, rows)

    def probs_of_features(self, features: np.ndarray) -> np.ndarray:
        return self.learner.probs_of_features(features)

    def evaluate(self, number: int) -> list[dict[str, Any]]:
        """The learner's own metric rows, then the probe's; before any label the probe's alone."""
        if number < 0:
            self.learner.reset()
        # frozen features are what they were
        if not (self.probed and self.is_frozen):
            self.probed = self.probe()
        return self.learner.evaluate(number) + self.probed

    def probe(self) -> list[dict[str, Any]]:
        """Metric rows of a probe on the features as they are now."""
        every_row = np.arange(len(self.groups))
        features = self.learner.features(self.split, every_row)
        correct = np.zeros(len(self.groups), dtype=bool)
        halves = (self.rows[::2], self.rows[1::2])
        for train, test in (halves, halves[::-1]):
            correct[test] = linear_probe(
                features[train], self.groups[train], features[test], self.groups[test]
            )
        rows = accuracy_rows(
            correct[self.rows],
            labels=Groups(self.data.rows(self.split)["label"].iloc[self.rows]),
            subgroups=Groups(self.groups[self.rows]),
            minority=[],
            train_weights=self.data.pool_shares,
        )
        records = [dict(zip(COLUMNS, row, strict=True)) for row in rows]
        return [{**r, "metric": f"probe_{r['metric']}", "split": self.split} for r in records]


def balanced_rows(groups: np.ndarray, per_group: int, rng: np.random.Generator) -> np.ndarray:
    """Equally many rows of each group, `per_group` at most (paper, Fig. 7: rebalanced to 25% each).

    Args:
        groups: (n,) str.
    Returns:
        (n_groups * m,) int rows, m = min(per_group, smallest group).
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
        train: (n_train, n_features) float. train_groups: (n_train,) str. The test ones likewise.
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
        features: (n, n_features) float.
    Returns:
        (n, 2) frame with columns x, y.
    """
    from openTSNE import TSNE

    embedding = TSNE(
        perplexity=min(perplexity, (len(features) - 1) / 3),
        n_iter=n_iter,
        early_exaggeration_iter=150,
        random_state=seed,
        n_jobs=1,
    ).fit(_as_a_head_reads(features))
    return pd.DataFrame(np.asarray(embedding), columns=["x", "y"])


@one_thread
def initial_features(data: Dataset, config: RunConfig, rows: np.ndarray) -> np.ndarray:
    """(n, n_features) float features of these pool rows before any training; computed once."""
    if data.description.modality == "features":
        return np.asarray(frozen_features(data, config, POOL)[rows], dtype=np.float32)
    import torch

    recipe = config.recipe
    identity = {
        "data": data.fingerprint,
        "model": config.model,
        "weights": weights_fingerprint(config.model, config.weights),
        "seed": config.seed,
        "size": [*input_size(recipe, data.description.image_size), data.description.max_tokens],
        "rows": rows.tolist(),
        "torch": torch.__version__,
    }
    target = cache_folder() / f"{data.name}_features_{hashed(identity)}.npy"

    def compute() -> None:
        from alpt_lib.scoring import ScoringNetwork

        features = ScoringNetwork(data, config).features(POOL, rows)
        with new_array(target, features.shape, np.float32) as array:
            array[:] = features

    return np.array(made_once(target, compute))


def _as_a_head_reads(features: np.ndarray) -> np.ndarray:
    """Centred and divided by the mean norm: to scale each feature would blow up what is noise."""
    exact = np.asarray(features, dtype=np.float64)
    centre = exact.mean(axis=0)
    return (exact - centre) / mean_norm(exact, centre)


def neighbour_agreement(
    features: np.ndarray, groups: np.ndarray, n_neighbours: int = 10
) -> np.ndarray:
    """How alike a point's surroundings are: the share of its neighbours of its own group.

    Args:
        features: (n, n_features) float. groups: (n,) str.
    Returns:
        (n,) float in [0, 1]; near 1 well inside a group, low at the border between groups.
    """
    scaled = _as_a_head_reads(features)
    search = NearestNeighbors(n_neighbors=min(n_neighbours, len(scaled) - 1)).fit(scaled)
    nearest = search.kneighbors(return_distance=False)
    return (groups[nearest] == groups[:, None]).mean(axis=1)
