"""Datasets of the Hugging Face kind, by their own package `datasets`; code of theirs never runs."""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path, PurePath
from types import ModuleType
from typing import Any

import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from alpt_lib.errors import DataError, one_line
from alpt_lib.tables import as_text, is_plain
from companion.paths import files_below
from readers.source import IMAGE_SUFFIXES, SPLITS, Columns, Source, choose

ROWS_AT_ONCE = 100  # of images, maybe: some hundred MB at most


def from_hugging_face(
    where: str | Path, out: Path, columns: Columns | None = None, config: str | None = None
) -> Source:
    """A folder of parquet or arrow files, one written by save_to_disk, or a name on the hub.

    Args:
        out, columns: see `readers.tables.from_table`.
        config: which configuration, where there are several.
    Raises:
        DataError: nothing there, several configurations, a hub that does not deliver, or the
            package is missing.
    """
    package = _package()
    path = Path(where).expanduser()
    name = PurePath(where).name
    pictures = Path(out).expanduser().absolute() / "pictures"
    try:
        splits = _opened(package, path, str(where), config)
        frame = _rows(package, splits, pictures)
        features = next(iter(splits.values())).features
        typed = {
            "image": _columns_of(features, package.Image),
            "label": _columns_of(features, package.ClassLabel),
        }
    except DataError:
        raise
    except Exception as error:  # the package raises whatever its parts do
        raise DataError(f"{where} cannot be read: {one_line(error)}") from error
    if frame.empty:
        raise DataError(f"{name} has no rows")
    root = pictures if typed["image"] else path
    return choose(frame, typed, columns or {}, root if root.suffix == "" else root.parent, name)


def _rows(package: ModuleType, splits: Mapping[str, Any], pictures: Path) -> pd.DataFrame:
    parts = []
    for split, dataset in splits.items():
        for batch in dataset.with_format("arrow").iter(batch_size=ROWS_AT_ONCE):
            rows = _to_text(batch, dataset.features, package, pictures)
            # a lone split without a name of its own is called train: a column knows better
            if len(splits) > 1 or "split" not in rows:
                rows = rows.assign(split=_split_name(split))
            parts.append(rows)
    return pd.concat(parts, ignore_index=True).fillna("") if parts else pd.DataFrame()


def _columns_of(features: Mapping[str, Any], kind: type) -> list[str]:
    return [column for column, feature in features.items() if isinstance(feature, kind)]


def _package() -> ModuleType:
    try:
        import datasets
    except ImportError as error:
        raise DataError(
            "reading Hugging Face's formats takes their package: pip install -e '.[hugging-face]'"
        ) from error
    return datasets


def is_hugging_face(file: Path) -> bool:
    """Whether a parquet tells what its columns mean in Hugging Face's way, or holds pictures."""
    try:
        schema = parquet.read_schema(file)
    except (OSError, pa.ArrowException):
        return False
    is_picture = [pa.types.is_struct(field.type) and "bytes" in str(field.type) for field in schema]
    return b"huggingface" in (schema.metadata or {}) or any(is_picture)


def _opened(package: ModuleType, path: Path, name: str, config: str | None) -> Mapping[str, Any]:
    """Split -> its rows; read as they lie, where they lie here."""
    if not path.exists():
        _require_hub(name)
        _require_config(name, package.get_dataset_config_names(name), config)
        return package.load_dataset(name, config)
    if path.is_file():
        return package.load_dataset("parquet", data_files=str(path), streaming=True)
    if any((path / file).exists() for file in ("state.json", "dataset_dict.json")):
        saved = package.load_from_disk(str(path))
        return saved if isinstance(saved, dict) else {str(saved.split or ""): saved}
    configs = _configs_of(path)
    if len(configs) > 1:
        _require_config(str(path), configs, config)
        return package.load_dataset(str(path / str(config)), streaming=True)
    return package.load_dataset(str(path), config, streaming=True)


def _configs_of(folder: Path) -> list[str]:
    """Top folders with tables that are called neither data nor like a split."""
    files = files_below(folder, (".parquet", ".arrow"))
    tops = {file.split("/")[0] for file in files if "/" in file}
    return sorted(top for top in tops - {"data"} if _split_name(top) == top)


def _require_config(where: str, known: list[str], config: str | None) -> None:
    listed = ", ".join(known)
    if config is None and len(known) > 1:
        raise DataError(f"{where} has several configurations; choose one with --config: {listed}")
    if config is not None and config not in known:
        raise DataError(f"{where} has no configuration {config!r}; known: {listed}")


def _require_hub(name: str) -> None:
    """Ask whether the hub answers: its own client would go on trying for half a minute."""
    from huggingface_hub import constants, get_session

    try:
        get_session().head(constants.ENDPOINT, timeout=5)
    except Exception as error:  # which one depends on the HTTP library below
        raise DataError(
            f"{name} is no folder here and the hub did not deliver it ({one_line(error)}): "
            f"download the parquet files of {constants.ENDPOINT}/datasets/{name} elsewhere, put "
            "them into a folder, and name that folder"
        ) from error


def _split_name(name: str) -> str:
    """validation_matched -> val; itself if none of its words is a split's."""
    words = re.split("[^a-z]+", name.lower())
    return next((SPLITS[word] for word in words if word in SPLITS), name)


def _to_text(
    batch: pa.Table, features: Mapping[str, Any], package: ModuleType, pictures: Path
) -> pd.DataFrame:
    """Columns of plain values as text: classes by name, images as the files they are written to."""
    texts = {}
    for column in batch.schema.names:
        values = batch.column(column)
        feature = features.get(column)
        if isinstance(feature, package.Image):
            texts[column] = [_write_picture(value, pictures) for value in values.to_pylist()]
        elif isinstance(feature, package.ClassLabel):
            names = dict(enumerate(feature.names))
            texts[column] = [names.get(number, "") for number in values.to_pylist()]
        elif is_plain(values.type):
            texts[column] = as_text(values)
    return pd.DataFrame(texts, dtype="str")


def _write_picture(image: dict[str, Any] | None, pictures: Path) -> str:
    """Write an image's bytes to a file named by their hash, so that a second time changes nothing.

    Raises:
        DataError: there are none.
    """
    path = (image or {}).get("path") or ""
    content = (image or {}).get("bytes")
    if not content and Path(path).is_file():
        content = Path(path).read_bytes()
    if not content:
        raise DataError(
            f"an image is missing or only a path ({path}); save the dataset with its images "
            "embedded"
        )
    suffix = PurePath(path).suffix.lower()
    known = suffix if suffix in IMAGE_SUFFIXES else ".image"
    file = pictures / f"{hashlib.sha256(content).hexdigest()[:20]}{known}"
    pictures.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return str(file)
