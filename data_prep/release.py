"""What the scripts for published datasets share: fetch archives, check what is there, write the dataset folder.

A script says where its archives are (`Archive`), turns the release folder into a manifest, compares its counts with the
published ones (`check_counts`), and hands both to `write_dataset`. `command` gives them all the same command line:

    python data_prep/<name>.py --root FOLDER | --download [--out FOLDER] [--allow-different] [--trust-images]
"""

import argparse
import gzip
import hashlib
import json
import lzma
import os
import shutil
import stat
import sys
import tarfile
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from http.client import HTTPException
from pathlib import Path

import pandas as pd
import yaml
from PIL import Image
from tqdm.auto import tqdm

HOME = Path(os.environ.get("ALPT_HOME", Path(__file__).resolve().parent.parent)).resolve()
CHUNK = 1 << 20  # bytes
HEADERS = {"User-Agent": "alpt-data-prep"}
BEGINNINGS = {
    ".zip": b"PK",
    ".npz": b"PK",
    ".gz": b"\x1f\x8b",
    ".tgz": b"\x1f\x8b",
}  # of files that end so
TIMEOUT = 15  # seconds without an answer; an unreachable host with an IPv4 and an IPv6 address costs it twice

# BiT-HyperRule for sets under 20,000 examples, as in the paper's released code; images under 96 x 96 px: 160 and 128
BIT_HYPERRULE = {
    "optimizer": "sgd",
    "lr": 0.003,
    "momentum": 0.9,
    "weight_decay": 0.0,
    "warmup_steps": 100,
    "decay_steps": [200, 300, 400],
    "max_steps": 500,
    "train_batch_size": 32,
    "micro_batch_size": 4,
    "augment": "crop_flip",
    "resize": 512,
    "crop": 480,
}
# ours: the paper's settings for RoBERTa-Large could not be had; WILDS' recipe for this data has the same optimizer and rate
ROBERTA_RECIPE = {
    "optimizer": "adamw",
    "lr": 1e-5,
    "weight_decay": 0.01,
    "warmup_steps": 50,
    "max_steps": 500,
    "train_batch_size": 32,
    "micro_batch_size": 8,
}


class ReleaseError(ValueError):
    """What is wrong with a release, in one line: what was asked, what was found, what to do."""


@dataclass(frozen=True)
class Archive:
    """A file to fetch: its mirrors in the order to try, and what its publisher says of it."""

    file: str  # name on disk; with `unpacked`, a .zip or a tar of any compression
    urls: tuple[str, ...]
    n_bytes: int | None = None  # None: not published
    digest: str | None = None  # "sha256:..." or "md5:..."; None: not published, and said so
    unpacked_bytes: int | None = (
        None  # None: taken as the size of the archive, for JPEGs hardly shrink
    )
    unpacked: str | None = None  # folder or file that it holds at its top; None: not unpacked
    about_bytes: int | None = None  # rounded size, to be announced where n_bytes is not published
    only: tuple[str, ...] = ()  # unpack what begins with one of these paths; (): everything
    is_flat: bool = (
        False  # it holds what belongs into `unpacked`, without that folder (bundles of WILDS)
    )
    elsewhere: str = ""  # another source, in another layout or under a name not known: to be told where no mirror delivers
    copies: tuple[
        "Archive", ...
    ] = ()  # the same content packed anew, so of other bytes: tried in order where no mirror delivers

    @property
    def size(self) -> int:
        """Bytes as far as known, else 0."""
        return self.n_bytes or self.about_bytes or 0


# --- fetching ---------------------------------------------------------------------------------------------------------


def fetch(archives: Sequence[Archive], root: Path) -> None:
    """Download and unpack into `root` what is not there yet; says first how much it will be.

    A download goes to <file>.partial and is resumed from there; an archive is unpacked into a .partial folder that is
    renamed when complete. So whatever stands under its own name is whole.

    Raises:
        ReleaseError: not enough disk, no mirror delivers, a size or hash differs, or an archive that would write outside.
    """
    wanted = [_with_size(a, root) for a in archives if not _is_there(a, root)]
    if not wanted:
        return
    root.mkdir(parents=True, exist_ok=True)
    to_load = sum(
        max(0, a.size - _size(root / f"{a.file}.partial"))
        for a in wanted
        if not (root / a.file).exists()
    )
    needed = to_load + sum(a.unpacked_bytes or a.size for a in wanted if a.unpacked)
    unknown = [a.file for a in wanted if not a.size]
    more = f", and {', '.join(unknown)}, whose size is not published" if unknown else ""
    print(
        f"to download: {human(to_load)}; disk needed: {human(needed)} in {root}{more}", flush=True
    )
    free = shutil.disk_usage(root).free
    if needed > free:
        raise ReleaseError(
            f"{root} has {human(free)} free, {human(needed)} are needed; make room or choose another --root"
        )
    for archive in wanted:
        file = download(archive, root)
        if archive.unpacked:
            unpack(file, root, archive.unpacked, archive.only, archive.is_flat)
            file.unlink()


def _is_there(archive: Archive, root: Path) -> bool:
    return (root / (archive.unpacked or archive.file)).exists()


def _with_size(archive: Archive, root: Path) -> Archive:
    """With the size that a mirror announces, where none is published."""
    if archive.size or (root / archive.file).exists():
        return archive
    for url in archive.urls:
        try:
            with urllib.request.urlopen(
                urllib.request.Request(url, headers=HEADERS, method="HEAD"), timeout=TIMEOUT
            ) as response:
                return replace(archive, about_bytes=int(response.headers["Content-Length"] or 0))
        except (OSError, HTTPException, ValueError):  # `download` says what the mirrors answer
            continue
    return archive


def download(archive: Archive, root: Path) -> Path:
    """Fetch one file, resuming a broken download, from the first mirror that delivers it whole, else one of its copies.

    Raises:
        ReleaseError: no mirror did; says what each answered, what to get, and where to put it. Or the file is there
            already and is not the published one.
    """
    answers: list[str] = []
    for each in (archive, *archive.copies):
        if file := _first_delivered(each, root, answers):
            return file
    other = f" ({archive.elsewhere})" if archive.elsewhere else ""
    or_folder = f" (or what it unpacks to, {archive.unpacked})" if archive.unpacked else ""
    raise ReleaseError(
        f"{archive.file} could not be downloaded: {'; '.join(answers)}. Get it elsewhere{other} and put "
        f"it{or_folder} into {root}, then run this again"
    )


def _first_delivered(archive: Archive, root: Path, answers: list[str]) -> Path | None:
    """The file from its first mirror that delivers; what the others said goes to `answers`."""
    target, partial = root / archive.file, root / f"{archive.file}.partial"
    if target.exists():
        if problem := _problem(archive, target):
            raise ReleaseError(
                f"{target} is not the published file: {problem}; delete it and run this again"
            )
        return target
    for url in archive.urls:
        try:
            _load(url, partial, archive)
        except (
            OSError,
            HTTPException,
            ReleaseError,
            ValueError,
        ) as error:  # URLError and timeouts are OSErrors
            answers.append(f"{url} ({error})")
            continue
        if problem := _problem(archive, partial):
            partial.unlink()  # whole, but not the file: resuming it would never help
            answers.append(f"{url} ({problem})")
            continue
        os.replace(partial, target)
        return target
    return None


def _load(url: str, partial: Path, archive: Archive) -> None:
    """Download to the end, going on after a broken connection as long as every try brings more."""
    while True:
        have = _size(partial)
        try:
            return _continue(url, partial, archive)
        except (OSError, HTTPException, ReleaseError) as error:
            if _size(partial) <= have:
                raise
            print(f"{archive.file}: {error}; going on from {human(_size(partial))}", flush=True)


def _continue(url: str, partial: Path, archive: Archive) -> None:
    have = _size(partial)
    if archive.n_bytes and have == archive.n_bytes:  # stopped between the last byte and the check
        return
    headers = {**HEADERS, **({"Range": f"bytes={have}-"} if have else {})}
    try:
        response = urllib.request.urlopen(
            urllib.request.Request(url, headers=headers), timeout=TIMEOUT
        )
    except urllib.error.HTTPError as error:
        if error.code != 416 or not have:
            raise
        if error.headers.get("Content-Range", "").endswith(f"/{have}"):  # nothing is left to send
            return
        partial.unlink()  # longer than the file that this server has
        return _continue(url, partial, archive)
    with response:
        if have and response.status != 206:  # the server starts again from the beginning
            have = 0
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else None
        if total and archive.n_bytes and total != archive.n_bytes:
            raise ReleaseError(f"{total} bytes instead of {archive.n_bytes}")
        have = _save(response, partial, have, total, archive.file)
    if have < (total or archive.n_bytes or 0):
        raise ReleaseError(
            f"broke off after {human(have)} of {human(total or archive.n_bytes)}; run this again to go on"
        )


def _save(response, partial: Path, have: int, total: int | None, what: str) -> int:
    """Append to (or start) the partial file, with progress; returns its size in bytes."""
    bar = tqdm(
        total=total, initial=have, unit="B", unit_scale=True, desc=what, mininterval=1, disable=None
    )
    printed = time.monotonic()
    with open(partial, "ab" if have else "wb") as stream, bar:
        while chunk := response.read1(
            CHUNK
        ):  # read() would hold back what it has when the connection breaks
            stream.write(chunk)
            have += len(chunk)
            bar.update(len(chunk))
            if (
                bar.disable and time.monotonic() - printed > 30
            ):  # no terminal: a plain line now and then
                printed = time.monotonic()
                print(
                    f"{what}: {human(have)} of {human(total) if total else 'unknown'}", flush=True
                )
    return have


def _problem(archive: Archive, file: Path) -> str:
    """What tells the file from the published one; "" if nothing does."""
    if archive.n_bytes and _size(file) != archive.n_bytes:
        return f"{_size(file)} bytes instead of {archive.n_bytes}"
    with open(file, "rb") as stream:
        begins = stream.read(20)
    if not begins.startswith(BEGINNINGS.get(file_type := Path(archive.file).suffix, b"")):
        return f"no {file_type} file, it begins with {begins!r}"
    if not archive.digest:
        print(
            f"{archive.file}: no published hash to check; sha256 is {hash_file(file)}", flush=True
        )
        return ""
    kind, _, expected = archive.digest.partition(":")
    found = hash_file(file, kind)
    return "" if found == expected else f"{kind} is {found}, expected {expected}"


def hash_file(file: Path, kind: str = "sha256") -> str:
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, kind).hexdigest()


def unpack(
    file: Path, root: Path, top: str, only: tuple[str, ...] = (), is_flat: bool = False
) -> Path:
    """Unpack an archive whose content is the folder or file `top` into `root`; it appears there only when complete.

    Args:
        only: beginnings of the paths to unpack; (): everything.
        is_flat: the archive holds the content of the folder `top`, not the folder; one that does hold it is fine too.
    Raises:
        ReleaseError: no archive, one that is broken, lacks `top`, or holds absolute or parent paths, links or devices.
    """
    partial = root / f"{top}.unpacking"
    shutil.rmtree(partial, ignore_errors=True)
    print(f"unpacking {file.name}", flush=True)
    try:
        partial.mkdir(parents=True)
        (_unpack_zip if file.suffix == ".zip" else _unpack_tar)(file, partial, only or ("",))
        whole = partial / top
        if is_flat and not whole.exists():
            whole = partial
        if not whole.exists():
            raise ReleaseError(
                f"{file} holds no {top}; it has {', '.join(sorted(p.name for p in partial.iterdir())[:5])}"
            )
        os.replace(whole, root / top)
    except tarfile.FilterError as error:
        raise ReleaseError(
            f"{file}: refused, it would write outside its folder: {error}"
        ) from error
    except (
        tarfile.TarError,
        zipfile.BadZipFile,
        gzip.BadGzipFile,
        zlib.error,
        lzma.LZMAError,
        EOFError,
        RuntimeError,
    ) as error:
        what = " ".join(str(error).split())
        raise ReleaseError(
            f"{file} cannot be unpacked ({what}); delete it and run this again"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return root / top


class _Member(tarfile.TarInfo):
    """An entry of a tar that must end with its end mark: by default a tar cut between two files passes for whole."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> tarfile.TarInfo:
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"no end mark: {error}") from error


def _unpack_tar(file: Path, folder: Path, only: tuple[str, ...]) -> None:
    with tarfile.open(file, tarinfo=_Member) as archive:
        for member in tqdm(archive, desc=file.name, unit="file", mininterval=1, disable=None):
            if Path(
                member.name
            ).is_absolute():  # the filter would strip the slash; such an archive is refused whole
                raise ReleaseError(
                    f"{file}: refused, it would write outside its folder: {member.name}"
                )
            if member.name.removeprefix("./").startswith(only):
                archive.extract(member, folder, filter="data")
            archive.members.clear()  # Places365 has 1.8 million: 2 GB if tarfile kept them
        while archive.fileobj.read(CHUNK):  # to the end, where gzip checks what it unpacked
            pass


def _unpack_zip(file: Path, folder: Path, only: tuple[str, ...]) -> None:
    with zipfile.ZipFile(file) as archive:
        for member in tqdm(
            archive.infolist(), desc=file.name, unit="file", mininterval=1, disable=None
        ):
            path = Path(member.filename.replace("\\", "/"))
            has_drive, is_link = str(path)[1:2] == ":", stat.S_ISLNK(member.external_attr >> 16)
            if path.is_absolute() or ".." in path.parts or has_drive or is_link:
                raise ReleaseError(
                    f"{file}: refused, it would write outside its folder: {member.filename}"
                )
            if member.filename.startswith(only):
                archive.extract(member, folder)


# --- checking ---------------------------------------------------------------------------------------------------------


def read_table(file: Path, columns: Sequence[str], what_to_do: str, **options) -> pd.DataFrame:
    """A csv of the release, as text unless `options` say otherwise, with at least these columns.

    Raises:
        ReleaseError: missing, unreadable, empty, or without one of the columns.
    """
    if not file.is_file():
        raise ReleaseError(f"{file} is missing: {what_to_do}")
    try:
        table = pd.read_csv(file, **{"dtype": str, "keep_default_na": False, **options})
    except (ValueError, OSError) as error:  # pandas' ParserError and EmptyDataError are ValueErrors
        raise ReleaseError(f"{file} cannot be read: {' '.join(str(error).split())}") from error
    for column in columns:
        if column not in table.columns:
            raise ReleaseError(
                f"{file}: column {column!r} missing; it has {', '.join(map(str, table.columns))}"
            )
    if table.empty:
        raise ReleaseError(f"{file} has no rows")
    return table


def decode(table: pd.DataFrame, column: str, names: Sequence[str], file: Path) -> pd.Series:
    """The names of a column of codes "0", "1", ...

    Raises:
        ReleaseError: a value outside the codes, with its row.
    """
    codes = {str(code): name for code, name in enumerate(names)}
    unknown = table.index[~table[column].isin(codes)]
    if len(unknown):
        row = unknown[0]
        raise ReleaseError(
            f"{file}: {column} must be one of {', '.join(codes)}; got {table[column][row]!r} in row {row}"
        )
    return table[column].map(codes)


def check_counts(found: pd.DataFrame, published: pd.DataFrame, allow_different: bool) -> list[str]:
    """One phrase for each count that is not the published one (NaN there: not published).

    Raises:
        ReleaseError: there are such counts and they are not allowed.
    """
    found = found.reindex(index=published.index, columns=published.columns, fill_value=0)
    different = [
        f"{row} {column}: {found.loc[row, column]} instead of {published.loc[row, column]:.0f}"
        for row in published.index
        for column in published.columns
        if pd.notna(published.loc[row, column])
        and found.loc[row, column] != published.loc[row, column]
    ]
    if different and not allow_different:
        raise ReleaseError(
            f"{len(different)} of {published.notna().sum().sum()} counts differ from the published ones: "
            f"{'; '.join(different[:8])}{'; ...' if len(different) > 8 else ''}; use the original release, or "
            "--allow-different"
        )
    return different


def check_filled(manifest: pd.DataFrame, classes: Sequence[str], splits: Sequence[str]) -> None:
    """Every class has an example in the pool, every split one at all: no variant may lack these.

    Raises:
        ReleaseError: the class or split that has none.
    """
    for split in splits:
        if not manifest["split"].eq(split).any():
            raise ReleaseError(
                f"split {split!r} is empty; the release has {manifest['split'].value_counts().to_dict()}"
            )
    pool = manifest.loc[manifest["split"] == "pool", "label"]
    for name in classes:
        if not pool.eq(name).any():
            raise ReleaseError(
                f"no example of class {name!r} in the pool; it has {pool.value_counts().to_dict()}"
            )


def check_images(root: Path, names: Sequence[str], trust: bool = False) -> None:
    """Every image is there and, unless trusted, can be read to its end (JPEGs at an eighth of their size).

    Raises:
        ReleaseError: missing or broken images, the first of them named.
    """
    missing = [name for name in names if not (root / name).is_file()]
    if missing:
        raise ReleaseError(
            f"{len(missing)} of {len(names)} images missing, first {root / missing[0]}; "
            "unpack the release again"
        )
    if trust:
        return

    def is_broken(name: str) -> bool:
        try:
            with Image.open(root / name) as image:
                image.draft("RGB", (max(1, image.width // 8), max(1, image.height // 8)))
                image.load()
            return False
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            return True

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        checks = tqdm(
            threads.map(is_broken, names),
            total=len(names),
            desc="check images",
            unit="image",
            disable=None,
        )
        broken = [name for name, is_bad in zip(names, checks, strict=True) if is_bad]
    if broken:
        raise ReleaseError(
            f"{len(broken)} of {len(names)} images cannot be read (truncated or no image): "
            f"{', '.join(broken[:5])}{', ...' if len(broken) > 5 else ''}; get them again"
        )


# --- writing ----------------------------------------------------------------------------------------------------------


def write_dataset(
    out: Path, manifest: pd.DataFrame, description: dict, images: Path | None = None
) -> None:
    """Write a dataset folder; dataset.yaml comes last, so that a folder which has it is complete.

    Args:
        manifest: one row an example. Image paths are relative to `images`, a folder that is linked to, not copied.
        description: content of dataset.yaml. A text manifest is stored as parquet.
    """
    out.mkdir(parents=True, exist_ok=True)
    for old in ("dataset.yaml", "manifest.csv", "manifest.parquet"):
        (out / old).unlink(missing_ok=True)
    if images is not None:
        prefix = "images" if _link(images, out / "images") else str(images)
        manifest = manifest.assign(path=prefix + "/" + manifest["path"])
        replace_file(out / "manifest.csv", lambda partial: manifest.to_csv(partial, index=False))
    else:
        replace_file(
            out / "manifest.parquet", lambda partial: manifest.to_parquet(partial, index=False)
        )
    text = yaml.safe_dump(description, sort_keys=False, allow_unicode=True)
    replace_file(out / "dataset.yaml", lambda partial: partial.write_text(text, encoding="utf-8"))


def _link(folder: Path, link: Path) -> bool:
    """Point `link` at the images; False where links cannot be made (the manifest then holds absolute paths)."""
    if link.exists() and not link.is_symlink():
        raise ReleaseError(f"{link} exists and is no link; choose another --out or move it away")
    try:
        link.unlink(missing_ok=True)
        link.symlink_to(folder.resolve(), target_is_directory=True)
    except OSError:
        return False
    return True


def replace_file(file: Path, write: Callable[[Path], object]) -> None:
    """Write a file under another name and put it in place when it is whole."""
    partial = file.with_name(f"{file.name}.partial")
    write(partial)
    os.replace(partial, file)


# --- reporting --------------------------------------------------------------------------------------------------------


def human(n_bytes: float) -> str:
    """1536 -> '1.5 KiB'."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if n_bytes < 1024:
            return f"{n_bytes:.0f} {unit}" if unit == "B" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1024
    return f"{n_bytes:.1f} TiB"


def disk_report(
    root: Path, out: Path | Sequence[Path], manifest: pd.DataFrame, description: dict
) -> str:
    """Sizes of the source, of what was written, of the decoded images that runs will cache, and of stored runs."""
    folders = [out] if isinstance(out, Path) else out
    lines = [f"disk: source {human(_size(root))}, dataset folder {human(sum(map(_size, folders)))}"]
    if "path" in manifest:
        recipe = description.get("recipe", {})
        evaluated = manifest["split"].isin(
            ["pool", *(description.get("eval_splits") or manifest["split"].unique())]
        )
        size = recipe.get("crop") or recipe.get("resize") or description["image_size"]
        n_bytes = evaluated.sum() * size**2 * 3
        lines.append(f"      decoded images, cached by the first run: {human(n_bytes)}")
    lines.append(
        f"      stored runs of all datasets: {human(_size(HOME / 'runs'))} in {HOME / 'runs'}"
    )
    return "\n".join(lines)


def _size(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(
        os.lstat(os.path.join(folder, name)).st_size
        for folder, _, names in os.walk(path)
        for name in names
    )


# --- the command line -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Prepared:
    """What a script's `prepare` returns."""

    manifest: pd.DataFrame
    description: dict
    counts: pd.DataFrame  # printed
    different: list[str]  # counts that are not the published ones
    folders: Sequence[Path] = ()  # what was written; (): the folder of --out


def describe(description: dict, counts: pd.DataFrame) -> tuple[str, dict]:
    """Name of a dataset, its description, and how many examples the splits that runs use should have."""
    sizes = counts.sum(axis=1)
    return description["name"], {
        "description": description,
        "sizes": {split: int(sizes[split]) for split in ("pool", *description["eval_splits"])},
    }


def command(
    name: str,
    doc: str,
    prepare: Callable[..., Prepared],
    archives: Sequence[Archive] | Callable[..., Sequence[Archive]] = (),
    options: Callable[[argparse.ArgumentParser], None] = lambda parser: None,
    *,
    expected: Sequence[tuple[dict, pd.DataFrame]],
) -> None:
    """The command line of a script; a ReleaseError ends it with one line.

    Args:
        expected: content of dataset.yaml and published counts (splits, any groups) of each dataset that it makes; --describe
            prints them, so that what runs on them would cost can be told before they are here.
        prepare: called with root=, out=, allow_different=, trust_images= and the script's own options; writes the folder.
        archives: what --download fetches; a function of the same keywords where it depends on them.
        options: adds the script's own options; may set other defaults.
    """
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--root",
        type=Path,
        help=f"folder of the release (default with --download: data/source/{name})",
    )
    parser.add_argument(
        "--download", action="store_true", help="fetch what is missing in --root first"
    )
    parser.add_argument(
        "--out", type=Path, default=HOME / "data" / "paper" / name, help="dataset folder to write"
    )
    parser.add_argument(
        "--allow-different", action="store_true", help="go on if counts are not the published ones"
    )
    parser.add_argument(
        "--trust-images",
        action="store_true",
        help="do not open every image to see whether it is whole",
    )
    parser.add_argument(
        "--describe", action="store_true", help="print what it makes, as JSON; needs no data"
    )
    options(parser)
    given = vars(parser.parse_args())
    if given.pop("describe"):
        print(json.dumps(dict(describe(*each) for each in expected)))
        return
    wants_download, root = given.pop("download"), given.pop("root")
    if root is None and not wants_download:
        parser.error("give --root FOLDER (a release that you have) or --download")
    root = (root or HOME / "data" / "source" / name).expanduser().resolve()
    out = given.pop("out").expanduser()
    try:
        if wants_download:
            fetch(archives(root=root, **given) if callable(archives) else archives, root)
        prepared = prepare(root=root, out=out, **given)
    except (ReleaseError, OSError) as error:
        sys.exit(f"{name}: {' '.join(str(error).split())}")
    except KeyboardInterrupt:
        sys.exit(f"\n{name}: stopped; the same command goes on from here")
    counts = prepared.counts
    print(counts.assign(all=counts.sum(axis=1)).to_string())
    for difference in prepared.different:
        print(f"not as published: {difference}")
    folders = prepared.folders or [out]
    print(disk_report(root, folders, prepared.manifest, prepared.description))
    print(f"wrote {', '.join(map(str, folders))}")
