"""Unpacking archives of others: nothing outside its folder, no links, no more than was declared."""

import gzip
import lzma
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from pathlib import Path

from tqdm.auto import tqdm

from alpt_lib.errors import DataError
from release.report import human

CHUNK = 1 << 20  # bytes
BROKEN = (
    tarfile.TarError,
    zipfile.BadZipFile,
    gzip.BadGzipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    RuntimeError,
)


def unpack(
    file: Path,
    root: Path,
    top: str,
    only: tuple[str, ...] = (),
    is_flat: bool = False,
    most_bytes: float = float("inf"),
) -> Path:
    """Unpack an archive that holds the folder or file `top`; it appears in `root` when complete.

    Args:
        only: beginnings of the paths to unpack; (): everything.
        is_flat: the archive holds the content of `top`, not the folder; one that does is fine too.
        most_bytes: it is refused before it unpacks to more.
    Raises:
        DataError: no archive, a broken one, one without `top`, or with links, devices, absolute or
            parent paths, or more than `most_bytes`.
    """
    partial = root / f"{top}.unpacking"
    shutil.rmtree(partial, ignore_errors=True)
    print(f"unpacking {file.name}", flush=True)
    try:
        partial.mkdir(parents=True)
        unpack_all = _unpack_zip if file.suffix == ".zip" else _unpack_tar
        unpack_all(file, partial, only or ("",), most_bytes)
        whole = partial / top
        if is_flat and not whole.exists():
            whole = partial
        if not whole.exists():
            has = ", ".join(sorted(path.name for path in partial.iterdir())[:5])
            raise DataError(f"{file} holds no {top}; it has {has}")
        os.replace(whole, root / top)
    except tarfile.FilterError as error:
        raise _refused(file, str(error)) from error
    except BROKEN as error:
        raise DataError(
            f"{file} cannot be unpacked ({error}); delete it and run this again"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return root / top


def _refused(file: Path, what: str) -> DataError:
    return DataError(f"{file}: refused, it would write outside its folder: {what}")


class _Member(tarfile.TarInfo):
    """An entry of a tar that has an end mark: else a tar cut between two files passes for whole."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> tarfile.TarInfo:
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"no end mark: {error}") from error


def _unpack_tar(file: Path, folder: Path, only: tuple[str, ...], most_bytes: float) -> None:
    n_bytes = 0
    with tarfile.open(file, tarinfo=_Member) as archive:
        for member in tqdm(archive, desc=file.name, unit="file", mininterval=1, disable=None):
            # filter="data" would strip a slash and follow links, which have led outside before
            is_plain = member.isfile() or member.isdir()
            if Path(member.name).is_absolute() or not is_plain:
                raise _refused(file, member.name)
            if member.name.removeprefix("./").startswith(only):
                n_bytes += member.size
                _check_size(file, n_bytes, most_bytes)
                archive.extract(member, folder, filter="data")
            # Places365 has 1.8 million: 2 GB if tarfile kept them
            archive.members.clear()
        # to the end, where gzip checks what it unpacked
        while archive.fileobj.read(CHUNK):
            pass


def _unpack_zip(file: Path, folder: Path, only: tuple[str, ...], most_bytes: float) -> None:
    with zipfile.ZipFile(file) as archive:
        wanted = [member for member in archive.infolist() if member.filename.startswith(only)]
        for member in archive.infolist():
            path = Path(member.filename.replace("\\", "/"))
            has_drive = str(path)[1:2] == ":"
            is_link = stat.S_ISLNK(member.external_attr >> 16)
            if path.is_absolute() or ".." in path.parts or has_drive or is_link:
                raise _refused(file, member.filename)
        # zipfile itself reads no more of a member than the archive declares
        _check_size(file, sum(member.file_size for member in wanted), most_bytes)
        for member in tqdm(wanted, desc=file.name, unit="file", mininterval=1, disable=None):
            archive.extract(member, folder)


def _check_size(file: Path, n_bytes: float, most_bytes: float) -> None:
    if n_bytes > most_bytes:
        raise DataError(
            f"{file}: refused, it would unpack to {human(n_bytes)} or more instead of "
            f"{human(most_bytes)} at most; get the original"
        )
