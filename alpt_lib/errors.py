"""Errors that people are to see: one line: what was asked, what was found, what to do."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any


class CompanionError(ValueError):
    """Bad input, said in one line: what was asked, what was found, what to do."""

    def __init__(self, message: str):
        # libraries whose words we pass on use several lines
        super().__init__(" ".join(visible(message).split()))

    def _render_traceback_(self) -> list[str]:
        """Notebooks show the line, not a traceback."""
        return [f"{type(self).__name__}: {self}"]


class ConfigError(CompanionError):
    """A setting that is unknown, of the wrong type, or outside its range; lists what is valid."""


class DataError(CompanionError):
    """Something is wrong with a dataset, a table or a picture."""


class ModelError(CompanionError):
    """A model that is unknown, or weights that are missing, do not fit or fail their checksum."""


class LabelError(CompanionError):
    """Something to be labelled, or a label, cannot be taken."""


class StoreError(CompanionError):
    """The run store cannot be read or written: a full disk, a read-only folder."""


class TrainingDiverged(CompanionError):
    """The training loss, or what the model gives after it, stopped being a number."""


class TrainingOutOfMemory(CompanionError):
    """A training batch does not fit on the device. It is never made smaller unasked."""


def unknown(what: str, value: Any, known: Iterable[Any]) -> str:
    """One line for an unknown name: what was asked, the nearest known name, all known names."""
    names = [str(name) for name in known]
    near = get_close_matches(str(value), names, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return f"unknown {what} {value!r}{hint}; known: {', '.join(names)}"


def one_line(error: BaseException) -> str:
    """An error of any kind as `Type: words`, in one line."""
    return f"{type(error).__name__}: {' '.join(visible(str(error)).split())}"


def visible(text: str) -> str:
    """Control characters and broken surrogates as escapes: they would steer a terminal."""
    return "".join(c if c.isprintable() or c in "\n\t\r " else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "backslashreplace").decode()
