"""data_prep/release.py: downloads from a server on this machine, archives good and bad, checks, dataset folders."""

import hashlib
import io
import os
import re
import signal
import socket
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from collections import namedtuple
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from alpt_lib import datasets

DATA_PREP = Path(__file__).resolve().parent.parent / "data_prep"
sys.path.insert(0, str(DATA_PREP))

import release  # noqa: E402
from release import Archive, ReleaseError  # noqa: E402

CONTENT = np.random.default_rng(0).bytes(300_000)
MD5 = f"md5:{hashlib.md5(CONTENT).hexdigest()}"


class Handler(BaseHTTPRequestHandler):
    """Serves `server.files`; a path may be told to drop the connection, to ignore ranges, or to dawdle."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        if self.path not in self.server.files:
            return self.send_error(404)
        self.send_response(200)
        if self.path not in self.server.hides_length:
            self.send_header("Content-Length", str(len(self.server.files[self.path])))
        self.end_headers()

    def do_GET(self):
        server, path = self.server, self.path
        server.asked.append((path, self.headers.get("Range")))
        if path not in server.files:
            return self.send_error(404)
        content = server.files[path]
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(wanted[1]) if wanted and path not in server.ignores_ranges else 0
        if start and start >= len(content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        self.send_response(206 if start else 200)
        if path not in server.hides_length:
            self.send_header("Content-Length", str(len(content) - start))
        self.send_header("Connection", "close")
        self.end_headers()
        drops = server.drops.get(path, [])
        end = drops.pop(0) if drops else len(content)
        if path in server.dawdles:
            self.wfile.write(content[start:100_000])
            self.wfile.flush()
            return server.released.wait(20)
        self.wfile.write(content[start:end])
        self.close_connection = True

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    served = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.files, served.asked, served.drops = {"/file.bin": CONTENT}, [], {}
    served.ignores_ranges, served.hides_length, served.dawdles = set(), set(), set()
    served.released = threading.Event()
    served.url = f"http://127.0.0.1:{served.server_port}"
    threading.Thread(
        target=served.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
    ).start()
    yield served
    served.released.set()
    served.shutdown()
    served.server_close()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def archive(server, *paths: str, **known) -> Archive:
    return Archive(
        "file.bin", tuple(server.url + path for path in paths or ("/file.bin",)), **known
    )


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


# --- downloads ---


def test_a_download_arrives_whole_under_its_name(server, tmp_path):
    file = release.download(archive(server, n_bytes=len(CONTENT), digest=MD5), tmp_path)
    assert file.read_bytes() == CONTENT
    assert names(tmp_path) == ["file.bin"]


def test_fetch_says_first_how_much_it_will_be(server, tmp_path, capsys):
    (tmp_path / "file.bin.partial").write_bytes(CONTENT[:100_000])
    release.fetch([archive(server, n_bytes=len(CONTENT), digest=MD5)], tmp_path)
    assert capsys.readouterr().out.startswith(
        f"to download: 195.3 KiB; disk needed: 195.3 KiB in {tmp_path}\n"
    )


def test_a_size_that_is_not_published_is_asked_of_the_mirrors(server, tmp_path, capsys):
    content = server.files["/birds.tgz"] = tar(GOOD)
    release.fetch(
        [Archive("birds.tgz", (f"{server.url}/gone", f"{server.url}/birds.tgz"), unpacked="birds")],
        tmp_path,
    )
    size = [release.human(len(content)), release.human(2 * len(content))]
    assert capsys.readouterr().out.startswith(
        f"to download: {size[0]}; disk needed: {size[1]} in {tmp_path}\n"
    )


def test_fetch_names_the_files_whose_size_nobody_says(server, tmp_path, capsys):
    server.hides_length.add("/file.bin")
    release.fetch([archive(server)], tmp_path)
    said = capsys.readouterr().out
    assert (
        f"to download: 0 B; disk needed: 0 B in {tmp_path}, and file.bin, whose size is not published"
        in said
    )
    assert f"no published hash to check; sha256 is {hashlib.sha256(CONTENT).hexdigest()}" in said


def test_without_a_terminal_progress_is_a_plain_line_now_and_then(
    server, tmp_path, capsys, monkeypatch
):
    clock = iter(range(0, 10_000, 31))  # every chunk takes 31 seconds
    monkeypatch.setattr(release.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(release, "CHUNK", 150_000)
    release.download(archive(server, digest=MD5), tmp_path)
    assert "file.bin: 293.0 KiB of 293.0 KiB" in capsys.readouterr().out


def test_a_dropped_connection_is_taken_up_where_it_broke(server, tmp_path, capsys):
    server.drops["/file.bin"] = [150_000, 200_000]
    file = release.download(archive(server, digest=MD5), tmp_path)
    assert file.read_bytes() == CONTENT
    assert [asked for _, asked in server.asked] == [None, "bytes=150000-", "bytes=200000-"]
    assert "broke off after 146.5 KiB of 293.0 KiB" in capsys.readouterr().out


def test_what_an_earlier_run_left_is_not_fetched_again(server, tmp_path):
    (tmp_path / "file.bin.partial").write_bytes(CONTENT[:299_999])
    assert release.download(archive(server, digest=MD5), tmp_path).read_bytes() == CONTENT
    assert server.asked == [("/file.bin", "bytes=299999-")]


@pytest.mark.parametrize("n_bytes", [None, len(CONTENT)])
def test_a_download_stopped_before_its_check_needs_no_more_bytes(server, tmp_path, n_bytes):
    (tmp_path / "file.bin.partial").write_bytes(CONTENT)
    release.download(archive(server, n_bytes=n_bytes, digest=MD5), tmp_path)
    assert server.asked == ([] if n_bytes else [("/file.bin", f"bytes={len(CONTENT)}-")])
    assert names(tmp_path) == ["file.bin"]


def test_a_partial_file_longer_than_the_servers_is_started_again(server, tmp_path):
    (tmp_path / "file.bin.partial").write_bytes(CONTENT + b"more")
    assert release.download(archive(server), tmp_path).read_bytes() == CONTENT


def test_a_server_that_ignores_ranges_gives_the_same_bytes(server, tmp_path):
    server.ignores_ranges.add("/file.bin")
    (tmp_path / "file.bin.partial").write_bytes(b"x" * 1000)
    assert release.download(archive(server, digest=MD5), tmp_path).read_bytes() == CONTENT


def test_a_server_that_always_drops_is_given_up_and_the_partial_file_kept(server, tmp_path):
    server.ignores_ranges.add("/file.bin")
    server.drops["/file.bin"] = [1000] * 9
    with pytest.raises(ReleaseError, match="broke off after 1000 B"):
        release.download(archive(server, digest=MD5), tmp_path)
    assert names(tmp_path) == ["file.bin.partial"]


def test_a_short_file_of_unknown_length_is_seen_by_its_published_size(server, tmp_path):
    server.hides_length.add("/file.bin")
    server.drops["/file.bin"] = [1000]
    assert release.download(archive(server, n_bytes=len(CONTENT)), tmp_path).read_bytes() == CONTENT
    assert len(server.asked) == 2


def test_a_wrong_hash_is_refused_and_removed(server, tmp_path):
    with pytest.raises(ReleaseError, match=f"md5 is {MD5[4:]}, expected 00"):
        release.download(archive(server, digest="md5:00"), tmp_path)
    assert names(tmp_path) == []


def test_a_wrong_size_is_refused_before_anything_is_fetched(server, tmp_path):
    with pytest.raises(ReleaseError, match="300000 bytes instead of 12"):
        release.download(archive(server, n_bytes=12), tmp_path)
    assert names(tmp_path) == []


def test_a_file_put_there_by_hand_is_checked_and_not_deleted(server, tmp_path):
    (tmp_path / "file.bin").write_bytes(CONTENT[:5])
    with pytest.raises(
        ReleaseError,
        match=r"file.bin is not the published file: md5 is .*; delete it and run this again",
    ):
        release.download(archive(server, digest=MD5), tmp_path)
    assert names(tmp_path) == ["file.bin"]


def test_mirrors_are_tried_in_order(server, tmp_path):
    server.files["/wrong"] = b"something else"
    file = release.download(
        archive(server, "/gone", "/wrong", "/file.bin", "/never", digest=MD5), tmp_path
    )
    assert file.read_bytes() == CONTENT
    assert [path for path, _ in server.asked] == ["/gone", "/wrong", "/file.bin"]


def test_a_mirror_that_answers_with_a_page_is_passed_over(server, tmp_path, capsys):
    server.files |= {"/page": b"<html>moved</html>", "/birds.tgz": tar(GOOD)}
    with pytest.raises(
        ReleaseError, match=r"/page \(no .tgz file, it begins with b'<html>moved</html>'\)"
    ):
        release.download(Archive("birds.tgz", (f"{server.url}/page",), unpacked="birds"), tmp_path)
    assert names(tmp_path) == []
    release.fetch(
        [Archive("birds.tgz", (f"{server.url}/page", f"{server.url}/birds.tgz"), unpacked="birds")],
        tmp_path,
    )
    assert names(tmp_path) == ["birds"]


def test_a_copy_packed_anew_is_checked_and_resumed_by_its_own_bytes(server, tmp_path):
    server.files["/other"] = CONTENT[::-1]
    server.drops["/file.bin"] = [1000, 1000]  # the host fails on the way
    copy = Archive(
        "other.bin",
        (f"{server.url}/other",),
        digest=f"md5:{hashlib.md5(CONTENT[::-1]).hexdigest()}",
    )
    server.ignores_ranges.add("/file.bin")
    assert release.download(archive(server, copies=(copy,)), tmp_path).name == "other.bin"
    assert (tmp_path / "other.bin").read_bytes() == CONTENT[::-1]
    assert server.asked[-1] == ("/other", None)
    (tmp_path / "other.bin").unlink()
    server.files = {}
    with pytest.raises(
        ReleaseError, match=r"file.bin could not be downloaded: .*/file.bin \(HTTP.*/other \(HTTP"
    ):
        release.download(archive(server, copies=(copy,)), tmp_path)


def test_a_dead_link_ends_in_one_line_that_says_what_to_get_and_where_to_put_it(server, tmp_path):
    with pytest.raises(ReleaseError) as error:
        release.download(archive(server, "/gone", unpacked="birds"), tmp_path)
    assert str(error.value) == (
        f"file.bin could not be downloaded: {server.url}/gone (HTTP Error 404: Not Found). Get it elsewhere and put it (or "
        f"what it unpacks to, birds) into {tmp_path}, then run this again"
    )


def test_a_host_that_never_answers_is_given_up(tmp_path, monkeypatch):
    assert release.TIMEOUT <= 15  # twice, for a host with two addresses: half a minute
    monkeypatch.setattr(release, "TIMEOUT", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        began = time.monotonic()
        with pytest.raises(ReleaseError, match="timed out"):
            release.download(
                Archive("a", (f"http://127.0.0.1:{silent.getsockname()[1]}/a",)), tmp_path
            )
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/a", "http://nowhere.invalid/a", "no url"])
def test_unreachable_hosts_and_bad_addresses_are_one_line(tmp_path, url):
    with pytest.raises(ReleaseError, match="could not be downloaded") as error:
        release.download(Archive("a", (url,)), tmp_path)
    assert "\n" not in str(error.value)


def test_a_killed_download_leaves_only_its_partial_file_and_is_then_finished(server, tmp_path):
    server.dawdles.add("/file.bin")
    program = (
        "import sys; from pathlib import Path; import release; "
        "release.download(release.Archive('file.bin', (sys.argv[1],)), Path(sys.argv[2]))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, f"{server.url}/file.bin", str(tmp_path)], cwd=DATA_PREP
    )
    loaded = tmp_path / "file.bin.partial"
    for _ in range(400):
        if loaded.exists() and loaded.stat().st_size:
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert names(tmp_path) == ["file.bin.partial"]
    server.dawdles.clear()
    assert release.download(archive(server, digest=MD5), tmp_path).read_bytes() == CONTENT


def test_too_little_disk_is_one_line_before_the_download(server, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(release.shutil, "disk_usage", lambda _: usage(10**6, 10**6 - 2048, 2048))
    with pytest.raises(ReleaseError) as error:
        release.fetch(
            [archive(server, n_bytes=len(CONTENT), unpacked="birds", unpacked_bytes=10**6)],
            tmp_path,
        )
    assert (
        str(error.value)
        == f"{tmp_path} has 2.0 KiB free, 1.2 MiB are needed; make room or choose another --root"
    )
    assert server.asked == []


# --- archives ---


def tar(
    members: dict[str, bytes], links: dict[str, str] | None = None, mode: str = "w:gz"
) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as written:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            written.addfile(entry, io.BytesIO(content))
        for name, target in (links or {}).items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            written.addfile(entry)
    return stream.getvalue()


def zipped(members: dict[str, bytes], links: dict[str, str] | None = None) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as written:
        for name, content in members.items():
            written.writestr(name, content)
        for name, target in (links or {}).items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = 0o120777 << 16  # a symbolic link
            written.writestr(entry, target)
    return stream.getvalue()


GOOD = {
    "birds/metadata.csv": b"y\n0\n",
    "birds/001/a.jpg": CONTENT[:70_000],
    "birds/002/b.jpg": CONTENT[:9],
}
PACKERS = [("a.tar.gz", tar), ("a.tar", partial(tar, mode="w")), ("a.zip", zipped)]


def put(tmp_path: Path, name: str, content: bytes) -> Path:
    (tmp_path / name).write_bytes(content)
    return tmp_path / name


@pytest.mark.parametrize(("name", "pack"), PACKERS)
def test_an_archive_is_unpacked_whole(tmp_path, name, pack):
    release.unpack(put(tmp_path, name, pack(GOOD)), tmp_path, "birds")
    assert {
        str(p.relative_to(tmp_path)): p.read_bytes() for p in (tmp_path / "birds").rglob("*.*")
    } == GOOD
    assert names(tmp_path) == [name, "birds"]


@pytest.mark.parametrize(("name", "pack"), PACKERS)
def test_only_what_is_needed_is_unpacked(tmp_path, name, pack):
    release.unpack(
        put(tmp_path, name, pack(GOOD)), tmp_path, "birds", only=("birds/002/", "birds/meta")
    )
    assert sorted(p.name for p in (tmp_path / "birds").rglob("*.*")) == ["b.jpg", "metadata.csv"]


def test_a_fetched_archive_is_unpacked_and_then_removed(server, tmp_path):
    content = server.files["/birds.tgz"] = tar(GOOD)
    wanted = Archive("birds.tgz", (f"{server.url}/birds.tgz",), len(content), unpacked="birds")
    release.fetch([wanted], tmp_path)
    release.fetch([wanted], tmp_path)  # there already
    assert names(tmp_path) == ["birds"]
    assert len(server.asked) == 1


@pytest.mark.parametrize(("name", "pack"), PACKERS)
@pytest.mark.parametrize(
    ("members", "links"),
    [
        ({"/tmp/alpt_absolute": b""}, {}),
        ({"birds/../../outside": b""}, {}),
        ({}, {"birds/link": "/etc"}),
        ({}, {"birds/link": "../../outside"}),
    ],
)
def test_an_archive_that_would_write_outside_is_refused_whole(tmp_path, name, pack, members, links):
    root = tmp_path / "root"
    root.mkdir()
    with pytest.raises(ReleaseError, match="refused, it would write outside its folder"):
        release.unpack(put(root, name, pack({**GOOD, **members}, links)), root, "birds")
    assert names(root) == [name]
    assert names(tmp_path) == ["root"]
    assert not Path("/tmp/alpt_absolute").exists()


@pytest.mark.parametrize(("name", "pack"), PACKERS)
@pytest.mark.parametrize("kept", [0.0, 0.3, 0.6, 0.98])
def test_a_truncated_archive_is_refused_with_nothing_left(tmp_path, name, pack, kept):
    content = pack(GOOD)
    end = (
        len(content) if name != "a.tar" else content.rindex(CONTENT[:9]) + 512
    )  # a tar is padded with zeros at its end
    file = put(tmp_path, name, content[: int(kept * end)])
    with pytest.raises(ReleaseError, match="cannot be unpacked") as error:
        release.unpack(file, tmp_path, "birds")
    assert "\n" not in str(error.value)
    assert names(tmp_path) == [name]


def test_a_tar_cut_between_two_files_does_not_pass_for_whole(tmp_path):
    content = tar(GOOD, mode="w")
    file = put(tmp_path, "a.tar", content[: content.rindex(b"birds/002/b.jpg")])
    with tarfile.open(file) as lenient:
        assert len(lenient.getnames()) == 2  # what tarfile makes of it
    with pytest.raises(ReleaseError, match="no end mark"):
        release.unpack(file, tmp_path, "birds")
    assert names(tmp_path) == ["a.tar"]


@pytest.mark.parametrize(("name", "pack"), [PACKERS[0], PACKERS[2]])
def test_a_flipped_bit_is_found(tmp_path, name, pack):
    content = bytearray(pack(GOOD))
    content[30_000] ^= 1
    with pytest.raises(ReleaseError, match="cannot be unpacked"):
        release.unpack(put(tmp_path, name, bytes(content)), tmp_path, "birds")
    assert names(tmp_path) == [name]


def test_an_archive_of_something_else_is_named_by_what_it_holds(tmp_path):
    with pytest.raises(ReleaseError, match="holds no fishes; it has birds"):
        release.unpack(put(tmp_path, "a.tgz", tar(GOOD)), tmp_path, "fishes")


@pytest.mark.parametrize(("name", "pack"), PACKERS)
def test_an_interrupted_extraction_leaves_nothing(tmp_path, name, pack, monkeypatch):
    extracted = []

    def stop(self, member, *args, **kwargs):
        if extracted:
            raise KeyboardInterrupt
        extracted.append(member)

    for kind in (tarfile.TarFile, zipfile.ZipFile):
        monkeypatch.setattr(kind, "extract", stop)
    with pytest.raises(KeyboardInterrupt):
        release.unpack(put(tmp_path, name, pack(GOOD)), tmp_path, "birds")
    assert names(tmp_path) == [name]


def test_what_a_killed_extraction_left_is_not_taken_as_complete(server, tmp_path):
    (tmp_path / "birds.unpacking" / "birds" / "old").mkdir(parents=True)
    put(tmp_path, "birds.tgz", tar(GOOD))
    release.fetch([Archive("birds.tgz", (), unpacked="birds")], tmp_path)
    assert names(tmp_path) == ["birds"]
    assert names(tmp_path / "birds") == ["001", "002", "metadata.csv"]


# --- checks ---


def test_missing_and_truncated_images_are_named(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    for name in ("good.jpg", "cut.jpg", "good.png", "cut.png", "tiny.jpg"):
        Image.fromarray(noise if name != "tiny.jpg" else noise[:2, :3]).save(tmp_path / name)
    for name in ("cut.jpg", "cut.png"):
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-1000])
    put(tmp_path, "text.jpg", b"no image")
    release.check_images(tmp_path, ["good.jpg", "good.png", "tiny.jpg"])
    with pytest.raises(
        ReleaseError, match=r"3 of 6 images cannot be read .*: cut.jpg, cut.png, text.jpg;"
    ):
        release.check_images(tmp_path, names(tmp_path))
    release.check_images(tmp_path, names(tmp_path), trust=True)
    with pytest.raises(ReleaseError, match=r"1 of 2 images missing, first .*gone.jpg"):
        release.check_images(tmp_path, ["good.jpg", "gone.jpg"], trust=True)


def test_counts_are_compared_where_they_are_published():
    published = pd.DataFrame({"a": [3, 4], "b": [5, np.nan]}, index=["pool", "val"])
    found = pd.DataFrame({"a": [3, 1], "b": [5, 77]}, index=["pool", "val"])
    assert release.check_counts(found, published, allow_different=True) == ["val a: 1 instead of 4"]
    assert release.check_counts(found.assign(a=[3, 4]), published, allow_different=False) == []
    with pytest.raises(
        ReleaseError, match="1 of 3 counts differ from the published ones: val a: 1 instead of 4; "
    ):
        release.check_counts(found, published, allow_different=False)


def test_a_count_that_is_absent_is_zero():
    published = pd.DataFrame({"a": [3], "b": [0]}, index=["pool"])
    found = pd.DataFrame({"c": [1]}, index=["val"])
    assert release.check_counts(found, published, allow_different=True) == [
        "pool a: 0 instead of 3"
    ]


def test_an_empty_split_and_a_class_without_examples_are_refused():
    manifest = pd.DataFrame({"split": ["pool", "pool", "val"], "label": ["x", "x", "y"]})
    release.check_filled(manifest, ["x"], ["pool", "val"])
    with pytest.raises(ReleaseError, match="split 'test' is empty"):
        release.check_filled(manifest, ["x"], ["pool", "test"])
    with pytest.raises(ReleaseError, match="no example of class 'y' in the pool"):
        release.check_filled(manifest, ["x", "y"], ["pool"])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "table.csv is missing: unpack it"),
        ("", "cannot be read"),
        ("a,b\n", "has no rows"),
        ("a\n1\n", "column 'b' missing"),
    ],
)
def test_a_bad_table_is_refused(tmp_path, content, said):
    if content is not None:
        (tmp_path / "table.csv").write_text(content)
    with pytest.raises(ReleaseError, match=said):
        release.read_table(tmp_path / "table.csv", ["a", "b"], "unpack it")


# --- dataset folders ---


def test_a_dataset_folder_links_to_its_images_and_is_read_by_the_library(tmp_path):
    images = tmp_path / "source"
    images.mkdir()
    for name in ("a.png", "b.png"):
        Image.new("RGB", (8, 8)).save(images / name)
    manifest = pd.DataFrame(
        {"path": ["a.png", "b.png"], "label": ["x", "y"], "split": ["pool", "val"]}
    )
    release.write_dataset(tmp_path / "out", manifest, {"name": "t", "classes": ["x", "y"]}, images)
    assert os.readlink(tmp_path / "out" / "images") == str(images)
    assert datasets.read_dataset(tmp_path / "out").rows("pool")["path"].tolist() == ["images/a.png"]


def test_an_interrupted_second_writing_leaves_no_folder_that_seems_complete(tmp_path, monkeypatch):
    manifest = pd.DataFrame({"text": ["good"], "label": ["x"], "split": ["pool"]})
    release.write_dataset(tmp_path, manifest, {"classes": ["x"]})

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(release.os, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        release.write_dataset(tmp_path, manifest, {"classes": ["x"]})
    assert not (tmp_path / "dataset.yaml").exists()
