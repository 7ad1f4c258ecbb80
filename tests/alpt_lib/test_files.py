"""Locks, files that are whole or not there, records that are durable, hashes that notice."""

import errno
import hashlib
import multiprocessing
import os
import resource
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from unittest.mock import Mock

import numpy as np
import pytest

from alpt_lib.errors import DataError, StoreError
from alpt_lib.files import (
    append_durably,
    hash_file,
    hash_files,
    locked,
    made_once,
    new_array,
    one_line_errors,
    write_whole,
)


@contextmanager
def full_disk(size: int):
    """No file may grow beyond so many bytes: the kernel writes a part, then refuses the rest."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("room", [0, 1, 7])
def test_on_a_full_disk_nothing_of_a_record_stays(tmp_path, room):
    file = tmp_path / "records"
    append_durably(file, "first\n")
    with full_disk(6 + room), pytest.raises(OSError, match="File too large"):
        append_durably(file, "second, a longer one\n")
    assert file.read_text() == "first\n"
    append_durably(file, "thïrd\n")
    assert file.read_text() == "first\nthïrd\n"


def test_a_record_that_is_written_in_parts_is_whole(tmp_path, monkeypatch):
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, text: write(descriptor, text[:3]))
    append_durably(tmp_path / "records", "a long record\n")
    assert (tmp_path / "records").read_text() == "a long record\n"


@pytest.mark.parametrize("is_there", [False, True])
def test_a_file_is_written_whole_or_not_at_all(tmp_path, is_there):
    file = tmp_path / "below" / "file"
    if is_there:
        write_whole(file, "before")
    with full_disk(5), pytest.raises(OSError, match="File too large") as error:
        write_whole(file, "content")
    assert error.value.filename == str(file)
    assert [path.name for path in file.parent.iterdir()] == ["file"] * is_there
    write_whole(file, "after")
    assert file.read_text() == "after"
    assert [path.name for path in file.parent.iterdir()] == ["file"]


def hold(file, is_held):
    with locked(file):
        is_held.set()
        time.sleep(60)


def test_a_lock_has_one_holder_and_is_free_when_its_process_dies(tmp_path):
    file = tmp_path / "below" / "lock"
    context = multiprocessing.get_context("fork")
    is_held = context.Event()
    holder = context.Process(target=hold, args=(file, is_held))
    holder.start()
    is_held.wait()
    with locked(file, wait=False) as is_ours:
        assert not is_ours
    holder.kill()
    # waits until it is free
    with locked(file) as is_ours:
        assert is_ours
    holder.join()


@pytest.mark.parametrize("doing", ["write", "read"])
def test_an_error_of_the_disk_is_one_line_with_what_to_do(doing):
    said = rf"^cannot {doing} the store: No space left on device; free some$"
    given = ("the store", StoreError, "free some", doing)
    with pytest.raises(StoreError, match=said), one_line_errors(*given):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "file")


def test_hashes_are_remembered_by_folder_and_notice_what_changed(tmp_path, home, monkeypatch):
    # a cache of its own
    (home / "data" / "cache").unlink()
    paths = [tmp_path / name for name in "abc"]
    for path in paths:
        path.write_text(path.name)
        os.utime(path, (1e9, 1e9))
    expected = [hashlib.sha256(name.encode()).hexdigest() for name in "abc"]
    digest = Mock(wraps=hashlib.file_digest)
    monkeypatch.setattr(hashlib, "file_digest", digest)
    for _ in range(2):
        assert hash_files(paths, memory=tmp_path) == expected
    assert digest.call_count == 3
    # of the same size and time, but another file
    os.replace(paths[0], tmp_path / "d")
    os.replace(paths[1], paths[0])
    os.replace(tmp_path / "d", paths[1])
    # just now, in place
    paths[2].write_text("x")
    changed = [expected[1], expected[0], hashlib.sha256(b"x").hexdigest()]
    assert hash_files(paths, memory=tmp_path) == changed
    # within one tick of the clock
    stat = paths[2].stat()
    paths[2].write_text("y")
    os.utime(paths[2], ns=(stat.st_mtime_ns,) * 2)
    assert hash_file(paths[2]) == hashlib.sha256(b"y").hexdigest()
    assert hash_files(paths, memory=tmp_path)[2] == hashlib.sha256(b"y").hexdigest()
    # where nothing can be remembered
    for memory in (home / "data" / "cache" / "hashes").iterdir():
        memory.write_text("damaged")
        assert hash_files(paths[:2], memory=tmp_path) == changed[:2]
    shutil.rmtree(home / "data" / "cache")
    (home / "data" / "cache").write_text("no folder")
    assert hash_files(paths[:2], memory=tmp_path) == changed[:2]


def make_array(target, value, shape=(3, 2)):
    with new_array(target, shape, np.float32) as array:
        array[:] = value


def test_an_array_is_made_by_one_while_others_wait_over_what_a_dead_process_left(tmp_path):
    target = tmp_path / "below" / "array.npy"
    target.parent.mkdir()
    target.with_suffix(".partial").write_bytes(b"half" * 10_000)
    made = []

    def make():
        made.append(time.sleep(0.1))
        make_array(target, len(made))

    with ThreadPoolExecutor() as threads:
        arrays = list(threads.map(lambda _: np.array(made_once(target, make)), range(4)))
    assert len(made) == 1
    assert all((array == np.ones((3, 2))).all() for array in arrays)
    left = sorted(path.suffix for path in target.parent.iterdir())
    assert left == [".lock", ".npy", ".sha256"]


def test_an_array_that_fails_half_way_leaves_nothing(tmp_path):
    target = tmp_path / "array.npy"
    with pytest.raises(ValueError, match="broadcast"):
        make_array(target, np.zeros(5))
    said = r"cannot write 4.0 GB of features to .*: .*; free some space, or take smaller images"
    with full_disk(10_000), pytest.raises(DataError, match=said):
        make_array(target, 1, shape=(10**9,))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("spoil", [lambda b: b[:-1], lambda b: b[:-1] + b"x", lambda b: b""])
def test_a_damaged_array_is_named_and_one_that_cannot_be_made_too(tmp_path, spoil):
    target = tmp_path / "array.npy"
    make_array(target, 1)
    target.write_bytes(spoil(target.read_bytes()))
    with pytest.raises(DataError, match=rf"^cannot make or read {target}: .*or delete a damaged"):
        made_once(target, None)
    target = target / "below.npy"
    with pytest.raises(DataError, match=r"cannot make or read .*(Not a directory|File exists)"):
        made_once(target, lambda: make_array(target, 1))
