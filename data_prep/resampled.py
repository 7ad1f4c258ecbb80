"""Other pools and other oracles for a dataset, with no network: the same examples, none new.

real_waterbirds_matched_70, digits_wrong_20 and so on, all that notebooks 07 and 15 need:

    matched_70                   70% matched: landbirds on land, waterbirds on water (section 6.4)
    wrong_20, wrong_minority_20  the oracle names a wrong class for 20% of all rows, or of those of
                                 the minority subgroups alone
    unsure_30, ...               likewise for an oracle that cannot tell: what was asked is lost
    copies_4                     every row four times, but of images

Pools with a share of matched rows have one size and the class shares of the source's pool. Their
rows are drawn, each at most once, from the source's pool and from those of its splits that are not
evaluated; a higher share holds the matched rows of the lower ones and some more. Of a wrong oracle
`true_label` keeps the class, and names the subgroups; its faults at 10% are among those at 20%.
What is evaluated stays as it is.

    python data_prep/resampled.py FOLDER [--out data/mini] [--models lite0] [--pool 3000]
        [--kinds wrong unsure]

FOLDER is a dataset folder, or the name of one in data/mini: of features, whose rows are copied, of
images, to which a link is made, or of texts. One without minority subgroups has neither shares of
matched rows nor faults among them. Same source, same bytes.
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
    CANNOT_TELL,
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
# percent: those of the paper's Figs. 8 and 9, then pools that hardly tell what the task is
MATCHED = (50, 60, 70, 80, 90, 95, 98, 99, 100)
# percent of all rows, and of the minority subgroups
WRONG = {"": (10, 20, 30), "minority": (10, 20, 30)}
UNSURE = {"": (30,), "minority": (30, 60)}
COPIES = (2, 4)
KINDS = ("matched", "wrong", "unsure", "copies")
# of titles
WORDS = {
    "matched": "{level}% matched",
    "wrong": "{level}% wrong labels",
    "unsure": "oracle unsure of {level}%",
    "copies": "{level} copies of each",
}
WHERE = {"": "", "minority": " in the minority"}


@dataclass(frozen=True)
class Variant:
    """One dataset made of another: what is changed, where, and how much.

    Args:
        kind: one of KINDS. level: percent, or how many. where: "" or "minority".
        draw: of the source and its manifest the rows of the new pool, under their old index.
        size: rows that are drawn, where it is to be chosen.
    """

    kind: str
    level: int
    where: str
    draw: Callable[[Dataset, pd.DataFrame], pd.DataFrame]
    size: int = 0

    @property
    def name(self) -> str:
        """What follows the source's name, e.g. wrong_minority_20."""
        return "_".join(filter(None, (self.kind, self.where, str(self.level))))

    @property
    def changes_labels(self) -> bool:
        return self.kind in ("wrong", "unsure")


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


def other_labels(
    data: Dataset, manifest: pd.DataFrame, *, percent: int, where: str, is_unsure: bool
) -> pd.DataFrame:
    """The pool with an oracle that errs, or cannot tell, for this share of its rows.

    Args:
        where: "" errs among all rows, "minority" among those of the minority subgroups alone.
        is_unsure: the oracle cannot tell; else it gives one of the other classes, each as likely.
    """
    rng = np.random.default_rng(SEED)
    rows = manifest[manifest["split"] == POOL].assign(true_label=lambda rows: rows["label"])
    is_liable = np.ones(len(rows), dtype=bool)
    if where == "minority":
        is_liable = subgroup_names(rows, data.description.subgroups).isin(data.minority).to_numpy()
    chosen = rng.permutation(rows.index[is_liable])
    chosen = chosen[: (percent * len(chosen) + 50) // 100]
    steps = rng.integers(1, len(data.classes), len(chosen))
    codes = pd.Index(data.classes).get_indexer(rows.loc[chosen, "label"]) + steps
    others = np.array(data.classes, dtype=object)[codes % len(data.classes)]
    rows.loc[chosen, "label"] = CANNOT_TELL if is_unsure else others
    return rows


def copied_pool(data: Dataset, manifest: pd.DataFrame, *, times: int) -> pd.DataFrame:
    """The pool with every row so many times."""
    rows = manifest[manifest["split"] == POOL]
    return rows.loc[rows.index.repeat(times)]


def variants(data: Dataset, size: int) -> list[Variant]:
    """All that can be made of a source; of one without minority subgroups, what needs none.

    Args:
        size: rows of a pool with a share of matched ones.
    """
    made = []
    for percent in MATCHED if data.minority else ():
        draw: Any = partial(matched_pool, percent=percent, size=size)
        made.append(Variant("matched", percent, "", draw, size))
    for kind, levels in (("wrong", WRONG), ("unsure", UNSURE)):
        places = {where: p for where, p in levels.items() if data.minority or not where}
        for where, percent in ((where, p) for where, percents in places.items() for p in percents):
            settings = {"percent": percent, "where": where, "is_unsure": kind == "unsure"}
            made.append(Variant(kind, percent, where, partial(other_labels, **settings)))
    # a manifest names an image once
    for times in () if data.is_image else COPIES:
        made.append(Variant("copies", times, "", partial(copied_pool, times=times)))
    return made


def write_variants(
    source: Path,
    out: Path | None = None,
    models: Sequence[str] = (),
    size: int = MATCHED_POOL,
    kinds: Sequence[str] = KINDS,
) -> list[Path]:
    """Write the datasets made of a source, beside it or into `out`; those complete are left alone.

    Args:
        models: of which networks' features, of a dataset of features; () takes the default
            model's. size: as for `variants`.
    Returns:
        their folders.
    Raises:
        DataError: the source has no such features, or too few rows.
    """
    data = read_dataset(source)
    is_features = data.description.modality == "features"
    models = models or [data.description.default_model] * is_features
    chosen = [each for each in variants(data, size) if each.kind in kinds]
    return [_write(data, each, out or source.parent, list(models)) for each in chosen]


def _write(data: Dataset, variant: Variant, out: Path, models: list[str]) -> Path:
    files = {name: data.feature_file(name) for name in models}
    described = _described(data, variant, models)
    folder = out / described["name"]
    there = folder / "dataset.yaml"
    if there.exists() and yaml.safe_load(there.read_text(encoding="utf-8")) == described:
        return folder
    manifest = read_manifest(data.folder)
    pool = variant.draw(data, manifest).assign(split=POOL)
    evaluated = manifest[manifest["split"].isin(data.eval_splits)]
    if variant.changes_labels:
        evaluated = evaluated.assign(true_label=evaluated["label"])
    rows = pd.concat([pool, evaluated])
    there.unlink(missing_ok=True)
    for name, file in files.items():
        with whole_file(folder / "features" / f"{name}.npy") as stream:
            np.save(stream, np.load(file, mmap_mode="r")[rows.index], allow_pickle=False)
    write_dataset(folder, rows, described, images=data.folder if data.is_image else None)
    return folder


def _described(data: Dataset, variant: Variant, models: list[str]) -> dict[str, Any]:
    """Content of dataset.yaml: the source's, but for its name and where its rows come from."""
    source = yaml.safe_load((data.folder / "dataset.yaml").read_text(encoding="utf-8"))
    changed = {"kind": variant.kind, "level": variant.level, "where": variant.where}
    changed |= {"size": variant.size} if variant.size else {}
    made_from = {"rows": data.fingerprint}
    made_from |= {name: hash_file(data.feature_file(name))[:16] for name in models}
    columns = data.description.subgroups
    if variant.changes_labels:
        columns = ["true_label" if column == "label" else column for column in columns]
    words = WORDS[variant.kind].format(level=variant.level)
    return {
        **source,
        "name": f"{data.name}_{variant.name}",
        "title": f"{source.get('title', data.name)}, {words}{WHERE[variant.where]}",
        "subgroups": columns,
        "minority": data.minority,
        **({"default_model": models[0]} if models else {}),
        # fewer rounds than the source's: there are many of these datasets
        "protocol": {**source.get("protocol", {}), "query_batch_size": QUERY_BATCH},
        "generator": {"of": data.name, **changed, "seed": SEED, **made_from},
    }


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0, or 1 with one line on standard error."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", help="a dataset folder, or the name of one")
    parser.add_argument("--out", type=Path, default=home() / "data" / "mini")
    parser.add_argument(
        "--models", nargs="+", default=[], help="of features; default: the default model"
    )
    pool = "rows of the pools with a share of matched ones (default: %(default)s)"
    parser.add_argument("--pool", type=int, default=MATCHED_POOL, help=pool)
    parser.add_argument("--kinds", nargs="+", default=KINDS, choices=KINDS, help="default: all")
    options = parser.parse_args(arguments)
    try:
        source = locate(options.folder)
        given = (options.models, options.pool, options.kinds)
        for folder in write_variants(source, options.out, *given):
            print(folder)
    except (CompanionError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
