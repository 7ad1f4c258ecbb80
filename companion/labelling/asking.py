"""What a person is asked next: a queue on the disk, filled by the model's doubts or by chance."""

import math
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from alpt_lib.config import RunConfig, stream
from alpt_lib.loop import ask
from alpt_lib.pool import Pool
from companion.labelling.background import NOBODY, Fitted
from companion.labelling.items import Collection
from companion.labelling.records import Records
from companion.labelling.storage import SKIPPED, UNDONE, Labels


@dataclass(frozen=True)
class Item:
    """Something to be labelled."""

    id: str
    score: float | None  # acquisition score; None: asked at random
    round: int  # the round that first trains on it; 0: before any model was asked
    text: str | None = None
    file: Path | None = None


def percent(share: float) -> str:
    """A share; no model is so sure that it should read as all."""
    return "over 99.9%" if share >= 0.9995 else f"{share:.1%}"


def doubt(item: Item, acquisition: str) -> str:
    """Why an item is asked for, in words."""
    score = item.score
    if score is None:
        return "asked at random"
    if acquisition == "least_confidence":
        return f"the model is {percent(-score)} sure"
    if acquisition == "margin":
        return f"the model's first guess is {percent(-score)} ahead of its second"
    if acquisition == "entropy":
        return f"to the model it may be any of {math.exp(score):.1f} classes"
    return f"asked by the model (score {score:.3f})"


@dataclass(frozen=True)
class Queue:
    """What was asked at once."""

    round: int = 0
    n_rows: int = 0  # decisions by then
    # id, score, round
    items: list[tuple[str, float | None, int]] = field(default_factory=list)


class Asking:
    """The queue of a session; the last one on the disk counts.

    Attributes:
        is_stale: a model was trained since the queue was made.
    """

    def __init__(self, collection: Collection, labels: Labels, config: RunConfig, log: Records):
        self.collection = collection
        self.labels = labels
        self.config = config
        self.is_stale = False
        self._log = log
        # by the person, before the restart
        self._looked_at = next(iter(self.pending()), None)

    @property
    def _queue(self) -> Queue:
        return self._log.rows[-1] if self._log.rows else Queue()

    @property
    def round(self) -> int:
        """The round that first trains on what the queue holds."""
        return self._queue.round

    @property
    def has_scores(self) -> bool:
        """Whether a model chose what is pending."""
        scores = [score for _, score, _ in self._queue.items]
        return bool(self.pending()) and any(score is not None for score in scores)

    def pending(self) -> list[str]:
        """What the queue holds and was not told since it was asked, or was taken back."""
        collection = self.collection
        return [
            id_
            for id_, _, _ in self._queue.items
            if id_ in collection.row and id_ not in collection.unreadable and self._is_open(id_)
        ]

    def _is_open(self, id_: str) -> bool:
        was_told = self.labels.at.get(id_, -1) >= self._queue.n_rows
        label = self.labels.label(id_)
        return label == UNDONE or (label == SKIPPED and not was_told)

    def next(self, n: int | None, fitted: Fitted | None) -> list[Item]:
        """See `Session.ask`.

        Args:
            fitted: the model that is asked; None: there is none yet.
        """
        pending = self.pending()
        size = n or self.config.protocol.query_batch_size
        if self.is_stale:
            kept = pending[:1] if pending[:1] == [self._looked_at] else []
            pending = self._renew(kept, size, fitted)
        elif len(pending) < (n or 1):
            pending = self._renew(pending, size, fitted)
        self._looked_at = next(iter(pending), None)
        return [self.item(id_) for id_ in pending[:n]]

    def put_first(self, item: Item) -> None:
        """Ask for an item at once; the rest of the queue comes after it."""
        others = [self.item(id_) for id_ in self.pending() if id_ != item.id]
        self._write(self.round, [item, *others])

    def item(self, id_: str) -> Item:
        """An item as it was asked for last; one that never was belongs to the present round."""
        earlier = self.labels.current.get(id_)
        score, round_ = (earlier.score, earlier.round) if earlier else (None, self.round)
        for name, asked_score, asked_round in self._queue.items:
            if name == id_:
                score, round_ = asked_score, asked_round
        return self._described(id_, score, round_)

    def _described(self, id_: str, score: float | None, round_: int) -> Item:
        if self.collection.is_text:
            return Item(id_, score, round_, text=self.collection.content[id_])
        return Item(id_, score, round_, file=self.collection.file(id_))

    def not_askable(self) -> set[int]:
        """Rows that are never asked for: labelled, copies, unreadable."""
        collection = self.collection
        labels = self.labels
        done = [id_ for id_ in labels.current if labels.label(id_) not in (SKIPPED, UNDONE)]
        out = (*done, *collection.copies, *collection.unreadable)
        return {collection.row[id_] for id_ in out if id_ in collection.row}

    def candidates(self) -> np.ndarray:
        """Rows that a model is to score: those that may be asked for, or a random part of them."""
        rng = stream(self.config.seed, "acquisition", self.round)
        return self._pool_without(self.not_askable()).candidates(
            self.config.protocol.pool_subsample, rng
        )

    def least_sure(self, fitted: Fitted) -> tuple[int, float]:
        """How many of the items that a model scored may still be asked for; its least sureness."""
        is_left = np.ones(len(self.collection.ids), dtype=bool)
        is_left[list(self.not_askable())] = False
        sureness = fitted.sureness[is_left[fitted.rows]]
        return len(sureness), float(sureness.min(initial=1.0))

    def _pool_without(self, taken: set[int]) -> Pool:
        pool = Pool(
            np.zeros(len(self.collection.ids), dtype=np.int64), len(self.collection.classes)
        )
        pool.acquire(np.array(sorted(taken), dtype=np.int64))
        return pool

    def _renew(self, kept: list[str], size: int, fitted: Fitted | None) -> list[str]:
        """A new queue: the kept items, then what the model is least sure of, or chance picks."""
        row = self.collection.row
        taken = self.not_askable() | {row[id_] for id_ in kept}
        scored = set() if fitted is None else set(fitted.rows.tolist()) - taken
        round_ = self.round if fitted is None else fitted.round + 1
        n = size - len(kept)
        if fitted is None or not scored or self.config.acquisition == "random":
            config = replace(self.config, acquisition="random")
            # the number of queues so far, else a neighbour would follow a neighbour
            asked = self._asked(self._pool_without(taken), n, NOBODY, config, len(self._log.rows))
            asked = [(id_, None) for id_, _ in asked]
        else:
            pool = self._pool_without(taken | (set(row.values()) - scored))
            asked = self._asked(pool, n, fitted, self.config, fitted.round)
        queue = [self.item(id_) for id_ in kept]
        queue += [self._described(id_, score, round_) for id_, score in asked]
        self.is_stale = False
        if queue:
            self._write(round_, queue)
        return [item.id for item in queue]

    def _asked(
        self, pool: Pool, n: int, fitted: Fitted, config: RunConfig, number: int
    ) -> list[tuple[str, float | None]]:
        """What the loop asks for in the pool, with scores: `n` items or what is left."""
        n = min(n, len(pool.unlabelled))
        if n <= 0:
            return []
        protocol = replace(
            config.protocol,
            seed_set_size=len(self.collection.ids),
            budget=0,
            query_batch_size=n,
            pool_subsample=0,
        )
        rows, scores = ask(fitted, pool, replace(config, protocol=protocol), number)
        return list(zip([self.collection.ids[row] for row in rows], scores, strict=True))

    def _write(self, round_: int, items: list[Item]) -> None:
        entries = [(item.id, item.score, item.round) for item in items]
        self._log.append(Queue(round_, len(self.labels.rows), entries))
