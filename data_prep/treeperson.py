"""Treeperson (paper, section 3.1 and Appendix C) as a dataset folder: is a person in a photograph of trees or of buildings?

Two ways to it:

1. The authors' metadata.csv (img_id, img_filename, y, place, split; in utils/datasets/treeperson/ of their repository,
   alextamkin/active-learning-pretrained-models) and the images that it names. It must give these counts (no person with
   trees, with buildings; person with trees, with buildings):

       pool 3700  370  370 3730     8,170, 91% aligned
       val   498  498  498  498     1,992; together 10,162, the paper says 8,638; there is no test split

       python data_prep/treeperson.py --root FOLDER [--metadata FILE]

2. Rebuilt from scene graphs: GQA's train_sceneGraphs.json and val_sceneGraphs.json or Visual Genome's objects.json, plain
   or zipped. An image with trees or buildings but not both is eligible. The classes are balanced, persons stand before
   buildings and no one before trees in exactly 90% of the pool and 50% of val, drawn from a seed. The authors did not
   release how they chose: the lists of object names in this script are ours.

       python data_prep/treeperson.py --root FOLDER --scene-graphs FILE... [--seed 0] [--train 8170] [--val 1992]

FOLDER holds GQA's images/, or Visual Genome's VG_100K/ and VG_100K_2/ (the same ids), or the images themselves; only those
that are named are needed. --download fetches GQA (images 20.3 GB, scene graphs 43 MB) or, with --source visual-genome, Visual
Genome (15.2 GB, objects 55 MB).
"""

import argparse
import io
import json
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import TextIO

import numpy as np
import pandas as pd
from release import (
    BIT_HYPERRULE,
    Archive,
    Prepared,
    ReleaseError,
    check_counts,
    check_filled,
    check_images,
    command,
    decode,
    read_table,
    write_dataset,
)
from tqdm.auto import tqdm

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
    "description": "Is a person in the picture? In 90% of the pool persons come with buildings and pictures without a person "
    "with trees; in val half. Photographs of GQA (Visual Genome).",
    "classes": CLASSES,
    "subgroups": ["label", "place"],
    "minority": ["no person/building", "person/tree"],
    "eval_splits": ["val"],
    "image_size": 512,
    "figure_metrics": ["accuracy", "accuracy_minority"],
    "default_model": "bit-m",
    "protocol": {
        "seed_set_size": 40,
        "budget": 320,
        "query_batch_size": 5,
        "eval_every": 2,
    },  # released code
    "recipe": BIT_HYPERRULE,
    "source": "metadata.csv of alextamkin/active-learning-pretrained-models; images of GQA (Visual Genome)",
    "licence": "CC BY 4.0 (GQA, Visual Genome); the photographs are Flickr users' (YFCC100M, MS COCO)",
}


def _names(text: str) -> frozenset[str]:
    return frozenset(name.strip() for name in text.split(","))


# Ours: object names of GQA and Visual Genome, compared whole and in lower case. Names that often mean something else are left
# out (pitcher, coach, runner; palm).
NAMES = {
    "person": _names("""
        person, persons, people, human, humans, man, men, woman, women, boy, boys, girl, girls, child, children, kid, kids,
        baby, babies, toddler, infant, lady, ladies, guy, guys, gentleman, adult, adults, teenager, crowd, audience, spectator,
        spectators, pedestrian, pedestrians, bystander, onlooker, onlookers, tourist, tourists, passenger, passengers, driver,
        rider, riders, cyclist, cyclists, bicyclist, biker, bikers, motorcyclist, jockey, skateboarder, skateboarders, skater,
        skier, skiers, snowboarder, snowboarders, surfer, surfers, swimmer, swimmers, athlete, player, players,
        baseball player, baseball players, tennis player, soccer player, batter, catcher, umpire, referee, worker, workers,
        policeman, police officer, officer, officers, soldier, soldiers, fireman, farmer, chef, waiter, waitress, vendor,
        customer, customers, shopper, student, students, bride, groom, performer, musician, fisherman, hiker, hikers"""),
    "tree": _names("""
        tree, trees, palm tree, palm trees, pine tree, pine trees, pines, evergreen, evergreens, evergreen tree,
        evergreen trees, fir tree, oak tree, fruit tree, apple tree, bare tree, bare trees, green tree, green trees,
        large tree, tall tree, tall trees, forest, woods, tree line, treeline"""),
    "building": _names("""
        building, buildings, house, houses, home, homes, apartment building, apartment, apartments, office building,
        tall building, tall buildings, brick building, skyscraper, skyscrapers, high rise, hotel, church, cathedral, chapel,
        mosque, castle, palace, tower, clock tower, bell tower, store, stores, shop, shops, storefront, restaurant, school,
        train station, barn, barns, shed, hut, huts, cabin, cottage, warehouse, garage, skyline"""),
}

# The commit is pinned, so that the file cannot change. Where no exact size is published, a rounded one is announced.
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
    "gqa": [
        Archive(
            "images.zip",
            ("https://downloads.cs.stanford.edu/nlp/data/gqa/images.zip",),
            about_bytes=int(20.3 * 2**30),
            unpacked="images",
        )
    ],  # GQA's page rounds: 20.3 GB
    "visual-genome": [  # size and hash as in dataset_infos.json of huggingface/datasets, datasets/visual_genome
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
SCENE_GRAPHS = {  # read from the zip
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
FOLDERS = (
    "images",
    "VG_100K",
    "VG_100K_2",
    ".",
)  # where an image may be: GQA, Visual Genome, or one's own folder
TAKES = (
    "--scene-graphs takes GQA's train_sceneGraphs.json and val_sceneGraphs.json or Visual Genome's objects.json, plain or "
    "zipped"
)

CHUNK = 1 << 16  # characters of JSON read at a time
LONGEST = 1 << 25  # characters; no scene is as long, so what is longer is no scene


# --- the authors' metadata --------------------------------------------------------------------------------------------


def read_metadata(file: Path) -> pd.DataFrame:
    """The authors' choice: image_id, label, place, split; one row an image.

    Raises:
        ReleaseError: the file or a column missing, or a value outside its codes.
    """
    table = read_table(
        file,
        ["img_id", "img_filename", "y", "place", "split"],
        "it is utils/datasets/treeperson/metadata.csv in the authors' repository; name it with --metadata, get it "
        "with --download, or use --scene-graphs",
    )
    return pd.DataFrame(
        {
            "image_id": table["img_filename"].map(
                lambda name: Path(name).stem
            ),  # images/2360366.jpg; img_id is a row number
            "label": decode(table, "y", CLASSES, file),
            "place": decode(table, "place", PLACES, file),
            "split": decode(table, "split", SPLITS, file),
        }
    )


# --- rebuilding from scene graphs -------------------------------------------------------------------------------------


def read_scenes(files: list[Path]) -> dict[str, frozenset[str]]:
    """Which of person, tree and building each image has; an image in several files has what any of them names.

    Raises:
        ReleaseError: a file is missing, no JSON, cut off, or no scene graphs.
    """
    scenes: dict[str, frozenset[str]] = {}
    for file in files:
        for key, scene in tqdm(_open_scenes(file), desc=file.name, unit=" images", disable=None):
            image_id, found = _contents(key, scene, file)
            scenes[image_id] = scenes.get(image_id, frozenset()) | found
    if not scenes:
        raise ReleaseError(f"no scene graphs in {', '.join(map(str, files))}; {TAKES}")
    return scenes


def _contents(key: str | None, scene: dict, file: Path) -> tuple[str, frozenset[str]]:
    """Image id and what it has. GQA: id: objects {id: {name}}; Visual Genome: image_id, objects [{names: [...]}]."""
    try:
        image_id, objects = str(key or scene["image_id"]), scene["objects"]
        names = (
            [o["name"] for o in objects.values()]
            if isinstance(objects, dict)
            else [n for o in objects for n in o["names"]]
        )
        return image_id, kinds(name.strip().lower() for name in names)
    except (KeyError, TypeError, AttributeError) as error:
        raise ReleaseError(
            f"{file}: {key or scene.get('image_id', 'an image')} has no objects with names; {TAKES}"
        ) from error


def kinds(names: Iterable[str]) -> frozenset[str]:
    """Which of person, tree and building are among these object names."""
    names = set(names)
    return frozenset(kind for kind, known in NAMES.items() if not known.isdisjoint(names))


def _open_scenes(file: Path) -> Iterator[tuple[str | None, dict]]:
    if not file.is_file():
        raise ReleaseError(f"{file} is missing; {TAKES}")
    if not zipfile.is_zipfile(file):
        with file.open(encoding="utf-8", errors="replace") as stream:
            yield from members(stream, str(file))
        return
    try:
        with zipfile.ZipFile(file) as archive:
            for name in archive.namelist():
                if name.endswith(".json") and not name.startswith("__MACOSX"):
                    with archive.open(name) as stream:
                        yield from members(
                            io.TextIOWrapper(stream, "utf-8", errors="replace"), f"{file}, {name}"
                        )
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ReleaseError(f"{file} is broken ({error}); get it again") from error


def members(stream: TextIO, what: str) -> Iterator[tuple[str | None, dict]]:
    """The scenes of a JSON mapping (key, scene) or list (None, scene), one in memory at a time: the files have 1 GB and more.

    Raises:
        ReleaseError: the text is no mapping or list of mappings, or it ends before its last bracket.
    """
    decoder, text = json.JSONDecoder(), stream.read(CHUNK).lstrip()
    closing = {"{": "}", "[": "]"}.get(text[:1])
    if closing is None:
        raise ReleaseError(f"{what} is no JSON mapping or list; it begins with {text[:20]!r}")
    text = text[1:]
    while True:
        key = re.match(r'[\s,]*(?:"([^"]*)"\s*:\s*)?', text)
        begin = text[key.end() : key.end() + 1]
        if begin == closing:
            return
        try:
            scene, end = decoder.raw_decode(text, key.end())
        except ValueError:  # cut by the end of the chunk, or broken
            scene = None
        if isinstance(scene, dict):
            yield key[1], scene
            text = text[end:]
        elif (
            begin in ("", "{", '"') and len(text) < LONGEST and (more := stream.read(CHUNK))
        ):  # '"': a key that is cut
            text += more
        else:
            raise ReleaseError(
                f"{what} is cut off or no scene graphs, at {text[:40]!r}; get it again"
            )


def eligible(scenes: dict[str, frozenset[str]]) -> pd.DataFrame:
    """image_id, label, place of the images that have trees or buildings but not both, ordered by id."""
    rows = [
        (image_id, "person" if "person" in found else "no person", *found.intersection(PLACES))
        for image_id, found in sorted(scenes.items())
        if len(found.intersection(PLACES)) == 1
    ]
    return pd.DataFrame(rows, columns=["image_id", "label", "place"])


def choose(images: pd.DataFrame, n_pool: int, n_val: int, seed: int) -> pd.DataFrame:
    """Draw pool and val: classes balanced, exactly 90% of the pool aligned and 50% of val.

    The pool comes in blocks of 20 (9 + 1 of each class), val in fours. If a subgroup has too few images, pool and val shrink
    by the same factor.

    Args:
        images: image_id, label, place.
    Returns:
        image_id, label, place, split.
    Raises:
        ReleaseError: not enough for one block of each.
    """
    cells = {
        (label, place): images[(images["label"] == label) & (images["place"] == place)]
        for label in CLASSES
        for place in PLACES
    }
    per_block = {(label, place): 9 if ALIGNED[label] == place else 1 for label, place in cells}
    needs = {cell: Fraction(n_pool * per_block[cell], 20) + Fraction(n_val, 4) for cell in cells}
    share = min(1, *(len(cells[cell]) / max(need, 1) for cell, need in needs.items()))
    blocks, fours = int(share * n_pool / 20), int(share * n_val / 4)
    if not blocks or not fours:
        found = ", ".join(
            f"{len(images)} {label}/{place}" for (label, place), images in cells.items()
        )
        raise ReleaseError(
            f"--train {n_pool} --val {n_val} cannot be had: eligible are {found}; a pool of 20 takes 9, 1, 1, 9 "
            "and a val of 4 one of each"
        )
    for name, asked, got in (("pool", n_pool, 20 * blocks), ("val", n_val, 4 * fours)):
        if got < asked:
            why = "a subgroup has too few" if share < 1 else "for exact shares"
            print(f"{name}: {got:,} images instead of {asked:,} ({why})")
    rng, parts = np.random.default_rng(seed), []
    for cell, found in cells.items():
        drawn, n = found.iloc[rng.permutation(len(found))], blocks * per_block[cell]
        parts += [drawn[:n].assign(split="pool"), drawn[n : n + fours].assign(split="val")]
    return pd.concat(parts).sort_values(["split", "image_id"], ignore_index=True)


# --- the dataset folder -----------------------------------------------------------------------------------------------


def locate(root: Path, ids: Iterable[str]) -> list[str]:
    """Path of each image relative to `root`, in whichever folder holds it.

    Raises:
        ReleaseError: images missing, the first of them named.
    """
    paths = [
        next(
            (
                f"{folder}/{i}.jpg".removeprefix("./")
                for folder in FOLDERS
                if (root / folder / f"{i}.jpg").is_file()
            ),
            None,
        )
        for i in ids
    ]
    missing = [i for i, path in zip(ids, paths, strict=True) if path is None]
    if missing:
        raise ReleaseError(
            f"{len(missing)} of {len(paths)} images missing from {root}, first {missing[0]}.jpg: --root takes the "
            "folder that holds GQA's images/ or Visual Genome's VG_100K/ and VG_100K_2/, or --download gets them"
        )
    return paths


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
        ReleaseError: see `read_metadata`, `read_scenes`, `choose`, `locate`; counts that differ, or broken images.
    """
    description = dict(DESCRIPTION)
    if scene_graphs is None:
        chosen = read_metadata(metadata or root / "metadata.csv")
    elif metadata is not None:
        raise ReleaseError(
            "give --metadata (the authors' choice) or --scene-graphs (a new one), not both"
        )
    else:
        files = scene_graphs or [root / SCENE_GRAPHS[source].file]
        scenes = read_scenes(files)
        images = eligible(scenes)
        print(
            f"{len(scenes):,} images in the scene graphs, {len(images):,} of them with trees or buildings but not both"
        )
        chosen = choose(images, train, val, seed)
        description |= {
            "source": "rebuilt from scene graphs of GQA or Visual Genome; the lists of object names are ours",
            "generator": {
                "script": "data_prep/treeperson.py",
                "scene_graphs": [f.name for f in files],
                "seed": seed,
            },
        }
    counts = count(chosen)
    print(
        f"{len(chosen):,} images; the paper says {PAPER_SIZE:,}, the authors' metadata.csv has {PUBLISHED.sum(axis=None):,}"
    )
    different = check_counts(counts, PUBLISHED, allow_different or scene_graphs is not None)
    check_filled(chosen, CLASSES, SPLITS)
    manifest = chosen.assign(path=locate(root, chosen["image_id"]))[
        ["path", "label", "place", "split"]
    ]
    check_images(root, manifest["path"].tolist(), trust_images)
    write_dataset(out, manifest, description, images=root)
    return Prepared(manifest, description, counts, different)


# --- the command line -------------------------------------------------------------------------------------------------


def whole(text: str) -> int:
    """A whole number from 0 on."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 0 on")
    return int(text)


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--metadata",
        type=Path,
        metavar="FILE",
        help="the authors' metadata.csv (default: the one in --root)",
    )
    parser.add_argument(
        "--scene-graphs",
        type=Path,
        metavar="FILE",
        nargs="*",
        help="rebuild from these; without a FILE from sceneGraphs.zip or objects.json.zip in --root",
    )
    parser.add_argument(
        "--source",
        choices=list(IMAGES),
        default="gqa",
        help="what --download fetches (default: %(default)s)",
    )
    parser.add_argument("--seed", type=whole, default=0, help="of the rebuilt choice")
    parser.add_argument(
        "--train",
        type=whole,
        default=8170,
        help="pool of the rebuilt choice (default: the released size)",
    )
    parser.add_argument(
        "--val",
        type=whole,
        default=1992,
        help="val of the rebuilt choice (default: the released size)",
    )


def archives(
    source: str, metadata: Path | None, scene_graphs: list[Path] | None, **_
) -> list[Archive]:
    """What --download fetches for these options; the small files first, so that a dead link shows early."""
    if scene_graphs is None and metadata is None:
        return [METADATA, *IMAGES[source]]
    if scene_graphs == []:
        return [SCENE_GRAPHS[source], *IMAGES[source]]
    return IMAGES[source]


def main() -> None:
    command("treeperson", __doc__, prepare, archives, options, expected=[(DESCRIPTION, PUBLISHED)])


if __name__ == "__main__":
    main()
