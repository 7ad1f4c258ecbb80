"""Fetching archives: resumed where they broke, from mirrors in order, checked before use."""

import hashlib
import os
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, replace
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tqdm.auto import tqdm

from alpt_lib.errors import DataError
from release.archive import unpack
from release.report import human, size_of

CHUNK = 1 << 20  # bytes
AGENT = "alpt-data-prep"
# how files of these kinds begin
BEGINNINGS = {".zip": b"PK", ".npz": b"PK", ".gz": b"\x1f\x8b", ".tgz": b"\x1f\x8b"}
# seconds without an answer; an unreachable host with an IPv4 and an IPv6 address costs it twice
TIMEOUT = 15
# an archive may unpack to so many times the size that is announced: rounded sizes, packed text
SLACK = {"announced": 2, "unknown": 10}
FAILURES = (OSError, HTTPException, DataError)  # URLError and timeouts are OSErrors


@dataclass(frozen=True)
class Archive:
    """A file to fetch: its mirrors in the order to try, and what its publisher says of it."""

    file: str  # name on disk; with `unpacked`, a .zip or a tar of any compression
    urls: tuple[str, ...]
    n_bytes: int | None = None  # None: not published
    digest: str | None = None  # "sha256:..." or "md5:..."; None: not published, and said so
    # None: taken as the size of the archive, for JPEGs hardly shrink
    unpacked_bytes: int | None = None
    unpacked: str | None = None  # folder or file that it holds at its top; None: not unpacked
    about_bytes: int | None = None  # rounded size, announced where n_bytes is not published
    only: tuple[str, ...] = ()  # unpack what begins with one of these paths; (): everything
    # it holds what belongs into `unpacked`, without that folder (bundles of WILDS)
    is_flat: bool = False
    # a source in another layout or under a name not known: told where no mirror delivers
    elsewhere: str = ""
    # the same content packed again, in other bytes: tried in order where no mirror delivers
    copies: tuple["Archive", ...] = ()

    @property
    def size(self) -> int:
        """Bytes as far as known, else 0."""
        return self.n_bytes or self.about_bytes or 0

    @property
    def unpacked_size(self) -> int:
        """Bytes that it will unpack to, as far as known; 0 for what is not unpacked."""
        return (self.unpacked_bytes or self.size) if self.unpacked else 0


def fetch(archives: Sequence[Archive], root: Path) -> None:
    """Download and unpack into `root` what is not there yet; says first how much it will be.

    A download goes to <file>.partial and is resumed from there; an archive is unpacked into a
    folder that is renamed when complete. So whatever stands under its own name is whole.

    Raises:
        DataError: not enough disk, no mirror delivers, a size or hash differs, or an archive that
            would write outside its folder or more than was announced.
    """
    missing = [a for a in archives if not (root / (a.unpacked or a.file)).exists()]
    if not missing:
        return
    root.mkdir(parents=True, exist_ok=True)
    missing = [_with_size(archive, root) for archive in missing]
    _check_space(missing, root)
    for archive in missing:
        file = download(archive, root)
        if archive.unpacked:
            announced = archive.unpacked_bytes
            slack = SLACK["announced" if announced else "unknown"]
            most_bytes = slack * (announced or size_of(file))
            unpack(file, root, archive.unpacked, archive.only, archive.is_flat, most_bytes)
            file.unlink()


def _check_space(missing: Sequence[Archive], root: Path) -> None:
    to_load = sum(
        max(0, archive.size - size_of(root / f"{archive.file}.partial"))
        for archive in missing
        if not (root / archive.file).exists()
    )
    needed = to_load + sum(archive.unpacked_size for archive in missing)
    unknown = [archive.file for archive in missing if not archive.size]
    more = f", and {', '.join(unknown)}, whose size is not published" if unknown else ""
    print(
        f"to download: {human(to_load)}; disk needed: {human(needed)} in {root}{more}", flush=True
    )
    free = shutil.disk_usage(root).free
    if needed > free:
        raise DataError(
            f"{root} has {human(free)} free, {human(needed)} are needed; make room or choose "
            "another --root"
        )


def _with_size(archive: Archive, root: Path) -> Archive:
    """With the size that a mirror announces, where none is published."""
    if archive.size or (root / archive.file).exists():
        return archive
    for url in archive.urls:
        try:
            with _open(url, method="HEAD") as response:
                return replace(archive, about_bytes=_length(response.headers) or 0)
        except FAILURES:
            # `download` says what the mirrors answer
            continue
    return archive


def download(archive: Archive, root: Path) -> Path:
    """Fetch one file from the first mirror that delivers it whole, else one of its copies.

    Raises:
        DataError: no mirror did; says what each answered, what to get, and where to put it. Or the
            file is there already and is not the published one.
    """
    answers: list[str] = []
    for each in (archive, *archive.copies):
        file = _first_delivered(each, root, answers)
        if file:
            return file
    other = f" ({archive.elsewhere})" if archive.elsewhere else ""
    or_folder = f" (or what it unpacks to, {archive.unpacked})" if archive.unpacked else ""
    raise DataError(
        f"{archive.file} could not be downloaded: {'; '.join(answers)}. Get it elsewhere{other} "
        f"and put it{or_folder} into {root}, then run this again"
    )


def _first_delivered(archive: Archive, root: Path, answers: list[str]) -> Path | None:
    """The file from its first mirror that delivers; what the others said goes to `answers`."""
    target = root / archive.file
    partial = root / f"{archive.file}.partial"
    if target.exists():
        problem = _problem(archive, target)
        if problem:
            raise DataError(
                f"{target} is not the published file: {problem}; delete it and run this again"
            )
        return target
    for url in archive.urls:
        try:
            _load(url, partial, archive)
            problem = _problem(archive, partial)
        except FAILURES as error:
            answers.append(f"{url} ({error})")
            continue
        if not problem:
            os.replace(partial, target)
            return target
        # whole, but not the file: resuming it would never help
        partial.unlink()
        answers.append(f"{url} ({problem})")
    return None


def _load(url: str, partial: Path, archive: Archive) -> None:
    """Download to the end, going on after a broken connection as long as each try brings more."""
    while True:
        have = size_of(partial)
        try:
            _continue(url, partial, archive)
            return
        except FAILURES as error:
            if size_of(partial) <= have:
                raise
            print(f"{archive.file}: {error}; going on from {human(size_of(partial))}", flush=True)


def _continue(url: str, partial: Path, archive: Archive) -> None:
    have = size_of(partial)
    if archive.n_bytes and have == archive.n_bytes:
        # stopped between the last byte and the check
        return
    try:
        response = _open(url, start=have)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not have:
            raise
        # unless nothing is left to send, it is longer than the file that this server has
        if not error.headers.get("Content-Range", "").endswith(f"/{have}"):
            partial.unlink()
            _continue(url, partial, archive)
        return
    with response:
        # else the server starts again from the beginning
        have = have if response.status == 206 else 0
        length = _length(response.headers)
        total = None if length is None else have + length
        _save_whole(response, partial, have, total, archive)


def _save_whole(
    response: Any, partial: Path, have: int, total: int | None, archive: Archive
) -> None:
    if total and archive.n_bytes and total != archive.n_bytes:
        raise DataError(f"{total} bytes instead of {archive.n_bytes}")
    have = _save(response, partial, have, total, archive)
    whole = total or archive.n_bytes or 0
    if have < whole:
        raise DataError(f"broke off after {human(have)} of {human(whole)}; run this again to go on")


def _save(response: Any, partial: Path, have: int, total: int | None, archive: Archive) -> int:
    """Append to (or start) the partial file, with progress; returns its size in bytes.

    Raises:
        DataError: more comes than was announced; the file is removed.
    """
    most = archive.n_bytes or total or SLACK["announced"] * archive.size or float("inf")
    size = {"total": total, "initial": have, "unit": "B", "unit_scale": True}
    bar = tqdm(**size, desc=archive.file, mininterval=1, disable=None)
    printed = time.monotonic()
    with open(partial, "ab" if have else "wb") as stream, bar:
        # read() would hold back what it has when the connection breaks
        while chunk := response.read1(CHUNK):
            have += len(chunk)
            if have > most:
                partial.unlink()
                raise DataError(f"it sends more than {human(most)}")
            stream.write(chunk)
            bar.update(len(chunk))
            # no terminal: a plain line now and then
            if bar.disable and time.monotonic() - printed > 30:
                printed = time.monotonic()
                whole = human(total) if total else "unknown"
                print(f"{archive.file}: {human(have)} of {whole}", flush=True)
    return have


class SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but never from https to what others on the way can read and change."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: Any,
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        allowed = ("https",) if req.type == "https" else ("http", "https")
        if urlsplit(newurl).scheme not in allowed:
            raise DataError(f"refused to follow it from {req.type} to {newurl}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _open(url: str, start: int = 0, method: str = "GET") -> Any:
    """Ask a server for a file, from a byte on."""
    if urlsplit(url).scheme not in ("http", "https"):
        raise DataError(f"{url!r} is no http address")
    headers = {"User-Agent": AGENT, **({"Range": f"bytes={start}-"} if start else {})}
    request = urllib.request.Request(url, headers=headers, method=method)
    return urllib.request.build_opener(SafeRedirects).open(request, timeout=TIMEOUT)


def _length(headers: HTTPMessage) -> int | None:
    """Bytes that a server says it will send; None where it says nothing, or no number."""
    said = headers.get("Content-Length") or ""
    return int(said) if said.isdecimal() else None


def _problem(archive: Archive, file: Path) -> str:
    """What tells the file from the published one; "" if nothing does."""
    if archive.n_bytes and size_of(file) != archive.n_bytes:
        return f"{size_of(file)} bytes instead of {archive.n_bytes}"
    with open(file, "rb") as stream:
        begins = stream.read(20)
    suffix = Path(archive.file).suffix
    if not begins.startswith(BEGINNINGS.get(suffix, b"")):
        return f"no {suffix} file, it begins with {begins!r}"
    kind, _, expected = (archive.digest or "sha256:").partition(":")
    with open(file, "rb") as stream:
        digest = hashlib.file_digest(stream, kind).hexdigest()
    if not expected:
        print(f"{archive.file}: no published hash to check; sha256 is {digest}", flush=True)
    return f"{kind} is {digest}, expected {expected}" if expected not in ("", digest) else ""
