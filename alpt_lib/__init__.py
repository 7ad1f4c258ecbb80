"""Companion to 'Active Learning Helps Pretrained Models Learn the Intended Task': the method.

What ten lines of Python need; the README starts with them. Names are loaded when they are used, so
that nobody who only reads results waits for torch.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"
HOME_OF = {
    "read_dataset": "datasets",
    "Protocol": "config",
    "Recipe": "config",
    "RunConfig": "config",
    "FineTunedNetwork": "training",
    "active_learning": "loop",
}
__all__ = list(HOME_OF)


def __getattr__(name: str) -> Any:
    if name not in HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{HOME_OF[name]}"), name)
