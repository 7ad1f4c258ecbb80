"""Accuracies by name, calibration, subgroup upsampling, label savings, when to stop asking.

Needs numpy and pandas only.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pandas as pd

COLUMNS = ["metric", "subgroup", "value", "n_examples"]


class Groups:
    """Which group each example belongs to: sorted once, for all evaluations of a split.

    Args:
        values: (n,) the group of each example.
    """

    def __init__(self, values: np.ndarray | pd.Series):
        codes, names = pd.factorize(np.asarray(values), sort=True)
        self.names = [str(name) for name in names]
        # a value that is missing has code -1: it belongs to no group
        self.codes = codes + 1
        self.sizes = np.bincount(self.codes, minlength=len(names) + 1)[1:]

    def means(self, values: np.ndarray) -> np.ndarray:
        """(n_groups,) mean of each group's values."""
        sums = np.bincount(self.codes, weights=values, minlength=len(self.names) + 1)
        return sums[1:] / self.sizes


def accuracy_rows(
    correct: np.ndarray,
    *,
    labels: Groups,
    subgroups: Groups,
    minority: list[str],
    percentile_over: tuple[str, Groups] | None = None,
    train_weights: pd.Series | None = None,
) -> list[tuple[str, str, float, int]]:
    """Every accuracy of one evaluation, one number a row.

    Args:
        correct: (n,) bool, prediction equals label.
        labels, subgroups: of each example.
        minority: the subgroups averaged (unweighted) in `accuracy_minority`; empty ones: NaN.
        percentile_over: an attribute such as `reviewer` and its values; adds its mean and 10th
            percentile over values (`accuracy_reviewer_mean`, `accuracy_reviewer_p10`, paper
            section 5.1).
        train_weights: (n_subgroups,) pool share of each subgroup; adds `accuracy_train_weighted`
            (paper, Fig. 7).
    Returns:
        COLUMNS: metric, subgroup ("all" or its name), value in [0, 1] or NaN, n_examples.
    """
    is_correct = np.asarray(correct, dtype=float)
    n = len(is_correct)
    means = subgroups.means(is_correct)
    rows = [("accuracy", "all", is_correct.mean(), n)]
    rows.append(("accuracy_class_balanced", "all", labels.means(is_correct).mean(), n))
    if len(means) > 1:
        rows.append(("accuracy_worst_group", "all", means.min(), n))
        for name, mean, size in zip(subgroups.names, means, subgroups.sizes, strict=True):
            rows.append(("accuracy", name, mean, int(size)))
    if minority:
        rows.append(("accuracy_minority", "all", *_mean_of(minority, subgroups, means)))
    if train_weights is not None and len(means) > 1:
        # by name: pandas' reindex takes longer than all the rest
        weights = np.array([train_weights.get(name, 0.0) for name in subgroups.names])
        rows.append(("accuracy_train_weighted", "all", _weighted(means, weights), n))
    if percentile_over:
        attribute, values = percentile_over
        by_value = values.means(is_correct)
        rows.append((f"accuracy_{attribute}_mean", "all", by_value.mean(), n))
        rows.append((f"accuracy_{attribute}_p10", "all", np.percentile(by_value, 10), n))
    return [(metric, name, float(value), size) for metric, name, value, size in rows]


def _mean_of(names: list[str], groups: Groups, means: np.ndarray) -> tuple[float, int]:
    """Unweighted mean over these groups, NaN with an empty one, and how many examples they have."""
    of_name = dict(zip(groups.names, zip(means, groups.sizes, strict=True), strict=True))
    named = [of_name.get(name, (np.nan, 0)) for name in names]
    return float(np.mean([mean for mean, _ in named])), int(sum(size for _, size in named))


def _weighted(means: np.ndarray, weights: np.ndarray) -> float:
    """NaN where the pool has none of these subgroups (Camelyon's unseen hospital)."""
    total = weights.sum()
    return (means * weights).sum() / total if total else np.nan


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


def kappa(before: np.ndarray, after: np.ndarray) -> float:
    """Agreement of two models' predictions beyond chance (Cohen 1960).

    Args:
        before, after: (n,) int predicted classes of the same examples.
    Returns:
        at most 1 (equal); NaN where both only ever predict one and the same class.
    """
    n_classes = int(max(before.max(), after.max())) + 1
    shares = [np.bincount(each, minlength=n_classes) / len(each) for each in (before, after)]
    by_chance = float(shares[0] @ shares[1])
    agreed = float((before == after).mean())
    return (agreed - by_chance) / (1 - by_chance) if by_chance < 1 else float("nan")


def stops_at(
    predictions: Sequence[np.ndarray], threshold: float = 0.99, window: int = 3
) -> int | None:
    """The first model at which asking may stop: its predictions no longer move.

    Stabilising predictions (Bloodgood and Vijay-Shanker 2009, with their settings): stop when the
    `kappa` between one model and the next, averaged over the last `window` pairs, has reached the
    threshold. They look at examples whose labels nobody needs; of an imbalanced task they must be
    many, for a few that change would not be seen.

    Args:
        predictions: of each model in turn, (n,) int predicted classes of the same examples.
    Returns:
        its position in `predictions`; None where no model gets there.
    """
    kappas = [kappa(*pair) for pair in pairwise(predictions)]
    for last in range(window, len(kappas) + 1):
        if np.mean(kappas[last - window : last]) >= threshold:
            return last
    return None


def rare(shares: pd.Series) -> list[str]:
    """Values with less than half of an even share: the minority where none is described.

    Args:
        shares: in [0, 1], by value.
    """
    return sorted(shares.index[shares < 0.5 / len(shares)])


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
