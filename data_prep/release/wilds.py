"""What the four scripts for WILDS data share: bundles, finding a release, loading it, counting.

The `wilds` package is imported inside `load` only (it takes seconds). Before it is asked to load
anything, each script checks what it would crash on, so that a wrong folder ends in one line; its
`dataset.eval` is never used, metrics are our own.
"""

import warnings
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pandas as pd

from alpt_lib.datasets import write_dataset
from alpt_lib.errors import DataError
from release.checks import check_counts, check_images
from release.command import Prepared
from release.download import Archive


def bundle(
    folder: str,
    identifier: str,
    about_bytes: int,
    copies: tuple[Archive, ...] = (),
    elsewhere: str = "",
) -> Archive:
    """The archive of one WILDS release, as the `wilds` package itself would fetch it.

    Its host has been failing for long.

    Args:
        folder: such as "iwildcam_v2.0".
        identifier: of the bundle, from the package's `_versions_dict`.
        about_bytes: the package's `compressed_size`, which it calls approximate: no download is
            refused for it.
        copies: the same content packed by others.
        elsewhere: a source in another layout, or whose file names we do not know.
    """
    official = f"https://worksheets.codalab.org/rest/bundles/{identifier}/contents/blob/"
    return Archive(
        f"{folder}.tar.gz",
        (official,),
        unpacked=folder,
        about_bytes=about_bytes,
        is_flat=True,
        copies=copies,
        elsewhere=elsewhere,
    )


def find(root: Path, folder: str) -> Path:
    """The release folder: `root` itself, or the folder of that name in it.

    Raises:
        DataError: no such folder, or one without the RELEASE file by which the wilds package
            knows a whole release.
    """
    release = root if root.name == folder else root / folder
    proof = f"RELEASE_{folder.rpartition('_')[2]}.txt"
    if not release.is_dir():
        raise DataError(
            f"{release} is missing: --root takes the folder {folder} of WILDS, or the folder that "
            "holds it"
        )
    if not (release / proof).is_file():
        raise DataError(
            f"{release / proof} is missing: the release comes with it; unpack the whole archive "
            f"into {release}"
        )
    return release


def load(folder: Path) -> Any:
    """The release as the dataset object of the `wilds` package.

    Raises:
        DataError: the package cannot load it, for a reason that our own checks did not foresee.
    """
    from wilds import get_dataset

    name, _, version = folder.name.partition("_v")
    try:
        with warnings.catch_warnings():
            # of groups for wilds' own metrics, which we do not use
            warnings.simplefilter("ignore", UserWarning)
            return get_dataset(name, version=version, root_dir=str(folder.parent), download=False)
    except (AssertionError, LookupError, TypeError, ValueError) as error:
        raise DataError(
            f"{folder}: the wilds package cannot load it ({type(error).__name__}: {error})"
        ) from error


def examples(dataset: Any) -> pd.DataFrame:
    """One row an example of a wilds dataset: metadata fields as int64, split as in the manifest.

    The training split is the pool; an example that no split uses has NaN.
    """
    names = {
        number: "pool" if name == "train" else name for name, number in dataset.split_dict.items()
    }
    table = pd.DataFrame(dataset.metadata_array.numpy(), columns=dataset.metadata_fields)
    return table.assign(split=pd.Series(dataset.split_array).map(names))


def whole_numbers(table: pd.DataFrame, column: str, file: Path, gapless: bool = False) -> pd.Series:
    """A text column as int64, none of them negative.

    Args:
        gapless: 0 to the largest must all occur, which wilds asserts without a word.
    Raises:
        DataError: no such number, with its row; or the first number left out.
    """
    report_rows(table, column, ~table[column].str.fullmatch(r"\d+"), "a whole number", file)
    numbers = table[column].astype("int64")
    left_out = set(range(numbers.max() + 1)) - set(numbers)
    if gapless and left_out:
        raise DataError(
            f"{file}: {column} leaves out {min(left_out)}, but 0 to {numbers.max()} must all "
            "occur; number them again without gaps"
        )
    return numbers


def one_of(table: pd.DataFrame, column: str, known: Collection[str], file: Path) -> None:
    """Raises a DataError unless every value of a text column is a known one."""
    names = ", ".join(known) if len(known) < 10 else f"the {len(known)} known ones"
    report_rows(table, column, ~table[column].isin(list(known)), f"one of {names}", file)


def report_rows(
    table: pd.DataFrame, column: str, is_wrong: pd.Series, must_be: str, file: Path
) -> None:
    """Raises a DataError that quotes the first wrong value of a column, if there is one."""
    if is_wrong.any():
        row = is_wrong.idxmax()
        raise DataError(
            f"{file}: {column} must be {must_be}; got {table[column][row]!r} in row {row} "
            f"({is_wrong.sum()} such rows)"
        )


def compare(
    splits: pd.Series, published: pd.DataFrame, used: list[str], allow_different: bool
) -> tuple[pd.DataFrame, list[str]]:
    """Examples per split, and which of these counts are not the published ones.

    Args:
        splits: of every example. published: (n_splits, 1). used: splits that a run needs, the pool
            among them.
    Raises:
        DataError: a needed split is empty; or counts differ and that is not allowed.
    """
    unit = published.columns[0]
    counts = splits.value_counts().reindex(published.index, fill_value=0).to_frame(unit)
    for split in used:
        if not counts.loc[split, unit]:
            raise DataError(
                f"no {unit} in split {split!r} ({counts[unit].sum()} in the others); use the "
                "original release"
            )
    return counts, check_counts(counts, published, allow_different)


def compare_classes(classes: list[str], n_published: int, allow_different: bool) -> list[str]:
    """Whether there are as many classes as published; as `check_counts`."""
    published = pd.DataFrame({"classes": [n_published]}, index=["pool"])
    counts = pd.DataFrame({"classes": [len(classes)]}, index=["pool"])
    return check_counts(counts, published, allow_different)


def drop_unseen(manifest: pd.DataFrame) -> pd.DataFrame:
    """The manifest without examples of classes that the pool lacks, and says how many went.

    No label could teach such a class, and a class-balanced seed set could not be drawn.
    """
    seen = manifest["label"].isin(manifest.loc[manifest["split"] == "pool", "label"].unique())
    if not seen.all():
        lost = manifest[~seen]
        print(
            f"dropped {len(lost)} examples outside the pool, of {lost['label'].nunique()} classes "
            f"that the pool lacks, first {lost['label'].iloc[0]!r}",
            flush=True,
        )
    return manifest[seen].reset_index(drop=True)


def write_images(
    manifest: pd.DataFrame,
    description: dict,
    images: Path,
    out: Path,
    counts: pd.DataFrame,
    different: list[str],
    trust_images: bool,
) -> Prepared:
    """Check the images of the pool and the evaluation splits, and write the dataset folder.

    Those of other splits are never opened.
    """
    used = manifest["split"].isin(["pool", *description["eval_splits"]])
    check_images(images, manifest.loc[used, "path"].tolist(), trust_images)
    write_dataset(out, manifest, description, images)
    return Prepared(manifest, description, counts, different)
