"""Downloads from a server here: resumed, checked, from mirrors, never more than announced."""

import hashlib
import io
import re
import signal
import socket
import subprocess
import sys
import tarfile
import threading
import time
import urllib.request
from collections import namedtuple
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from release import download as downloads
from release.download import Archive, SafeRedirects, download, fetch
from release.report import human

from alpt_lib.errors import DataError
from alpt_lib.files import REPOSITORY

CONTENT = np.random.default_rng(0).bytes(300_000)
MD5 = f"md5:{hashlib.md5(CONTENT).hexdigest()}"


class Handler(BaseHTTPRequestHandler):
    """Serves `server.files`; a path may drop the connection, ignore ranges, redirect, or dawdle."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        if self.path not in self.server.files:
            return self.send_error(404)
        self.send_response(200)
        self.send_length(len(self.server.files[self.path]))
        self.end_headers()

    def do_GET(self):
        server = self.server
        path = self.path
        server.asked.append((path, self.headers.get("Range")))
        if path in server.redirects:
            self.send_response(302)
            self.send_header("Location", server.redirects[path])
            self.send_header("Content-Length", "0")
            return self.end_headers()
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
        self.send_length(len(content) - start)
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

    def send_length(self, n_bytes):
        if self.path not in self.server.hides_length:
            self.send_header("Content-Length", str(n_bytes))

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    served = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.files = {"/file.bin": CONTENT}
    served.asked = []
    served.drops = {}
    served.redirects = {}
    served.ignores_ranges = set()
    served.hides_length = set()
    served.dawdles = set()
    served.released = threading.Event()
    served.url = f"http://127.0.0.1:{served.server_port}"
    options = {"poll_interval": 0.05}
    threading.Thread(target=served.serve_forever, kwargs=options, daemon=True).start()
    yield served
    served.released.set()
    served.shutdown()
    served.server_close()


def archive(server, *paths: str, **known) -> Archive:
    urls = tuple(server.url + path for path in paths or ("/file.bin",))
    return Archive("file.bin", urls, **known)


def birds(server, *paths: str, **known) -> Archive:
    return Archive(
        "birds.tgz", tuple(server.url + path for path in paths), unpacked="birds", **known
    )


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def tar_of_birds() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as written:
        entry = tarfile.TarInfo("birds/a.jpg")
        entry.size = 70_000
        written.addfile(entry, io.BytesIO(CONTENT))
    return stream.getvalue()


def test_fetch_says_first_how_much_it_will_be_and_goes_on_where_it_was(server, tmp_path, capsys):
    (tmp_path / "file.bin.partial").write_bytes(CONTENT[:100_000])
    fetch([archive(server, n_bytes=len(CONTENT), digest=MD5)], tmp_path)
    said = f"to download: 195.3 KiB; disk needed: 195.3 KiB in {tmp_path}\n"
    assert capsys.readouterr().out.startswith(said)
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
    assert names(tmp_path) == ["file.bin"]


def test_a_size_that_is_not_published_is_asked_of_the_mirrors(server, tmp_path, capsys):
    content = server.files["/birds.tgz"] = tar_of_birds()
    fetch([birds(server, "/gone", "/birds.tgz")], tmp_path)
    sizes = (human(len(content)), human(2 * len(content)))
    said = "to download: {}; disk needed: {} in ".format(*sizes)
    assert capsys.readouterr().out.startswith(said)


def test_fetch_names_the_files_whose_size_nobody_says(server, tmp_path, capsys):
    server.hides_length.add("/file.bin")
    fetch([archive(server)], tmp_path)
    said = capsys.readouterr().out
    assert "disk needed: 0 B in " in said
    assert ", and file.bin, whose size is not published" in said
    assert f"no published hash to check; sha256 is {hashlib.sha256(CONTENT).hexdigest()}" in said


def test_without_a_terminal_progress_is_a_plain_line_now_and_then(
    server, tmp_path, capsys, monkeypatch
):
    clock = iter(range(0, 10_000, 31))  # every chunk takes 31 seconds
    monkeypatch.setattr(downloads.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(downloads, "CHUNK", 150_000)
    download(archive(server, digest=MD5), tmp_path)
    assert "file.bin: 293.0 KiB of 293.0 KiB" in capsys.readouterr().out


def test_a_dropped_connection_is_taken_up_where_it_broke(server, tmp_path, capsys):
    server.drops["/file.bin"] = [150_000, 200_000]
    file = download(archive(server, digest=MD5), tmp_path)
    assert file.read_bytes() == CONTENT
    assert [asked for _, asked in server.asked] == [None, "bytes=150000-", "bytes=200000-"]
    assert "broke off after 146.5 KiB of 293.0 KiB" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("partial", "known", "asked"),
    [
        (CONTENT[:299_999], {"digest": MD5}, ["bytes=299999-"]),
        (CONTENT, {"digest": MD5}, ["bytes=300000-"]),
        (CONTENT, {"digest": MD5, "n_bytes": len(CONTENT)}, []),
        # longer than the server's: started again
        (CONTENT + b"more", {}, ["bytes=300004-", None]),
    ],
)
def test_what_an_earlier_run_left_is_not_fetched_again(server, tmp_path, partial, known, asked):
    (tmp_path / "file.bin.partial").write_bytes(partial)
    assert download(archive(server, **known), tmp_path).read_bytes() == CONTENT
    assert [range_ for _, range_ in server.asked] == asked
    assert names(tmp_path) == ["file.bin"]


def test_a_server_that_ignores_ranges_gives_the_same_bytes(server, tmp_path):
    server.ignores_ranges.add("/file.bin")
    (tmp_path / "file.bin.partial").write_bytes(b"x" * 1000)
    assert download(archive(server, digest=MD5), tmp_path).read_bytes() == CONTENT


def test_a_server_that_always_drops_is_given_up_and_the_partial_file_kept(server, tmp_path):
    server.ignores_ranges.add("/file.bin")
    server.drops["/file.bin"] = [1000] * 9
    with pytest.raises(DataError, match="broke off after 1000 B"):
        download(archive(server, digest=MD5), tmp_path)
    assert names(tmp_path) == ["file.bin.partial"]


def test_a_short_file_of_unknown_length_is_seen_by_its_published_size(server, tmp_path):
    server.hides_length.add("/file.bin")
    server.drops["/file.bin"] = [1000]
    assert download(archive(server, n_bytes=len(CONTENT)), tmp_path).read_bytes() == CONTENT
    assert len(server.asked) == 2


@pytest.mark.parametrize(
    ("hides_length", "known", "said"),
    [
        (False, {"digest": "md5:00"}, f"md5 is {MD5[4:]}, expected 00"),
        # before anything is fetched, or as soon as it is seen
        (False, {"n_bytes": 12}, "300000 bytes instead of 12"),
        (True, {"n_bytes": 1200}, "it sends more than 1.2 KiB"),
        (True, {"about_bytes": 1200}, "it sends more than 2.3 KiB"),
    ],
)
def test_what_is_not_the_published_file_is_refused_and_removed(
    server, tmp_path, hides_length, known, said
):
    server.hides_length = {"/file.bin"} if hides_length else set()
    with pytest.raises(DataError, match=said):
        download(archive(server, **known), tmp_path)
    assert names(tmp_path) == []


def test_a_file_put_there_by_hand_is_checked_and_not_deleted(server, tmp_path):
    (tmp_path / "file.bin").write_bytes(CONTENT[:5])
    said = r"file.bin is not the published file: md5 is .*; delete it and run this again"
    with pytest.raises(DataError, match=said):
        download(archive(server, digest=MD5), tmp_path)
    assert names(tmp_path) == ["file.bin"]


def test_mirrors_are_tried_in_order(server, tmp_path):
    server.files["/wrong"] = b"something else"
    wanted = archive(server, "/gone", "/wrong", "/file.bin", "/never", digest=MD5)
    assert download(wanted, tmp_path).read_bytes() == CONTENT
    assert [path for path, _ in server.asked] == ["/gone", "/wrong", "/file.bin"]


def test_a_mirror_that_answers_with_a_page_is_passed_over(server, tmp_path):
    server.files |= {"/page": b"<html>moved</html>", "/birds.tgz": tar_of_birds()}
    said = r"/page \(no .tgz file, it begins with b'<html>moved</html>'\)"
    with pytest.raises(DataError, match=said):
        download(birds(server, "/page"), tmp_path)
    assert names(tmp_path) == []
    fetch([birds(server, "/page", "/birds.tgz")], tmp_path)
    assert names(tmp_path) == ["birds"]


def test_a_copy_packed_again_is_checked_and_resumed_by_its_own_bytes(server, tmp_path):
    other = CONTENT[::-1]
    server.files["/other"] = other
    server.drops["/file.bin"] = [1000, 1000]  # the host fails on the way
    server.ignores_ranges.add("/file.bin")
    digest = f"md5:{hashlib.md5(other).hexdigest()}"
    copy = Archive("other.bin", (f"{server.url}/other",), digest=digest)
    assert download(archive(server, copies=(copy,)), tmp_path).name == "other.bin"
    assert (tmp_path / "other.bin").read_bytes() == other
    assert server.asked[-1] == ("/other", None)
    (tmp_path / "other.bin").unlink()
    server.files = {}
    said = r"file.bin could not be downloaded: .*/file.bin \(HTTP.*/other \(HTTP"
    with pytest.raises(DataError, match=said):
        download(archive(server, copies=(copy,)), tmp_path)


def test_a_dead_link_ends_in_one_line_that_says_what_to_get_and_where_to_put_it(server, tmp_path):
    with pytest.raises(DataError) as error:
        download(archive(server, "/gone", unpacked="birds"), tmp_path)
    assert str(error.value) == (
        f"file.bin could not be downloaded: {server.url}/gone (HTTP Error 404: Not Found). Get it "
        f"elsewhere and put it (or what it unpacks to, birds) into {tmp_path}, then run this again"
    )


def test_a_host_that_never_answers_is_given_up(tmp_path, monkeypatch):
    assert downloads.TIMEOUT <= 15  # twice, for a host with two addresses: half a minute
    monkeypatch.setattr(downloads, "TIMEOUT", 0.2)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        began = time.monotonic()
        with pytest.raises(DataError, match="timed out"):
            download(Archive("a", (f"http://127.0.0.1:{silent.getsockname()[1]}/a",)), tmp_path)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/a", "http://nowhere.invalid/a", "no url", "ftp://127.0.0.1/a"]
)
def test_unreachable_hosts_and_bad_addresses_are_one_line(tmp_path, url):
    with pytest.raises(DataError, match="could not be downloaded") as error:
        download(Archive("a", (url,)), tmp_path)
    assert "\n" not in str(error.value)
    assert ("is no http address" in str(error.value)) == (not url.startswith("http"))


@pytest.mark.parametrize("scheme", ["ftp", "file", "data"])
def test_a_redirect_to_another_kind_of_address_is_refused(server, tmp_path, scheme):
    server.redirects["/file.bin"] = f"{scheme}://127.0.0.1/etc/passwd"
    with pytest.raises(DataError, match="could not be downloaded: "):
        download(archive(server), tmp_path)
    assert names(tmp_path) == []


def test_a_redirect_never_leads_from_https_to_http():
    def follow(old: str, new: str) -> str:
        request = urllib.request.Request(old)
        redirected = SafeRedirects().redirect_request(request, None, 302, "Found", {}, new)
        return redirected.full_url

    assert follow("https://a/x", "https://b/y") == "https://b/y"
    assert follow("http://a/x", "https://b/y") == "https://b/y"
    with pytest.raises(DataError, match="refused to follow it from https to http://b/y"):
        follow("https://a/x", "http://b/y")


def test_a_killed_download_leaves_only_its_partial_file_and_is_then_finished(server, tmp_path):
    server.dawdles.add("/file.bin")
    program = (
        "import sys; from pathlib import Path; from release.download import Archive, download; "
        "download(Archive('file.bin', (sys.argv[1],)), Path(sys.argv[2]))"
    )
    command = [sys.executable, "-c", program, f"{server.url}/file.bin", str(tmp_path)]
    process = subprocess.Popen(command, cwd=REPOSITORY / "data_prep")
    loaded = tmp_path / "file.bin.partial"
    for _ in range(600):
        if loaded.exists() and loaded.stat().st_size:
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert names(tmp_path) == ["file.bin.partial"]
    server.dawdles.clear()
    assert download(archive(server, digest=MD5), tmp_path).read_bytes() == CONTENT


def test_too_little_disk_is_one_line_before_the_download(server, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(downloads.shutil, "disk_usage", lambda _: usage(10**6, 10**6 - 2048, 2048))
    wanted = archive(server, n_bytes=len(CONTENT), unpacked="birds", unpacked_bytes=10**6)
    with pytest.raises(DataError) as error:
        fetch([wanted], tmp_path)
    assert str(error.value) == (
        f"{tmp_path} has 2.0 KiB free, 1.2 MiB are needed; make room or choose another --root"
    )
    assert server.asked == []


def test_a_fetched_archive_is_unpacked_and_then_removed(server, tmp_path):
    content = server.files["/birds.tgz"] = tar_of_birds()
    # what a killed extraction left is not taken as complete
    (tmp_path / "birds.unpacking" / "birds" / "old").mkdir(parents=True)
    for _ in range(2):
        fetch([birds(server, "/birds.tgz", n_bytes=len(content))], tmp_path)
    assert names(tmp_path) == ["birds"]
    assert names(tmp_path / "birds") == ["a.jpg"]
    assert len(server.asked) == 1


def test_an_archive_that_unpacks_to_more_than_twice_what_was_announced_is_refused(server, tmp_path):
    server.files["/birds.tgz"] = tar_of_birds()
    with pytest.raises(DataError, match=r"refused, it would unpack to 68.4 KiB or more instead of"):
        fetch([birds(server, "/birds.tgz", unpacked_bytes=34_000)], tmp_path)
    assert names(tmp_path) == ["birds.tgz"]
