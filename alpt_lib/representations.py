"""What a frozen network knows: linear probes and t-SNE coordinates (paper, section 6.3 and Appendix H)."""

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def balanced_rows(groups: np.ndarray, per_group: int, rng: np.random.Generator) -> np.ndarray:
    """Up to `per_group` rows of each group, equally many of each (paper, Fig. 7: rebalanced to 25% each).

    Args:
        groups: (n,) str. Returns: (n_groups * m,) int rows, m = min(per_group, smallest group).
    """
    names, counts = np.unique(groups, return_counts=True)
    m = min(per_group, counts.min())
    return np.concatenate([rng.permutation(np.flatnonzero(groups == name))[:m] for name in names])


def linear_probe(train: np.ndarray, train_groups: np.ndarray, test: np.ndarray, test_groups: np.ndarray) -> np.ndarray:
    """Which test rows a linear classifier of frozen features gets right (paper, section 6.3).

    Args:
        train: (n_train, n_features) float. train_groups: (n_train,) str. test, test_groups: likewise.
    Returns:
        (n_test,) bool.
    """
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
    return probe.fit(train, train_groups).predict(test) == test_groups


def tsne(features: np.ndarray, seed: int, perplexity: float = 30.0, n_iter: int = 400) -> pd.DataFrame:
    """Two-dimensional t-SNE of features (paper, Appendix H).

    Args:
        features: (n, n_features) float. Returns: (n, 2) frame with columns x, y.
    """
    from openTSNE import TSNE

    perplexity = min(perplexity, (len(features) - 1) / 3)
    scaled = StandardScaler().fit_transform(features)
    embedding = TSNE(perplexity=perplexity, n_iter=n_iter, early_exaggeration_iter=150, random_state=seed, n_jobs=2).fit(scaled)
    return pd.DataFrame(np.asarray(embedding), columns=["x", "y"])
