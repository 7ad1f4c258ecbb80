"""Treeperson (paper, section 3.1 and Appendix C): is a person among trees or buildings?

Two ways to it:

1. The authors' metadata.csv (img_id, img_filename, y, place, split; in utils/datasets/treeperson/
   of their repository, alextamkin/active-learning-pretrained-models) and the images that it names.
   It must give these counts (no person with trees, with buildings; person with trees, with
   buildings):

       pool 3700  370  370 3730     8,170, 91% aligned
       val   498  498  498  498     1,992; together 10,162, the paper says 8,638; there is no test

       python data_prep/treeperson.py --root FOLDER [--metadata FILE]

2. Rebuilt from scene graphs: GQA's train_sceneGraphs.json and val_sceneGraphs.json or Visual
   Genome's objects.json, plain or zipped. An image with trees or buildings but not both is
   eligible. The classes are balanced, persons stand before buildings and no one before trees in
   exactly 90% of the pool and 50% of val, drawn from a seed. The authors did not release how they
   chose: the lists of object names in readers/scene_graphs.py are ours.

       python data_prep/treeperson.py --root FOLDER --scene-graphs FILE... [--seed 0]
           [--train 8170] [--val 1992]

FOLDER holds GQA's images/, or Visual Genome's VG_100K/ and VG_100K_2/ (the same ids), or the images
themselves; only those that are named are needed. --download fetches GQA (images 20.3 GB, scene
graphs 43 MB) or, with --source visual-genome, Visual Genome (15.2 GB, objects 55 MB).
"""

import argparse
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
from readers.scene_graphs import read_scenes
from release.checks import check_counts, check_filled, check_images, decode, release_table
from release.command import Prepared, command
from release.download import Archive

from alpt_lib.datasets import write_dataset
from alpt_lib.errors import DataError
from companion.recipes import BIT_HYPERRULE

CLASSES = ["no person", "person"]  # y = 0, 1
PLACES = ["tree", "building"]  # place = 0, 1
SPLITS = ["pool", "val"]  # split = 0, 1; the training split is the pool
ALIGNED = {"no person": "tree", "person": "building"}
GROUPS = [f"{label}/{place}" for label in CLASSES for place in PLACES]
PUBLISHED = pd.DataFrame(
    [[3700, 370, 370, 3730], [498, 498, 498, 498]], index=SPLITS, columns=GROUPS
)
PAPER_SIZE = 8638  # section 3.1; the released file has more

DESCRIPTION = {
    "name": "treeperson",
    "title": "Treeperson",
    "description": (
        "Is a person in the picture? In 90% of the pool persons come with buildings and pictures "
        "without a person with trees; in val half. Photographs of GQA (Visual Genome)."
    ),
    "classes": CLASSES,
    "subgroups": ["label", "place"],
    "minority": ["no person/building", "person/tree"],
    "eval_splits": ["val"],
    "image_size": 512,
    "figure_metrics": ["accuracy", "accuracy_minority"],
    "default_model": "bit-m",
    # released code
    "protocol": {"seed_set_size": 40, "budget": 320, "query_batch_size": 5, "eval_every": 2},
    "recipe": BIT_HYPERRULE,
    "source": (
        "metadata.csv of alextamkin/active-learning-pretrained-models; images of GQA (Visual "
        "Genome)"
    ),
    "licence": (
        "CC BY 4.0 (GQA, Visual Genome); the photographs are Flickr users' (YFCC100M, MS COCO)"
    ),
}


# the commit is pinned, so that the file cannot change; where no exact size is published, a rounded
# one is announced
METADATA = Archive(
    "metadata.csv",
    (
        "https://raw.githubusercontent.com/alextamkin/active-learning-pretrained-models/"
        "ca3d8a1f1b92d3c0aca8aa610d2ab0bde12b0678/utils/datasets/treeperson/metadata.csv",
        "https://raw.githubusercontent.com/alextamkin/active-learning-pretrained-models/HEAD/utils/datasets/treeperson/metadata.csv",
    ),
    about_bytes=300_000,
)
IMAGES = {
    # GQA's page rounds: 20.3 GB
    "gqa": [
        Archive(
            "images.zip",
            ("https://downloads.cs.stanford.edu/nlp/data/gqa/images.zip",),
            about_bytes=int(20.3 * 2**30),
            unpacked="images",
        )
    ],
    # size and hash as in dataset_infos.json of huggingface/datasets, datasets/visual_genome
    "visual-genome": [
        Archive(
            "VG_100K.zip",
            ("https://cs.stanford.edu/people/rak248/VG_100K_2/images.zip",),
            9_731_705_982,
            "sha256:51c682d2721f880150720bb416e0346a4c787e4c55d7f80dfd1bd3f73ba81646",
            unpacked="VG_100K",
        ),
        Archive(
            "VG_100K_2.zip",
            ("https://cs.stanford.edu/people/rak248/VG_100K_2/images2.zip",),
            5_471_658_058,
            "sha256:99da1a0ddf87011319ff3b05cf9176ffee2731cc3c52951162d9ef0d68e3cfb5",
            unpacked="VG_100K_2",
        ),
    ],
}
# read from the zip
SCENE_GRAPHS = {
    "gqa": Archive(
        "sceneGraphs.zip",
        ("https://downloads.cs.stanford.edu/nlp/data/gqa/sceneGraphs.zip",),
        about_bytes=int(42.7 * 2**20),
    ),
    "visual-genome": Archive(
        "objects.json.zip",
        (
            "https://homes.cs.washington.edu/~ranjay/visualgenome/data/dataset/objects.json.zip",
            "https://visualgenome.org/static/data/dataset/objects.json.zip",
        ),
        about_bytes=55_000_000,
    ),
}
# where an image may be: GQA, Visual Genome, or one's own folder
FOLDERS = ("images", "VG_100K", "VG_100K_2", ".")


def read_metadata(file: Path) -> pd.DataFrame:
    """The authors' choice: image_id, label, place, split; one row an image.

    Raises:
        DataError: the file or a column missing, or a value outside its codes.
    """
    table = release_table(
        file,
        ["img_id", "img_filename", "y", "place", "split"],
        "it is utils/datasets/treeperson/metadata.csv in the authors' repository; name it with "
        "--metadata, get it with --download, or use --scene-graphs",
    )
    return pd.DataFrame(
        {
            # images/2360366.jpg; img_id is a row number
            "image_id": table["img_filename"].map(lambda name: Path(name).stem),
            "label": decode(table, "y", CLASSES, file),
            "place": decode(table, "place", PLACES, file),
            "split": decode(table, "split", SPLITS, file),
        }
    )


def eligible(scenes: dict[str, frozenset[str]]) -> pd.DataFrame:
    """image_id, label, place of images with trees or buildings but not both, ordered by id."""
    rows = [
        (image_id, "person" if "person" in shown else "no person", *shown.intersection(PLACES))
        for image_id, shown in sorted(scenes.items())
        if len(shown.intersection(PLACES)) == 1
    ]
    return pd.DataFrame(rows, columns=["image_id", "label", "place"])


def choose(images: pd.DataFrame, n_pool: int, n_val: int, seed: int) -> pd.DataFrame:
    """Draw pool and val: classes balanced, exactly 90% of the pool aligned and 50% of val.

    The pool comes in blocks of 20 (9 + 1 of each class), val in fours. If a subgroup has too few
    images, pool and val shrink by the same factor.

    Args:
        images: image_id, label, place.
    Returns:
        image_id, label, place, split.
    Raises:
        DataError: not enough for one block of each.
    """
    cells = {
        (label, place): images[(images["label"] == label) & (images["place"] == place)]
        for label in CLASSES
        for place in PLACES
    }
    per_block = {(label, place): 9 if ALIGNED[label] == place else 1 for label, place in cells}
    share = _share_to_be_had(cells, per_block, n_pool, n_val)
    blocks = int(share * n_pool / 20)
    fours = int(share * n_val / 4)
    for name, asked, got in (("pool", n_pool, 20 * blocks), ("val", n_val, 4 * fours)):
        if got < asked:
            why = "a subgroup has too few" if share < 1 else "for exact shares"
            print(f"{name}: {got:,} images instead of {asked:,} ({why})")
    rng = np.random.default_rng(seed)
    parts = []
    for cell, images in cells.items():
        drawn = images.iloc[rng.permutation(len(images))]
        n_drawn = blocks * per_block[cell]
        parts.append(drawn[:n_drawn].assign(split="pool"))
        parts.append(drawn[n_drawn : n_drawn + fours].assign(split="val"))
    return pd.concat(parts).sort_values(["split", "image_id"], ignore_index=True)


def _share_to_be_had(
    cells: dict[tuple[str, str], pd.DataFrame],
    per_block: dict[tuple[str, str], int],
    n_pool: int,
    n_val: int,
) -> Fraction:
    """Which part of the sizes asked for the scarcest subgroup allows, at most all.

    Raises:
        DataError: less than one block of the pool or of val.
    """
    needs = {cell: Fraction(n_pool * per_block[cell], 20) + Fraction(n_val, 4) for cell in cells}
    share = min(Fraction(1), *(len(cells[cell]) / max(need, 1) for cell, need in needs.items()))
    if share * n_pool < 20 or share * n_val < 4:
        sizes = [f"{len(images)} {label}/{place}" for (label, place), images in cells.items()]
        raise DataError(
            f"--train {n_pool} --val {n_val} cannot be had: eligible are {', '.join(sizes)}; a "
            "pool of 20 takes 9, 1, 1, 9 and a val of 4 one of each"
        )
    return share


def locate(root: Path, ids: pd.Series) -> list[str]:
    """Path of each image relative to `root`, in whichever folder holds it.

    Raises:
        DataError: images missing, the first of them named.
    """

    def path_of(image_id: str) -> str | None:
        paths = (f"{folder}/{image_id}.jpg" for folder in FOLDERS)
        return next((path for path in paths if (root / path).is_file()), None)

    paths = {image_id: path_of(image_id) for image_id in ids}
    missing = [image_id for image_id in ids if paths[image_id] is None]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(ids)} images missing from {root}, first {missing[0]}.jpg: "
            "--root takes the folder that holds GQA's images/ or Visual Genome's VG_100K/ and "
            "VG_100K_2/, or --download gets them"
        )
    return [paths[image_id].removeprefix("./") for image_id in ids]


def count(chosen: pd.DataFrame) -> pd.DataFrame:
    """(2 splits, 4 groups) int: images in each."""
    table = pd.crosstab(chosen["split"], chosen["label"] + "/" + chosen["place"])
    return table.reindex(index=SPLITS, columns=GROUPS, fill_value=0).rename_axis(
        index=None, columns=None
    )


def prepare(
    root: Path,
    out: Path,
    allow_different: bool = False,
    trust_images: bool = False,
    metadata: Path | None = None,
    scene_graphs: list[Path] | None = None,
    source: str = "gqa",
    seed: int = 0,
    train: int = 8170,
    val: int = 1992,
) -> Prepared:
    """Check what is there and write the dataset folder.

    Args:
        metadata: the authors' file; None: metadata.csv in `root`.
        scene_graphs: rebuild from these; none in the list: from the source's own archive in `root`.
    Raises:
        DataError: see `read_metadata`, `read_scenes`, `choose`, `locate`; counts that differ, or
            broken images.
    """
    description = dict(DESCRIPTION)
    if scene_graphs is None:
        chosen = read_metadata(metadata or root / "metadata.csv")
    elif metadata is not None:
        raise DataError(
            "give --metadata (the authors' choice) or --scene-graphs (a new one), not both"
        )
    else:
        files = scene_graphs or [root / SCENE_GRAPHS[source].file]
        chosen = choose(_eligible_in(files), train, val, seed)
        description |= rebuilt(files, seed)
    counts = count(chosen)
    print(
        f"{len(chosen):,} images; the paper says {PAPER_SIZE:,}, the authors' metadata.csv has "
        f"{PUBLISHED.sum(axis=None):,}"
    )
    different = check_counts(counts, PUBLISHED, allow_different or scene_graphs is not None)
    check_filled(chosen, CLASSES, SPLITS)
    manifest = chosen.assign(path=locate(root, chosen["image_id"]))
    manifest = manifest[["path", "label", "place", "split"]]
    check_images(root, manifest["path"].tolist(), trust_images)
    write_dataset(out, manifest, description, images=root)
    return Prepared(manifest, description, counts, different)


def _eligible_in(files: list[Path]) -> pd.DataFrame:
    scenes = read_scenes(files)
    images = eligible(scenes)
    print(
        f"{len(scenes):,} images in the scene graphs, {len(images):,} of them with trees or "
        "buildings but not both"
    )
    return images


def rebuilt(files: list[Path], seed: int) -> dict:
    """What dataset.yaml says of a choice that is not the authors'."""
    return {
        "source": (
            "rebuilt from scene graphs of GQA or Visual Genome; the lists of object names are ours"
        ),
        "generator": {
            "script": "data_prep/treeperson.py",
            "scene_graphs": [file.name for file in files],
            "seed": seed,
        },
    }


def whole(text: str) -> int:
    """A whole number from 0 on."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 0 on")
    return int(text)


def options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    authors = "the authors' metadata.csv (default: the one in --root)"
    add("--metadata", type=Path, metavar="FILE", help=authors)
    files = "rebuild from these; without a FILE from the zip of scene graphs in --root"
    add("--scene-graphs", type=Path, metavar="FILE", nargs="*", help=files)
    fetched = "what --download fetches (default: %(default)s)"
    add("--source", choices=list(IMAGES), default="gqa", help=fetched)
    add("--seed", type=whole, default=0, help="of the rebuilt choice")
    add("--train", type=whole, default=8170, help="pool of the rebuilt choice (as released)")
    add("--val", type=whole, default=1992, help="val of the rebuilt choice (as released)")


def archives(
    source: str, metadata: Path | None, scene_graphs: list[Path] | None, **_
) -> list[Archive]:
    """What --download fetches; small files first, so that a dead link shows early."""
    if scene_graphs is None and metadata is None:
        return [METADATA, *IMAGES[source]]
    if scene_graphs == []:
        return [SCENE_GRAPHS[source], *IMAGES[source]]
    return IMAGES[source]


def main() -> None:
    command("treeperson", __doc__, prepare, archives, options, expected=[(DESCRIPTION, PUBLISHED)])


if __name__ == "__main__":
    main()
