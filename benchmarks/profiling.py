"""Where the time of runs goes, part by part: `run_all.sh --profile`."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import reduce
from importlib import import_module

WANTED = "ALPT_PROFILE"  # environment variable: worker processes measure, too

PARTS = {  # what is measured: a function, by module and name; no part holds another
    "read datasets": ("datasets", "load"),
    "decode images": ("datasets", "_decode"),
    "build models": ("training", "create"),
    "training steps": ("training", "Learner.fit"),
    "evaluate": ("loop", "evaluate"),
    "score pools, select": ("loop", "query"),
}


@contextmanager
def clocks() -> Iterator[Counter]:
    """Seconds of each part while it is open; what no part claims is storing, resuming and probing."""
    spent: Counter = Counter()
    owners = {part: _owner(*place) for part, place in PARTS.items()}
    originals = {part: getattr(owner, name) for part, (owner, name) in owners.items()}
    for part, (owner, name) in owners.items():
        setattr(owner, name, _clocked(spent, part, originals[part]))
    try:
        yield spent
    finally:
        for part, (owner, name) in owners.items():
            setattr(owner, name, originals[part])


def _owner(module: str, path: str) -> tuple[object, str]:
    *parents, name = path.split(".")
    return reduce(getattr, parents, import_module(f"alpt_lib.{module}")), name


def _clocked(spent: Counter, part: str, function: Callable) -> Callable:
    def call(*arguments, **named):
        started = time.perf_counter()
        try:
            return function(*arguments, **named)
        finally:
            spent[part] += time.perf_counter() - started

    return call


def table(spent: Counter) -> str:
    """Parts with their seconds, summed over worker processes, and their shares; the largest first."""
    return "\n".join(
        f"{part:24} {seconds:9.1f} s {seconds / spent.total():7.1%}"
        for part, seconds in spent.most_common()
    )
