"""Accuracies by name, subgroup upsampling and label savings. Needs numpy, scipy and pandas only."""

import numpy as np
import pandas as pd


def accuracy_rows(
    correct: np.ndarray,
    frame: pd.DataFrame,
    *,
    subgroup: np.ndarray,
    minority: list[str],
    percentile_over: str | None = None,
    train_weights: pd.Series | None = None,
) -> pd.DataFrame:
    """Every accuracy of one evaluation, one number a row.

    Args:
        correct: (n,) bool, prediction equals label.
        frame: (n, ...) manifest rows of the split, with `label` and attributes.
        subgroup: (n,) str, the subgroup of each row.
        minority: the subgroups averaged (unweighted) in `accuracy_minority`; empty ones leave it NaN.
        percentile_over: attribute such as `reviewer`; adds its mean and 10th percentile over values
            (`accuracy_reviewer_mean`, `accuracy_reviewer_p10`, paper section 5.1).
        train_weights: (n_subgroups,) pool share of each subgroup; adds `accuracy_train_weighted` (paper, Fig. 7).
    Returns:
        columns metric, subgroup ("all" or its name), value in [0, 1] or NaN, n_examples.
    """
    correct = pd.Series(np.asarray(correct, dtype=float))
    by_class = correct.groupby(frame["label"].to_numpy()).mean()
    by_subgroup = correct.groupby(np.asarray(subgroup)).agg(["mean", "size"])
    n = len(correct)
    rows = [
        ("accuracy", "all", correct.mean(), n),
        ("accuracy_class_balanced", "all", by_class.mean(), n),
    ]
    if len(by_subgroup) > 1:
        rows.append(("accuracy_worst_group", "all", by_subgroup["mean"].min(), n))
        rows += [
            ("accuracy", name, row["mean"], int(row["size"]))
            for name, row in by_subgroup.iterrows()
        ]
    if minority:
        found = by_subgroup.reindex(minority)
        rows.append(
            ("accuracy_minority", "all", found["mean"].mean(skipna=False), int(found["size"].sum()))
        )
    if train_weights is not None and len(by_subgroup) > 1:
        weights = train_weights.reindex(by_subgroup.index).fillna(0)
        shared = (
            weights.sum()
        )  # 0 where the pool has none of these subgroups (Camelyon's unseen hospital)
        value = (by_subgroup["mean"] * weights).sum() / shared if shared else np.nan
        rows.append(("accuracy_train_weighted", "all", value, n))
    if percentile_over:
        by_value = correct.groupby(frame[percentile_over].to_numpy()).mean()
        rows.append((f"accuracy_{percentile_over}_mean", "all", by_value.mean(), n))
        rows.append((f"accuracy_{percentile_over}_p10", "all", np.percentile(by_value, 10), n))
    return pd.DataFrame(rows, columns=["metric", "subgroup", "value", "n_examples"])


def rare(shares: pd.Series) -> list[str]:
    """Values with less than half of an even share: the minority where none is described. `shares`: in [0, 1], by value."""
    return sorted(shares.index[shares < 0.5 / len(shares)])


def upsampling(acquired: pd.Series, pool: pd.Series) -> pd.DataFrame:
    """Share of each value among acquired examples, its share in the pool, and their ratio (paper, Figs. 4, 5, 9).

    Args:
        acquired: (n_acquired,) value of each acquired example (subgroup, star, category ...), seed set left out.
        pool: (n_pool,) the same for every pool example.
    Returns:
        indexed by value: share_acquired and share_pool in [0, 1], ratio (1 is chance; NaN where nothing was acquired at all).
    """
    share_pool = pool.value_counts(normalize=True)
    share_acquired = acquired.value_counts(normalize=True).reindex(share_pool.index, fill_value=0.0)
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
    """How many times fewer *acquired* labels the curve needs for the baseline's final value (paper, section 5.1).

    Args:
        curve, baseline: columns n_labels (seed set included) and value, the mean over seeds, one row a round.
    Returns:
        ratio, at least 1 where the curve gets there; NaN where it never does, or where the baseline gained nothing.
    """
    seed_set = baseline["n_labels"].min()
    needed = labels_to_reach(
        curve["n_labels"].to_numpy(), curve["value"].to_numpy(), baseline["value"].iloc[-1]
    )
    if not seed_set < needed < np.inf:
        return float("nan")
    return float((baseline["n_labels"].max() - seed_set) / (needed - seed_set))
