"""Embed a dataset: any dataset folder and any model -> a dataset of features, for heads in seconds.

A linear head on frozen features (recipe backbone: frozen) reads either; but features can be kept,
shared and made smaller. The new folder holds the manifest and features/NAME.npy, a row for each of
its rows; a second model is added to the same folder under another name. --dims N keeps N principal
components, fitted on the pool alone, in half precision; else all features, in single precision.

    python data_prep/embed.py FOLDER --model timm:NAME|hf:NAME [--weights FILE] --name NAME
        --out FOLDER [--dims 64] [--size 224] [--seed 1]
    python data_prep/embed.py FOLDER --like data_prep/embedded/real_waterbirds --weights FOLDER
        --out FOLDER

FOLDER is a dataset folder or the name of an embedded dataset. -np after the model's name takes its
network without pretraining, initialised from --seed. --like makes the features of another folder
again, by the same networks (--weights holds NAME.safetensors for those that are pretrained), and
says how far they are from the ones there.
"""

import argparse
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from sklearn.decomposition import PCA

from alpt_lib.acquisition import POOL
from alpt_lib.checkpoints import local_weights, weights_fingerprint
from alpt_lib.config import Recipe, RunConfig, frozen_recipe
from alpt_lib.datasets import Dataset, locate, read_dataset, read_manifest, write_dataset
from alpt_lib.errors import CompanionError, DataError, ModelError
from alpt_lib.files import hash_file, whole_file, write_whole
from alpt_lib.heads import frozen_features
from alpt_lib.registry import resolve

LARGEST = 256.0
# what half precision may change a component by, in standard deviations
LOST = 0.01
# of the dataset's own settings, those that a dataset of features has too
KEPT = (
    "name",
    "title",
    "description",
    "classes",
    "subgroups",
    "minority",
    "latent",
    "percentile_over",
    "eval_splits",
    "figure_metrics",
    "protocol",
    "source",
    "licence",
)


def embed(
    data: Dataset,
    config: RunConfig,
    name: str,
    out: Path,
    dims: int = 0,
    links_pictures: bool = False,
) -> dict[str, Any]:
    """Write the features of a model into a dataset folder of features.

    Args:
        config: the model, its weights, the input size and the seed of what is not pretrained.
        name: what the features are called. dims: principal components; 0 keeps all features.
        links_pictures: contact sheets show the pictures, where these stay.
    Returns:
        where they come from, as it stands in dataset.yaml.
    Raises:
        DataError: `out` holds another dataset; more components than the pool has examples.
    """
    splits = [POOL, *data.eval_splits]
    manifest = pd.concat([data.rows(split) for split in splits], ignore_index=True)
    description = _description(data, out, manifest, name)
    features, provenance = computed(data, config, splits, dims)
    provenance["features"] = _write_features(out, name, features)
    if not (out / "dataset.yaml").exists():
        links_pictures = links_pictures and data.is_image
        write_dataset(out, manifest, description, data.folder if links_pictures else None)
        description |= {"allow_outside": True} if links_pictures else {}
    description["generator"][name] = provenance
    _write_description(out, description)
    return provenance


def computed(
    data: Dataset, config: RunConfig, splits: list[str], dims: int
) -> tuple[np.ndarray, dict[str, Any]]:
    """(n, n_features) features of these splits, one after the other, and where they come from."""
    parts = [np.asarray(frozen_features(data, config, split)) for split in splits]
    provenance = {
        "model": config.model,
        "weights": weights_fingerprint(config.model, config.weights),
        "seed": config.seed,
        "size": config.recipe.resize or data.description.image_size,
        "made_from": data.fingerprint,
        "dims": int(parts[0].shape[1]),
    }
    if dims:
        parts, share = reduce(parts, dims)
        provenance |= {"components": dims, "explained_variance": round(share, 4)}
    return np.concatenate(parts), provenance


def _write_features(folder: Path, name: str, features: np.ndarray) -> str:
    """Write the file; returns its hash: who copies the folder sees by it that it has changed."""
    file = folder / "features" / f"{name}.npy"
    with whole_file(file) as stream:
        np.save(stream, features, allow_pickle=False)
    return hash_file(file)[:16]


def _write_description(folder: Path, description: dict[str, Any]) -> None:
    written = yaml.safe_dump(description, sort_keys=False, allow_unicode=True)
    write_whole(folder / "dataset.yaml", written)


def embed_like(data: Dataset, like: Path, weights: Path, out: Path) -> dict[str, float]:
    """Make a folder of features again, from the pictures that it was made of, and link these.

    Args:
        like: a dataset folder of features. weights: folder of NAME.safetensors, one for each
            network that is pretrained.
    Returns:
        of each network the largest difference of a feature, as a share of the largest feature.
    Raises:
        DataError: not the same examples. ModelError: weights that are missing or others.
    """
    there = read_dataset(like)
    manifest = read_manifest(like)
    description = yaml.safe_load((like / "dataset.yaml").read_text(encoding="utf-8"))
    splits = list(dict.fromkeys(manifest["split"]))
    every_split = replace(data.description, eval_splits=splits[1:])
    data = Dataset(data.folder, every_split, read_manifest(data.folder))
    _check_same_examples(data, manifest)
    differences = {}
    for name, made in there.description.generator.items():
        config = _config_like(data, weights / f"{name}.safetensors", made)
        features, provenance = computed(data, config, splits, made.get("components", 0))
        old = np.load(there.feature_file(name)).astype(np.float64)
        differences[name] = float(np.abs(features - old).max() / np.abs(old).max())
        provenance["features"] = _write_features(out, name, features)
        description["generator"][name] = provenance
    write_dataset(out, manifest, description, images=data.folder / "images")
    return differences


def _config_like(data: Dataset, file: Path, made: dict[str, Any]) -> RunConfig:
    weights = str(file) if made["weights"] else None
    found = weights_fingerprint(made["model"], weights)
    if found != made["weights"]:
        raise ModelError(
            f"{file} holds other weights ({found}) than the features were made with "
            f"({made['weights']})"
        )
    return RunConfig(
        dataset=str(data.folder),
        model=made["model"],
        acquisition="random",
        seed=made["seed"],
        weights=weights,
        recipe=frozen_recipe(Recipe(resize=made["size"])),
    )


def _check_same_examples(data: Dataset, manifest: pd.DataFrame) -> None:
    for split, rows in manifest.groupby("split", sort=False):
        own = data.rows(split)["path"].str.removeprefix("images/").tolist()
        if own != rows["path"].tolist():
            raise DataError(
                f"{data.folder} does not hold the same examples in {split}; prepare it anew from "
                "the original release"
            )


def reduce(parts: list[np.ndarray], dims: int) -> tuple[list[np.ndarray], float]:
    """Principal components of the first part, the pool, for all parts, in half precision.

    Where it has no room for them as they are, all are divided by one number, which makes the
    largest `LARGEST`: a network that is not pretrained may give features of 1e-9.

    Returns:
        (n, dims) float16 each, and the share of the pool's variance that they hold.
    Raises:
        DataError: more components than the pool has examples or features; no room in any case.
    """
    pool = parts[0]
    if dims > min(pool.shape):
        raise DataError(
            f"asked for {dims} components of {pool.shape[0]} pool examples with {pool.shape[1]} "
            f"features; --dims takes at most {min(pool.shape)}"
        )
    # in double precision, so that the same images give the same components
    pca = PCA(n_components=dims, svd_solver="covariance_eigh").fit(pool.astype(np.float64))
    exact = [pca.transform(part.astype(np.float64)) for part in parts]
    largest = max(np.abs(part).max(initial=0) for part in exact)
    for scale in (1.0, LARGEST / (largest or 1.0)):
        scaled = [part * scale for part in exact]
        with np.errstate(over="ignore"):
            components = [part.astype(np.float16) for part in scaled]
        spread = scaled[0].std(axis=0)
        if all(_is_close(*pair, LOST * spread) for pair in zip(components, scaled, strict=True)):
            return components, float(pca.explained_variance_ratio_.sum())
    raise DataError("the components do not fit into half precision; leave --dims out")


def _is_close(rounded: np.ndarray, exact: np.ndarray, tolerance: np.ndarray) -> bool:
    return bool((np.abs(rounded - exact).max(axis=0, initial=0) <= tolerance).all())


def _are_same(rows: pd.DataFrame, manifest: pd.DataFrame) -> bool:
    """Whether these are the same examples; paths may begin with a link to the pictures."""
    names = ["path"] if "path" in rows and "path" in manifest else []
    if not rows.drop(columns=names).equals(manifest.drop(columns=names)):
        return False
    pairs = zip(rows["path"], manifest["path"], strict=True) if names else ()
    return all(path.endswith(name) for path, name in pairs)


def _description(data: Dataset, out: Path, manifest: pd.DataFrame, name: str) -> dict[str, Any]:
    """Content of dataset.yaml: what is there already, if it is of the same examples."""
    if not (out / "dataset.yaml").exists():
        own = data.description
        described = {key: getattr(own, key) for key in KEPT if getattr(own, key)}
        kind = {"modality": "features", "default_model": name, "recipe": {"backbone": "frozen"}}
        return {**described, **kind, "generator": {}}
    there = read_dataset(out)
    rows = pd.concat([there.rows(s) for s in (POOL, *there.eval_splits)], ignore_index=True)
    if there.description.modality != "features" or not _are_same(rows, manifest):
        raise DataError(f"{out} holds another dataset; choose another --out")
    return yaml.safe_load((out / "dataset.yaml").read_text(encoding="utf-8"))


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0, or 1 with one line on standard error."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", help="a dataset folder, or the name of an embedded dataset")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--model", help="timm:NAME, hf:NAME or a role such as bit-m")
    what.add_argument("--like", type=Path, help="a dataset folder of features to make again")
    parser.add_argument("--weights", help="a local file or folder of weights")
    parser.add_argument("--name", help="what the features are called (default: the model's name)")
    parser.add_argument("--out", type=Path, required=True, help="the dataset folder of features")
    parser.add_argument("--dims", type=int, default=0, help="principal components (default: all)")
    parser.add_argument("--size", type=int, default=0, help="px (default: the dataset's)")
    parser.add_argument("--seed", type=int, default=1, help="of a network without pretraining")
    options = parser.parse_args(arguments)
    try:
        data = read_dataset(locate(options.folder))
        if options.like:
            differences = embed_like(data, options.like, Path(options.weights or "."), options.out)
            for name, difference in differences.items():
                print(f"{options.out}: features {name}, at most {difference:.1e} from those there")
        else:
            _embed_one(data, options)
    except CompanionError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _embed_one(data: Dataset, options: argparse.Namespace) -> None:
    config = RunConfig(
        dataset=str(data.folder),
        model=resolve(options.model),
        acquisition="random",
        seed=options.seed,
        weights=local_weights(options.model, "mini", options.weights),
        recipe=frozen_recipe(Recipe(resize=options.size)),
    )
    name = options.name or re.sub(r"\W+", "-", options.model.rpartition(":")[2])
    provenance = embed(data, config, name, options.out, options.dims, links_pictures=True)
    held = provenance.get("explained_variance")
    share = f", {held:.1%} of the pool's variance" if held else ""
    print(f"{options.out}: features {name} of {options.model}{share}")


if __name__ == "__main__":
    sys.exit(main())
