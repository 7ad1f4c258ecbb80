"""Active learning with a person as the oracle: ask, tell, train again (paper, section 2).

    session = labelling.open_session("my/pictures", ["cat", "dog"])
    for item in session.ask(10):
        session.tell(item.id, "cat")  # in any order, or not at all; CANNOT_TELL; UNDONE
    session.refit()

It is the loop of `alpt_lib.loop` turned inside out: the same pool, scores, streams of random
numbers and training from the initial weights; told the labels of a stored run, it asks that run's
questions. Whoever has buttons can drive it; `labelling.LabelWidget(session)` is one example.
"""

from typing import Any

from companion.labelling.asking import Item
from companion.labelling.session import Progress, Session, open_session
from companion.labelling.storage import CANNOT_TELL, SKIPPED, UNDONE

__all__ = [
    "CANNOT_TELL",
    "SKIPPED",
    "UNDONE",
    "Item",
    "LabelWidget",
    "Progress",
    "Session",
    "open_session",
]


def __getattr__(name: str) -> Any:
    """The widget's packages are imported only where somebody uses it."""
    if name != "LabelWidget":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from companion.labelling.screen import LabelWidget

    return LabelWidget
