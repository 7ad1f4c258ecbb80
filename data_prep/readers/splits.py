"""From what a reader gives to the rows of a manifest: labels, splits, copies, all checked."""

import unicodedata
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from release.checks import check_images
from release.report import note

from alpt_lib.errors import DataError
from alpt_lib.files import hash_files
from companion.paths import why_missing
from readers.features import content_keys
from readers.source import POOL, ROW, SPLITS, Source


def labelled(source: Source) -> pd.DataFrame:
    """The rows with labels stripped and splits called as in a manifest, "" where none is told.

    Evaluation splits that have no labels at all (test sets of contests) are left out.

    Raises:
        DataError: labels or some of the splits are missing, or there is a single class.
    """
    frame = source.frame
    name = source.name
    given = frame["split"] if "split" in frame else pd.Series("", index=frame.index)
    words = given.str.strip().str.lower()
    without = frame.index[words == ""]
    if 0 < len(without) < len(frame):
        raise DataError(
            f"{name}: {len(without)} of {len(frame)} rows have no split, first row {without[0]}"
        )
    splits = words.map(lambda word: SPLITS.get(word, word))
    frame = frame.assign(split=splits, label=frame["label"].str.strip())
    is_hidden = (frame.groupby("split")["label"].transform("max") == "") & ~splits.isin([POOL, ""])
    if is_hidden.any():
        hidden = sorted(set(splits[is_hidden]))
        note(f"split {', '.join(hidden)} left out: it has no labels")
        frame = frame[~is_hidden]
    missing = frame.index[frame["label"] == ""]
    if len(missing):
        raise DataError(
            f"{name}: {len(missing)} of {len(frame)} rows have no label, first row {missing[0]}; "
            "label them or leave them out"
        )
    _check_classes(frame["label"], name)
    return frame.reset_index(drop=True)


def _check_classes(labels: pd.Series, name: str) -> None:
    classes = sorted(set(labels))
    if len(classes) < 2:
        raise DataError(f"{name}: a single class, {classes[0]!r}; there must be at least 2")
    looks = Counter(unicodedata.normalize("NFC", label).casefold() for label in classes)
    alike = [c for c in classes if looks[unicodedata.normalize("NFC", c).casefold()] > 1]
    if alike:
        note(f"classes that look alike count as different: {', '.join(map(ascii, alike))}")


def with_content(frame: pd.DataFrame, source: Source) -> tuple[pd.DataFrame, pd.Series]:
    """The rows, one for each image, and a key for each that is equal for equal content.

    Raises:
        DataError: missing or unreadable images (named), images with several labels, empty texts.
    """
    if source.features is not None:
        keys = content_keys(source.features, frame[ROW])
        return frame, pd.Series(keys, index=frame.index)
    if source.root is None:
        empty = frame.index[frame["text"].str.strip() == ""]
        if len(empty):
            raise DataError(
                f"{source.name}: {len(empty)} of {len(frame)} texts are empty, first row {empty[0]}"
            )
        return frame, frame["text"]
    missing = [path for path in frame["path"] if not (source.root / path).is_file()]
    if missing:
        raise DataError(
            f"{source.name}: {len(missing)} of {len(frame)} images missing, first "
            f"{missing[0]!r} ({why_missing(source.root, missing[0])}), from {source.root}"
        )
    frame = _one_row_an_image(frame, source.name)
    check_images(source.root, frame["path"].tolist())
    keys = _content_keys(source.root, frame["path"])
    return frame, pd.Series(keys, index=frame.index)


def _one_row_an_image(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """Rows that name the same file with the same label are merged; others are refused."""
    repeated = frame[frame["path"].duplicated(keep=False)]
    if repeated.empty:
        return frame
    differ = repeated.groupby("path")[["label", "split"]].nunique().max(axis=1) > 1
    if differ.any():
        path = differ.idxmax()
        labels = sorted(set(repeated.loc[repeated["path"] == path, "label"]))
        raise DataError(
            f"{name}: {differ.sum()} images stand in several rows that differ in label or split, "
            f"first {path} ({', '.join(labels)}); leave one row for each"
        )
    merged = frame.drop_duplicates("path")
    note(
        f"{len(frame) - len(merged)} rows left out, for another row names the same image, first "
        f"{repeated['path'].iloc[0]}"
    )
    return merged.reset_index(drop=True)


def _content_keys(root: Path, paths: pd.Series) -> list[str]:
    """Equal for files of equal content; only files of equal size are read."""
    sizes = [(root / path).stat().st_size for path in paths]
    occurs = Counter(sizes)
    keys = [str(size) for size in sizes]
    rows = [row for row, size in enumerate(sizes) if occurs[size] > 1]
    hashes = hash_files([root / paths.iloc[row] for row in rows], memory=root)
    for row, content in zip(rows, hashes, strict=True):
        keys[row] = content
    return keys


def with_splits(
    frame: pd.DataFrame, keys: pd.Series, name: str, val_fraction: float, seed: int
) -> pd.DataFrame:
    """Rows with the splits pool, val ...: the source's own, else drawn; says what copies there are.

    Args:
        keys: equal for rows of equal content.
        val_fraction: share of each class, at least one example, that a drawn `val` takes.
    Raises:
        DataError: no training split, or a class with too few examples.
    """
    splits = sorted(set(frame["split"]))
    if splits in ([""], [POOL]):
        frame = frame.assign(split=stratified(frame["label"], keys, name, val_fraction, seed))
    elif POOL not in splits:
        raise DataError(
            f"{name}: no training split; found {', '.join(splits)}, one must be train or pool"
        )
    classes = set(frame["label"])
    absent = sorted(classes - set(frame.loc[frame["split"] == POOL, "label"]))
    if absent:
        raise DataError(
            f"{name}: {len(absent)} of {len(classes)} classes have no example in the training "
            f"split, first {absent[0]}"
        )
    for said in _copies(frame, keys):
        note(said)
    return frame


def stratified(
    labels: pd.Series, keys: pd.Series, name: str, val_fraction: float, seed: int
) -> pd.Series:
    """`val` for a share of each class drawn from the seed, `pool` for the others.

    Copies are drawn as one, so that they lie on one side.

    Raises:
        DataError: a share outside (0, 1), or a class with fewer than two different examples.
    """
    if not 0 < val_fraction < 1:
        raise DataError(f"--val-fraction must lie between 0 and 1; got {val_fraction}")
    firsts = labels[~keys.duplicated()]
    sizes = firsts.value_counts().reindex(sorted(set(labels)), fill_value=0)
    few = sizes.index[sizes < 2]
    if len(few):
        raise DataError(
            f"{name}: a class needs at least 2 different examples, one for the pool and one for "
            f"val; {len(few)} have fewer: {', '.join(few[:5])}; add examples or leave these "
            "classes out"
        )
    rng = np.random.default_rng(seed)
    split = pd.Series(POOL, index=firsts.index)
    for _, rows in sorted(firsts.groupby(firsts).groups.items()):
        n_val = min(max(1, round(val_fraction * len(rows))), len(rows) - 1)
        split[rng.permutation(rows)[:n_val]] = "val"
    of_content = pd.Series(split.to_numpy(), index=keys[firsts.index])
    return pd.Series(of_content[keys].to_numpy(), index=labels.index)


def _copies(frame: pd.DataFrame, keys: pd.Series) -> Iterator[str]:
    """What copies there are, and which do harm."""
    copied = frame[keys.duplicated(keep=False)].groupby(keys, sort=False)
    if not len(copied):
        return
    first, second = next(iter(copied))[1].index[:2]
    which = f"rows {first} and {second}"
    if "path" in frame:
        which = f"{frame['path'][first]} = {frame['path'][second]}"
    yield f"examples that occur more than once: {len(copied)} (first {which})"
    harms = {"split": "the accuracy will be too high", "label": "one label must be wrong"}
    for column, harm in harms.items():
        n_harmful = int((copied[column].nunique() > 1).sum())
        if n_harmful:
            yield f"of these with another {column}: {n_harmful}; {harm}"
