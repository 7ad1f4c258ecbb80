"""A dataset is a folder with a manifest and a description; read and checked once, images decoded and texts tokenised once.

folder/manifest.csv (or .parquet)   path or text, label, split, and any attributes the model never sees
folder/dataset.yaml                 classes, subgroups, image size, default model, protocol and recipe
"""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import cached_property, lru_cache
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin

import numpy as np
import pandas as pd
import yaml

from alpt_lib.errors import DataError, unknown
from alpt_lib.files import cache_folder, home, made_once, new_array
from alpt_lib.inputs import TEXTS_AT_ONCE, OnDemand, _decode
from alpt_lib.metrics import rare
from alpt_lib.progress import Progress
from alpt_lib.tables import read_csv

POOL = "pool"


@dataclass(frozen=True)
class Description:
    """dataset.yaml: what the columns mean and how the dataset is used by default."""

    name: str
    classes: list[str]
    modality: str = "image"  # image | text
    title: str = ""
    description: str = ""
    subgroups: list[str] = field(
        default_factory=list
    )  # columns whose joined values name a subgroup
    minority: list[str] | None = (
        None  # subgroups that disambiguate; None: those under half their even share of the pool
    )
    latent: list[str] = field(
        default_factory=list
    )  # further attributes whose upsampling is reported
    percentile_over: str | None = (
        None  # attribute whose values get a 10th-percentile accuracy (Amazon: reviewer)
    )
    eval_splits: list[str] | None = None  # None: every split but the pool
    image_size: int = 224  # px
    max_tokens: int = 512
    figure_metrics: list[str] = field(default_factory=lambda: ["accuracy"])
    default_model: str = "bit-m"
    protocol: dict[str, Any] = field(default_factory=dict)
    recipe: dict[str, Any] = field(default_factory=dict)
    source: str = ""
    licence: str = ""
    generator: dict[str, Any] = field(default_factory=dict)


class Dataset:
    """A checked dataset folder. `frame` holds the pool and the evaluation splits, in manifest order."""

    def __init__(self, folder: Path, description: Description, frame: pd.DataFrame):
        self.folder, self.description = folder, description
        self.classes = list(description.classes)
        used = [POOL, *(description.eval_splits or sorted(set(frame["split"]) - {POOL}))]
        self.eval_splits = used[1:]
        self._rows = {
            split: frame[frame["split"] == split].reset_index(drop=True) for split in used
        }

    @property
    def name(self) -> str:
        return self.description.name

    def rows(self, split: str) -> pd.DataFrame:
        """Manifest rows of one split; row number = index in every stored table."""
        if split not in self._rows:
            raise DataError(f"{self.name}: {unknown('split', split, list(self._rows))}")
        return self._rows[split]

    def labels(self, split: str) -> np.ndarray:
        """(n,) int64 class numbers."""
        return pd.Categorical(self.rows(split)["label"], categories=self.classes).codes.astype(
            np.int64
        )

    def subgroup(self, split: str) -> np.ndarray:
        """(n,) str subgroup names such as `landbird/water`; "all" where the description names no columns."""
        columns = self.description.subgroups
        if not columns:
            return np.full(len(self.rows(split)), "all", dtype=object)
        return subgroup_names(self.rows(split), columns).to_numpy(dtype=object)

    @cached_property
    def pool_shares(self) -> pd.Series:
        """Share of each subgroup in the pool."""
        return pd.Series(self.subgroup(POOL)).value_counts(normalize=True)

    @cached_property
    def minority(self) -> list[str]:
        """The described minority subgroups, else those with less than half of an even share of the pool."""
        if self.description.minority is not None:
            return list(self.description.minority)
        return rare(self.pool_shares)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of everything that decides what a run sees: rows, labels, attributes, file sizes, classes, subgroups."""
        digest = hashlib.sha256()
        for split, rows in self._rows.items():
            digest.update(f"{split}\n{rows.to_csv(index=False)}".encode())
            if self.description.modality == "image":
                sizes = [os.stat(self.folder / path).st_size for path in rows["path"]]
                digest.update(np.array(sizes, dtype=np.int64).tobytes())
        d = self.description
        digest.update(
            repr((d.classes, d.modality, d.subgroups, self.minority, d.percentile_over)).encode()
        )
        return digest.hexdigest()[:16]

    def images(self, split: str, size: int) -> np.ndarray:
        """(n, size, size, 3) uint8, memory-mapped: decoded and resized once, then shared by every process.

        Raises:
            DataError: unreadable images, all of them named.
        """
        target = cache_folder() / f"{self.name}_{self.fingerprint}_{split}_{size}.npy"
        return made_once(target, lambda: _decode(self, split, size, target))

    def tokens(
        self, split: str, tokenize: Callable[[list[str]], np.ndarray], kind: str, padding: int
    ) -> np.ndarray:
        """(n, longest) int32, memory-mapped: tokenised once, then shared by every process.

        Args:
            tokenize: texts to (n, longest) token ids. kind: fingerprint of what it does. padding: fills shorter texts.
        """
        target = cache_folder() / f"{self.name}_{self.fingerprint}_{split}_{kind}.npy"

        def tokenise() -> None:
            texts = self.rows(split)["text"].tolist()
            progress, parts = (
                Progress(
                    len(texts),
                    f"tokenise {self.name} {split}",
                    "text",
                    quiet=len(texts) <= TEXTS_AT_ONCE,
                ),
                [],
            )
            for i in range(0, len(texts), TEXTS_AT_ONCE):
                parts.append(tokenize(texts[i : i + TEXTS_AT_ONCE]).astype(np.int32))
                progress.add(len(parts[-1]))
            progress.close()
            with new_array(
                target, (len(texts), max(part.shape[1] for part in parts)), np.int32
            ) as array:
                array[:] = padding
                for i, part in enumerate(parts):
                    array[i * TEXTS_AT_ONCE :][: len(part), : part.shape[1]] = part

        return made_once(target, tokenise)

    def images_on_demand(self, split: str, size: int) -> "OnDemand":
        """The same images, each decoded when it is first asked for: fine-tuning reads a few hundred of a large pool."""
        return OnDemand([self.folder / path for path in self.rows(split)["path"]], size)


def subgroup_names(frame: pd.DataFrame, columns: list[str]) -> pd.Series:
    """(n,) str, the columns' values with a slash between; row by row, pandas would take 12 s for 300,000 rows."""
    first, *others = (frame[column].astype(str) for column in columns)
    return first.str.cat(others, sep="/")


def is_path(name: str) -> bool:
    """Whether a dataset is given by its folder rather than by name."""
    return "/" in name or os.sep in name or name.startswith((".", "~"))


def prepared(tier: str) -> dict[str, Path]:
    """Name -> folder of every dataset that is prepared at a tier, in the order of their names."""
    return {
        file.parent.name: file.parent
        for file in sorted((home() / "data" / tier).glob("*/dataset.yaml"))
    }


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
        f"{unknown('dataset', name, list(prepared(tier)))}; or give the path of a folder with manifest.csv and "
        "dataset.yaml"
    )


@lru_cache(maxsize=8)
def read_dataset(folder: Path) -> Dataset:
    """Read and check a dataset folder.

    Raises:
        DataError: what is missing or wrong, with the first offending rows.
    """
    folder = Path(folder)
    description = _read_description(folder)
    frame = _read_manifest(folder)
    _check_columns(folder, frame, description)
    _check_rows(folder, frame, description)
    return Dataset(folder, description, frame)


def _read_description(folder: Path) -> Description:
    file = folder / "dataset.yaml"
    if not file.exists():
        raise DataError(
            f"{file} is missing: a dataset folder needs dataset.yaml (name, classes, ...) and manifest.csv"
        )
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise DataError(f"{file} is not valid yaml: {error}") from error
    if not isinstance(content, dict) or not content.get("classes"):
        raise DataError(f"{file} must be a mapping with at least `classes: [...]`")
    known = [f.name for f in fields(Description)]
    for key in content:
        if key not in known:
            raise DataError(f"{file}: {unknown('key', key, known)}")
    content = {"name": folder.name, **content}
    if isinstance(content["classes"], list):  # numbers serve as names
        content["classes"] = [
            str(c) if isinstance(c, int | float) else c for c in content["classes"]
        ]
    for f in fields(Description):
        if f.name in content and not _is_a(content[f.name], f.type):
            takes = f.type.__name__ if f.type in (str, int) else f.type
            raise DataError(f"{file}: {f.name} must be {takes}; got {content[f.name]!r}")
    d = Description(**content)
    for fault, what in (
        (
            d.modality not in ("image", "text"),
            f"modality must be image or text; got {d.modality!r}",
        ),
        (not d.name or "/" in d.name, f"name must be a word, without a slash; got {d.name!r}"),
        (
            len(set(d.classes)) < max(2, len(d.classes)),
            f"classes must be two or more, each once; got {d.classes}",
        ),
        (d.image_size < 1, f"image_size must be at least 1 px; got {d.image_size}"),
        (d.max_tokens < 3, f"max_tokens must be at least 3; got {d.max_tokens}"),
        (
            len({POOL, *(d.eval_splits or ())}) <= len(d.eval_splits or ()),
            f"eval_splits must name each evaluation split once, and not {POOL!r}; got {d.eval_splits}",
        ),
    ):
        if fault:
            raise DataError(f"{file}: {what}")
    return d


def _is_a(value: Any, kind: Any) -> bool:
    """Whether a value from yaml is of an annotated type: str, int, list[str], dict, or one of several."""
    if isinstance(kind, UnionType):
        return any(_is_a(value, option) for option in get_args(kind))
    if get_origin(kind) is list:
        return isinstance(value, list) and all(_is_a(v, get_args(kind)[0]) for v in value)
    return isinstance(value, get_origin(kind) or kind) and not isinstance(value, bool)


def _read_manifest(folder: Path) -> pd.DataFrame:
    for name, read in (("manifest.parquet", pd.read_parquet), ("manifest.csv", read_csv)):
        if (folder / name).exists():
            try:
                frame = read(folder / name)
                return frame.assign(label=frame["label"].astype(str)) if "label" in frame else frame
            except (ValueError, OSError, KeyError) as error:
                raise DataError(f"{folder / name} cannot be read: {error}") from error
    raise DataError(f"manifest missing: no manifest.csv or manifest.parquet in {folder}")


def _check_columns(folder: Path, frame: pd.DataFrame, d: Description) -> None:
    content = "path" if d.modality == "image" else "text"
    derived = [*d.subgroups, *d.latent, *([d.percentile_over] if d.percentile_over else [])]
    for column in [content, "label", "split", *derived]:
        if column not in frame.columns:
            raise DataError(
                f"{folder.name}: column {column!r} missing from the manifest; it has {', '.join(frame.columns)}"
            )


def _check_rows(folder: Path, frame: pd.DataFrame, d: Description) -> None:
    content = "path" if d.modality == "image" else "text"
    for column in (content, "split"):
        odd = frame[[not isinstance(v, str) or (not v and column != "text") for v in frame[column]]]
        if len(odd):
            raise DataError(
                f"{folder.name}: {len(odd)} row(s) without a {column}, first {odd[column].tolist()[0]!r} "
                f"in row {odd.index[0]}"
            )
    splits = set(frame["split"])
    wanted = {POOL, *(d.eval_splits or [])}
    if wanted - splits:
        raise DataError(
            f"{folder.name}: split {sorted(wanted - splits)[0]!r} missing; the manifest has {sorted(splits)}"
        )
    if splits == {POOL}:
        raise DataError(f"{folder.name}: no evaluation split; the manifest has only {POOL!r}")
    outside = frame[~frame["label"].isin(d.classes)]
    if len(outside):
        raise DataError(
            f"{folder.name}: {len(outside)} label(s) outside the classes {d.classes}, "
            f"first {outside['label'].iloc[0]!r} in row {outside.index[0]}"
        )
    used = frame[frame["split"].isin([POOL, *(d.eval_splits or splits)])]
    if d.modality == "image":
        missing = [path for path in used["path"] if not (folder / path).is_file()]
        if missing:
            raise DataError(
                f"{folder.name}: {len(missing)} of {len(used)} image files missing, first {folder / missing[0]}"
            )
        is_pool = used["split"] == POOL
        twice = used["path"][
            is_pool & (used["path"].isin(used["path"][~is_pool]) | used["path"].duplicated())
        ]
        if len(twice):
            raise DataError(
                f"{folder.name}: {len(twice)} image(s) are in the pool twice, or in an evaluation split too, first "
                f"{twice.iloc[0]}"
            )
    if d.minority is not None and d.subgroups:
        names = set(subgroup_names(frame, d.subgroups))
        for name in d.minority:
            if name not in names:
                raise DataError(
                    f"{folder.name}: {unknown('minority subgroup', name, sorted(names))}"
                )
