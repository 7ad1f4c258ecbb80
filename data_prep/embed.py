"""Embed a dataset: any dataset folder and any model -> a dataset of features, for heads in seconds.

A linear head on frozen features (recipe backbone: frozen) reads either; but features can be kept,
shared and made smaller. The new folder holds the manifest and features/NAME.npy, a row for each of
its rows; a second model is added to the same folder under another name. --dims N keeps N principal
components, fitted on the pool alone, in half precision; else all features, in single precision.

    python data_prep/embed.py FOLDER --model timm:NAME|hf:NAME [--weights FILE] --name NAME
        --out FOLDER [--dims 64] [--size 224] [--seed 1]

FOLDER is a dataset folder or the name of an embedded dataset. -np after the model's name takes its
network without pretraining, initialised from --seed.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from sklearn.decomposition import PCA

from alpt_lib.acquisition import POOL
from alpt_lib.checkpoints import local_weights, weights_fingerprint
from alpt_lib.config import Recipe, RunConfig, frozen_recipe
from alpt_lib.datasets import Dataset, locate, read_dataset, write_dataset
from alpt_lib.errors import CompanionError, DataError
from alpt_lib.files import whole_file, write_whole
from alpt_lib.heads import frozen_features
from alpt_lib.registry import resolve

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


def embed(data: Dataset, config: RunConfig, name: str, out: Path, dims: int = 0) -> dict[str, Any]:
    """Write the features of a model into a dataset folder of features.

    Args:
        config: the model, its weights, the input size and the seed of what is not pretrained.
        name: what the features are called. dims: principal components; 0 keeps all features.
    Returns:
        where they come from, as it stands in dataset.yaml.
    Raises:
        DataError: `out` holds another dataset; more components than the pool has examples.
    """
    splits = [POOL, *data.eval_splits]
    manifest = pd.concat([data.rows(split) for split in splits], ignore_index=True)
    description = _description(data, out, manifest, name)
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
    features = np.concatenate(parts)
    file = out / "features" / f"{name}.npy"
    with whole_file(file) as stream:
        np.save(stream, features, allow_pickle=False)
    if not (out / "dataset.yaml").exists():
        write_dataset(out, manifest, description)
    description["generator"][name] = provenance
    written = yaml.safe_dump(description, sort_keys=False, allow_unicode=True)
    write_whole(out / "dataset.yaml", written)
    return provenance


def reduce(parts: list[np.ndarray], dims: int) -> tuple[list[np.ndarray], float]:
    """Principal components of the first part, the pool, for all parts, in half precision.

    Returns:
        (n, dims) float16 each, and the share of the pool's variance that they hold.
    """
    pool = parts[0]
    if dims > min(pool.shape):
        raise DataError(
            f"asked for {dims} components of {pool.shape[0]} pool examples with {pool.shape[1]} "
            f"features; --dims takes at most {min(pool.shape)}"
        )
    # in double precision, so that the same images give the same components
    pca = PCA(n_components=dims, svd_solver="covariance_eigh").fit(pool.astype(np.float64))
    components = [pca.transform(part.astype(np.float64)).astype(np.float16) for part in parts]
    if not all(np.isfinite(part).all() for part in components):
        raise DataError("the components do not fit into half precision; leave --dims out")
    return components, float(pca.explained_variance_ratio_.sum())


def _description(data: Dataset, out: Path, manifest: pd.DataFrame, name: str) -> dict[str, Any]:
    """Content of dataset.yaml: what is there already, if it is of the same examples."""
    if not (out / "dataset.yaml").exists():
        own = data.description
        described = {key: getattr(own, key) for key in KEPT if getattr(own, key)}
        kind = {"modality": "features", "default_model": name, "recipe": {"backbone": "frozen"}}
        return {**described, **kind, "generator": {}}
    there = read_dataset(out)
    rows = pd.concat([there.rows(s) for s in (POOL, *there.eval_splits)], ignore_index=True)
    if there.description.modality != "features" or not rows.equals(manifest):
        raise DataError(f"{out} holds another dataset; choose another --out")
    return yaml.safe_load((out / "dataset.yaml").read_text(encoding="utf-8"))


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0, or 1 with one line on standard error."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", help="a dataset folder, or the name of an embedded dataset")
    parser.add_argument("--model", required=True, help="timm:NAME, hf:NAME or a role such as bit-m")
    parser.add_argument("--weights", help="a local file or folder of weights")
    parser.add_argument("--name", required=True, help="what the features are called")
    parser.add_argument("--out", type=Path, required=True, help="the dataset folder of features")
    parser.add_argument("--dims", type=int, default=0, help="principal components (default: all)")
    parser.add_argument("--size", type=int, default=0, help="px (default: the dataset's)")
    parser.add_argument("--seed", type=int, default=1, help="of a network without pretraining")
    options = parser.parse_args(arguments)
    try:
        data = read_dataset(locate(options.folder))
        config = RunConfig(
            dataset=str(data.folder),
            model=resolve(options.model),
            acquisition="random",
            seed=options.seed,
            weights=local_weights(options.model, "mini", options.weights),
            recipe=frozen_recipe(Recipe(resize=options.size)),
        )
        provenance = embed(data, config, options.name, options.out, options.dims)
    except CompanionError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    held = provenance.get("explained_variance")
    share = f", {held:.1%} of the pool's variance" if held else ""
    print(f"{options.out}: features {options.name} of {options.model}{share}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
