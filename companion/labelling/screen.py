"""A session with buttons and keys in JupyterLab; anywidget brings its own page code.

The page is told one item at a time and answers with its id and the label; the next one comes once
that answer is on the disk. A model is trained in a thread of its own: a head on a frozen network
after each label, for which the next question waits a moment; a fine-tuned network whenever a query
batch was labelled. What the model takes the item for is hidden unless the person asks for it.
"""

import base64
import html
import math
import threading
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from alpt_lib.errors import LabelError, visible
from companion.labelling.asking import Item, doubt
from companion.labelling.session import Session
from companion.labelling.storage import CANNOT_TELL, SKIPPED

HERE = Path(__file__).parent
# pictures that come next, scaled down before they are shown
PICTURES_KEPT = 8
# s that the next question waits for a head to be trained; it comes without it, if that takes longer
PATIENCE = 0.25


class LabelWidget(anywidget.AnyWidget):
    """Shows what a session asks for and tells it what the person says."""

    _esm = HERE / "widget.js"
    _css = HERE / "widget.css"
    # turn, id, kind (image, text or done), text, media type, caption
    shown = traitlets.Dict().tag(sync=True)
    picture = traitlets.Bytes().tag(sync=True)
    # progress in words and numbers
    state = traitlets.Dict().tag(sync=True)
    classes: traitlets.List[str] = traitlets.List().tag(sync=True)
    notes: traitlets.List[str] = traitlets.List().tag(sync=True)
    words = traitlets.Dict({"cannot_tell": CANNOT_TELL, "skipped": SKIPPED}).tag(sync=True)
    problem = traitlets.Unicode().tag(sync=True)
    # what the model takes the shown item for: class -> probability; empty while it is hidden
    opinion = traitlets.Dict().tag(sync=True)
    shows_opinion = traitlets.Bool(False).tag(sync=True)

    def __init__(self, session: Session):
        super().__init__(classes=session.collection.classes)
        self.session = session
        self._turn = 0
        session.listeners.append(self._on_change)
        self.on_msg(lambda widget, content, buffers: self.answer(content))
        self._train_if_due()
        self._show()

    def answer(self, content: dict[str, Any]) -> None:
        """A button or key: {"do": "tell", "id", "label"}, {"do": "undo"} or {"do": "opinion"}."""
        try:
            self.problem = ""
            is_shown = content.get("id") == self.shown.get("id")
            if content.get("do") == "opinion":
                self.shows_opinion = not self.shows_opinion
                self._show_opinion()
                return
            if content.get("do") == "undo":
                self.session.undo()
            elif content.get("do") == "tell" and is_shown:  # else a page that is behind
                self.session.tell(content["id"], content["label"])
                self._train_if_due()
            self._show()
        except LabelError as error:
            self.problem = str(error)
            self._turn += 1
            self.shown = {**self.shown, "turn": self._turn}

    def _train_if_due(self) -> None:
        session = self.session
        if session.refit_is_due():
            if session.refit(wait=False) and session.is_frozen:
                session.wait(PATIENCE)
        elif session.progress().n_labels:
            # from the first label on
            session.prepare()

    def _on_change(self) -> None:
        """In the training thread: train on what was labelled meanwhile, and tell the page."""
        if self.session.refit_is_due() and not self.session.has_failed:
            self.session.refit(wait=False)
        self._show_opinion()
        self._refresh()

    def _show(self) -> None:
        """The next item that can be read; `notes` names a picture that cannot."""
        picture = None
        while picture is None and (batch := self.session.ask()):
            picture = self._picture(batch[0])
        self._turn += 1
        with self.hold_sync():
            self.picture = picture[0] if picture else b""
            shown = self._described(batch[0], picture[1]) if picture else self._end()
            self.shown = {"turn": self._turn, **shown}
            self._show_opinion()
            self._refresh()
        next_ones = batch[1:PICTURES_KEPT]
        threading.Thread(target=self._prepare, args=(next_ones,), daemon=True).start()

    def _show_opinion(self) -> None:
        id_ = self.shown.get("id", "")
        self.opinion = self.session.opinion(id_) if self.shows_opinion else {}

    def _described(self, item: Item, kind: str) -> dict[str, Any]:
        why = doubt(item, self.session.config.acquisition)
        # what stands for a text without an id means nothing to a person
        is_nameless = self.session.collection.is_by_content
        caption = why if is_nameless else f"{visible(item.id)} · {why}"
        if item.file is None:
            return {"id": item.id, "kind": "text", "text": item.text, "caption": caption}
        media = f"image/{kind}"
        return {"id": item.id, "kind": "image", "media": media, "caption": caption}

    def _end(self) -> dict[str, Any]:
        """What the last card says: where the labels are and what to do with them."""
        n_labels = self.session.progress().n_labels
        text = (
            f"Everything is labelled. Thank you.\n\n{n_labels} labels are in "
            f"{self.session.place}/labels.csv.\n\nNext: run the cell below, or "
            'session.export("labelled.csv"); then "python data_prep/your_dataset.py --table '
            'labelled.csv --out data/mine" makes a dataset of them for the other notebooks.'
        )
        return {"id": "", "kind": "done", "text": text, "caption": ""}

    def _picture(self, item: Item) -> tuple[bytes, str] | None:
        if item.file is None:
            return b"", ""
        try:
            return self.session.collection.picture(item.id)
        except LabelError:
            if item.id not in self.session.collection.unreadable:  # the cache cannot be written
                raise
            return None

    def _prepare(self, batch: list[Item]) -> None:
        for item in batch:
            with suppress(LabelError):  # said when its turn comes
                self._picture(item)

    def _refresh(self) -> None:
        progress = asdict(self.session.progress())
        self.notes = self.session.notes
        accuracy = progress.pop("check_accuracy")
        progress["check_accuracy"] = None if math.isnan(accuracy) else accuracy
        self.state = {**progress, "is_training": self.session.is_training}

    def _repr_mimebundle_(self, **options) -> Any:
        """The widget, and for pages without a kernel what it shows now as a picture and a table."""
        bundle = super()._repr_mimebundle_(**options)
        data = bundle[0] if isinstance(bundle, tuple) else bundle
        if data is not None:
            data["text/html"] = self._still()
        return bundle

    def _still(self) -> str:
        shown = self.shown
        content = f"<blockquote>{html.escape(shown.get('text') or '')}</blockquote>"
        if shown["kind"] == "image":
            picture = base64.b64encode(self.picture).decode()
            # a page's own style may set one of the two
            style = "height: 12rem; width: auto; image-rendering: pixelated"
            content = (
                f'<img alt="{html.escape(shown["id"])}" style="{style}" '
                f'src="data:{shown["media"]};base64,{picture}">'
            )
        cells = [f"<td>{html.escape(k)}</td><td>{html.escape(v)}</td>" for k, v in self._facts()]
        rows = "".join(f"<tr>{cell}</tr>" for cell in cells)
        return f"<div>{content}<table><tbody>{rows}</tbody></table></div>"

    def _facts(self) -> list[tuple[str, str]]:
        state = self.state
        accuracy = "–"
        if state["check_accuracy"] is not None:
            accuracy = f"{state['check_accuracy']:.3f} ({state['n_check']} items)"
        return [
            ("shown", self.shown["id"] or "nothing is left"),
            ("labels", str(state["n_labels"])),
            ("left", str(state["n_left"])),
            *((f"of these {name}", str(n)) for name, n in state["class_mix"].items()),
            ("accuracy on the check set", accuracy),
            ("model", state["status"]),
        ]
