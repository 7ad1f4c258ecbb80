"""A session: one collection, one folder of labels, one model, and a person who is asked."""

import hashlib
import math
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from alpt_lib.config import RunConfig
from alpt_lib.errors import LabelError, unknown
from alpt_lib.files import REPOSITORY, home
from alpt_lib.registry import FEATURES
from companion.labelling import exchange
from companion.labelling.asking import Asking, Item, Queue, percent
from companion.labelling.background import STEP, Fitted, Task, Trainer
from companion.labelling.items import Collection
from companion.labelling.records import Records, noted, now
from companion.labelling.settings import require_known, run_config
from companion.labelling.sources import read_collection
from companion.labelling.spreadsheet import Label
from companion.labelling.storage import CANNOT_TELL, RESERVED, SKIPPED, UNDONE, Labels, held

# a model that is so sure of all that is left has nothing more to ask
SURE = 0.99
# seed sets labelled before the model starts without a class that nobody has met
PATIENCE = 3
# a cell that is run again takes the place of its first run
_open_here: dict[Path, "Session"] = {}


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
    """Start labelling a folder of images or a table of texts, or go on where it was left.

    Args:
        folder: for the labels; None: one of this source's own under data/labels.
        who: labels, written beside each label.
        check, column: the check set and the column to read, see `sources.read_collection`.
        settings: model (bit-m, roberta-m, timm:NAME, hf:NAME; features:FILE of the user's own,
            see `sources.read_collection`), acquisition, seed, weights, protocol, recipe,
            image_size, max_tokens; see `alpt_lib.config`. Unless the recipe says `backbone:
            fine-tuned`, a linear head is trained on the frozen network.
    Raises:
        CompanionError: what cannot be used; a folder that another process is labelling into.
    """
    require_known(settings)
    for name in classes:
        if name in RESERVED:
            raise LabelError(
                f"{name!r} cannot be a class, the word is taken: for what cannot be told there is "
                "a button"
            )
    model = settings.get("model", "")
    is_embedded = ":" not in model
    collection = read_collection(
        source,
        classes,
        check,
        column,
        model.removeprefix(FEATURES) if model.startswith(FEATURES) else "",
        image_size=settings.get("image_size", 32 if is_embedded else 224),
        max_tokens=settings.get("max_tokens", 40 if is_embedded else 256),
    )
    target = Path(folder).expanduser() if folder else default_folder(collection.source)
    return Session(collection, target, who, run_config(collection, settings))


def default_folder(source: Path) -> Path:
    """data/labels/NAME-HASH in the home folder: beside pictures nothing may be writable."""
    digest = hashlib.sha256(str(source.absolute()).encode()).hexdigest()[:8]
    return home() / "data" / "labels" / f"{source.stem}-{digest}"


class Session:
    """What a user drives. Safe to use from two threads: training and labelling.

    Attributes:
        labels: what was told; `labels.current` maps ids to what counts.
        listeners: called, in the training thread, when the state of the model changed.
    """

    def __init__(self, collection: Collection, folder: Path, who: str, config: RunConfig):
        self.collection = collection
        self.folder = folder
        self.who = who
        self.config = config
        self.listeners: list[Callable[[], None]] = []
        self._notes = list(collection.notes)
        self._lock = threading.RLock()
        self._trainer = Trainer(collection, config, self._tell_listeners)
        # item -> class, of the last training
        self._trained_on: dict[str, str] = {}
        earlier = _open_here.get(folder.resolve())
        if earlier is not None:
            earlier.close()
        self._held = ExitStack()
        self._held.enter_context(held(folder))
        try:
            notes = self._notes
            self.labels = Labels(
                folder, collection.content, collection.classes, collection.is_by_content, notes
            )
            self._fits = Records(folder / "fits.jsonl", dict[str, Any], notes)
            asked = Records(folder / "asked.jsonl", Queue, notes)
            self._check_labels()
            self._asking = Asking(collection, self.labels, config, asked)
        except BaseException:
            self._held.close()
            raise
        self.is_closed = False
        _open_here[folder.resolve()] = self

    @property
    def place(self) -> str:
        """Its folder in words: from the top of the checkout, if it lies there."""
        folder = self.folder.resolve()
        is_here = folder.is_relative_to(REPOSITORY)
        return str(folder.relative_to(REPOSITORY) if is_here else folder)

    def close(self) -> None:
        """Give the folder free; a training under way is finished for nobody."""
        self.is_closed = True
        self._held.close()
        if _open_here.get(self.folder.resolve()) is self:
            del _open_here[self.folder.resolve()]

    @property
    def fits(self) -> list[dict[str, Any]]:
        """One mapping a training, as in fits.jsonl."""
        return self._fits.rows

    @property
    def notes(self) -> list[str]:
        """What was found wrong with the files, in words; grows when more turns out unreadable."""
        # training adds to it meanwhile
        unreadable = list(self.collection.unreadable.items())
        broken = [f"{id_} ({why})" for id_, why in unreadable]
        return [*self._notes, *noted("cannot be read, left out", broken)]

    # --- asking and telling

    def ask(self, n: int | None = None) -> list[Item]:
        """The items to label next, most wanted first; fewer at the end, none when nothing is left.

        What was asked and not told yet comes first, so asking twice is asking once. After a
        training the rest is ranked again, all but the first that was asked for, which a person may
        be looking at.

        Args:
            n: how many; None: the rest of the present query batch, or if none is left, the next.
        Raises:
            LabelError: the folder cannot be written, or the session was closed.
        """
        with self._lock:
            self._require_open()
            return self._asking.next(n, self._trainer.fitted)

    def tell(self, id_: str, label: str, who: str | None = None) -> None:
        """Take a label; it is on the disk when this returns.

        Any item may be told, asked for or not; the last label counts.

        Args:
            label: a class, CANNOT_TELL, SKIPPED (asked again later), or UNDONE (as if never told).
        Raises:
            LabelError: unknown item or label; the folder cannot be written, or the session was
                closed.
        """
        collection = self.collection
        id_ = collection.copies.get(id_, id_)
        if id_ in collection.check_ids:
            raise LabelError(f"{id_!r} is in the check set, its label is given")
        if id_ not in collection.row:
            name = collection.source.name
            raise LabelError(f"{id_!r} is not in {name}; ids look like {collection.ids[0]!r}")
        if label not in (*collection.classes, *RESERVED):
            raise LabelError(unknown("class", label, [*collection.classes, CANNOT_TELL, SKIPPED]))
        with self._lock:
            item = self._asking.item(id_)
            by = self.who if who is None else who
            self._record(Label(id_, label, by, now(), item.round, item.score))

    def undo(self) -> str | None:
        """Take back the last decision that still counts, also one from before a restart.

        It is asked for again at once.

        Returns:
            its id; None where there is nothing to take back.
        """
        with self._lock:
            labels = self.labels
            known = [id_ for id_ in labels.at if id_ in self.collection.row]
            decided = [id_ for id_ in known if labels.label(id_) != UNDONE]
            if not decided:
                return None
            last = max(decided, key=labels.at.__getitem__)
            decision = labels.current[last]
            self.tell(last, UNDONE)
            item = self._asking.item(last)
            self._asking.put_first(replace(item, score=decision.score, round=decision.round))
            return last

    def tell_all(self, labels: list[Label]) -> int:
        """Take labels made elsewhere, but for those that are there already.

        Returns:
            how many were new or different.
        """
        with self._lock:
            # a label file of another session has several rows an item
            last = {row.id: row for row in labels}
            n_new = 0
            for row in last.values():
                id_ = self.collection.copies.get(row.id, row.id)
                if id_ in self.collection.row and row.label != self.labels.label(id_):
                    self._record(replace(row, id=id_, when=row.when or now()))
                    n_new += 1
            return n_new

    def import_labels(self, file: str | Path) -> int:
        """`tell_all` of a table or an export of Label Studio; nothing if anything is unknown.

        What was left out, and which labels here were replaced, is printed and stays in `notes`.
        """
        labels, notes = exchange.read_labels(Path(file), self.collection)
        with self._lock:
            replaced = [
                f"{label.id} {self.labels.label(label.id)!r}, now {label.label!r}"
                for label in labels
                if self.labels.label(label.id) not in (UNDONE, SKIPPED, label.label)
            ]
            notes += noted(f"labels here that {Path(file).name} replaces", replaced)
            self._notes += notes
            print(*notes, sep="\n", end="\n" * bool(notes))
            return self.tell_all(labels)

    def export(self, file: str | Path, copies: bool = False) -> Path:
        """Write what is labelled: as .csv or .parquet, or as .json all items for Label Studio."""
        with self._lock:
            if str(file).lower().endswith(".json"):
                return exchange.write_label_studio(self.collection, self.labels.current, Path(file))
            return exchange.write_table(self.table(copies), Path(file))

    def table(self, copies: bool = False) -> pd.DataFrame:
        """What is labelled, one item a row; see `exchange.table`."""
        with self._lock:
            return exchange.table(self.collection, self.labels.current, copies)

    # --- training

    def why_random(self) -> str:
        """Why no model can be trained yet, in words; "" if one can."""
        mix = self._class_mix()
        n = sum(mix.values())
        met = [name for name in mix if mix[name]]
        seed_set = self.config.protocol.seed_set_size
        if n < seed_set:
            return f"the seed set has {n} of {seed_set} labels"
        if len(met) == 1:
            return f"all labels so far are {met[0]!r}, and a model needs two classes"
        if len(met) < len(mix) and n < PATIENCE * seed_set:
            return f"there is no example of {self._unmet()} yet"
        return ""

    def refit_is_due(self) -> bool:
        """Whether a model can be trained on more than the last one was.

        A head on a frozen network: on any other labels; else on a query batch more.
        """
        if self.is_closed or self.is_training or self.why_random():
            return False
        if self.is_frozen:
            return self._classes_told() != self._trained_on
        fitted = self._trainer.fitted
        n_new = len(self._labelled()) - (fitted.n_labels if fitted else 0)
        return fitted is None or n_new >= self.config.protocol.query_batch_size

    @property
    def is_frozen(self) -> bool:
        """Whether a linear head is trained on a frozen network, within a fraction of a second."""
        return self._trainer.is_frozen

    @property
    def has_failed(self) -> bool:
        """Whether the last training ended early."""
        return bool(self._trainer.failure)

    def prepare(self) -> None:
        """Compute the features that a frozen network's head reads, in a thread of its own."""
        with self._lock:
            is_idle = not (self.is_training or self.is_closed or self.has_failed)
            if self.is_frozen and is_idle:
                self._trainer.prepare()

    @property
    def is_training(self) -> bool:
        return self._trainer.is_training

    def refit(self, wait: bool = True) -> bool:
        """Train from the initial weights on all labels so far; `ask` then follows the new model.

        Args:
            wait: False trains in a thread of its own, while the person goes on labelling.
        Returns:
            False where no model can be trained yet (`why_random` says why), or without waiting,
            where one is being trained.
        Raises:
            LabelError: the training that was waited for failed; says why.
        """
        if wait:
            self._trainer.wait()
        with self._lock:
            self._require_open()
            if self.why_random() or self.is_training:
                return False
            ids = self._labelled()
            classes = self.collection.classes
            task = Task(
                rows=[self.collection.row[id_] for id_ in ids],
                labels=[classes.index(self.labels.label(id_)) for id_ in ids],
                candidates=self._asking.candidates(),
                round=self._asking.round,
            )
            self._trained_on = self._classes_told()
            self._trainer.start(task, self._on_fit)
        if wait:
            self._trainer.wait()
            if self._trainer.failure:
                raise LabelError(f"training failed: {self._trainer.failure}")
        return True

    def opinion(self, id_: str) -> dict[str, float]:
        """Class -> probability, by the last model, of an item that may still be asked for.

        {} where there is no model yet, or it was not asked about this item.
        """
        fitted = self._trainer.fitted
        row = self.collection.row.get(id_)
        probs = None if fitted is None or row is None else fitted.probs_of(row)
        if probs is None:
            return {}
        return dict(zip(self.collection.classes, map(float, probs), strict=True))

    def stopping_advice(self) -> str | None:
        """Whether one may stop, as a sentence for the status line; None: there is none to give."""
        fitted = self._trainer.fitted
        if fitted is None or self._unmet():
            return None
        n_left, least = self._asking.least_sure(fitted)
        if n_left and least >= SURE:
            return f"it is {percent(least)} sure or more of all {n_left} left: you may stop"
        changed = self._trainer.settled()
        if changed is None:
            return None
        words = f"{changed:.1%} of its predictions"
        return f"the last {2 * STEP} answers changed {words}: you could stop"

    def wait(self, timeout: float | None = None) -> None:
        """Wait for a training under way, for so many seconds at most."""
        self._trainer.wait(timeout)

    def progress(self) -> Progress:
        """How far the session is; cheap, and never waits for a training."""
        with self._lock:
            collection = self.collection
            mix = self._class_mix()
            unusable = {*collection.copies, *collection.unreadable} & collection.row.keys()
            left = len(collection.ids) - len(self._asking.not_askable())
            accuracy = self.fits[-1].get("check_accuracy") if self.fits else None
            decisions = Counter(row.label for row in self.labels.current.values())
            return Progress(
                n_items=len(collection.ids) - len(unusable),
                n_labels=sum(mix.values()),
                n_left=left,
                n_cannot_tell=decisions[CANNOT_TELL],
                class_mix=mix,
                round=self._asking.round,
                status=self._status() if left else "everything is labelled",
                check_accuracy=math.nan if accuracy is None else accuracy,
                n_check=sum(id_ not in collection.unreadable for id_ in collection.check_ids),
            )

    # --- what is behind it

    def _tell_listeners(self) -> None:
        for listener in self.listeners:
            listener()

    def _require_open(self) -> None:
        if self.is_closed:
            raise LabelError("this session is closed, or its cell was run again: use the newer one")

    def _check_labels(self) -> None:
        """Look at what is labelled already: items that are gone, moved, or changed."""
        collection = self.collection
        labelled = [id_ for id_ in self.labels.current if self.labels.label(id_) != UNDONE]
        known = {*collection.row, *collection.check_ids}
        strays = [id_ for id_ in labelled if id_ not in known or self._has_changed(id_)]
        moved = self._follow(strays)
        left = [id_ for id_ in strays if id_ not in moved]
        gone = [id_ for id_ in left if id_ not in known]
        changed = [collection.shown(id_) for id_ in left if id_ in known]
        if gone and len(gone) == len(labelled):
            raise LabelError(
                f"none of the {len(gone)} items labelled in {self.folder} is in "
                f"{collection.source}, first {gone[0]!r}; give another folder, or the source that "
                "was labelled"
            )
        went = [f"{old} is now {new}" for old, new in moved.items()]
        copies = [
            f"{collection.shown(copy)} = {first}" for copy, first in collection.copies.items()
        ]
        kept = "the labels stay, told again they are confirmed, tell(id, UNDONE) takes one back"
        self._notes += [
            *noted("labels that went with their content to another name", went),
            *noted(f"changed since they were labelled; {kept}", changed),
            *noted("labelled, but not there any more", gone),
            *noted("copies of others, left out", copies),
        ]

    def _has_changed(self, id_: str) -> bool:
        """Whether the label was given to another content; a file that was only touched is not."""
        given_to = self.labels.current[id_]
        if not given_to.hash or given_to.stamp == self.collection.stamp(id_):
            return False
        return given_to.hash != self.collection.hash(id_)

    def _follow(self, strays: list[str]) -> dict[str, str]:
        """Give each label to the item that has its content now: id of then -> id of now."""
        current = self.labels.current
        given_to = {id_: current[id_] for id_ in strays if current[id_].hash}
        places = self.collection.where({label.hash: label.stamp for label in given_to.values()})
        moved = {}
        for id_, label in given_to.items():
            place = places.get(label.hash)
            if place and (place in strays or self.labels.label(place) == UNDONE):
                moved[id_] = place
        for id_, place in moved.items():
            stamp = self.collection.stamp(place)
            self.labels.append(replace(given_to[id_], id=place, stamp=stamp))
        for id_ in moved.keys() - moved.values():
            self.labels.append(Label(id_, UNDONE, when=now()))
        return moved

    def _record(self, label: Label) -> None:
        self._require_open()
        stamp = self.collection.stamp(label.id)
        self.labels.append(replace(label, stamp=stamp, hash=self.collection.hash(label.id)))

    def _labelled(self) -> list[str]:
        """Items with a class, in the order of telling; training sees them in this order."""
        collection = self.collection
        known = [id_ for id_ in self.labels.at if id_ in collection.row]
        ids = [id_ for id_ in known if self.labels.label(id_) not in RESERVED]
        readable = [id_ for id_ in ids if id_ not in collection.unreadable]
        return sorted(readable, key=self.labels.at.__getitem__)

    def _classes_told(self) -> dict[str, str]:
        return {id_: self.labels.label(id_) for id_ in self._labelled()}

    def _class_mix(self) -> dict[str, int]:
        counts = Counter(self.labels.label(id_) for id_ in self._labelled())
        return {name: counts[name] for name in self.collection.classes}

    def _unmet(self) -> str:
        return " and ".join(repr(name) for name, n in self._class_mix().items() if not n)

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
            self._fits.append(fit)
            self._asking.is_stale = True

    def _status(self) -> str:
        """What the model is doing and whom it is asked for, in a plain sentence."""
        trainer = self._trainer
        doing = f"training failed ({trainer.failure}); " if trainer.failure else ""
        if trainer.activity:
            meanwhile = "meanwhile" if trainer.fitted is None else "meanwhile still"
            doing = f"{trainer.activity}; {meanwhile} "
        return doing + self._whom_it_asks(is_idle=not doing)

    def _whom_it_asks(self, is_idle: bool) -> str:
        fitted = self._trainer.fitted
        why = self.why_random()
        if self.config.acquisition == "random":
            return "asking at random, as acquisition says"
        if fitted is None and self._asking.has_scores:
            return "asking what the model of before the restart was unsure of"
        if fitted is None and why:
            return f"asking at random: {why}"
        if fitted is None:
            return "asking at random until the model is trained" if is_idle else "asking at random"
        acquisition = self.config.acquisition.replace("_", " ")
        words = (
            f"asking what the model, trained on {fitted.n_labels} labels, is unsure of "
            f"({acquisition})"
        )
        if self._unmet():
            words += f"; it has seen no example of {self._unmet()}"
        advice = self.stopping_advice()
        return words + (f"; {advice}" if advice else "")
