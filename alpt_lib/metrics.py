"""Accuracies by name, over groups of examples. Needs numpy and pandas only."""

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
        # the pool may have none of these subgroups (Camelyon's unseen hospital)
        weighted = (means * weights).sum() / (weights.sum() or np.nan)
        rows.append(("accuracy_train_weighted", "all", weighted, n))
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


def rare(shares: pd.Series) -> list[str]:
    """Values with less than half of an even share: the minority where none is described.

    Args:
        shares: in [0, 1], by value.
    """
    return sorted(shares.index[shares < 0.5 / len(shares)])
