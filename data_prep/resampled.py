"""Other pools made of a dataset of features: its rows chosen anew; no picture, no network needed.

`real_waterbirds_matched_70` has 70% of its pool matched: landbirds on land, waterbirds on water
(paper, section 6.4). Every such pool has the same size and the class shares of the source's pool.
Its rows are drawn, each at most once, from the source's pool and from those of its splits that are
not evaluated; a pool with a higher share holds the matched rows of the lower ones and some more.
What is evaluated stays as it is.

    python data_prep/resampled.py FOLDER [--out data/mini] [--models lite0 ...] [--pool 3000]

FOLDER is a dataset folder of features, or the name of one in data/mini. Same source, same bytes.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from alpt_lib.acquisition import POOL
from alpt_lib.datasets import (
    Dataset,
    locate,
    read_dataset,
    read_manifest,
    subgroup_names,
    write_dataset,
)
from alpt_lib.errors import CompanionError, DataError
from alpt_lib.files import hash_file, home, whole_file

SEED = 0
MATCHED_POOL = 3000  # rows
QUERY_BATCH = 20
MATCHED = (50, 60, 70, 80, 90, 95)  # percent; paper, Figs. 8 and 9


@dataclass(frozen=True)
class Variant:
    """One dataset made of another.

    Args:
        name: what follows the source's name. title: what follows its title.
        draw: of the source and its manifest the rows of the new pool, under their old index.
    """

    name: str
    title: str
    draw: Callable[[Dataset, pd.DataFrame], pd.DataFrame]


def matched_pool(data: Dataset, manifest: pd.DataFrame, *, percent: int, size: int) -> pd.DataFrame:
    """A pool in which this share of each class lies outside the minority subgroups.

    Args:
        manifest: (n, ...) rows of all splits, also of those that are not evaluated.
        percent: of each class; a half is rounded up, as are the class shares.
    Raises:
        DataError: too few rows of a class, with or without its minority subgroups.
    """
    rng = np.random.default_rng(SEED)
    rows = manifest[~manifest["split"].isin(data.eval_splits)]
    is_minority = subgroup_names(rows, data.description.subgroups).isin(data.minority)
    shares = data.rows(POOL)["label"].value_counts(normalize=True)
    chosen = []
    for label in data.classes:
        n = int(size * shares[label] + 0.5)
        n_matched = (percent * n + 50) // 100
        for wanted, count in ((False, n_matched), (True, n - n_matched)):
            there = rows.index[(rows["label"] == label) & (is_minority == wanted)]
            if count > len(there):
                raise DataError(
                    f"{data.name}: {percent}% matched needs {count} rows of {label} "
                    f"{'in' if wanted else 'outside'} its minority subgroups; it has {len(there)}"
                )
            chosen.append(rng.permutation(there)[:count])
    return rows.loc[np.sort(np.concatenate(chosen))]


def variants(data: Dataset, size: int) -> list[Variant]:
    """All that can be made of a source: nothing of one without minority subgroups.

    Args:
        size: rows of a pool with a share of matched ones.
    """
    if not data.minority:
        return []
    made = []
    for percent in MATCHED:
        draw = partial(matched_pool, percent=percent, size=size)
        made.append(Variant(f"matched_{percent}", f"{percent}% matched", draw))
    return made


def write_variants(
    source: Path, out: Path | None = None, models: Sequence[str] = (), size: int = MATCHED_POOL
) -> list[Path]:
    """Write the datasets made of a source, beside it or into `out`; those complete are left alone.

    Args:
        models: of which networks' features; () takes the default model's. size: as for `variants`.
    Returns:
        their folders.
    Raises:
        DataError: the source has no such features, or too few rows.
    """
    data = read_dataset(source)
    models = models or [data.description.default_model]
    return [_write(data, each, out or source.parent, list(models)) for each in variants(data, size)]


def _write(data: Dataset, variant: Variant, out: Path, models: list[str]) -> Path:
    files = {name: data.feature_file(name) for name in models}
    described = _described(data, variant, models)
    folder = out / described["name"]
    there = folder / "dataset.yaml"
    if there.exists() and yaml.safe_load(there.read_text(encoding="utf-8")) == described:
        return folder
    manifest = read_manifest(data.folder)
    pool = variant.draw(data, manifest).assign(split=POOL)
    rows = pd.concat([pool, manifest[manifest["split"].isin(data.eval_splits)]])
    there.unlink(missing_ok=True)
    for name, file in files.items():
        with whole_file(folder / "features" / f"{name}.npy") as stream:
            np.save(stream, np.load(file, mmap_mode="r")[rows.index], allow_pickle=False)
    write_dataset(folder, rows, described)
    return folder


def _described(data: Dataset, variant: Variant, models: list[str]) -> dict[str, Any]:
    """Content of dataset.yaml: the source's, but for its name and where its rows come from."""
    source = yaml.safe_load((data.folder / "dataset.yaml").read_text(encoding="utf-8"))
    made_from = {name: hash_file(data.feature_file(name))[:16] for name in models}
    return {
        **source,
        "name": f"{data.name}_{variant.name}",
        "title": f"{source.get('title', data.name)}, {variant.title}",
        "default_model": models[0],
        # fewer rounds than the source's: there are many of these datasets
        "protocol": {**source.get("protocol", {}), "query_batch_size": QUERY_BATCH},
        "generator": {"of": data.fingerprint, "features": made_from, "seed": SEED},
    }


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0, or 1 with one line on standard error."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", help="a dataset folder of features, or the name of one")
    parser.add_argument("--out", type=Path, default=home() / "data" / "mini")
    parser.add_argument("--models", nargs="+", default=[], help="default: the default model")
    pool = "rows of the pools with a share of matched ones (default: %(default)s)"
    parser.add_argument("--pool", type=int, default=MATCHED_POOL, help=pool)
    options = parser.parse_args(arguments)
    try:
        source = locate(options.folder)
        for folder in write_variants(source, options.out, options.models, options.pool):
            print(folder)
    except (CompanionError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
