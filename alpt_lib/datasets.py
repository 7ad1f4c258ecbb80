"""A dataset is a folder with a manifest and a description; read and checked as a whole.

folder/manifest.csv (or .parquet)   path or text, label, split, and attributes the model never sees
folder/dataset.yaml                 classes, subgroups, image size, default model, protocol, recipe
folder/features/NAME.npy            of a dataset of features: a row for each row of the manifest
"""

import csv
import hashlib
import os
from collections.abc import Callable
from dataclasses import field
from datetime import date
from functools import cached_property
from pathlib import Path
from stat import S_ISREG
from typing import Any, Literal

import numpy as np
import pandas as pd
import yaml
from pydantic import Field

from alpt_lib.acquisition import POOL
from alpt_lib.config import checked_dataclass
from alpt_lib.embeddings import named_rows, odd_rows, read_embeddings, require_rows
from alpt_lib.errors import DataError, unknown
from alpt_lib.files import hash_files, home, whole_file, write_whole
from alpt_lib.metrics import COLUMNS, Groups, accuracy_rows, rare
from alpt_lib.pool import Pool
from alpt_lib.tables import read_table

MANIFESTS = ("manifest.parquet", "manifest.csv")
LONGEST_NAME = 100  # bytes; names of cached files begin with it
# the label of a pool example of which the oracle, once asked, cannot tell the class
CANNOT_TELL = "can't tell"


@checked_dataclass(DataError)
class Description:
    """dataset.yaml: what the columns mean and how the dataset is used by default."""

    name: str
    classes: list[str]
    modality: Literal["image", "text", "features"] = "image"
    title: str = ""
    description: str = ""
    # columns whose joined values name a subgroup
    subgroups: list[str] = field(default_factory=list)
    # subgroups that disambiguate; None: those under half their even share of the pool
    minority: list[str] | None = None
    # further attributes whose upsampling is reported
    latent: list[str] = field(default_factory=list)
    # attribute whose values get a 10th-percentile accuracy (Amazon: reviewer)
    percentile_over: str | None = None
    eval_splits: list[str] | None = None  # None: every split but the pool
    # whether images outside the folder may be read: it may have come from somebody else
    allow_outside: bool = False
    image_size: int = Field(default=224, ge=1)  # px
    max_tokens: int = Field(default=512, ge=3)
    figure_metrics: list[str] = field(default_factory=lambda: ["accuracy"])
    default_model: str = "bit-m"
    protocol: dict[str, Any] = field(default_factory=dict)
    recipe: dict[str, Any] = field(default_factory=dict)
    source: str = ""
    licence: str = ""
    generator: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        is_word = self.name.isprintable() and "/" not in self.name
        if not (is_word and 0 < len(self.name.encode()) <= LONGEST_NAME):
            raise DataError(
                "name must be a word without slashes and control characters, of at most "
                f"{LONGEST_NAME} bytes; got {self.name[:LONGEST_NAME]!r}"
            )
        if len(set(self.classes)) < max(2, len(self.classes)):
            raise DataError(f"classes must be two or more, each once; got {self.classes}")
        splits = self.eval_splits
        if splits is not None and (not splits or len({POOL, *splits}) <= len(splits)):
            raise DataError(
                f"eval_splits must name each evaluation split once, and not {POOL!r}; got {splits}"
            )

    @property
    def content(self) -> str:
        """The column that holds what the model sees, "" for features: path or text."""
        return {"text": "text", "image": "path", "features": ""}[self.modality]


class Dataset:
    """A checked dataset folder: the pool and the evaluation splits, in manifest order.

    Args:
        frame: (n, ...) manifest rows with the columns path or text, label, split, attributes.
    """

    def __init__(self, folder: Path, description: Description, frame: pd.DataFrame):
        self.folder = folder
        self.description = description
        self.classes = list(description.classes)
        self.eval_splits = description.eval_splits or sorted(set(frame["split"]) - {POOL})
        self.n_rows = len(frame)
        self._rows: dict[str, pd.DataFrame] = {}
        # computed when they are first asked for
        self._labels: dict[str, np.ndarray] = {}
        self._subgroups: dict[str, np.ndarray] = {}
        # of each split, its rows' positions in the manifest
        self._positions: dict[str, np.ndarray] = {}
        for split in (POOL, *self.eval_splits):
            positions = np.flatnonzero(frame["split"] == split)
            self._positions[split] = positions
            self._rows[split] = frame.iloc[positions].reset_index(drop=True)

    @property
    def name(self) -> str:
        return self.description.name

    @property
    def is_text(self) -> bool:
        return self.description.modality == "text"

    def rows(self, split: str) -> pd.DataFrame:
        """Manifest rows of one split; row number = index in every stored table."""
        if split not in self._rows:
            raise DataError(f"{self.name}: {unknown('split', split, list(self._rows))}")
        return self._rows[split]

    @property
    def is_image(self) -> bool:
        return self.description.modality == "image"

    def feature_names(self) -> list[str]:
        """The models whose features a dataset of features holds."""
        return sorted(file.stem for file in (self.folder / "features").glob("*.npy"))

    def feature_file(self, name: str) -> Path:
        """The file that holds the features of a model.

        Raises:
            DataError: there is none; lists those that there are.
        """
        if name not in self.feature_names():
            raise DataError(f"{self.name}: {unknown('features', name, self.feature_names())}")
        return self.folder / "features" / f"{name}.npy"

    def features(self, name: str, split: str) -> np.ndarray:
        """(n, n_features) float features of one split, as some model gave them.

        Raises:
            DataError: another number of rows than the manifest has, no numbers, NaN or infinite.
        """
        file = self.feature_file(name)
        features = read_embeddings(file)
        require_rows(features, self.n_rows, file, "the manifest")
        positions = self._positions[split]
        chosen = features[positions]
        odd = odd_rows(chosen)
        if len(odd):
            raise DataError(
                f"{file}: {len(odd)} rows of {split} hold NaN or infinite values, "
                f"{named_rows(positions[odd])} of the manifest"
            )
        return chosen

    def picture_file(self, split: str, row: int) -> Path | None:
        """The file of an example's picture, if it has one that is there and may be read."""
        rows = self.rows(split)
        if "path" not in rows:
            return None
        file = self.folder / rows["path"][row]
        if not file.is_file():
            return None
        may_read = self.is_image or self.description.allow_outside
        return file if may_read or not is_outside(self.folder, file) else None

    def files(self, split: str) -> list[Path]:
        """The image files of one split."""
        return [self.folder / path for path in self.rows(split)["path"]]

    def labels(self, split: str) -> np.ndarray:
        """(n,) int64 class numbers; -1 where the oracle cannot tell (in the pool alone)."""
        if split not in self._labels:
            self._labels[split] = pd.Index(self.classes).get_indexer(self.rows(split)["label"])
        return self._labels[split]

    def evaluate(self, predict_probs: Callable[[str], np.ndarray]) -> list[dict[str, Any]]:
        """Metric rows: all accuracies on all evaluation splits.

        Args:
            predict_probs: split to (n, n_classes) probabilities.
        """
        records = []
        for split in self.eval_splits:
            rows = accuracy_rows(
                predict_probs(split).argmax(axis=1) == self.labels(split),
                **self._groups[split],
                minority=self.minority,
                train_weights=self.pool_shares,
            )
            records += [{**dict(zip(COLUMNS, row, strict=True)), "split": split} for row in rows]
        return records

    @cached_property
    def _groups(self) -> dict[str, dict[str, Any]]:
        """Of each evaluation split, how its examples are grouped in metrics."""
        over = self.description.percentile_over
        return {
            split: {
                "labels": Groups(self.rows(split)["label"]),
                "subgroups": Groups(self.subgroup(split)),
                "percentile_over": (over, Groups(self.rows(split)[over])) if over else None,
            }
            for split in self.eval_splits
        }

    def pool(self) -> Pool:
        """The pool, with nothing in it labelled yet."""
        return Pool(self.labels(POOL), len(self.classes), self.subgroup(POOL))

    def subgroup(self, split: str) -> np.ndarray:
        """(n,) str subgroup names such as `landbird/water`; "all" where no columns are named."""
        if split not in self._subgroups:
            columns = self.description.subgroups
            names = np.full(len(self.rows(split)), "all", dtype=object)
            if columns:
                names = subgroup_names(self.rows(split), columns).to_numpy(dtype=object)
            self._subgroups[split] = names
        return self._subgroups[split]

    def attributes(self, split: str) -> pd.DataFrame:
        """(n, n_attributes) the label and every column that the model never sees."""
        return self.rows(split).drop(columns=["split", "path", "text"], errors="ignore")

    @cached_property
    def pool_examples(self) -> dict[str, list[Any]]:
        """Column -> (n_pool,) what is stored of an example that is asked for."""
        columns = {str(name): values.tolist() for name, values in self.attributes(POOL).items()}
        return {**columns, "subgroup": self.subgroup(POOL).tolist()}

    @cached_property
    def pool_shares(self) -> pd.Series:
        """Share of each subgroup in the pool."""
        return pd.Series(self.subgroup(POOL)).value_counts(normalize=True)

    @cached_property
    def minority(self) -> list[str]:
        """The described minority subgroups, else those with less than half of an even share."""
        if self.description.minority is not None:
            return list(self.description.minority)
        return rare(self.pool_shares)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of what a run sees: rows, labels, attributes, images' bytes, classes, subgroups."""
        digest = hashlib.sha256()
        for split, rows in self._rows.items():
            digest.update(f"{split}\n{rows.to_csv(index=False)}".encode())
        if self.is_image:
            folder = str(self.folder)
            paths = [path for rows in self._rows.values() for path in rows["path"].tolist()]
            files = [os.path.join(folder, path) for path in paths]
            digest.update("".join(hash_files(files, memory=self.folder)).encode())
        d = self.description
        meaning = (d.classes, d.modality, d.subgroups, self.minority, d.percentile_over)
        digest.update(repr(meaning).encode())
        return digest.hexdigest()[:16]

    def working(self, doing: str, done: int, total: int) -> None:
        """Told how far the reading of a split is, which takes a while; nothing to do here."""

    def unreadable_images(self, split: str, reasons: dict[int, str]) -> None:
        """What to do about images that cannot be decoded; row -> why. A dataset refuses them.

        Raises:
            DataError: names the first of them, with the decoder's own reason.
        """
        paths = self.rows(split)["path"]
        named = [f"{paths[row]} ({why})" for row, why in sorted(reasons.items())]
        raise DataError(
            f"{self.name} {split}: {len(named)} image(s) cannot be read: {', '.join(named[:5])}; "
            "replace or drop them from the manifest"
        )


def subgroup_names(frame: pd.DataFrame, columns: list[str]) -> pd.Series:
    """(n,) str, the columns' values with a slash between.

    Row by row, pandas would take 12 s for 300,000 rows.
    """
    first, *others = (frame[column].astype(str) for column in columns)
    return first.str.cat(others, sep="/")


def is_path(name: str) -> bool:
    """Whether a dataset is given by its folder rather than by name."""
    return "/" in name or "\\" in name or name.startswith((".", "~"))


def prepared(tier: str) -> dict[str, Path]:
    """Name -> folder of every dataset that is prepared at a tier, in the order of their names."""
    described = sorted((home() / "data" / tier).glob("*/dataset.yaml"))
    return {file.parent.name: file.parent for file in described}


def locate(name: str, tier: str = "mini") -> Path:
    """Folder of a dataset given by name (data/<tier>/<name>) or by path.

    Raises:
        DataError: neither exists; lists the names that do.
    """
    path = Path(name).expanduser()
    if (path / "dataset.yaml").exists() or is_path(name):
        return path.resolve()
    tier_folder = home() / "data" / tier
    if (tier_folder / name).is_dir():
        return tier_folder / name
    raise DataError(
        f"{unknown('dataset', name, list(prepared(tier)))}; or give the path of a folder with "
        "manifest.csv and dataset.yaml"
    )


def read_dataset(folder: str | Path) -> Dataset:
    """Read and check a dataset folder, as it is now.

    Raises:
        DataError: what is missing or wrong, with the first offending rows.
    """
    folder = Path(folder).expanduser()
    description = _read_description(folder)
    manifest = read_manifest(folder)
    _check_columns(folder.name, manifest, description)
    _check_values(folder.name, manifest, description)
    _check_splits(folder.name, manifest, description)
    data = Dataset(folder, description, manifest)
    if data.is_image:
        _check_images(data)
    if description.modality == "features" and not data.feature_names():
        raise DataError(f"{folder}: a dataset of features needs features/NAME.npy; there is none")
    if description.minority is not None and description.subgroups:
        names = sorted(set(subgroup_names(manifest, description.subgroups)))
        for name in description.minority:
            if name not in names:
                raise DataError(f"{folder.name}: {unknown('minority subgroup', name, names)}")
    return data


def _read_description(folder: Path) -> Description:
    file = folder / "dataset.yaml"
    if not file.exists():
        raise DataError(
            f"{file} is missing: a dataset folder needs dataset.yaml (name, classes, ...) and "
            "manifest.csv"
        )
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise DataError(f"{file} is not valid yaml: {error}") from error
    if not isinstance(content, dict) or not content.get("classes"):
        raise DataError(f"{file} must be a mapping with at least `classes: [...]`")
    if not all(isinstance(key, str) for key in content):
        raise DataError(f"{file}: keys must be words; got {list(content)}")
    content = {"name": folder.name, **content}
    if isinstance(content["classes"], list):
        content["classes"] = [_class_name(file, name) for name in content["classes"]]
    try:
        return Description(**content)
    except DataError as error:
        raise DataError(f"{file}: {error}") from None


def _class_name(file: Path, name: Any) -> Any:
    """Numbers serve as names; yes, no, on and off are true and false to yaml."""
    if isinstance(name, bool):
        raise DataError(f"{file}: yaml reads a class as {name}: put yes, no, on, off in quotes")
    if name is None or isinstance(name, date):
        raise DataError(f"{file}: yaml reads a class as {name}: put its name in quotes")
    return str(name) if isinstance(name, int | float) else name


def read_manifest(folder: Path) -> pd.DataFrame:
    """Every row of a dataset folder's manifest, as it is: also of splits that are not evaluated.

    Raises:
        DataError: there is none, or it cannot be read.
    """
    for name in MANIFESTS:
        if (folder / name).exists():
            manifest = _read_table_as_written(folder / name)
            if "label" in manifest:
                manifest["label"] = manifest["label"].astype(str)
            return manifest
    raise DataError(f"manifest missing: no manifest.csv or manifest.parquet in {folder}")


def _read_table_as_written(file: Path) -> pd.DataFrame:
    if file.suffix == ".csv":
        manifest = read_table(file, is_guarded=False)
        for note in manifest.attrs["notes"]:
            # which of the two is meant is not ours to choose
            if "appears twice" in note:
                raise DataError(f"{file}: {note}")
        return manifest
    try:
        return pd.read_parquet(file)
    except (ValueError, OSError, KeyError) as error:
        raise DataError(f"{file} cannot be read: {error}") from error


def _check_columns(name: str, manifest: pd.DataFrame, d: Description) -> None:
    columns = [d.content, "label", "split", *d.subgroups, *d.latent, d.percentile_over]
    for column in filter(None, columns):
        if column not in manifest.columns:
            has = ", ".join(map(str, manifest.columns))
            raise DataError(f"{name}: column {column!r} missing from the manifest; it has {has}")


def _check_values(name: str, manifest: pd.DataFrame, d: Description) -> None:
    for column in filter(None, (d.content, "split")):
        values = manifest[column]
        is_odd = np.array([not isinstance(value, str) for value in values.tolist()], dtype=bool)
        if column != "text":
            is_odd |= (values == "").to_numpy()
        if is_odd.any():
            row = int(is_odd.argmax())
            raise DataError(
                f"{name}: {is_odd.sum()} row(s) without a {column}, first {values.iloc[row]!r} "
                f"in row {row}"
            )
    cannot_tell = (manifest["label"] == CANNOT_TELL) & (manifest["split"] == POOL)
    outside = manifest[~manifest["label"].isin(d.classes) & ~cannot_tell]
    if len(outside):
        raise DataError(
            f"{name}: {len(outside)} label(s) outside the classes {d.classes}, "
            f"first {outside['label'].iloc[0]!r} in row {outside.index[0]}; in dataset.yaml, "
            "classes such as 01 need quotes"
        )


def _check_splits(name: str, manifest: pd.DataFrame, d: Description) -> None:
    splits = set(manifest["split"].unique())
    missing = sorted({POOL, *(d.eval_splits or [])} - splits)
    if missing:
        raise DataError(f"{name}: split {missing[0]!r} missing; the manifest has {sorted(splits)}")
    if splits == {POOL}:
        raise DataError(f"{name}: no evaluation split; the manifest has only {POOL!r}")


def _check_images(data: Dataset) -> None:
    """Every image is there, and none of the pool stands in it twice or in an evaluation split."""
    splits = [POOL, *data.eval_splits]
    used = pd.concat([data.rows(split) for split in splits], ignore_index=True)
    # one look at each file, without pandas and pathlib: there may be 200,000
    folder = str(data.folder)
    paths = used["path"].tolist()
    odd = [path for path in paths if not _is_plain_file(os.path.join(folder, path))]
    missing = [path for path in odd if not os.path.isfile(os.path.join(folder, path))]
    if missing:
        raise DataError(
            f"{data.name}: {len(missing)} of {len(used)} image files missing, first "
            f"{data.folder / missing[0]}"
        )
    if not data.description.allow_outside:
        _refuse_outside(data.folder, paths, links=odd)
    is_pool = used["split"] == POOL
    elsewhere = used["path"].isin(used["path"][~is_pool]) | used["path"].duplicated()
    twice = used["path"][is_pool & elsewhere]
    if len(twice):
        raise DataError(
            f"{data.name}: {len(twice)} image(s) are in the pool twice, or in an evaluation split "
            f"too, first {twice.iloc[0]}"
        )


def is_outside(folder: Path, path: str | Path) -> bool:
    """Whether a path from a folder leads out of it, links followed."""
    root = os.path.realpath(folder)
    real = os.path.realpath(os.path.join(root, path))
    return os.path.commonpath([root, real]) != root


def _is_plain_file(file: str) -> bool:
    try:
        return S_ISREG(os.lstat(file).st_mode)
    except (OSError, ValueError):
        return False


def _refuse_outside(folder: Path, paths: list[str], links: list[str]) -> None:
    """No path, link or linked folder may lead out of a dataset folder."""
    parents = set(map(os.path.dirname, paths))
    outside = {parent for parent in parents if is_outside(folder, parent)}
    leading_out = [path for path in paths if os.path.dirname(path) in outside] if outside else []
    leading_out += [path for path in links if is_outside(folder, path)]
    if leading_out:
        raise DataError(
            f"{folder.name}: {leading_out[0]} leads out of the dataset folder; if you trust who "
            "wrote its manifest, add allow_outside: true to dataset.yaml"
        )


def write_dataset(
    folder: Path, frame: pd.DataFrame, description: dict[str, Any], images: Path | None = None
) -> None:
    """Write a dataset folder; dataset.yaml comes last: a folder that has it is complete.

    Args:
        frame: one row an example: path or text, label, split, attributes. A manifest of texts is
            stored as parquet, for it may be large; one of images as csv.
        description: content of dataset.yaml.
        images: folder that the paths start from; a link to it is made, nothing is copied. None:
            they start from `folder`.
    Raises:
        DataError: where the link to the images should be, there is something else.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for old in ("dataset.yaml", *MANIFESTS):
        (folder / old).unlink(missing_ok=True)
    if "path" in frame:
        if images is not None:
            start = "images" if _is_linked(images, folder / "images") else str(images)
            frame = frame.assign(path=start + "/" + frame["path"])
            description = {**description, "allow_outside": True}
        # a bare carriage return would end a record
        has_return = frame["path"].str.contains("\r", regex=False).any()
        quoting: Any = csv.QUOTE_ALL if has_return else csv.QUOTE_MINIMAL
        with whole_file(folder / "manifest.csv") as stream:
            frame.to_csv(stream, index=False, quoting=quoting)
    else:
        with whole_file(folder / "manifest.parquet") as stream:
            frame.to_parquet(stream, index=False)
    written = yaml.safe_dump(description, sort_keys=False, allow_unicode=True)
    write_whole(folder / "dataset.yaml", written)


def _is_linked(images: Path, link: Path) -> bool:
    """Point `link` at the images; False where links cannot be made."""
    if link.exists() and not link.is_symlink():
        raise DataError(f"{link} exists and is no link; choose another --out or move it away")
    try:
        link.unlink(missing_ok=True)
        link.symlink_to(images.resolve(), target_is_directory=True)
    except OSError:
        return False
    return True
