"""A labelling session with buttons and keys in JupyterLab. Nothing to install there: anywidget brings its own page code.

    LabelWidget(labelling.open_session("my/pictures", ["cat", "dog"]))

The page is told one item at a time and answers with its id and the label; the next one comes once that answer is on the disk.
A new model is trained in a thread of its own whenever a query batch was labelled.
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

from companion.labelling.items import LabelError
from companion.labelling.session import CANNOT_TELL, SKIPPED, Item, Session

TEMPLATES = Path(__file__).parent / "templates"

PICTURES_KEPT = 8  # that come next, scaled down before they are shown


class LabelWidget(anywidget.AnyWidget):
    """Shows what a session asks for and tells it what the person says."""

    _esm = TEMPLATES / "label_widget.js"
    _css = TEMPLATES / "label_widget.css"
    shown = traitlets.Dict().tag(
        sync=True
    )  # turn, id, kind (image, text or done), text, media type, asked
    picture = traitlets.Bytes().tag(sync=True)
    state = traitlets.Dict().tag(sync=True)  # progress in words and numbers
    classes = traitlets.List().tag(sync=True)
    notes = traitlets.List().tag(sync=True)
    words = traitlets.Dict({"cannot_tell": CANNOT_TELL, "skipped": SKIPPED}).tag(sync=True)
    problem = traitlets.Unicode().tag(sync=True)

    def __init__(self, session: Session):
        super().__init__(classes=session.collection.classes)
        self.session, self._turn = session, 0
        session.listeners.append(self._refresh)
        self.on_msg(self._answer)
        self._train_if_due()
        self._show()

    def _answer(self, widget: Any, content: dict[str, Any], buffers: Any) -> None:
        """A button or key: {"do": "tell", "id", "label"} or {"do": "undo"}."""
        try:
            self.problem = ""
            if content.get("do") == "undo":
                self.session.undo()
            elif content.get("do") == "tell" and content.get("id") == self.shown.get(
                "id"
            ):  # else a page that is behind
                self.session.tell(content["id"], content["label"])
                self._train_if_due()
            self._show()
        except LabelError as error:
            self.problem = str(error)
            self._show_again()

    def _train_if_due(self) -> None:
        if self.session.refit_is_due():
            self.session.refit(wait=False)

    def _show(self) -> None:
        """The next item that can be read; a picture that cannot be is left out, and `notes` names it."""
        while batch := self.session.ask():
            if (picture := self._picture(batch[0])) is not None:
                break
        self._turn += 1
        with self.hold_sync():
            self.picture = picture[0] if batch else b""
            self.shown = {
                "turn": self._turn,
                **(_described(batch[0], picture[1]) if batch else {"id": "", "kind": "done"}),
            }
            self._refresh()
        threading.Thread(target=self._prepare, args=(batch[1:PICTURES_KEPT],), daemon=True).start()

    def _show_again(self) -> None:
        self._turn += 1
        self.shown = {**self.shown, "turn": self._turn}

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
        progress, self.notes = asdict(self.session.progress()), self.session.notes
        accuracy = progress.pop("check_accuracy")
        self.state = {
            **progress,
            "check_accuracy": None if math.isnan(accuracy) else accuracy,
            "is_training": self.session.is_training,
        }

    def _repr_mimebundle_(self, **options) -> Any:
        """The widget, and for pages without a kernel what it shows now as a picture and a table."""
        bundle = super()._repr_mimebundle_(**options)
        data = bundle[0] if isinstance(bundle, tuple) else bundle
        if data is not None:
            data["text/html"] = self._still()
        return bundle

    def _still(self) -> str:
        shown, state = self.shown, self.state
        picture = base64.b64encode(self.picture).decode()
        content = (
            f'<img alt="{html.escape(shown["id"])}" style="height: 12rem; image-rendering: pixelated" '
            f'src="data:{shown["media"]};base64,{picture}">'
            if shown["kind"] == "image"
            else f"<blockquote>{html.escape(shown.get('text', ''))}</blockquote>"
        )
        accuracy = state["check_accuracy"]
        rows = {
            "shown": shown["id"] or "nothing is left",
            "labels": state["n_labels"],
            "left": state["n_left"],
            **{f"of these {name}": n for name, n in state["class_mix"].items()},
            "accuracy on the check set": "–"
            if accuracy is None
            else f"{accuracy:.3f} ({state['n_check']} items)",
            "model": state["status"],
        }
        cells = "".join(
            f"<tr><td>{html.escape(k)}</td><td>{html.escape(str(v))}</td></tr>"
            for k, v in rows.items()
        )
        return f"<div>{content}<table><tbody>{cells}</tbody></table></div>"


def _described(item: Item, kind: str) -> dict[str, Any]:
    asked = (
        "asked at random" if item.score is None else f"asked by the model (score {item.score:.3f})"
    )
    if item.file is None:
        return {"id": item.id, "kind": "text", "text": item.text, "asked": asked}
    return {"id": item.id, "kind": "image", "media": f"image/{kind}", "asked": asked}
