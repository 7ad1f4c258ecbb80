"""Archives good and bad: unpacked whole or not at all, in their folder, no more than declared."""

import io
import tarfile
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from release.archive import unpack

from alpt_lib.errors import DataError

CONTENT = np.random.default_rng(0).bytes(70_000)
GOOD = {
    "birds/metadata.csv": b"y\n0\n",
    "birds/001/a.jpg": CONTENT,
    "birds/002/b.jpg": CONTENT[:9],
}


def tar(
    members: dict[str, bytes],
    links: dict[str, str] | None = None,
    mode: str = "w:gz",
    kind: bytes = tarfile.SYMTYPE,
) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as written:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            written.addfile(entry, io.BytesIO(content))
        for name, target in (links or {}).items():
            entry = tarfile.TarInfo(name)
            entry.type = kind
            entry.linkname = target
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


PACKERS = [("a.tar.gz", tar), ("a.tar", partial(tar, mode="w")), ("a.zip", zipped)]
packers = pytest.mark.parametrize(("name", "pack"), PACKERS)


def put(folder: Path, name: str, content: bytes) -> Path:
    (folder / name).write_bytes(content)
    return folder / name


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@packers
def test_an_archive_is_unpacked_whole_or_as_much_as_is_needed(tmp_path, name, pack):
    file = put(tmp_path, name, pack(GOOD))
    unpack(file, tmp_path, "birds")
    files = (tmp_path / "birds").rglob("*.*")
    assert {str(path.relative_to(tmp_path)): path.read_bytes() for path in files} == GOOD
    assert names(tmp_path) == [name, "birds"]
    (tmp_path / "b").mkdir()
    unpack(file, tmp_path / "b", "birds", only=("birds/002/", "birds/meta"))
    files = (tmp_path / "b" / "birds").rglob("*.*")
    assert sorted(path.name for path in files) == ["b.jpg", "metadata.csv"]


@packers
@pytest.mark.parametrize(
    ("members", "links"),
    [
        ({"/tmp/alpt_absolute": b""}, {}),
        ({"birds/../../outside": b""}, {}),
        ({}, {"birds/link": "/etc"}),
        ({}, {"birds/link": "../../outside"}),
        ({}, {"birds/link": "001/a.jpg"}),
    ],
)
def test_an_archive_that_would_write_outside_or_holds_links_is_refused_whole(
    tmp_path, name, pack, members, links
):
    root = tmp_path / "root"
    root.mkdir()
    with pytest.raises(DataError, match="refused, it would write outside its folder"):
        unpack(put(root, name, pack({**GOOD, **members}, links)), root, "birds")
    assert names(root) == [name]
    assert names(tmp_path) == ["root"]
    assert not Path("/tmp/alpt_absolute").exists()


@pytest.mark.parametrize("kind", [tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_a_tar_with_hard_links_or_devices_is_refused(tmp_path, kind):
    file = put(tmp_path, "a.tgz", tar(GOOD, {"birds/link": "birds/001/a.jpg"}, kind=kind))
    with pytest.raises(DataError, match="refused, it would write outside its folder: birds/link"):
        unpack(file, tmp_path, "birds")
    assert names(tmp_path) == ["a.tgz"]


def test_a_tar_whose_links_are_longer_than_a_path_may_be_writes_nothing_outside(tmp_path):
    """CVE-2025-4517: the data filter of some Pythons loses its way in links of such a length."""
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "victim").write_bytes(b"mine")
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as written:

        def add(name: str, kind: bytes, target: str = "", content: bytes = b"") -> None:
            entry = tarfile.TarInfo(name)
            entry.type = kind
            entry.linkname = target
            entry.size = len(content)
            written.addfile(entry, io.BytesIO(content))

        add("birds", tarfile.DIRTYPE)
        folder = "birds"
        long = "d" * 247
        steps = "abcdefghijklmnop"
        for step in steps:
            add(f"{folder}/{long}", tarfile.DIRTYPE)
            add(f"{folder}/{step}", tarfile.SYMTYPE, long)
            folder = f"{folder}/{long}"
        far = f"{'/'.join(steps)}/{'l' * 254}"
        add(f"birds/{far}", tarfile.SYMTYPE, "../" * 16)
        add("birds/escape", tarfile.SYMTYPE, f"{far}/../../..")
        add("birds/hard", tarfile.LNKTYPE, "birds/escape/victim")
        add("birds/hard", tarfile.REGTYPE, content=b"OVERWRITTEN")
    with pytest.raises(DataError, match="refused, it would write outside its folder"):
        unpack(put(root, "a.tar", stream.getvalue()), root, "birds")
    assert names(tmp_path) == ["root", "victim"]
    assert (tmp_path / "victim").read_bytes() == b"mine"


@packers
def test_an_archive_never_unpacks_to_more_than_was_declared(tmp_path, name, pack):
    file = put(tmp_path, name, pack({**GOOD, "birds/bomb": bytes(5_000_000)}))
    with pytest.raises(DataError, match=r"it would unpack to 4\.8 MiB or more instead of 1\.0 MiB"):
        unpack(file, tmp_path, "birds", most_bytes=1 << 20)
    assert names(tmp_path) == [name]
    unpack(file, tmp_path, "birds", only=("birds/001",), most_bytes=1 << 20)


@packers
@pytest.mark.parametrize("kept", [0.0, 0.3, 0.6, 0.98])
def test_a_truncated_archive_is_refused_with_nothing_left(tmp_path, name, pack, kept):
    content = pack(GOOD)
    end = len(content)
    if name == "a.tar":
        # it is padded with zeros at its end
        end = content.rindex(CONTENT[:9]) + 512
    file = put(tmp_path, name, content[: int(kept * end)])
    with pytest.raises(DataError, match="cannot be unpacked") as error:
        unpack(file, tmp_path, "birds")
    assert "\n" not in str(error.value)
    assert names(tmp_path) == [name]


def test_a_tar_cut_between_two_files_does_not_pass_for_whole(tmp_path):
    content = tar(GOOD, mode="w")
    file = put(tmp_path, "a.tar", content[: content.rindex(b"birds/002/b.jpg")])
    with tarfile.open(file) as lenient:
        assert len(lenient.getnames()) == 2  # what tarfile makes of it
    with pytest.raises(DataError, match="no end mark"):
        unpack(file, tmp_path, "birds")
    assert names(tmp_path) == ["a.tar"]


@pytest.mark.parametrize(("name", "pack"), [PACKERS[0], PACKERS[2]])
def test_a_flipped_bit_is_found(tmp_path, name, pack):
    content = bytearray(pack(GOOD))
    content[30_000] ^= 1
    with pytest.raises(DataError, match="cannot be unpacked"):
        unpack(put(tmp_path, name, bytes(content)), tmp_path, "birds")
    assert names(tmp_path) == [name]


def test_an_archive_of_something_else_is_named_by_what_it_holds(tmp_path):
    with pytest.raises(DataError, match="holds no fishes; it has birds"):
        unpack(put(tmp_path, "a.tgz", tar(GOOD)), tmp_path, "fishes")


@packers
def test_an_interrupted_extraction_leaves_nothing(tmp_path, name, pack, monkeypatch):
    extracted = []

    def stop(self, member, *args, **kwargs):
        if extracted:
            raise KeyboardInterrupt
        extracted.append(member)

    for kind in (tarfile.TarFile, zipfile.ZipFile):
        monkeypatch.setattr(kind, "extract", stop)
    with pytest.raises(KeyboardInterrupt):
        unpack(put(tmp_path, name, pack(GOOD)), tmp_path, "birds")
    assert names(tmp_path) == [name]
