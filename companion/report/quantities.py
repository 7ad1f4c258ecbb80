"""What figures measure of finished runs: upsampling, label savings, calibration."""

import numpy as np
import pandas as pd


def upsampling(acquired: pd.Series, pool: pd.Series) -> pd.DataFrame:
    """Share of each value among acquired examples, in the pool, and their ratio (Figs. 4, 5, 9).

    Args:
        acquired: (n_acquired,) value (subgroup, star, category ...) of each acquired example, the
            seed set left out. pool: (n_pool,) the same for every pool example.
    Returns:
        indexed by value: share_acquired and share_pool in [0, 1], ratio (1 is chance; NaN where
        nothing was acquired at all).
    """
    share_pool = pool.value_counts(normalize=True)
    counts = acquired.value_counts(normalize=True)
    share_acquired = counts.reindex(share_pool.index, fill_value=0.0)
    if acquired.empty:
        share_acquired[:] = np.nan
    table = pd.DataFrame({"share_acquired": share_acquired, "share_pool": share_pool})
    return table.assign(ratio=table.share_acquired / table.share_pool).sort_index()


def labels_to_reach(n_labels: np.ndarray, values: np.ndarray, target: float) -> float:
    """Labels at which a curve first reaches `target`, linear between points; inf if it never does.

    Args:
        n_labels: (n_points,) ascending. values: (n_points,) the metric.
    """
    reached = np.flatnonzero(np.asarray(values) >= target)
    if not len(reached):
        return float("inf")
    i = reached[0]
    if i == 0:
        return float(n_labels[0])
    rise = (target - values[i - 1]) / (values[i] - values[i - 1])
    return float(n_labels[i - 1] + rise * (n_labels[i] - n_labels[i - 1]))


def label_savings(curve: pd.DataFrame, baseline: pd.DataFrame) -> float:
    """How many times fewer *acquired* labels reach the baseline's final value (paper, section 5.1).

    Args:
        curve, baseline: columns n_labels (seed set included) and value, the mean over seeds, one
            row a round.
    Returns:
        at least 1 where the curve gets there; NaN where it never does, or where the baseline
        gained nothing.
    """
    seed_set = baseline["n_labels"].min()
    target = baseline["value"].iloc[-1]
    needed = labels_to_reach(curve["n_labels"].to_numpy(), curve["value"].to_numpy(), target)
    if not seed_set < needed < np.inf:
        return float("nan")
    return float((baseline["n_labels"].max() - seed_set) / (needed - seed_set))


def expected_calibration_error(probs: np.ndarray, labels: np.ndarray, n_bins: int = 15) -> float:
    """How far confidence is from accuracy, in bins of equal width (Guo et al. 2017, eq. 3).

    Confidence is the probability of the predicted class; a bin counts by its share of examples.

    Args:
        probs: (n, n_classes) float, rows sum to 1. labels: (n,) int class numbers.
    Returns:
        in [0, 1]; 0 is calibrated.
    """
    confidence = probs.max(axis=1)
    # (0, 1/n_bins], ..., (1 - 1/n_bins, 1]
    bins = np.ceil(confidence * n_bins).astype(int) - 1
    gap = (probs.argmax(axis=1) == labels) - confidence
    return float(np.abs(np.bincount(bins, weights=gap, minlength=n_bins)).sum() / len(labels))


def overconfidence(probs: np.ndarray, labels: np.ndarray) -> float:
    """Mean confidence minus accuracy, in [-1, 1]; above 0 a model believes itself too much."""
    return float((probs.max(axis=1) - (probs.argmax(axis=1) == labels)).mean())


def brier_score(probs: np.ndarray, labels: np.ndarray) -> float:
    """Mean squared distance from the truth, summed over the classes (Brier 1950), in [0, 2].

    Args:
        probs: (n, n_classes) float, rows sum to 1. labels: (n,) int class numbers.
    """
    truth = np.eye(probs.shape[1])[labels]
    return float(((probs - truth) ** 2).sum(axis=1).mean())
