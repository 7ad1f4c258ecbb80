"""Your own images or texts as a dataset folder: manifest and dataset.yaml, ready for every notebook.

    python data_prep/your_dataset.py --images FOLDER            # label = name of the folder that an image lies in
    python data_prep/your_dataset.py --table FILE               # csv, tsv or parquet: image paths or texts, and labels
    python data_prep/your_dataset.py --hugging-face NAME|FOLDER # parquet or save_to_disk; NAME is fetched from the hub
        --out FOLDER [--subgroups label background] [--model timm:NAME|hf:NAME] ...

Splits: the source's own (top-level folders train, val and test; a column; names of files), where the training split becomes
the pool. Without any, `val` is drawn from a seed, the same share of every class. Where examples belong together (frames of
a film, one patient), a column of your own is better: a drawn split would put relatives on both sides.

All other columns are kept as attributes that the model never sees; `--subgroups` names those whose values tell subgroups
apart. Images of a folder or a csv stay where they are, and the dataset folder holds a link to them.

dataset.yaml starts with settings for the size of the pool (`protocol_for`) and the model (`RECIPES`). They are ours, meant
as a start: edit the file, or override them with the notebooks' `protocol` and `recipe`. The embedded models are
miniatures for a first look without a download; give --model for results to rely on.
"""

import argparse
import hashlib
import json
import math
import os
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from release import (
    BIT_HYPERRULE,
    ROBERTA_RECIPE,
    Prepared,
    ReleaseError,
    check_images,
    disk_report,
    hash_file,
    read_table,
    write_dataset,
)

POOL = "pool"
OURS = "prepared by data_prep/your_dataset.py"
SPLITS = {
    "train": POOL,
    "training": POOL,
    POOL: POOL,
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
IMAGES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
# columns looked for where none is named
GUESSES = {
    "image": ("image", "path", "file", "filename", "file_name"),
    "text": ("text", "sentence"),
    "label": ("label", "class"),
}
# columns of the manifest and of the result tables, and the rows that pandas adds: an attribute must not be called so
TAKEN = {
    "path",
    "text",
    "label",
    "split",
    "dataset",
    "model",
    "acquisition",
    "seed",
    "stopping",
    "run_id",
    "round",
    "rank",
    "index",
    "score",
    "subgroup",
    "__index_level_0__",
}

# ours, but for BiT's; the embedded models have those of the embedded data. No augmentation: a flip would spoil letters or digits
EMBEDDED = {
    "bit": {
        "optimizer": "sgd",
        "lr": 0.03,
        "warmup_steps": 10,
        "max_steps": 100,
        "train_batch_size": 32,
    },
    "roberta": {
        "optimizer": "adamw",
        "lr": 0.001,
        "weight_decay": 0.01,
        "warmup_steps": 10,
        "max_steps": 80,
    },
}
ANY_TIMM = {
    "optimizer": "adamw",
    "lr": 1e-4,
    "weight_decay": 0.01,
    "warmup_steps": 10,
    "max_steps": 200,
    "train_batch_size": 32,
    "freeze_batch_norm": True,
}  # batches are too small for new batch-norm statistics


@dataclass(frozen=True)
class Source:
    """What was found: all values are text, "" where there is none."""

    frame: pd.DataFrame  # path (relative to root) or text, label, split (as the source calls it; "": none), attributes
    root: Path | None  # folder of the images; None: texts
    name: str  # for messages


# --- reading ----------------------------------------------------------------------------------------------------------


def from_folders(root: Path) -> Source:
    """Images in folders named by their class, <class>/... or <split>/<class>/...

    Raises:
        ReleaseError: no images, images outside the class folders, or splits mixed with classes.
    """
    root = _existing(root)
    files = [path.relative_to(root) for path in _walk(root)]
    found = [path for path in files if path.suffix.lower() in IMAGES]
    others = Counter(
        path.suffix.lower() or "no extension" for path in files if path.suffix.lower() not in IMAGES
    )
    listed = ", ".join(f"{n} x {suffix}" for suffix, n in others.most_common(5))
    if not found:
        raise ReleaseError(
            f"{root} holds no images, only {listed or 'nothing'}; images end in {', '.join(sorted(IMAGES))}"
        )
    if others:
        print(f"note: left out, for their names are not those of images: {listed}")
    tops = {path.parts[0] for path in found if len(path.parts) > 1}
    splits = {top for top in tops if top.lower() in SPLITS}
    if len(splits) > 1 and splits != tops:
        raise ReleaseError(
            f"{root}: {', '.join(sorted(splits))} are splits, {sorted(tops - splits)[0]} is not; "
            "move the classes into the split folders"
        )
    has_splits = bool(tops) and splits == tops
    outside = [path for path in found if len(path.parts) < 2 + has_splits]
    if outside:
        raise ReleaseError(
            f"{root}: {len(outside)} of {len(found)} images lie in no class folder, first {outside[0]}; "
            "put each into a folder named by its class"
        )
    rows = [
        (path.as_posix(), path.parts[has_splits], path.parts[0] if has_splits else "")
        for path in found
    ]
    return Source(pd.DataFrame(rows, columns=["path", "label", "split"]), root, root.name)


def _walk(root: Path) -> list[Path]:
    """All files, sorted, hidden ones left out; follows links, for class folders are often links."""
    found = []
    for folder, names, files in os.walk(root, followlinks=True):
        names[:] = [name for name in names if not name.startswith(".")]
        found += [Path(folder, name) for name in files if not name.startswith(".")]
    return sorted(found)


def _existing(path: Path) -> Path:
    path = Path(path).expanduser().absolute()
    if not path.exists():
        raise ReleaseError(f"{path} does not exist")
    return path


def from_table(file: Path, out: Path, columns: dict[str, str | None] | None = None) -> Source:
    """A csv, tsv or parquet with a column of image paths (relative to it) or of texts, and one of labels.

    Args:
        out: the dataset folder to be; images that a parquet holds are written to its `pictures`.
        columns: image, text, label, split: the names of these columns; those not given are guessed.
    Raises:
        ReleaseError: unreadable, or a column missing.
    """
    file = _existing(file)
    if file.suffix.lower() == ".parquet":
        return _from_arrow([(file, "")], out, columns, file.name)
    separator = "\t" if file.suffix.lower() == ".tsv" else ","
    frame = read_table(file, [], "give a csv, tsv or parquet file", sep=separator)
    return _choose(frame, {}, columns or {}, file.parent, file.name)


def from_hugging_face(
    where: str | Path,
    out: Path,
    columns: dict[str, str | None] | None = None,
    config: str | None = None,
) -> Source:
    """A Hugging Face dataset: a folder of parquet or arrow files, one written by save_to_disk, or the name of one on the hub.

    Args:
        out, columns: see `from_table`. config: which configuration, where there are several.
    Raises:
        ReleaseError: nothing found, several configurations, or a hub that does not deliver.
    """
    folder = Path(where).expanduser()
    if not folder.exists():
        folder = download(str(where), config)
    return _from_arrow(_saved(folder) or _named(folder, config), out, columns, PurePath(where).name)


def _saved(folder: Path) -> list[tuple[Path, str]]:
    """Files and splits of what save_to_disk wrote; none where it did not."""
    if (folder / "dataset_dict.json").exists():
        return [
            (file, split)
            for split in _json(folder / "dataset_dict.json")["splits"]
            for file, _ in _saved(folder / split)
        ]
    if not (folder / "state.json").exists():
        return []
    state = _json(folder / "state.json")
    if state.get("_indices_data_files"):
        raise ReleaseError(
            f"{folder}: a selection of rows, saved by an old version of datasets; save it again with a new one"
        )
    return [(folder / part["filename"], state.get("_split") or "") for part in state["_data_files"]]


def _named(folder: Path, config: str | None) -> list[tuple[Path, str]]:
    """Parquet files of a folder (arrow files where there are none) and the splits that their names tell."""
    files = _walk(folder)
    names = [path.relative_to(folder).as_posix() for path in files if path.suffix == ".parquet"]
    names = names or [
        path.relative_to(folder).as_posix() for path in files if path.suffix == ".arrow"
    ]
    if not names:
        raise ReleaseError(
            f"{folder} holds no dataset: neither state.json or dataset_dict.json (save_to_disk) nor parquet or "
            "arrow files"
        )
    chosen = [(folder / name, _split_of(name)) for name in _of_config(names, config, str(folder))]
    unnamed = [file.name for file, split in chosen if not split]
    if unnamed and len(unnamed) < len(chosen):
        print(f"note: left out, for their names tell no split: {', '.join(unnamed[:5])}")
        chosen = [(file, split) for file, split in chosen if split]
    return chosen


def _split_of(name: str) -> str:
    """data/train-00000-of-00001.parquet -> train; "" where no part of the name is a split's."""
    words = [
        word
        for part in reversed(PurePath(name).parts)
        for word in re.split("[^a-z]+", part.lower())
    ]
    return next((word for word in words if word in SPLITS), "")


def _of_config(names: Sequence[str], config: str | None, where: str) -> list[str]:
    """The files of one configuration, the folder at the top unless that is `data` or a split."""
    tops = {name: PurePath(name).parts[0] if "/" in name else "" for name in names}
    configs = {name: "" if top == "data" or _split_of(top) else top for name, top in tops.items()}
    known = sorted(set(configs.values()))
    if config is None and len(known) > 1:
        raise ReleaseError(
            f"{where} has several configurations; choose one with --config: {', '.join(known)}"
        )
    if config is not None and config not in known:
        raise ReleaseError(
            f"{where} has no configuration {config!r}; known: {', '.join(filter(None, known)) or 'none'}"
        )
    return [name for name in names if config is None or configs[name] == config]


def download(name: str, config: str | None) -> Path:
    """Fetch the parquet files of a dataset on the hub, its own or those that the hub converted it to.

    Raises:
        ReleaseError: no folder of this name, and the hub does not deliver; says what to get and where to put it.
    """
    from huggingface_hub import HfApi, constants, get_session, snapshot_download

    try:
        get_session().head(
            constants.ENDPOINT, timeout=5
        )  # the client itself would go on retrying for most of a minute
        for revision in ("main", "refs/convert/parquet"):
            names = [
                n
                for n in HfApi().list_repo_files(name, repo_type="dataset", revision=revision)
                if n.endswith(".parquet")
            ]
            if names:
                files = _of_config(names, config, name)
                return Path(
                    snapshot_download(
                        name, repo_type="dataset", revision=revision, allow_patterns=files
                    )
                )
        why = "it has no parquet files"
    except ReleaseError:
        raise
    except Exception as error:  # which one depends on the HTTP library, which differs between versions of the hub's client
        why = (str(error).strip().splitlines() or [type(error).__name__])[0]
    raise ReleaseError(
        f"{name} is no folder here and the hub did not deliver it ({why}): download the parquet files of "
        f"{constants.ENDPOINT}/datasets/{name} elsewhere, put them into a folder, and name that folder"
    )


def _from_arrow(
    files: Sequence[tuple[Path, str]], out: Path, columns: dict[str, str | None] | None, name: str
) -> Source:
    """Parquet and arrow files, read batch by batch; images that they hold are written at once."""
    parts, features, pictures = [], {}, Path(out).expanduser().absolute() / "pictures"
    for file, split in files:
        try:
            schema, batches = _open(file)
            features = _features(schema, file) or features
            parts += [
                _to_text(batch, features, pictures).assign(**{"split": split} if split else {})
                for batch in batches
            ]
        except (pa.ArrowException, OSError) as error:
            raise ReleaseError(f"{file} cannot be read: {' '.join(str(error).split())}") from error
    if not sum(map(len, parts)):
        raise ReleaseError(f"{name} has no rows")
    return _choose(
        pd.concat(parts, ignore_index=True).fillna(""),
        features,
        columns or {},
        files[0][0].parent,
        name,
    )


def _open(file: Path) -> tuple[pa.Schema, Iterable[pa.RecordBatch]]:
    if file.suffix == ".parquet":
        table = pq.ParquetFile(file)
        return table.schema_arrow, table.iter_batches(
            100
        )  # of images, maybe: some hundred MB at most
    stream = pa.ipc.open_stream(pa.memory_map(str(file)))
    return stream.schema, stream


def _features(schema: pa.Schema, file: Path) -> dict[str, Any]:
    """Hugging Face's description of the columns, from the table itself or from dataset_info.json beside it."""
    if b"huggingface" in (schema.metadata or {}):
        return json.loads(schema.metadata[b"huggingface"]).get("info", {}).get("features") or {}
    info = file.parent / "dataset_info.json"
    return (_json(info).get("features") or {}) if info.exists() else {}


def _json(file: Path) -> dict[str, Any]:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise ReleaseError(f"{file} cannot be read: {error}") from error


def _to_text(batch: pa.RecordBatch, features: dict[str, Any], pictures: Path) -> pd.DataFrame:
    """All columns of plain values as text: class numbers as names, images as the files that they are written to."""
    found = {}
    for column in batch.schema.names:
        values, feature = batch.column(column), features.get(column) or {}
        if pa.types.is_struct(values.type) and {"bytes", "path"} <= {
            field.name for field in values.type
        }:
            found[column] = [_write_picture(value, pictures) for value in values.to_pylist()]
        elif _type(feature) == "ClassLabel":
            names = dict(
                enumerate(feature.get("names") or map(str, range(feature.get("num_classes") or 0)))
            )
            found[column] = [names.get(value, "") for value in values.to_pylist()]
        elif not pa.types.is_nested(values.type) and not pa.types.is_binary(values.type):
            found[column] = [_word(value) for value in values.to_pylist()]
    return pd.DataFrame(found, dtype="str")


def _type(feature: Any) -> str:
    return (
        feature.get("_type", "") if isinstance(feature, dict) else ""
    )  # a list stands for a sequence


def _word(value: Any) -> str:
    """A value as text; a whole number stays one although a missing neighbour made its column float."""
    if value is None or value != value:
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _write_picture(image: dict[str, Any] | None, pictures: Path) -> str:
    """Write the bytes of an image to a file named by their hash, so that a second preparation needs no clearing."""
    if not image or not image["bytes"]:
        path = f" ({image['path']})" if image and image["path"] else ""
        raise ReleaseError(
            f"an image is missing or only a path{path}; save the dataset with its images embedded"
        )
    suffix = PurePath(image["path"] or "").suffix.lower()
    name = hashlib.sha256(image["bytes"]).hexdigest()[:20] + (
        suffix if suffix in IMAGES else ".image"
    )
    pictures.mkdir(parents=True, exist_ok=True)
    (pictures / name).write_bytes(image["bytes"])
    return str(pictures / name)


def _choose(
    frame: pd.DataFrame,
    features: dict[str, Any],
    columns: dict[str, str | None],
    root: Path,
    name: str,
) -> Source:
    """The columns that matter under the manifest's names, the others as attributes."""
    typed = {
        "image": [c for c in features if _type(features[c]) == "Image"],
        "label": [c for c in features if _type(features[c]) == "ClassLabel"],
    }
    chosen = {
        role: columns.get(role) or _guess(frame, typed.get(role, []), GUESSES[role])
        for role in GUESSES
    }
    if columns.get("image") or columns.get("text"):
        chosen["text" if columns.get("image") else "image"] = None
    chosen["split"] = columns.get("split") or ("split" if "split" in frame else None)
    has = f"it has {', '.join(map(str, frame.columns))}"
    for role, column in chosen.items():
        if column and column not in frame:
            raise ReleaseError(f"{name}: no {role} column {column!r}; {has}")
    if bool(chosen["image"]) == bool(chosen["text"]):
        found = (
            f"both {chosen['image']!r} and {chosen['text']!r}"
            if chosen["image"]
            else "neither images nor texts"
        )
        raise ReleaseError(
            f"{name}: {found} found; name one with --image-column or --text-column; {has}"
        )
    if not chosen["label"]:
        raise ReleaseError(
            f"{name}: which column holds the labels? name it with --label-column; {has}"
        )
    names = {
        chosen["image"]: "path",
        chosen["text"]: "text",
        chosen["label"]: "label",
        chosen["split"]: "split",
    }
    names.pop(None, None)
    dropped = [c for c in frame if c not in names and c in TAKEN]
    if dropped:
        print(f"note: columns left out, for their names are taken: {', '.join(dropped)}")
    kept = frame.drop(columns=dropped).rename(columns=names)
    if chosen["text"]:
        return Source(kept, None, name)
    kept["path"], root = _relative(kept["path"], root)
    return Source(kept, root, name)


def _guess(frame: pd.DataFrame, typed: list[str], names: Sequence[str]) -> str | None:
    return typed[0] if len(typed) == 1 else next((name for name in names if name in frame), None)


def _relative(paths: pd.Series, root: Path) -> tuple[list[str], Path]:
    """Image paths relative to the folder of their table or, where some lie elsewhere, to the folder that holds all."""
    whole = [Path(os.path.abspath(root / path)) for path in paths]
    if not all(path.is_relative_to(root.absolute()) for path in whole):
        root = Path(os.path.commonpath([path.parent for path in whole]))
    return [path.relative_to(root.absolute()).as_posix() for path in whole], root.absolute()


# --- checking, splitting ----------------------------------------------------------------------------------------------


def with_splits(frame: pd.DataFrame, name: str, val_fraction: float, seed: int) -> pd.DataFrame:
    """Rows with the splits pool, val ...: the source's own, else drawn; labels checked.

    Args:
        val_fraction: share of each class, at least one example, that a drawn `val` takes.
    Raises:
        ReleaseError: labels or splits missing, no training split, a single class, or a class with too few examples.
    """
    split = (
        frame["split"].str.strip().str.lower()
        if "split" in frame
        else pd.Series("", index=frame.index)
    )
    without = frame.index[split == ""]
    if 0 < len(without) < len(frame):
        raise ReleaseError(
            f"{name}: {len(without)} of {len(frame)} rows have no split, first row {without[0]}"
        )
    frame = frame.assign(
        split=split.map(lambda s: SPLITS.get(s, s)), label=frame["label"].str.strip()
    )
    frame = _labelled(frame, name)
    counts = frame["label"].value_counts().sort_index()
    if len(counts) < 2:
        raise ReleaseError(f"{name}: a single class, {counts.index[0]!r}; there must be at least 2")
    found = sorted(set(frame["split"]))
    if found not in ([""], [POOL]):
        if POOL not in found:
            raise ReleaseError(
                f"{name}: no training split; found {', '.join(found)}, one must be train or pool"
            )
        absent = sorted(set(counts.index) - set(frame.loc[frame["split"] == POOL, "label"]))
        if absent:
            raise ReleaseError(
                f"{name}: {len(absent)} of {len(counts)} classes have no example in the training split, first "
                f"{absent[0]}"
            )
        return frame
    few = counts[counts < 2]
    if len(few):
        raise ReleaseError(
            f"{name}: a class needs at least 2 examples, one for the pool and one for val; {len(few)} have 1: "
            f"{', '.join(few.index[:5])}; add examples or leave these classes out"
        )
    return frame.assign(split=stratified(frame["label"], val_fraction, seed))


def _labelled(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """The frame without the evaluation splits that have no labels at all (test sets of contests)."""
    missing = frame["label"] == ""
    hidden = [s for s in set(frame["split"]) - {POOL, ""} if missing[frame["split"] == s].all()]
    if hidden:
        print(f"note: split {', '.join(sorted(hidden))} left out: it has no labels")
        frame = frame[~frame["split"].isin(hidden)]
        missing = missing[frame.index]
    if missing.any():
        raise ReleaseError(
            f"{name}: {missing.sum()} of {len(frame)} rows have no label, first row {missing.idxmax()}; "
            "label them or leave them out"
        )
    return frame.reset_index(drop=True)


def stratified(labels: pd.Series, val_fraction: float, seed: int) -> pd.Series:
    """`val` for a share of each class drawn from the seed, at least one and not all; `pool` for the others."""
    if not 0 < val_fraction < 1:
        raise ReleaseError(f"--val-fraction must lie between 0 and 1; got {val_fraction}")
    split, rng = pd.Series(POOL, index=labels.index), np.random.default_rng(seed)
    for _, rows in sorted(labels.groupby(labels).groups.items()):
        n_val = min(max(1, round(val_fraction * len(rows))), len(rows) - 1)
        split[rng.permutation(rows)[:n_val]] = "val"
    return split


def check_content(frame: pd.DataFrame, source: Source) -> None:
    """Every image can be read, no text is empty; what occurs more than once is said.

    Raises:
        ReleaseError: missing or unreadable images (named), or empty texts.
    """
    if source.root is None:
        empty = frame.index[frame["text"].str.strip() == ""]
        if len(empty):
            raise ReleaseError(
                f"{source.name}: {len(empty)} of {len(frame)} texts are empty, first row {empty[0]}"
            )
        keys = frame["text"]
    else:
        missing = [path for path in frame["path"] if not (source.root / path).is_file()]
        if missing:
            raise ReleaseError(
                f"{source.name}: {len(missing)} of {len(frame)} images missing, first {source.root / missing[0]}"
            )
        check_images(source.root, frame["path"].tolist())
        keys = pd.Series(_content_keys(source.root, frame["path"]), index=frame.index)
    for line in _copies(frame, keys):
        print(f"note: {line}")


def _content_keys(root: Path, paths: pd.Series) -> list[str]:
    """Equal for files of equal content; only files of equal size are read."""
    sizes = [(root / path).stat().st_size for path in paths]
    occurs = Counter(sizes)
    return [
        f"{size} {hash_file(root / path) if occurs[size] > 1 else ''}"
        for path, size in zip(paths, sizes, strict=True)
    ]


def _copies(frame: pd.DataFrame, keys: pd.Series) -> Iterator[str]:
    """What copies there are, and which do harm."""
    copied = frame[keys.duplicated(keep=False)].groupby(keys, sort=False)
    if not len(copied):
        return
    first, second = next(iter(copied))[1].index[:2]
    which = (
        f"first {frame['path'][first]} = {frame['path'][second]}"
        if "path" in frame
        else f"first rows {first} and {second}"
    )
    yield f"examples that occur more than once: {len(copied)} ({which})"
    for column, harm in (
        ("split", "the accuracy will be too high"),
        ("label", "one label must be wrong"),
    ):
        n = int((copied[column].nunique() > 1).sum())
        if n:
            yield f"of these with another {column}: {n}; {harm}"


# --- describing, writing ----------------------------------------------------------------------------------------------


def protocol_for(counts: pd.Series) -> dict[str, Any]:
    """How to spend labels on a pool with these examples per class; ours, after the paper's proportions.

    Seed set: a tenth of the pool but 10 to 40 labels (the paper's Waterbirds: 40), the same number of each class or, where
    the classes are too many for that, at random. Then 8 rounds, each as large as the seed set (the paper also ends at 9
    times its seed set, in 64 rounds: `query_batch_size` 5), in all no more than a third of the pool, for else
    every acquisition function ends with nearly the same labels.
    """
    n_pool, n_classes = int(counts.sum()), len(counts)
    wanted = min(40, max(10, n_pool // 10))
    most = max(1, n_pool // 3)
    size = n_classes * min(
        math.ceil(wanted / n_classes), int(counts.min()), max(1, most // n_classes)
    )
    size, how = (size, "balanced") if size <= most else (min(wanted, most), "random")
    batch = max(1, min(size, n_pool // 24))
    return {
        "seed_set_size": size,
        "seed_set": how,
        "budget": min(8 * batch, n_pool // 3),
        "query_batch_size": batch,
    }


def recipe_for(model: str, image_size: int) -> dict[str, Any]:
    """Fine-tuning settings for a model."""
    if model.startswith("hf:"):
        return ROBERTA_RECIPE
    if model.startswith("timm:"):
        sizes = {"resize": 512, "crop": 480} if image_size >= 96 else {"resize": 160, "crop": 128}
        return (
            {**BIT_HYPERRULE, **sizes}
            if re.match(r"timm:resnetv2_\d+x\d+_bit", model)
            else ANY_TIMM
        )
    return EMBEDDED[model.split("-")[0]]


def describe(
    frame: pd.DataFrame, name: str, subgroups: Sequence[str], model: str, image_size: int | None
) -> dict[str, Any]:
    """dataset.yaml of these rows."""
    is_image, embedded = "path" in frame, ":" not in model
    counts = frame.loc[frame["split"] == POOL, "label"].value_counts()
    second = (
        ["accuracy_minority"]
        if subgroups
        else ["accuracy_class_balanced"]
        if counts.max() > 2 * counts.min()
        else []
    )
    size = image_size or (32 if embedded else 224)  # the embedded networks were pretrained on 32 px
    ordered = [s for s in ("val", "test") if (frame["split"] == s).any()]  # figures show the first
    return {
        "name": name,
        "title": name.replace("_", " "),
        "modality": "image" if is_image else "text",
        "classes": sorted(
            counts.index, key=lambda c: (not c.isdecimal(), int(c) if c.isdecimal() else 0, c)
        ),
        "subgroups": list(subgroups),
        "eval_splits": ordered + sorted(set(frame["split"]) - {POOL, *ordered}),
        **(
            {"image_size": size} if is_image else {"max_tokens": 40 if embedded else 256}
        ),  # the embedded RoBERTa reads no more
        "figure_metrics": ["accuracy", *second],
        "default_model": model,
        "protocol": protocol_for(counts),
        "recipe": dict(recipe_for(model, size)),
        "source": OURS,
    }


def prepare(
    source: Source,
    out: Path,
    *,
    name: str | None = None,
    subgroups: Sequence[str] = (),
    val_fraction: float = 0.2,
    seed: int = 0,
    image_size: int | None = None,
    model: str | None = None,
) -> Prepared:
    """Check a source and write its dataset folder.

    Args:
        name: default: that of `out`. image_size: px; default: 32 for the embedded model, 224 for others.
        model: default: the embedded BiT or RoBERTa.
    Raises:
        ReleaseError: see `with_splits` and `check_content`; a subgroup column that is not there, or a model for other data.
    """
    out, is_text = Path(out).expanduser().absolute(), source.root is None
    name, model = name or out.name, model or ("roberta-m" if is_text else "bit-m")
    if not re.fullmatch(r"[\w.-]+", name):
        raise ReleaseError(f"--name may hold letters, digits, '_', '-' and '.'; got {name!r}")
    if not model.startswith(("hf:", "roberta-m") if is_text else ("timm:", "bit-")):
        raise ReleaseError(
            f"--model {model} does not read {'texts' if is_text else 'images'}; take "
            f"{'roberta-m or hf:NAME' if is_text else 'bit-m or timm:NAME'}"
        )
    attributes = [c for c in source.frame if c not in ("path", "text", "split")]
    for column in subgroups:
        if column not in attributes:
            raise ReleaseError(
                f"{source.name}: no column {column!r} to tell subgroups apart; it has {', '.join(attributes)}"
            )
    frame = with_splits(source.frame, source.name, val_fraction, seed)
    check_content(frame, source)
    description = describe(frame, name, subgroups, model, image_size)
    _write(out, frame, description, source.root)
    return Prepared(frame, description, pd.crosstab(frame["split"], frame["label"]), [])


def _write(out: Path, frame: pd.DataFrame, description: dict[str, Any], root: Path | None) -> None:
    described, manifests = out / "dataset.yaml", [out / "manifest.csv", out / "manifest.parquet"]
    is_ours = described.exists() and OURS in described.read_text(encoding="utf-8")
    if not is_ours and any(file.exists() for file in [described, *manifests]):
        raise ReleaseError(
            f"{out} holds a dataset that this script did not write; choose another --out"
        )
    for file in manifests:  # an earlier one, maybe of the other kind
        file.unlink(missing_ok=True)
    if root is not None and root.is_relative_to(
        out
    ):  # images that were written here: paths from the dataset folder
        frame, root = (
            frame.assign(
                path=[(root / path).relative_to(out).as_posix() for path in frame["path"]]
            ),
            None,
        )
    write_dataset(out, frame, description, root)


# --- the command line -------------------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line; a ReleaseError ends it with one line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    sources = parser.add_mutually_exclusive_group(required=True)
    sources.add_argument("--images", type=Path, help="folder of images in class folders")
    sources.add_argument("--table", type=Path, help="csv, tsv or parquet")
    sources.add_argument("--hugging-face", help="folder, or name on the hub")
    parser.add_argument("--out", type=Path, required=True, help="dataset folder to write")
    parser.add_argument("--name", help="what figures call it (default: name of --out)")
    for role, what in (
        ("image", "image paths or images"),
        ("text", "texts"),
        ("label", "labels"),
        ("split", "splits"),
    ):
        parser.add_argument(f"--{role}-column", help=f"column of {what}")
    parser.add_argument("--config", help="configuration of a Hugging Face dataset")
    parser.add_argument(
        "--val-fraction",
        type=float,
        default=0.2,
        help="share of each class in val where splits are drawn",
    )
    parser.add_argument("--seed", type=int, default=0, help="of drawn splits")
    parser.add_argument(
        "--subgroups",
        nargs="+",
        default=(),
        help="columns whose values tell subgroups apart, e.g. label place",
    )
    parser.add_argument(
        "--image-size", type=int, help="px (default: 32 for the embedded model, 224 for others)"
    )
    parser.add_argument("--model", help="default model (default: bit-m or roberta-m, embedded)")
    given = parser.parse_args(arguments)
    columns = {
        role: getattr(given, f"{role}_column") for role in ("image", "text", "label", "split")
    }
    try:
        if given.images:
            source = from_folders(given.images)
        elif given.table:
            source = from_table(given.table, given.out, columns)
        else:
            source = from_hugging_face(given.hugging_face, given.out, columns, given.config)
        prepared = prepare(
            source,
            given.out,
            name=given.name,
            subgroups=given.subgroups,
            val_fraction=given.val_fraction,
            seed=given.seed,
            image_size=given.image_size,
            model=given.model,
        )
    except (ReleaseError, OSError) as error:
        sys.exit(f"your_dataset: {' '.join(str(error).split())}")
    print(prepared.counts.assign(all=prepared.counts.sum(axis=1)).to_string())
    settings = prepared.description["protocol"]
    print(", ".join(f"{key} {value}" for key, value in settings.items()))
    if source.root is not None:
        print(disk_report(source.root, given.out, prepared.manifest, prepared.description))
    print(
        f'wrote {given.out}; next: datasets = ["{given.out.expanduser().absolute()}"] in notebooks/10_your_dataset.ipynb'
    )


if __name__ == "__main__":
    main()
