"""The model of a labelling session: trained in a thread of its own while the person goes on, then asked what it is unsure of."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from alpt_lib.config import RunConfig
from alpt_lib.datasets import POOL
from alpt_lib.loop import stream
from alpt_lib.training import Learner
from companion.labelling.items import CHECK, Collection


@dataclass(frozen=True)
class Fitted:
    """One training: on how much, how well, and what it thinks of the items that had no label then."""

    round: int
    n_labels: int
    n_steps: int
    seconds: float
    check_accuracy: float | None  # None: no check set
    rows: np.ndarray  # (n_scored,) rows of the pool, ascending
    probs: np.ndarray  # (n_scored, n_classes)

    def predict_probs(self, split: str, rows: np.ndarray) -> np.ndarray:
        """What a `Learner` would answer for these rows, all among those scored: `alpt_lib.loop.query` asks it."""
        return self.probs[np.searchsorted(self.rows, rows)]


class Trainer:
    """Trains one model at a time.

    Attributes:
        fitted: the last training that ended well; None before. activity: what it is doing, in words; "" when idle.
        failure: why the last training ended early; "" if it did not.
    """

    def __init__(self, collection: Collection, config: RunConfig, changed: Callable[[], None]):
        self.collection, self.config, self._changed = collection, config, changed
        self.fitted: Fitted | None = None
        self.activity = self.failure = ""
        self._thread: threading.Thread | None = None
        self._learner: Learner | None = None
        collection.report = lambda done, total: self._say(
            f"reading the pictures for the model, {done:,} of {total:,}"
        )

    @property
    def is_training(self) -> bool:
        return bool(self.activity)

    def wait(self, timeout: float | None = None) -> None:
        if self._thread is not None:
            self._thread.join(timeout)

    def start(
        self,
        rows: list[int],
        labels: list[int],
        candidates: np.ndarray,
        round_: int,
        done: Callable[[Fitted], None],
    ) -> None:
        """Train on these pool rows, which have these class numbers, then score the candidates; none may be training.

        Args:
            done: told of the outcome, in the training thread.
        """
        self.activity, self.failure = f"training on {len(rows)} labels", ""
        # no daemon: torch aborts a process that ends beneath it, so a script waits; of a kernel, Jupyter waits 5 s
        self._thread = threading.Thread(
            target=self._run, args=(rows, labels, candidates, round_, done)
        )
        self._thread.start()

    def _run(self, rows, labels, candidates, round_, done) -> None:
        try:
            self.fitted = self._fit(rows, labels, candidates, round_)
            done(self.fitted)
        except Exception as error:  # whatever it is, the person goes on labelling and reads why
            self.failure = f"{type(error).__name__}: {' '.join(str(error).split())}"
        self._say("")

    def _fit(
        self, rows: list[int], labels: list[int], candidates: np.ndarray, round_: int
    ) -> Fitted:
        import torch

        from alpt_lib.training import Learner

        if self.config.model.startswith("mini-"):
            torch.set_num_threads(
                1
            )  # arrays this small only wait for each other, 10 times as long beside another process
        started, config, found = time.monotonic(), self.config, self.collection
        found.known[
            :
        ] = -1  # read by this thread alone: a label taken back meanwhile does not reach a training under way
        found.known[rows] = labels
        self._learner = self._learner or Learner(
            found, config.model, config.recipe, config.weights, config.seed
        )
        self._learner.inputs(POOL)  # decodes, the first time
        self._say(f"training on {len(rows)} labels")
        self._learner.reset()
        log = self._learner.fit(np.array(rows), stream(config.seed, "training", round_))
        self._say(f"scoring {len(candidates):,} items")
        probs = (
            self._learner.predict_probs(POOL, candidates)
            if len(candidates)
            else np.empty((0, len(found.classes)))
        )
        return Fitted(
            round_,
            len(rows),
            log.n_steps,
            time.monotonic() - started,
            self._check(),
            candidates,
            probs,
        )

    def _check(self) -> float | None:
        """Accuracy on what can be read of the check set."""
        found = self.collection
        if not found.check_ids:
            return None
        correct = self._learner.predict_probs(CHECK).argmax(axis=1) == found.labels(CHECK)
        readable = [id_ not in found.unreadable for id_ in found.check_ids]
        return float(correct[readable].mean()) if any(readable) else None

    def _say(self, activity: str) -> None:
        self.activity = activity
        self._changed()
