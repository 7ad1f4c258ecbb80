"""Where things live; everything that locks, writes whole or not at all, appends durably, hashes."""

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from threading import get_ident
from typing import IO, Any

import numpy as np
import pandas as pd

from alpt_lib.errors import CompanionError, DataError

REPOSITORY = Path(__file__).resolve().parent.parent
WEIGHTS = Path(__file__).resolve().parent / "weights"
SETTLED = 2.0  # s since a file changed, before its hash is remembered
CONTENTS = {"uint8": "decoded images", "int32": "tokens", "float32": "features"}


def home() -> Path:
    """The folder of data/, runs/ and figures/: the checkout, unless ALPT_HOME names another."""
    return _resolved(os.environ.get("ALPT_HOME", str(REPOSITORY)), os.getcwd())


@lru_cache(maxsize=8)
def _resolved(path: str, start: str) -> Path:
    """Asked for with every look at a run, and it takes a hundred times as long as the look."""
    return Path(start, path).resolve()


def runs_folder() -> Path:
    """Stored runs, one folder each."""
    return home() / "runs"


def cache_folder() -> Path:
    """Decoded images, tokens, features, hashes, what was measured here; safe to delete."""
    return home() / "data" / "cache"


@contextmanager
def locked(file: Path, wait: bool = True) -> Iterator[bool]:
    """Hold a lock file, on any machine that shares the folder; it is freed if its owner dies.

    Yields:
        whether it is ours; always True with `wait`.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with open(file, "a+") as stream:
        is_ours = False
        with suppress(BlockingIOError):
            fcntl.flock(stream, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            is_ours = True
        yield is_ours


@contextmanager
def whole_file(target: Path) -> Iterator[IO[bytes]]:
    """Write a file whole or not at all: it gets its name when everything is on the disk.

    Raises:
        OSError: names the file.
    """
    partial = target.with_name(f".{target.name}.{os.getpid()}.{get_ident()}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(partial, target)
    except OSError as error:
        # a full disk does not say which file it refused
        if error.errno:
            error.filename = str(target)
        raise
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def write_whole(target: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with whole_file(target) as stream:
        stream.write(text.encode())


def append_durably(file: Path, text: str, is_synced: bool = True) -> None:
    """Add a record to a file; it is on the disk before this returns.

    Args:
        is_synced: otherwise it outlives this process, but may not outlive a power cut.
    Raises:
        OSError: a full disk; nothing of the record stays, so that the next one is not glued to it.
    """
    with open(file, "ab", buffering=0) as stream:
        size = os.fstat(stream.fileno()).st_size
        rest = memoryview(text.encode())
        try:
            while rest:
                rest = rest[os.write(stream.fileno(), rest) :]
            if is_synced:
                os.fsync(stream.fileno())
        except OSError:
            stream.truncate(size)
            raise


@contextmanager
def one_line_errors(
    what: object, kind: type[CompanionError], remedy: str, doing: str = "write"
) -> Iterator[None]:
    """Turn an OSError into one line: what cannot be written (or read), why, what to do."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise kind(f"cannot {doing} {what}: {reason}; {remedy}") from error


def shared_memory() -> AbstractContextManager[None]:
    """Turn what starting a pool of processes raises without shared memory into one line."""
    remedy = "have it mounted, writable, with some space left (docker: --shm-size 64m)"
    return one_line_errors("shared memory, /dev/shm", CompanionError, remedy, "use")


def hashed(content: Any) -> str:
    """16 hexadecimal digits of anything that json can hold."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def hash_file(file: Path) -> str:
    """sha256 of a file's content, remembered by its path, size, time and inode."""
    return hash_files([file], memory=file)[0]


def hash_files(files: Sequence[Path | str], memory: Path) -> list[str]:
    """sha256 of each file's content; what has the size, time and inode of before is not read again.

    Args:
        memory: what the files belong to (a folder, say), under which their hashes are remembered.
    Raises:
        OSError: a file that cannot be read.
    """
    remembered = cache_folder() / "hashes" / f"{hashed(os.path.abspath(memory))}.parquet"
    known = _remembered(remembered)
    stats = [os.stat(file) for file in files]
    keys = [
        f"{s.st_size} {s.st_mtime_ns} {s.st_ino} {file}"
        for s, file in zip(stats, files, strict=True)
    ]
    new = {key: i for i, key in enumerate(keys) if key not in known}
    if new:
        from alpt_lib.progress import SLOW, Progress

        progress = Progress(len(new), "hash", "file", delay=SLOW)
        for key, i in new.items():
            with open(files[i], "rb") as stream:
                known[key] = hashlib.file_digest(stream, "sha256").hexdigest()
            progress.add(1)
        progress.close()
        # what changed a moment ago may change again within one tick of its clock
        latest = (time.time() - SETTLED) * 1e9
        settled = {
            key: known[key] for key, s in zip(keys, stats, strict=True) if s.st_mtime_ns < latest
        }
        with suppress(OSError), whole_file(remembered) as stream:
            pd.DataFrame(settled.items(), columns=["key", "hash"]).to_parquet(stream)
    return [known[key] for key in keys]


def _remembered(memory: Path) -> dict[str, str]:
    try:
        frame = pd.read_parquet(memory)
        return dict(zip(frame["key"], frame["hash"], strict=True))
    except (OSError, ValueError, KeyError):
        return {}


def made_once(target: Path, make: Callable[[], None]) -> np.ndarray:
    """The array in a file, memory-mapped; the process that comes first makes it, others wait.

    Raises:
        DataError: it cannot be made or read.
    """
    try:
        if not _is_whole(target):
            # a lock for each file: what makes one may need another
            with locked(target.with_suffix(".lock")):
                if not _is_whole(target):
                    make()
        array = np.load(target, mmap_mode="r")
        if hash_file(target) != _hash_beside(target).read_text():
            raise ValueError("its content is not what was written")
        return array
    except CompanionError:
        raise
    except (OSError, ValueError, EOFError) as error:
        raise DataError(
            f"cannot make or read {target}: {error}; make its folder writable, or delete a "
            "damaged file"
        ) from error


@contextmanager
def new_array(target: Path, shape: tuple[int, ...], dtype: type) -> Iterator[np.memmap]:
    """An array in a file, which gets its name only when it is whole; its hash stands beside it.

    Its space is taken at once: writing to a mapped file on a full disk would kill the process.

    Raises:
        DataError: there is no space.
    """
    partial = target.with_suffix(".partial")
    try:
        array = _allocated(partial, shape, dtype)
        yield array
        array.flush()
        with open(partial, "rb") as stream:
            content = hashlib.file_digest(stream, "sha256").hexdigest()
        write_whole(_hash_beside(target), content)
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)


def _is_whole(target: Path) -> bool:
    """Whether an array and its hash are there; without its hash it is made again."""
    return target.exists() and _hash_beside(target).exists()


def _hash_beside(target: Path) -> Path:
    return target.with_suffix(".sha256")


def _allocated(file: Path, shape: tuple[int, ...], dtype: type) -> np.memmap:
    try:
        array = np.lib.format.open_memmap(file, mode="w+", dtype=dtype, shape=shape)
        with open(file, "r+b") as stream:
            if hasattr(os, "posix_fallocate"):  # not on macOS
                os.posix_fallocate(stream.fileno(), 0, file.stat().st_size)
        return array
    except (OSError, ValueError, OverflowError) as error:
        gigabytes = np.prod(shape, dtype=float) * np.dtype(dtype).itemsize / 1e9
        what = CONTENTS.get(np.dtype(dtype).name, "numbers")
        raise DataError(
            f"cannot write {gigabytes:,.1f} GB of {what} to {file.parent}: {error}; free some "
            "space, or take smaller images, fewer tokens or fewer examples"
        ) from error
