"""Active learning with a person as the oracle: ask for what to label next, tell the labels, train again (paper, section 2).

    session = labelling.open_session("my/pictures", ["cat", "dog"])
    for item in session.ask(10):
        session.tell(item.id, "cat")  # in any order, or not at all; CANNOT_TELL; another label later; UNDONE takes it back
    session.refit()

It is the loop of `alpt_lib.loop` turned inside out: the same pool, scores, streams of random numbers and training from the
initial weights; told the labels of a stored run, it asks that run's questions. Whoever has buttons can drive it, the widget of
`companion.label_widget` is one example. Everything that decides what is asked next is on disk before `ask` and `tell` return:

    labels.csv    what was told, see `companion.label_files`
    asked.jsonl   what was asked: a queue a line (its round, its items, and how many rows labels.csv had), the last one counts
    seen.jsonl    the content that each label was given to, to notice a file that changed
    fits.jsonl    how each training went, and its accuracy on the check set
"""

import hashlib
import json
import math
import sys
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from alpt_lib.checkpoints import local_weights
from alpt_lib.config import Protocol, Recipe, RunConfig, override
from alpt_lib.errors import unknown
from alpt_lib.files import REPOSITORY, home
from alpt_lib.loop import query, stream
from alpt_lib.pool import Pool
from alpt_lib.registry import reads_texts, resolve
from companion.labelling import exchange, items, storage
from companion.labelling.background import Fitted, Trainer
from companion.labelling.items import Collection, LabelError
from companion.labelling.storage import (
    CANNOT_TELL,
    RESERVED,
    SKIPPED,
    UNDONE,
    Label,
    LabelFile,
    Lines,
    now,
)

__all__ = ["CANNOT_TELL", "SKIPPED", "UNDONE", "Item", "Progress", "Session", "open_session"]

# ours: for a person's own data, where nobody knows yet how hard they are
PROTOCOL = {"seed_set_size": 20, "query_batch_size": 10, "budget": 0}

PATIENCE = 3  # seed sets labelled before the model starts without a class that nobody has met

_open_here: dict[Path, "Session"] = {}  # a cell that is run again takes the place of its first run


@dataclass(frozen=True)
class Item:
    """Something to be labelled."""

    id: str
    score: float | None  # acquisition score; None: asked at random
    round: int  # the round that first trains on it; 0: before any model was asked
    text: str | None = None
    file: Path | None = None


@dataclass(frozen=True)
class Progress:
    """How far a session is."""

    n_items: int  # that can be asked for: without the check set, copies and what cannot be read
    n_labels: int
    n_left: int  # neither labelled nor "can't tell"
    n_cannot_tell: int
    class_mix: dict[str, int]  # labels of each class
    round: int
    status: str  # what the model is doing, in words
    check_accuracy: float  # of the last training on the check set; NaN where there is none
    n_check: int  # items of the check set that can be read


def open_session(
    source: str | Path,
    classes: list[str],
    folder: str | Path | None = None,
    *,
    who: str = "",
    check: dict[str, str] | str | Path | None = None,
    column: str | None = None,
    **settings,
) -> "Session":
    """Start labelling a folder of images or a csv of texts, or go on where it was left.

    Args:
        folder: for the labels; None: one of this source's own under data/labels. who: labels, written beside each label.
        check, column: the check set and the column to read, see `companion.collection.read`.
        settings: model (bit-m, roberta-m, timm:NAME, hf:NAME), acquisition, seed, weights, protocol, recipe, image_size,
            max_tokens; see `alpt_lib.config`.
    Raises:
        LabelError, ConfigError, ModelError: what cannot be used; a folder that another process is labelling into.
    """
    known = (
        "model",
        "acquisition",
        "seed",
        "weights",
        "protocol",
        "recipe",
        "image_size",
        "max_tokens",
    )
    for name in settings:
        if name not in known:
            raise LabelError(unknown("setting", name, known))
    reserved = [c for c in classes if c in RESERVED]
    if reserved:
        raise LabelError(
            f"{reserved[0]!r} cannot be a class, the word is taken: for what cannot be told there is a button"
        )
    is_embedded = ":" not in settings.get("model", "")
    sizes = {"image_size": 32 if is_embedded else 224, "max_tokens": 40 if is_embedded else 256}
    found = items.read_collection(
        source,
        classes,
        check,
        column,
        **{key: settings.get(key, size) for key, size in sizes.items()},
    )
    target = Path(folder).expanduser() if folder else default_folder(found.source)
    return Session(found, target, who, _config(found, settings))


def default_folder(source: Path) -> Path:
    """Labels of a source go to data/labels/NAME-HASH of the home folder: pictures may lie where nothing can be written."""
    digest = hashlib.sha256(str(source.absolute()).encode()).hexdigest()[:8]
    return home() / "data" / "labels" / f"{source.stem}-{digest}"


def _config(found: Collection, settings: dict[str, Any]) -> RunConfig:
    given = settings.get("model", "roberta-m" if found.is_text else "bit-m")
    model = resolve(given)
    if reads_texts(model) != found.is_text:
        raise LabelError(
            f"model {given} reads {'texts' if reads_texts(model) else 'images'}; {found.source.name} holds "
            f"{found.description.modality}s"
        )
    if (
        scripts := str(REPOSITORY / "data_prep")
    ) not in sys.path:  # the settings for a user's own data are written down there
        sys.path.insert(0, scripts)
    from your_dataset import recipe_for

    ours = dict(PROTOCOL, seed_set_size=max(PROTOCOL["seed_set_size"], 2 * len(found.classes)))
    return RunConfig(
        str(found.source),
        model,
        settings.get("acquisition", "least_confidence"),
        settings.get("seed", 1),
        local_weights(given, "mini", settings.get("weights")),
        protocol=override(
            override(Protocol(), ours, "protocol"), settings.get("protocol") or {}, "protocol"
        ),
        recipe=override(
            override(
                Recipe(),
                recipe_for(given.removeprefix("mini-"), found.description.image_size),
                "recipe",
            ),
            settings.get("recipe") or {},
            "recipe",
        ),
    )


class Session:
    """One collection, one folder of labels, one model. Safe to use from two threads: training and labelling.

    Attributes:
        labels: the label file; `labels.current` maps ids to what counts. fits: one mapping a training, as in fits.jsonl.
        listeners: called, in the training thread, when the state of the model changed.
    """

    def __init__(self, found: Collection, folder: Path, who: str, config: RunConfig):
        self.collection, self.folder, self.who, self.config = found, folder, who, config
        self.listeners: list[Callable[[], None]] = []
        self._lock, self._is_new = threading.RLock(), False
        self._trainer = Trainer(found, config, lambda: [listener() for listener in self.listeners])
        if (earlier := _open_here.get(folder.resolve())) is not None:
            earlier.close()
        self._held = storage.hold(folder)
        try:
            self.labels = LabelFile(folder / "labels.csv")
            self._logs = {
                name: Lines(folder / f"{name}.jsonl") for name in ("asked", "seen", "fits")
            }
            stored = {name: log.records() for name, log in self._logs.items()}
            self.fits, self._n_asked = stored["fits"], len(stored["asked"])
            self._queue = ([{"round": 0, "n_rows": 0, "items": []}] + stored["asked"])[
                -1
            ]  # items: [id, score, round]
            self._seen = {row["id"]: row for row in stored["seen"]}
            self._notes = self._check_labels()
        except BaseException:
            self._held.close()
            raise
        _open_here[folder.resolve()] = self
        self._looked_at = next(iter(self._pending()), None)  # by the person, before the restart

    def close(self) -> None:
        """Give the folder free; a training under way is finished for nobody."""
        self._held.close()
        if _open_here.get(self.folder.resolve()) is self:
            del _open_here[self.folder.resolve()]

    @property
    def is_closed(self) -> bool:
        return self._held.closed

    @property
    def notes(self) -> list[str]:
        """What was found wrong with the files, in words; grows when one turns out to be unreadable."""
        broken = [
            f"{id_} ({why})" for id_, why in list(self.collection.unreadable.items())
        ]  # training adds
        return [*self._notes, *([_named("cannot be read, left out", broken)] if broken else [])]

    # --- asking and telling

    def ask(self, n: int | None = None) -> list[Item]:
        """The items to label next, most wanted first; fewer at the end, none when nothing is left.

        What was asked and not told yet comes first, so asking twice is asking once. After a training the rest is ranked anew,
        all but the first that was asked for, which a person may be looking at.

        Args:
            n: how many; None: what is left of the present query batch, or if nothing is, the next one.
        Raises:
            LabelError: the folder cannot be written, or the session was closed.
        """
        with self._lock:
            self._require_open()
            pending = self._pending()
            if self._is_new:
                kept = pending[:1] if pending[:1] == [self._looked_at] else []
                pending = self._enqueue(kept, n or self.config.protocol.query_batch_size)
            elif len(pending) < (n or 1):
                pending = self._enqueue(pending, n or self.config.protocol.query_batch_size)
            self._looked_at = next(iter(pending), None)
            return [self._item(id_) for id_ in pending[:n]]

    def tell(self, id_: str, label: str, who: str | None = None) -> None:
        """Take a label; it is on the disk when this returns. Any item may be told, asked for or not; the last label counts.

        Args:
            label: a class, CANNOT_TELL, SKIPPED (asked again later), or UNDONE (as if never labelled).
        Raises:
            LabelError: unknown item or label; the folder cannot be written, or the session was closed.
        """
        found = self.collection
        id_ = found.copies.get(id_, id_)
        if id_ not in found.row:
            raise LabelError(
                f"{id_!r} is in the check set, its label is given"
                if id_ in found.check_ids
                else f"{id_!r} is not in {found.source.name}; ids look like {found.ids[0]!r}"
            )
        if label not in (*found.classes, *RESERVED):
            raise LabelError(unknown("class", label, [*found.classes, CANNOT_TELL, SKIPPED]))
        with self._lock:
            item = self._item(id_)
            self._record(
                Label(id_, label, self.who if who is None else who, now(), item.round, item.score)
            )

    def undo(self) -> str | None:
        """Take back the last decision that still counts, also one from before a restart, and ask for it again at once.

        Returns:
            its id; None where there is nothing to take back.
        """
        with self._lock:
            rows = [
                i
                for id_, i in self.labels.at.items()
                if self._label(id_) != UNDONE and id_ in self.collection.row
            ]
            if not rows:
                return None
            last = self.labels.rows[max(rows)]
            others = [self._item(id_) for id_ in self._pending() if id_ != last.id]
            self.tell(last.id, UNDONE)
            self._log_asked(
                self._round,
                [[last.id, last.score, last.round], *([i.id, i.score, i.round] for i in others)],
            )
            return last.id

    def tell_all(self, labels: list[Label]) -> int:
        """Take labels made elsewhere (`label_exchange.read_csv`, `read_label_studio`), but for those that are there already.

        Returns:
            how many were new or different.
        """
        with self._lock:
            last = {
                row.id: row for row in labels
            }.values()  # a label file of another session has several rows an item
            labels = [
                replace(row, id=self.collection.copies.get(row.id, row.id), when=row.when or now())
                for row in last
            ]
            new = [
                row
                for row in labels
                if row.label != self._label(row.id) and row.id in self.collection.row
            ]
            for row in new:
                self._record(row)
            return len(new)

    def import_labels(self, file: str | Path) -> int:
        """`tell_all` of a csv, or of Label Studio's json: all of it or, if anything in it is unknown, nothing."""
        read = exchange.read_label_studio if str(file).endswith(".json") else exchange.read_csv
        return self.tell_all(read(Path(file), self.collection))

    def export(self, file: str | Path, copies: bool = False) -> Path:
        """Write what is labelled: a csv, or for a name that ends in .json all items for Label Studio."""
        with self._lock:
            if str(file).endswith(".json"):
                return exchange.write_label_studio(self.collection, self.labels.current, Path(file))
            return exchange.write_csv(self.table(copies), Path(file))

    def table(self, copies: bool = False) -> pd.DataFrame:
        """What is labelled, one item a row; see `label_exchange.table`."""
        with self._lock:
            return exchange.table(self.collection, self.labels.current, copies)

    # --- training

    def why_random(self) -> str:
        """Why no model can be trained yet, in words; "" if one can."""
        mix, seed_set = self._class_mix(), self.config.protocol.seed_set_size
        n, met = sum(mix.values()), [name for name in mix if mix[name]]
        if n < seed_set:
            return f"the seed set has {n} of {seed_set} labels"
        if len(met) == 1:
            return f"all labels so far are {met[0]!r}, and a model needs two classes"
        if len(met) < len(mix) and n < PATIENCE * seed_set:
            return f"there is no example of {self._unmet()} yet"
        return ""

    def refit_is_due(self) -> bool:
        """Whether there are labels enough for a model, and a query batch more than the last one was trained on."""
        fitted, n = self._trainer.fitted, len(self._labelled())
        is_due = fitted is None or n - fitted.n_labels >= self.config.protocol.query_batch_size
        return is_due and not self.is_training and not self.why_random()

    @property
    def is_training(self) -> bool:
        return self._trainer.is_training

    def refit(self, wait: bool = True) -> bool:
        """Train from the initial weights on all labels so far and score the rest; `ask` then follows the new model.

        Args:
            wait: False trains in a thread of its own, while the person goes on labelling.
        Returns:
            False where no model can be trained yet (`why_random` says why), or without waiting, where one is being trained.
        Raises:
            LabelError: the training that was waited for failed; says why.
        """
        if wait:
            self._trainer.wait()
        with self._lock:
            self._require_open()
            if self.why_random() or self.is_training:
                return False
            ids, row, classes = self._labelled(), self.collection.row, self.collection.classes
            self._trainer.start(
                [row[id_] for id_ in ids],
                [classes.index(self._label(id_)) for id_ in ids],
                self._candidates(),
                self._round,
                self._on_fit,
            )
        if wait:
            self._trainer.wait()
            if self._trainer.failure:
                raise LabelError(f"training failed: {self._trainer.failure}")
        return True

    def wait(self, timeout: float | None = None) -> None:
        """Wait for a training under way, for so many seconds at most."""
        self._trainer.wait(timeout)

    def progress(self) -> Progress:
        """How far the session is; cheap, and never waits for a training."""
        with self._lock:
            found, fit = self.collection, self.fits[-1] if self.fits else {}
            mix, left = self._class_mix(), len(found.row) - len(self._not_askable())
            unusable = {id_ for id_ in (*found.copies, *found.unreadable) if id_ in found.row}
            accuracy = fit.get("check_accuracy")
            return Progress(
                n_items=len(found.row) - len(unusable),
                n_labels=sum(mix.values()),
                n_left=left,
                n_cannot_tell=sum(self._label(id_) == CANNOT_TELL for id_ in self.labels.current),
                class_mix=mix,
                round=self._round,
                status=self._status(left),
                check_accuracy=math.nan if accuracy is None else accuracy,
                n_check=sum(id_ not in found.unreadable for id_ in found.check_ids),
            )

    # --- what is behind it

    def _require_open(self) -> None:
        if self.is_closed:
            raise LabelError("this session is closed, or its cell was run again: use the newer one")

    def _check_labels(self) -> list[str]:
        """Look at what is labelled already: classes that are gone, items that are gone or changed, a torn line."""
        found, current = self.collection, self.labels.current
        for row in current.values():
            if row.label not in (*found.classes, *RESERVED):
                raise LabelError(
                    f"{self.folder} has labels of another class: {unknown('class', row.label, found.classes)}; name "
                    "it as well, or give another folder"
                )
        labelled = [id_ for id_ in current if self._label(id_) != UNDONE]
        gone = [id_ for id_ in labelled if id_ not in found.row and id_ not in found.check_ids]
        if gone and len(gone) == len(labelled):
            raise LabelError(
                f"none of the {len(gone)} items labelled in {self.folder} is in {found.source}, first {gone[0]!r}; "
                "give another folder, or the source that was labelled"
            )
        changed = [id_ for id_ in labelled if id_ not in gone and self._has_changed(id_)]
        for id_ in changed:
            self._see(id_)  # said once
        torn = self.labels.lines.torn
        kept = "changed since they were labelled; the labels stay, tell(id, UNDONE) takes one back"
        return [
            _named(what, ids)
            for what, ids in {
                "a crash tore the last line of labels.csv, it was removed": [repr(torn)]
                if torn
                else [],
                kept: changed,
                "labelled, but not there any more": gone,
                "copies of others, left out": [
                    f"{copy} = {first}" for copy, first in found.copies.items()
                ],
            }.items()
            if ids
        ]

    def _has_changed(self, id_: str) -> bool:
        """Whether the content is another than the label was given to; a file that was only touched is not."""
        seen = self._seen.get(id_)
        if seen is None or seen["stamp"] == self.collection.stamp(id_):
            return False
        return seen["hash"] != self.collection.hash(id_)

    def _see(self, id_: str) -> None:
        row = {"id": id_, "stamp": self.collection.stamp(id_), "hash": self.collection.hash(id_)}
        if self._seen.get(id_) != row:
            self._logs["seen"].append(_line(row))
            self._seen[id_] = row

    def _record(self, label: Label) -> None:
        self._require_open()
        self._see(label.id)
        self.labels.append(label)

    def _label(self, id_: str) -> str:
        """What counts for an item now: a class, CANNOT_TELL, SKIPPED or UNDONE."""
        row = self.labels.current.get(id_)
        return row.label if row else UNDONE

    def _labelled(self) -> list[str]:
        """Items with a class, in the order of telling; training sees them in this order."""
        found = self.collection
        ids = [
            id_
            for id_ in self.labels.current
            if self._label(id_) not in RESERVED and id_ in found.row
        ]
        return sorted((id_ for id_ in ids if id_ not in found.unreadable), key=self.labels.at.get)

    def _class_mix(self) -> dict[str, int]:
        counts = Counter(map(self._label, self._labelled()))
        return {name: counts[name] for name in self.collection.classes}

    def _unmet(self) -> str:
        return " and ".join(repr(name) for name, n in self._class_mix().items() if not n)

    @property
    def _round(self) -> int:
        return self._queue["round"]

    def _pending(self) -> list[str]:
        """What the last queue holds and was not told since it was asked, or was taken back."""

        def is_open(id_: str) -> bool:
            was_told = self.labels.at.get(id_, -1) >= self._queue["n_rows"]
            return self._label(id_) == UNDONE or (self._label(id_) == SKIPPED and not was_told)

        found = self.collection
        return [
            id_
            for id_, _, _ in self._queue["items"]
            if id_ in found.row and id_ not in found.unreadable and is_open(id_)
        ]

    def _not_askable(self) -> set[int]:
        """Rows that no query may return."""
        row = self.collection.row
        done = [id_ for id_ in self.labels.current if self._label(id_) not in (SKIPPED, UNDONE)]
        return {
            row[id_]
            for id_ in (*done, *self.collection.copies, *self.collection.unreadable)
            if id_ in row
        }

    def _candidates(self) -> np.ndarray:
        """Rows that a model is to score: those that may be asked for, or the protocol's random part of them."""
        rows = np.setdiff1d(np.arange(len(self.collection.row)), list(self._not_askable()))
        if self.config.protocol.pool_subsample:
            rows = np.sort(
                stream(self.config.seed, "acquisition", self._round).permutation(rows)[
                    : self.config.protocol.pool_subsample
                ]
            )
        return rows

    def _enqueue(self, kept: list[str], size: int) -> list[str]:
        """Ask anew: the kept items, then those that the model is least sure of, or that chance picks before there is a model."""
        row, fitted = self.collection.row, self._trainer.fitted
        taken = self._not_askable() | {row[id_] for id_ in kept}
        scored = set() if fitted is None else set(fitted.rows.tolist()) - taken
        if scored and self.config.acquisition != "random":
            taken |= set(row.values()) - scored
            config, draw = self.config, fitted.round
        else:
            config, draw = (
                replace(self.config, acquisition="random"),
                self._n_asked,
            )  # else a neighbour would follow a neighbour
        pool = Pool(np.zeros(len(row), dtype=np.int64), len(self.collection.classes))
        pool.acquire(np.array(sorted(taken), dtype=np.int64))
        n = min(size - len(kept), len(pool.unlabelled))
        round_ = self._round if fitted is None else fitted.round + 1
        entries = [[item.id, item.score, item.round] for item in map(self._item, kept)]
        if n > 0:
            protocol = replace(
                config.protocol,
                seed_set_size=len(row),
                budget=0,
                query_batch_size=n,
                pool_subsample=0,
            )
            rows, scores = query(fitted, pool, replace(config, protocol=protocol), draw)
            scores = [None] * n if config.acquisition == "random" else scores.tolist()
            entries += [
                [self.collection.ids[i], score, round_]
                for i, score in zip(rows, scores, strict=True)
            ]
        self._is_new = False
        if entries:
            self._log_asked(round_, entries)
        return [id_ for id_, _, _ in entries]

    def _log_asked(self, round_: int, entries: list[list]) -> None:
        queue = {"round": round_, "n_rows": len(self.labels.rows), "items": entries}
        self._logs["asked"].append(_line(queue))
        self._queue, self._n_asked = queue, self._n_asked + 1

    def _item(self, id_: str) -> Item:
        """An item as it was asked for last; one that never was belongs to the present round."""
        found, earlier = self.collection, self.labels.current.get(id_)
        asked = {name: (score, round_) for name, score, round_ in self._queue["items"]}
        score, round_ = asked.get(id_) or (
            (earlier.score, earlier.round) if earlier else (None, self._round)
        )
        return Item(
            id_,
            score,
            round_,
            found.text(id_) if found.is_text else None,
            None if found.is_text else found.file(id_),
        )

    def _on_fit(self, fitted: Fitted) -> None:
        with self._lock:
            if self.is_closed:
                return
            fit = {
                "round": fitted.round,
                "n_labels": fitted.n_labels,
                "n_steps": fitted.n_steps,
                "seconds": round(fitted.seconds, 2),
                "check_accuracy": fitted.check_accuracy,
                "when": now(),
            }
            self._logs["fits"].append(_line(fit))
            self.fits.append(fit)
            self._is_new = True

    def _status(self, left: int) -> str:
        """What the model is doing and whom it is asked for, in a plain sentence."""
        trainer, why = self._trainer, self.why_random()
        if not left:
            return "everything is labelled"
        if trainer.activity:
            doing = f"{trainer.activity}; " + (
                "meanwhile " if trainer.fitted is None else "meanwhile still "
            )
        else:
            doing = f"training failed ({trainer.failure}); " if trainer.failure else ""
        if self.config.acquisition == "random":
            return f"{doing}asking at random, as acquisition says"
        if (
            trainer.fitted is None
            and any(score is not None for _, score, _ in self._queue["items"])
            and self._pending()
        ):
            return f"{doing}asking what the model of before the restart was unsure of"
        if trainer.fitted is None:
            return f"{doing}asking at random" + (
                f": {why}" if why else "" if doing else " until the model is trained"
            )
        unmet = self._unmet()
        return (
            f"{doing}asking what the model, trained on {trainer.fitted.n_labels} labels, is unsure of "
            f"({self.config.acquisition.replace('_', ' ')})"
            + (f"; it has seen no example of {unmet}" if unmet else "")
        )


def _line(record: dict[str, Any]) -> str:
    return (
        json.dumps(record) + "\n"
    )  # ASCII: a line end of whatever kind in an id is no line end in the file


def _named(what: str, ids: list[str]) -> str:
    more = f" and {len(ids) - 3} more" if len(ids) > 3 else ""
    return f"{what} ({len(ids)}): {', '.join(ids[:3])}{more}"
