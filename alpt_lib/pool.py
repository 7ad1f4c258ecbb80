"""Which pool rows are labelled: the seed set, then one query batch a round. The only mutable object of the loop."""

import numpy as np


class Pool:
    """A mask over the rows of the pool split; an index is always a row of that split, never a position in the rest.

    Args:
        labels: (n_pool,) int, the oracle's class of each row, read only for rows that are acquired.
        n_classes: how many classes there are.
    """

    def __init__(self, labels: np.ndarray, n_classes: int):
        self.labels = np.asarray(labels)
        self.n_classes = n_classes
        self.is_labelled = np.zeros(len(self.labels), dtype=bool)
        self._order: list[int] = []

    @property
    def labelled(self) -> np.ndarray:
        """(n_labelled,) int64 rows in the order of acquisition."""
        return np.array(self._order, dtype=np.int64)

    @property
    def unlabelled(self) -> np.ndarray:
        """(n_unlabelled,) int64 rows, ascending."""
        return np.flatnonzero(~self.is_labelled)

    def acquire(self, rows: np.ndarray) -> None:
        """Ask the oracle for these rows.

        Raises:
            ValueError: a row outside the pool, repeated, or labelled already.
        """
        rows = np.asarray(rows, dtype=np.int64)
        if len(rows) and (rows.min() < 0 or rows.max() >= len(self.labels)):
            raise ValueError(
                f"rows must lie in [0, {len(self.labels)}); got {rows.min()} to {rows.max()}"
            )
        if len(np.unique(rows)) < len(rows) or self.is_labelled[rows].any():
            raise ValueError(
                f"rows queried twice: {rows[self.is_labelled[rows]][:5].tolist() or 'within the batch'}"
            )
        self.is_labelled[rows] = True
        self._order.extend(rows.tolist())

    def seed_set(self, size: int, how: str, rng: np.random.Generator) -> np.ndarray:
        """Rows of a seed set: equally many of each class ("balanced", paper section 4 and the released code) or "random".

        Returns:
            (size,) int64 rows, shuffled; not yet acquired.
        Raises:
            ValueError: size not a multiple of the classes, or a class (or the pool) too small.
        """
        if size > len(self.labels):
            raise ValueError(
                f"asked for a seed set of {size} but the pool holds {len(self.labels)} examples"
            )
        if how == "random":
            return rng.permutation(len(self.labels))[:size]
        if size % self.n_classes:
            raise ValueError(
                f"a class-balanced seed set of {size} cannot be split over {self.n_classes} classes; "
                f"use a multiple of {self.n_classes}, or seed_set: random"
            )
        per_class = size // self.n_classes
        counts = np.bincount(self.labels, minlength=self.n_classes)
        if counts.min() < per_class:
            raise ValueError(
                f"a balanced seed set needs {per_class} examples of each class; class number "
                f"{counts.argmin()} has {counts.min()} in the pool; use a smaller seed set, or seed_set: random"
            )
        chosen = [
            rng.permutation(np.flatnonzero(self.labels == c))[:per_class]
            for c in range(self.n_classes)
        ]
        return rng.permutation(np.concatenate(chosen))
