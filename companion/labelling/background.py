"""The model of a session: trained in a thread of its own, then asked what it is unsure of."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from alpt_lib.config import RunConfig, stream
from alpt_lib.datasets import POOL
from alpt_lib.errors import one_line
from companion.labelling.items import CHECK, Collection

if TYPE_CHECKING:
    from alpt_lib.training import FineTunedNetwork


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
        self._thread: threading.Thread | None = None
        self._network: FineTunedNetwork | None = None
        collection.report = self._report_decoding

    @property
    def is_training(self) -> bool:
        return bool(self.activity)

    def wait(self, timeout: float | None = None) -> None:
        if self._thread is not None:
            self._thread.join(timeout)

    def start(self, task: Task, done: Callable[[Fitted], None]) -> None:
        """Train, then score the candidates; none may be training.

        Args:
            done: told of the outcome, in the training thread.
        """
        self.activity = f"training on {len(task.rows)} labels"
        self.failure = ""
        # no daemon: torch aborts a process that ends beneath it, so a script waits for it; of a
        # kernel, Jupyter waits 5 s
        self._thread = threading.Thread(target=self._run, args=(task, done))
        self._thread.start()

    def _run(self, task: Task, done: Callable[[Fitted], None]) -> None:
        try:
            self.fitted = self._fit(task)
            done(self.fitted)
        except Exception as error:  # whatever it is, the person goes on labelling and reads why
            self.failure = one_line(error)
        self._say("")

    def _fit(self, task: Task) -> Fitted:
        started = time.monotonic()
        # read by this thread alone: a label that is taken back meanwhile does not reach it
        self.collection.known[:] = -1
        self.collection.known[task.rows] = task.labels
        network = self._network = self._network or self._new_network()
        # decodes, the first time
        network.inputs(POOL)
        self._say(f"training on {len(task.rows)} labels")
        network.reset()
        rng = stream(self.config.seed, "training", task.round)
        log = network.fit(np.array(task.rows), rng)
        self._say(f"scoring {len(task.candidates):,} items")
        probs = np.empty((0, len(self.collection.classes)))
        if len(task.candidates):
            probs = network.predict_probs(POOL, task.candidates)
        accuracy = self._check_accuracy(network)
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

    def _new_network(self) -> "FineTunedNetwork":
        # opening a session takes no second for torch
        import torch

        from alpt_lib.training import FineTunedNetwork

        if self.config.model.startswith("mini-"):
            # arrays this small only wait for each other, 10 times as long beside another process
            torch.set_num_threads(1)
        return FineTunedNetwork(self.collection, self.config)

    def _check_accuracy(self, network: Any) -> float | None:
        """Accuracy on what can be read of the check set; None where there is none."""
        collection = self.collection
        if not collection.check_ids:
            return None
        is_right = network.predict_probs(CHECK).argmax(axis=1) == collection.labels(CHECK)
        readable = [id_ not in collection.unreadable for id_ in collection.check_ids]
        return float(is_right[readable].mean()) if any(readable) else None

    def _report_decoding(self, done: int, total: int) -> None:
        # each change redraws the page
        if done % 64 == 1:
            self._say(f"reading the pictures for the model, {done:,} of {total:,}")

    def _say(self, activity: str) -> None:
        self.activity = activity
        self._changed()
