"""Your own images, texts or embeddings as a dataset folder, ready for all notebooks.

    python data_prep/your_dataset.py --images FOLDER     # label = the folder that an image lies in
    python data_prep/your_dataset.py --table FILE        # csv, tsv, parquet: paths or texts, labels
    python data_prep/your_dataset.py --hugging-face NAME|FOLDER    # a NAME is fetched from the hub
    python data_prep/your_dataset.py --table FILE --features x.npy    # embeddings of any model
    python data_prep/your_dataset.py --table x.parquet --features-column embedding
        --out FOLDER [--subgroups label background] [--model timm:NAME|hf:NAME] ...

Splits: the source's own (top-level folders train, val and test; a column; names of files), where
the training split becomes the pool. Without any, `val` is drawn from a seed, the same share of
every class; copies stay together. Where examples belong together otherwise (frames of a film, one
patient), a column of your own is better: a drawn split would put relatives on both sides.

All other columns are kept as attributes that the model never sees; `--subgroups` names those whose
values tell subgroups apart. Images of a folder or a csv stay where they are, and the dataset folder
holds a link to them.

Embeddings (.npy, .npz, or lists in a parquet) have a row for each row of the table; a head is
trained on them, no network is needed. Columns of paths or texts are then for people to look at.

dataset.yaml starts with settings for the size of the pool (`protocol_for`) and the model
(companion/recipes.py). They are ours, meant as a start: edit the file, or override them with the
notebooks' `protocol` and `recipe`. The embedded models are miniatures for a first look without a
download; give --model for results to rely on.
"""

import argparse
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from readers.features import from_features
from readers.folders import from_folders
from readers.hugging_face import from_hugging_face
from readers.source import POOL, ROW, Source
from readers.splits import labelled, with_content, with_splits
from readers.tables import from_table
from release.command import Prepared
from release.report import disk_report, note, one_line_exit, print_table

from alpt_lib.datasets import write_dataset
from alpt_lib.errors import DataError
from alpt_lib.files import whole_file
from alpt_lib.registry import split_name
from companion.recipes import recipe_for

OURS = "prepared by data_prep/your_dataset.py"
DEFAULT_MODELS = {"image": "bit-m", "text": "roberta-m", "features": "mine"}
MOST_SHOWN = 20  # classes in the table of counts


def protocol_for(counts: pd.Series) -> dict[str, Any]:
    """How to spend labels on a pool with these examples per class; ours, after the paper's shares.

    Seed set: a tenth of the pool but 10 to 40 labels (the paper's Waterbirds: 40), the same number
    of each class; at random where a class has too few for that, or the classes are too many. Then
    8 rounds, each as large as the seed set (the paper also ends at 9 times its seed set, in 64
    rounds: `query_batch_size` 5), in all no more than a third of the pool, for else every
    acquisition function ends with nearly the same labels.
    """
    n_pool = int(counts.sum())
    n_classes = len(counts)
    wanted = min(40, max(10, n_pool // 10))
    most = max(1, n_pool // 3)
    of_each = min(math.ceil(wanted / n_classes), max(1, most // n_classes))
    is_balanced = of_each <= counts.min() and of_each * n_classes <= most
    size = of_each * n_classes if is_balanced else min(wanted, most)
    batch = max(1, min(size, n_pool // 24))
    return {
        "seed_set_size": size,
        "seed_set": "balanced" if is_balanced else "random",
        "budget": min(8 * batch, n_pool // 3),
        "query_batch_size": batch,
    }


def describe(
    frame: pd.DataFrame,
    modality: str,
    name: str,
    subgroups: Sequence[str],
    model: str,
    image_size: int | None,
) -> dict[str, Any]:
    """dataset.yaml of these rows."""
    is_embedded = ":" not in model
    counts = frame.loc[frame["split"] == POOL, "label"].value_counts()
    metrics = ["accuracy"]
    if subgroups:
        metrics.append("accuracy_minority")
    elif counts.max() > 2 * counts.min():
        metrics.append("accuracy_class_balanced")
    # the embedded networks were pretrained on 32 px, and the embedded RoBERTa reads 40 tokens
    size = image_size or (32 if is_embedded else 224)
    limit = {"max_tokens": 40 if is_embedded else 256} if modality == "text" else {}
    limit |= {"image_size": size} if modality == "image" else {}
    is_stored = modality == "features"
    # figures show the first
    usual = [split for split in ("val", "test") if (frame["split"] == split).any()]
    others = sorted(set(frame["split"]) - {POOL, *usual})
    return {
        "name": name,
        "title": name.replace("_", " "),
        "modality": modality,
        "classes": sorted(counts.index, key=_class_order),
        "subgroups": list(subgroups),
        "eval_splits": usual + others,
        **limit,
        "figure_metrics": metrics,
        "default_model": model,
        "protocol": protocol_for(counts),
        "recipe": {"backbone": "frozen"} if is_stored else dict(recipe_for(model, size)),
        "source": OURS,
    }


def _class_order(name: str) -> tuple[bool, int, str]:
    """Numbers first, by their values."""
    return (not name.isdecimal(), int(name) if name.isdecimal() else 0, name)


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
        name: default: that of `out`.
        image_size: px; default: 32 for the embedded model, 224 for others.
        model: default: the embedded BiT or RoBERTa; of features, what they are called ("mine").
    Raises:
        DataError: see `readers.splits`; a subgroup column that is not there, a model for other
            data, or a folder with a dataset of another hand.
    """
    out = Path(out).expanduser().absolute()
    name = name or out.name
    model = model or DEFAULT_MODELS[source.modality]
    _check_settings(source, name, model, subgroups)
    rows, keys = with_content(labelled(source), source)
    frame = with_splits(rows, keys, source.name, val_fraction, seed)
    description = describe(frame, source.modality, name, subgroups, model, image_size)
    counts = pd.crosstab(frame["split"], frame["label"])
    if description["protocol"]["seed_set"] == "random":
        rarest = counts.loc[POOL].idxmin()
        note(
            f"the seed set is drawn at random, for the pool has {counts.loc[POOL, rarest]} of "
            f"class {rarest!r}, the rarest of {len(counts.columns)}"
        )
    _write(out, frame, description, source)
    frame = frame.drop(columns=ROW, errors="ignore")
    return Prepared(frame, description, counts)


def _check_settings(source: Source, name: str, model: str, subgroups: Sequence[str]) -> None:
    if not re.fullmatch(r"[\w.-]+", name):
        raise DataError(
            "--name (or else the name of --out) may hold letters, digits, '_', '-' and '.'; got "
            f"{name!r}"
        )
    _check_model(source.modality, model)
    attributes = [column for column in source.frame if column not in ("path", "text", "split")]
    for column in subgroups:
        if column not in attributes:
            raise DataError(
                f"{source.name}: no column {column!r} to tell subgroups apart; it has "
                f"{', '.join(attributes)}"
            )


def _check_model(modality: str, model: str) -> None:
    if modality == "features":
        if not re.fullmatch(r"[\w.-]+", model):
            raise DataError(
                "of features, --model is what they are called: letters, digits, '_', '-' and '.'; "
                f"got {model!r}, and a network that reads pixels or texts has nothing to read"
            )
        return
    is_text = modality == "text"
    if not model.startswith(("hf:", "roberta-m") if is_text else ("timm:", "bit-")):
        what = "texts; take roberta-m or hf:NAME" if is_text else "images; take bit-m or timm:NAME"
        raise DataError(f"--model {model} does not read {what}")
    if model.startswith("timm:"):
        # brings torch, which takes seconds
        from alpt_lib.models import require_timm_model

        require_timm_model(split_name(model)[0].removeprefix("timm:").partition("?")[0])


def _write(out: Path, frame: pd.DataFrame, description: dict[str, Any], source: Source) -> None:
    root = source.root
    described = out / "dataset.yaml"
    is_ours = described.exists() and OURS in described.read_text(encoding="utf-8")
    files = [described, out / "manifest.csv", out / "manifest.parquet"]
    if not is_ours and any(file.exists() for file in files):
        raise DataError(
            f"{out} holds a dataset that this script did not write; choose another --out"
        )
    if root is not None and root.is_relative_to(out):
        # images that were written here: paths from the dataset folder
        paths = [(root / path).relative_to(out).as_posix() for path in frame["path"]]
        frame = frame.assign(path=paths)
        root = None
    if source.features is not None:
        rows = frame[ROW].to_numpy()
        frame = frame.drop(columns=ROW)
        _write_features(out / "features", description["default_model"], source.features, rows)
    write_dataset(out, frame, description, root)


def _write_features(folder: Path, name: str, features: np.ndarray, rows: np.ndarray) -> None:
    """The features of the manifest's rows; those of an earlier table would be other rows'."""
    with whole_file(folder / f"{name}.npy") as stream:
        np.save(stream, features[rows], allow_pickle=False)
    for other in folder.glob("*.npy"):
        if other.stem != name:
            note(f"features {other.stem} of an earlier table are removed")
            other.unlink()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    sources = parser.add_mutually_exclusive_group(required=True)
    sources.add_argument("--images", type=Path, help="folder of images in class folders")
    sources.add_argument("--table", type=Path, help="csv, tsv or parquet")
    sources.add_argument("--hugging-face", help="folder, or name on the hub")
    add = parser.add_argument
    add("--out", type=Path, required=True, help="dataset folder to write")
    add("--name", help="what figures call it (default: name of --out)")
    add("--features", type=Path, help=".npy or .npz of embeddings, a row for each of the table")
    held = "a parquet's column of embeddings (lists), or the array of an .npz that has several"
    add("--features-column", help=held)
    for role in ("image", "text", "label", "split"):
        add(f"--{role}-column", help=f"column of {role}s")
    add("--config", help="configuration of a Hugging Face dataset")
    share = "share of each class in val where splits are drawn"
    add("--val-fraction", type=float, default=0.2, help=share)
    add("--seed", type=int, default=0, help="of drawn splits")
    columns = "columns whose values tell subgroups apart, e.g. label place"
    add("--subgroups", nargs="+", default=(), help=columns)
    add("--image-size", type=int, help="px (default: 32 for the embedded model, 224 for others)")
    add("--model", help="default model (default: bit-m or roberta-m, embedded)")
    return parser


def _read(given: argparse.Namespace) -> Source:
    roles = ("image", "text", "label", "split")
    columns = {role: getattr(given, f"{role}_column") for role in roles}
    if given.features or given.features_column:
        if not given.table:
            raise DataError("embeddings need --table, with a label for each of their rows")
        return from_features(given.table, given.features, given.features_column, columns)
    if given.table:
        return from_table(given.table, given.out, columns)
    folder = Path(given.images or given.hugging_face).expanduser().resolve()
    if folder.is_dir() and given.out.expanduser().resolve().is_relative_to(folder):
        raise DataError(
            f"--out {given.out} lies in {folder}, which would be read as a source the next time; "
            "choose a folder outside of it"
        )
    if given.images:
        return from_folders(given.images)
    return from_hugging_face(given.hugging_face, given.out, columns, given.config)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line; what is wrong ends it with one line."""
    given = _parser().parse_args(arguments)
    settings = ("name", "subgroups", "val_fraction", "seed", "image_size", "model")
    with one_line_exit("your_dataset"):
        source = _read(given)
        options = {setting: getattr(given, setting) for setting in settings}
        prepared = prepare(source, given.out, **options)
    counts = prepared.counts
    if len(counts.columns) > MOST_SHOWN:
        counts = counts.sum(axis=1).to_frame(f"in {len(counts.columns)} classes")
    print_table(counts)
    print(", ".join(f"{key} {value}" for key, value in prepared.description["protocol"].items()))
    if source.modality == "image":
        print(disk_report(source.root, [given.out], prepared.manifest, prepared.description))
    out = given.out.expanduser().absolute()
    print(f'wrote {given.out}; next: datasets = ["{out}"] in notebooks/10_your_dataset.ipynb')


if __name__ == "__main__":
    main()
