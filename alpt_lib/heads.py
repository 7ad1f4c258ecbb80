"""A linear head on a frozen network: features once, then a logistic regression each round.

The paper fine-tunes the whole network. This learner keeps it as pretrained and trains the last
layer alone, to convergence, in milliseconds.
"""

from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import softmax
from sklearn import config_context
from sklearn.linear_model import LogisticRegression
from threadpoolctl import ThreadpoolController

from alpt_lib.acquisition import POOL
from alpt_lib.checkpoints import weights_fingerprint
from alpt_lib.config import RunConfig, input_size
from alpt_lib.datasets import Dataset
from alpt_lib.files import cache_folder, hashed, made_once, new_array
from alpt_lib.loop import Round
from alpt_lib.progress import SLOW, Progress
from alpt_lib.registry import FEATURES, NOT_PRETRAINED

# Newton's method inverts a matrix of this side at most; beyond it, and for more classes, L-BFGS
NEWTON_LIMIT = 256
TOLERANCE = 1e-8
MAX_STEPS = 5000
ROWS_AT_ONCE = 65_536
# numbers of a split's features that are kept in double precision: halves are slow to read
KEPT = 2**23
# examples between two reports of how far the features are: the largest scoring batch of a CPU, and
# on a GPU enough to keep it busy
EMBEDDED_AT_ONCE = {"cpu": 256, "cuda": 1024}
# examples scored at once: their features stay in the processor's cache
SCORED_AT_ONCE = 1024

# the same sums, so the same tables, whatever the number of workers; looking for the libraries takes
# 3 ms, as long as a round
one_thread = ThreadpoolController().wrap(limits=1)


class LinearHead:
    """Multinomial logistic regression on features that are centred and scaled by the pool.

    It minimises the mean cross-entropy plus `l2` / 2 times the squared norm of the weights, from
    zero in each round; the intercept is free (scikit-learn's `LogisticRegression`, C = 1 / (n l2)).

    Args:
        data: the dataset. config: names the model, its weights and the recipe (`l2`).
    """

    def __init__(self, data: Dataset, config: RunConfig):
        self.data = data
        self.config = config
        self.labels = data.labels(POOL)
        self._features: dict[str, np.ndarray] = {}
        pool = frozen_features(data, config, POOL)
        self.centre: np.ndarray = np.asarray(np.mean(pool, axis=0, dtype=np.float64))
        self.scale = mean_norm(pool, self.centre)
        self.reset()

    def prepare(self) -> None:
        """Compute the features of every split, for all processes."""
        for split in (POOL, *self.data.eval_splits):
            frozen_features(self.data, self.config, split)

    def reset(self) -> None:
        """No weights yet: each class is as likely as any other."""
        n_classes = len(self.data.classes)
        self.coefficients = np.zeros((n_classes, len(self.centre)))
        self.intercepts = np.zeros(n_classes)

    def weights(self) -> tuple[np.ndarray, np.ndarray]:
        """(n_classes, n_features) coefficients and (n_classes,) intercepts."""
        return self.coefficients, self.intercepts

    def load(self, weights: tuple[np.ndarray, np.ndarray]) -> None:
        """Take these weights."""
        self.coefficients, self.intercepts = weights

    # what scikit-learn would check of its arguments takes a tenth of a fit
    @config_context(assume_finite=True, skip_parameter_validation=True)
    @one_thread
    def fit(
        self,
        rows: np.ndarray,
        rng: np.random.Generator | None,
        importance: np.ndarray | None = None,
    ) -> dict[str, Any]:
        """Train the head on these pool rows to convergence.

        Args:
            rows: (n_labelled,) int rows of the pool. rng: not needed, nothing is drawn.
            importance: (n_labelled,) float of mean 1, how much each row counts; None: all alike.
        Returns:
            n_steps of the solver, first_loss, last_loss (mean cross-entropy), stopped_by.
        """
        self.reset()
        labels = self.labels[rows]
        present = np.unique(labels)
        first_loss = float(np.log(len(self.data.classes)))
        if len(present) == 1:
            # nothing to tell apart: what has been seen is all there is
            self.intercepts[:] = -np.inf
            self.intercepts[present] = 0.0
            return _described(0, first_loss, 0.0, "one class")
        features = self.features(POOL, rows)
        is_small = len(present) == 2 and features.shape[1] <= NEWTON_LIMIT
        solver = LogisticRegression(
            C=1 / (self.config.recipe.l2 * len(rows)),
            solver="newton-cholesky" if is_small else "lbfgs",
            tol=TOLERANCE,
            max_iter=MAX_STEPS,
        ).fit(features, labels, importance)
        self._take(solver.coef_, solver.intercept_, present)
        n_steps = int(np.max(solver.n_iter_))
        probs = self.probs_of_features(features)
        loss = float(-np.log(probs[np.arange(len(rows)), labels]).mean())
        reason = "max_steps" if n_steps >= MAX_STEPS else "convergence"
        return _described(n_steps, first_loss, loss, reason)

    def _take(self, coefficients: np.ndarray, intercepts: np.ndarray, present: np.ndarray) -> None:
        """The solver's weights; a class that no label has met gets probability 0."""
        if len(present) == 2:
            # one row of weights for the second class against the first
            coefficients = np.concatenate([np.zeros_like(coefficients), coefficients])
            intercepts = np.concatenate([[0.0], intercepts])
        self.coefficients[present] = coefficients
        self.intercepts[:] = -np.inf
        self.intercepts[present] = intercepts

    def features(self, split: str, rows: np.ndarray | None = None) -> np.ndarray:
        """(n, n_features) float64 features of these rows (None: all), as the head reads them."""
        chosen = self._raw(split) if rows is None else self._raw(split)[rows]
        return (np.asarray(chosen, dtype=np.float64) - self.centre) / self.scale

    def _raw(self, split: str) -> np.ndarray:
        if split not in self._features:
            stored = frozen_features(self.data, self.config, split)
            is_small = stored.size <= KEPT
            self._features[split] = np.asarray(stored, dtype=np.float64) if is_small else stored
        return self._features[split]

    @one_thread
    def predict_probs(self, split: str, rows: np.ndarray | None = None) -> np.ndarray:
        """(n, n_classes) float64 probabilities of these rows (None: all) of a split."""
        raw = self._raw(split)
        n = len(raw) if rows is None else len(rows)
        # centring and scaling are part of the weights, or they would take most of the time
        weights_DC = self.coefficients.T / self.scale
        offsets_C = self.intercepts - self.centre @ weights_DC
        logits_NC = np.empty((n, len(offsets_C)))
        for start in range(0, n, SCORED_AT_ONCE):
            part = slice(start, start + SCORED_AT_ONCE)
            # a copy of features that need none takes longer than the product
            features = np.asarray(raw[part if rows is None else rows[part]], dtype=np.float64)
            logits_NC[part] = features @ weights_DC + offsets_C
        return softmax(logits_NC, axis=1)

    def probs_of_features(self, features_ND: np.ndarray) -> np.ndarray:
        """(n, n_classes) float64 what the head says to (n, n_features) centred, scaled features."""
        return softmax(features_ND @ self.coefficients.T + self.intercepts, axis=1)

    def evaluate(self, number: int) -> list[dict[str, Any]]:
        """All accuracies on all evaluation splits; none before the first label (round -1)."""
        return self.data.evaluate(self.predict_probs) if number >= 0 else []

    def replay(self, past: Round, rows: np.ndarray) -> None:
        """A stored round leaves nothing behind."""


def _described(n_steps: int, first: float, last: float, reason: str) -> dict[str, Any]:
    return {"n_steps": n_steps, "first_loss": first, "last_loss": last, "stopped_by": reason}


def mean_norm(features: np.ndarray, centre: np.ndarray) -> float:
    """The pool's mean distance from its centre, in parts; 1 where all features are equal."""
    total = 0.0
    for start in range(0, len(features), ROWS_AT_ONCE):
        part = np.asarray(features[start : start + ROWS_AT_ONCE], dtype=np.float64)
        total += float(np.linalg.norm(part - centre, axis=1).sum())
    return total / max(len(features), 1) or 1.0


def frozen_features(data: Dataset, config: RunConfig, split: str) -> np.ndarray:
    """(n, n_features) features before the head: stored ones, or the network's, computed once.

    Of a network they are kept in the cache, for all processes and arms.
    """
    if config.model.startswith(FEATURES):
        return data.features(config.model.removeprefix(FEATURES), split)
    about = data.description
    identity = {
        "data": data.fingerprint,
        "split": split,
        "model": config.model,
        "weights": weights_fingerprint(config.model, config.weights),
        # what is not pretrained is drawn
        "seed": config.seed if config.model.endswith(NOT_PRETRAINED) else None,
        "size": [*input_size(config.recipe, about.image_size), about.max_tokens],
        "precision": config.recipe.precision,
    }
    target = cache_folder() / f"{data.name}_frozen_{hashed(identity)}.npy"
    return made_once(target, lambda: _compute_features(data, config, split, target))


def _compute_features(data: Dataset, config: RunConfig, split: str, target: Path) -> None:
    from alpt_lib.fast_layers import keep_freed_memory
    from alpt_lib.scoring import ScoringNetwork, forward_precision

    keep_freed_memory()
    network = ScoringNetwork(data, config)
    network.prepare()
    rows = np.arange(len(data.rows(split)))
    progress = Progress(len(rows), f"features of {data.name} {split}", "example", delay=SLOW)
    n_at_once = EMBEDDED_AT_ONCE[network.device.type]
    with forward_precision(config.recipe, network.device):
        n_features = network.features(split, rows[:1]).shape[1]
        with new_array(target, (len(rows), n_features), np.float32) as array:
            for start in range(0, len(rows), n_at_once):
                part = rows[start : start + n_at_once]
                array[part] = network.features(split, part)
                progress.add(len(part))
                data.working("computing features", progress.done, len(rows))
    progress.close()
