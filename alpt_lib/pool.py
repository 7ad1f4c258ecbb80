"""Which pool rows are labelled: the seed set, then a query batch a round; the loop's only state."""

import numpy as np


class Pool:
    """A mask over the rows of the pool; an index is always a row, never a position in the rest.

    Args:
        labels: (n_pool,) int, the oracle's class of each row, read only for rows that are acquired;
            -1 where it cannot tell: asking costs a label, and nothing is learned from the row.
        n_classes: how many classes there are. subgroups: (n_pool,) str, read only by controls that
            cheat; None: one for all.
    """

    def __init__(self, labels: np.ndarray, n_classes: int, subgroups: np.ndarray | None = None):
        self.labels = np.asarray(labels)
        self.n_classes = n_classes
        self.subgroups = np.full(len(self.labels), "all") if subgroups is None else subgroups
        self.is_labelled = np.zeros(len(self.labels), dtype=bool)
        self._order: list[int] = []

    def __len__(self) -> int:
        """How many rows were asked for: each has cost a label."""
        return len(self._order)

    @property
    def labelled(self) -> np.ndarray:
        """(n_labelled,) int64 rows whose label is known, in the order of acquisition."""
        rows = np.array(self._order, dtype=np.int64)
        return rows[self.labels[rows] >= 0]

    @property
    def unlabelled(self) -> np.ndarray:
        """(n_unlabelled,) int64 rows that were not asked for, ascending."""
        return np.flatnonzero(~self.is_labelled)

    def candidates(self, subsample: int, rng: np.random.Generator) -> np.ndarray:
        """(n,) int64 rows that may be asked for, ascending: all that are not labelled.

        Args:
            subsample: a random part of so many rows (released iWildCam code); 0 takes all.
        """
        if not subsample:
            return self.unlabelled
        return np.sort(rng.permutation(self.unlabelled)[:subsample])

    def acquire(self, rows: np.ndarray) -> None:
        """Ask the oracle for these rows.

        Raises:
            ValueError: a row outside the pool, repeated, or labelled already.
        """
        rows = np.asarray(rows, dtype=np.int64)
        if len(rows) and (rows.min() < 0 or rows.max() >= len(self.labels)):
            limit = len(self.labels)
            raise ValueError(f"rows must lie in [0, {limit}); got {rows.min()} to {rows.max()}")
        if len(np.unique(rows)) < len(rows) or self.is_labelled[rows].any():
            twice = rows[self.is_labelled[rows]][:5].tolist()
            raise ValueError(f"rows queried twice: {twice or 'within the batch'}")
        self.is_labelled[rows] = True
        self._order.extend(rows.tolist())

    def seed_set(self, size: int, how: str, rng: np.random.Generator) -> np.ndarray:
        """Rows of a seed set: equally many of each class ("balanced", paper section 4) or "random".

        Returns:
            (size,) int64 rows whose label is known, shuffled; not yet acquired.
        Raises:
            ValueError: size not a multiple of the classes, or a class (or the pool) too small.
        """
        known = np.flatnonzero(self.labels >= 0)
        if size > len(known):
            limit = len(known)
            raise ValueError(f"asked for a seed set of {size} but the pool holds {limit} examples")
        if how == "random":
            return rng.permutation(known)[:size]
        per_class = self._per_class(size)
        members = [np.flatnonzero(self.labels == label) for label in range(self.n_classes)]
        rows = np.concatenate([rng.permutation(of_class)[:per_class] for of_class in members])
        return rng.permutation(rows)

    def _per_class(self, size: int) -> int:
        """Examples of each class in a balanced seed set."""
        if size % self.n_classes:
            raise ValueError(
                f"a class-balanced seed set of {size} cannot be split over {self.n_classes} "
                f"classes; use a multiple of {self.n_classes}, or seed_set: random"
            )
        per_class = size // self.n_classes
        counts = np.bincount(self.labels[self.labels >= 0], minlength=self.n_classes)
        if counts.min() < per_class:
            raise ValueError(
                f"a balanced seed set needs {per_class} examples of each class; class number "
                f"{counts.argmin()} has {counts.min()} in the pool; use a smaller seed set, or "
                "seed_set: random"
            )
        return per_class
