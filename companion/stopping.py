"""When asking may stop: the models' predictions no longer move."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np


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
