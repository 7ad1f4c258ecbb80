"""Where things live: everything under one home folder, the checkout unless ALPT_HOME says otherwise."""

import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from alpt_lib.errors import CompanionError, DataError

REPOSITORY = Path(__file__).resolve().parent.parent

WEIGHTS = Path(__file__).resolve().parent / "weights"


def home() -> Path:
    """The folder that holds data/, runs/ and figures/."""
    return Path(os.environ.get("ALPT_HOME", REPOSITORY)).resolve()


def runs_folder() -> Path:
    """Stored runs, one folder each."""
    return home() / "runs"


def cache_folder() -> Path:
    """Decoded images, tokens, features and what was measured of this machine; safe to delete."""
    return home() / "data" / "cache"


def made_once(target: Path, make: Callable[[], None]) -> np.ndarray:
    """The array in a file, memory-mapped; the process that comes first makes it, on any machine, and others wait for that."""
    try:
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            with open(
                target.with_suffix(".lock"), "w"
            ) as lock:  # one a file: what makes it may need another
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not target.exists():
                    make()
        return np.load(target, mmap_mode="r")
    except CompanionError:
        raise
    except (OSError, ValueError, EOFError) as error:
        raise DataError(
            f"cannot make or read {target}: {error}; make its folder writable, or delete a damaged file"
        ) from error


@contextmanager
def new_array(target: Path, shape: tuple[int, ...], dtype: type) -> Iterator[np.ndarray]:
    """An array in a file, which gets its name only when it is whole.

    Its space is taken at once (DataError: there is none): writing to a mapped file on a full disk would kill the process.
    """
    partial = target.with_suffix(".partial")
    try:
        array = _allocate(partial, shape, dtype)
        yield array
        array.flush()
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)


def _allocate(file: Path, shape: tuple[int, ...], dtype: type) -> np.ndarray:
    try:
        array = np.lib.format.open_memmap(file, mode="w+", dtype=dtype, shape=shape)
        with open(file, "r+b") as stream:
            if hasattr(os, "posix_fallocate"):  # not on macOS
                os.posix_fallocate(stream.fileno(), 0, file.stat().st_size)
        return array
    except (OSError, ValueError, OverflowError) as error:
        gigabytes = np.prod(shape, dtype=float) * np.dtype(dtype).itemsize / 1e9
        what, smaller = {
            np.uint8: ("decoded images", "a smaller image size"),
            np.int32: ("tokens", "fewer max_tokens"),
            np.float32: ("features", "fewer examples"),
        }[dtype]
        raise DataError(
            f"cannot write {gigabytes:,.1f} GB of {what} to {file.parent}: {error}; free some space, or "
            f"take {smaller}"
        ) from error


def hashed(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def replace_text(file: Path, text: str) -> None:
    """Write a whole file or nothing; only the holder of the run's lock calls it."""
    partial = file.with_suffix(".partial")
    with open(partial, "w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(partial, file)
