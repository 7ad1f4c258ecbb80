"""The model of a session: trained in a thread of its own, then asked what it is unsure of.

A linear head on a frozen network is trained within a fraction of a second; the features that it
reads are computed once, in the same thread.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import TYPE_CHECKING, Any

import numpy as np

from alpt_lib.config import RunConfig, stream
from alpt_lib.datasets import POOL
from alpt_lib.errors import one_line
from alpt_lib.registry import FEATURES
from companion.labelling.items import CHECK, Collection
from companion.stopping import stops_at

if TYPE_CHECKING:
    from alpt_lib.learners import RestorableLearner

STEP = 20  # labels between two models whose predictions are compared
# s between two reports of what is under way: each redraws the page
REPORT_EVERY = 0.25


@dataclass(frozen=True)
class Fitted:
    """One training: on how much, how well, and what it thinks of the items without a label."""

    round: int
    n_labels: int
    n_steps: int
    seconds: float
    check_accuracy: float | None  # None: no check set
    rows: np.ndarray  # (n_scored,) rows of the pool, ascending
    probs: np.ndarray  # (n_scored, n_classes)

    @cached_property
    def sureness(self) -> np.ndarray:
        """(n_scored,) probability of the class that it takes each item for."""
        return self.probs.max(axis=1, initial=0)

    def probs_of(self, row: int) -> np.ndarray | None:
        """(n_classes,) what it answered for a row of the pool; None where it was not asked."""
        at = int(np.searchsorted(self.rows, row))
        return self.probs[at] if at < len(self.rows) and self.rows[at] == row else None

    def predict_probs(self, split: str, rows: np.ndarray) -> np.ndarray:
        """What the network answered for these rows, all among those scored: the loop asks it."""
        return self.probs[np.searchsorted(self.rows, rows)]

    def features(self, split: str, rows: np.ndarray) -> np.ndarray:
        raise NotImplementedError("a session keeps probabilities only")

    def probs_of_features(self, features: np.ndarray) -> np.ndarray:
        raise NotImplementedError("a session keeps probabilities only")


# chance asks nothing of a model
NOBODY = Fitted(0, 0, 0, 0.0, None, np.empty(0, dtype=np.int64), np.empty((0, 0)))


@dataclass(frozen=True)
class Task:
    """What is to be trained on, and scored."""

    rows: list[int]  # of the pool
    labels: list[int]  # their class numbers
    candidates: np.ndarray  # (n_candidates,) pool rows to be scored
    round: int


class Trainer:
    """Trains one model at a time.

    Attributes:
        fitted: the last training that ended well; None before.
        activity: what it is doing, in words; "" when idle.
        failure: why the last training ended early; "" if it did not.
    """

    def __init__(self, collection: Collection, config: RunConfig, changed: Callable[[], None]):
        self.collection = collection
        self.config = config
        self.fitted: Fitted | None = None
        self.activity = ""
        self.failure = ""
        self._changed = changed
        self.is_frozen = config.recipe.backbone == "frozen"
        self._reported = 0.0
        self._past: list[Fitted] = []
        self._thread: threading.Thread | None = None
        self._learner: RestorableLearner | None = None
        collection.report = self._report

    @property
    def is_training(self) -> bool:
        return bool(self.activity)

    def wait(self, timeout: float | None = None) -> None:
        if self._thread is not None:
            self._thread.join(timeout)

    def prepare(self) -> None:
        """Read what training needs once: pictures, texts, features; none may be training."""
        if self._learner is None:
            self._start("reading", self._new_learner)

    def start(self, task: Task, done: Callable[[Fitted], None]) -> None:
        """Train, then score the candidates; none may be training.

        Args:
            done: told of the outcome, in the training thread.
        """

        def work() -> None:
            self.fitted = self._fit(task)
            oldest = self.fitted.n_labels - 4 * STEP
            self._past = [*(past for past in self._past if past.n_labels >= oldest), self.fitted]
            done(self.fitted)

        self._start(f"training on {len(task.rows)} labels", work)

    def settled(self) -> float | None:
        """Share of predictions that the last `2 * STEP` answers changed, once these hardly move.

        None before that, by `stops_at` of models `STEP` labels apart, on the items left.
        """
        models = []
        for back in (3, 2, 1, 0):
            n_labels = (self.fitted.n_labels if self.fitted else 0) - back * STEP
            earlier = [past for past in self._past if past.n_labels <= n_labels]
            if not earlier:
                return None
            models.append(earlier[-1])
        rows = reduce(np.intersect1d, [model.rows for model in models])
        predicted = [model.predict_probs(POOL, rows).argmax(axis=1) for model in models]
        if not len(rows) or stops_at(predicted) is None:
            return None
        return float((predicted[1] != predicted[3]).mean())

    def _start(self, activity: str, work: Callable[[], None]) -> None:
        self.activity = activity
        self.failure = ""
        # no daemon: torch aborts a process that ends beneath it, so a script waits for it; of a
        # kernel, Jupyter waits 5 s
        self._thread = threading.Thread(target=self._run, args=(work,))
        self._thread.start()

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # whatever it is, the person goes on labelling and reads why
            self.failure = one_line(error)
        self._say("")

    def _fit(self, task: Task) -> Fitted:
        started = time.monotonic()
        # read by this thread alone: a label that is taken back meanwhile does not reach it
        self.collection.known[:] = -1
        self.collection.known[task.rows] = task.labels
        if self._learner is None:
            self._new_learner()
        learner: Any = self._learner
        if not self.is_frozen:
            self._say(f"training on {len(task.rows)} labels")
        learner.reset()
        rng = stream(self.config.seed, "training", task.round)
        log = learner.fit(np.array(task.rows), rng)
        if not self.is_frozen:
            self._say(f"scoring {len(task.candidates):,} items")
        probs = np.empty((0, len(self.collection.classes)))
        if len(task.candidates):
            probs = learner.predict_probs(POOL, task.candidates)
        accuracy = self._check_accuracy(learner)
        seconds = time.monotonic() - started
        return Fitted(
            round=task.round,
            n_labels=len(task.rows),
            n_steps=log["n_steps"],
            seconds=seconds,
            check_accuracy=accuracy,
            rows=task.candidates,
            probs=probs,
        )

    def _new_learner(self) -> None:
        """The model at its initial weights, with all that it reads."""
        # opening a session takes no second for torch
        from alpt_lib.learners import create_learner

        if not self.config.model.startswith(FEATURES):
            import torch

            if self.config.model.startswith("mini-"):
                # arrays this small only wait for each other, 10 times as long beside another
                # process
                torch.set_num_threads(1)
        learner = create_learner(self.collection, self.config)
        learner.prepare()
        self._learner = learner

    def _check_accuracy(self, learner: Any) -> float | None:
        """Accuracy on what can be read of the check set; None where there is none."""
        collection = self.collection
        if not collection.check_ids:
            return None
        is_right = learner.predict_probs(CHECK).argmax(axis=1) == collection.labels(CHECK)
        readable = [id_ not in collection.unreadable for id_ in collection.check_ids]
        return float(is_right[readable].mean()) if any(readable) else None

    def _report(self, doing: str, done: int, total: int) -> None:
        if done == total or time.monotonic() - self._reported > REPORT_EVERY:
            self._reported = time.monotonic()
            self._say(f"{doing}, {done:,} of {total:,}")

    def _say(self, activity: str) -> None:
        self.activity = activity
        self._changed()
