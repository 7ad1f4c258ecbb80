"""TODO: what this room holds."""

from difflib import get_close_matches
from typing import Any


class CompanionError(ValueError):
    """Bad input, said in one line: what was asked, what was found, what to do."""

    def __init__(self, message: str):
        super().__init__(
            " ".join(message.split())
        )  # libraries whose words we pass on use several lines

    def _render_traceback_(self) -> list[str]:  # notebooks show the line, not a traceback
        return [f"{type(self).__name__}: {self}"]


class ConfigError(CompanionError):
    """A setting that is unknown, of the wrong type, or outside its range; the message lists what is valid."""


def unknown(what: str, value: Any, known: list[str] | tuple[str, ...]) -> str:
    """One line for an unknown name: what was asked, the nearest known name, all known names."""
    near = get_close_matches(str(value), [str(k) for k in known], n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return f"unknown {what} {value!r}{hint}; known: {', '.join(map(str, known))}"


class DataError(CompanionError):
    """Something is wrong with a dataset folder; the message says what was found and what to do."""


class ModelError(CompanionError):
    """A model that is unknown, or weights that are missing, do not fit or fail their checksum."""


class TrainingDiverged(RuntimeError):
    """The training loss, or what the model gives after it, stopped being a number."""


class TrainingOutOfMemory(CompanionError):
    """A training batch does not fit on the device. It is never made smaller unasked."""
