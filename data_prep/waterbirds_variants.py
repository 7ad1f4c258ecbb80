"""Waterbirds at other match fractions (paper, figures 8 and 9), of CUB birds and Places scenes.

A variant `waterbirds_70` has 70% of its pool matched: landbirds on land (bamboo forest, broadleaf
forest), waterbirds on water (ocean, natural lake). Its birds, classes and splits are those of every
other variant, and so is every image whose background did not change: only backgrounds move, from
matched to mismatched, as the fraction falls. As in Sagawa et al. (2020), whose generator the
authors used, the bird is cut out by its segmentation and put on a scene, each scene used once;
CUB's test split is kept, and validation (backgrounds half and half in each class, as in test) is
part of its training split. The original release (waterbirds.py) is not one of them: it has other
validation birds and other scenes.

--root holds CUB_200_2011/ (images.txt, train_test_split.txt, images/), segmentations/ (beside it or
in it) and, if --places names no other folder, Places365 as it unpacks: data_large/b/bamboo_forest/,
data_256/..., or plainly bamboo_forest/ etc. --download fetches 106 GB, nearly all of it the
training images of Places365, of which 1.5 GB are kept. Its archive of 256 px images
(train_256_places365standard.tar, 24 GB) will do too, with blurrier scenes: unpack it in --root
before.

    python data_prep/waterbirds_variants.py --root FOLDER | --download [--match 0.5 0.95] [--seed 0]
        [--out data/paper]

writes the folders waterbirds_50 ... waterbirds_95 into --out and, beside them, the images that they
share.

Of the n birds of a class in the pool, match x n are matched, rounded to the next whole number, a
half up. Same sources, options and seed give the same bytes with the same release of Pillow,
whatever the number of threads.
"""

import argparse
import hashlib
import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import waterbirds
from PIL import Image, ImageOps
from readers.cub import WATERBIRDS, Sources, archives, find, read_cub
from release.checks import check_counts, check_filled
from release.command import Prepared, command
from tqdm.auto import tqdm
from waterbirds import BACKGROUNDS, CLASSES, SPLITS

from alpt_lib.datasets import write_dataset
from alpt_lib.errors import DataError
from alpt_lib.files import home

MATCH = [0.5, 0.6, 0.7, 0.8, 0.9, 0.95]  # Figs. 8 and 9
VAL_FRACTION = 0.3  # as in the authors' variants; the original release took 0.2

# training and test images of CUB by class, as published with Waterbirds (its training and
# validation splits together)
PUBLISHED = pd.DataFrame(
    [[4615, 1379], [4510, 1284]], index=["CUB train", "CUB test"], columns=CLASSES
)


def n_matched(match: float, n: int) -> int:
    """Whole images for a fraction of n, a half rounded up.

    Exact, for 0.7 x 10 is not 7 in floating point.
    """
    return math.floor(Fraction(str(match)) * n + Fraction(1, 2))


def plan(
    birds: pd.DataFrame, n_scenes: dict[str, int], val_fraction: float, seed: int
) -> pd.DataFrame:
    """What no match fraction changes: splits, the order of matching, scenes.

    Validation takes its fraction of each class (Sagawa et al.: of all birds), so that class
    marginals do not hang on the seed. Scenes are numbered by need: evaluation splits first, then
    the pool's birds of this background, then the others, those first that are mismatched soonest;
    the paper's grid thus needs some 7,500 land and 6,400 water scenes, and Places has about 10,000
    of each. Where there are too few, scenes are used again.

    Returns:
        `birds` with split (str), rank (int, 0 is matched first), land and water (number of the
        scene, NaN: never on it).
    """
    rng = np.random.default_rng(seed)
    birds = birds.assign(split=np.where(birds["is_train"], "pool", "test"), rank=0)
    for label in CLASSES:
        train = birds.index[birds["is_train"] & (birds["label"] == label)]
        birds.loc[rng.permutation(train)[: n_matched(val_fraction, len(train))], "split"] = "val"
    for split, label in product(SPLITS, CLASSES):
        rows = (birds["split"] == split) & (birds["label"] == label)
        birds.loc[rows, "rank"] = rng.permutation(rows.sum())
    for background in BACKGROUNDS:
        is_at_home = birds["label"] == CLASSES[BACKGROUNDS.index(background)]
        need = pd.DataFrame(
            {
                "stage": np.where(birds["split"] != "pool", 0, np.where(is_at_home, 1, 2)),
                "rank": np.where(is_at_home, birds["rank"], -birds["rank"]),
            },
            index=birds.index,
        )
        is_needed = (need["stage"] > 0) | (_backgrounds(birds, 0.5) == background)
        need = need[is_needed].sort_values(["stage", "rank"], kind="stable")
        scenes = rng.permutation(n_scenes[background])
        birds[background] = pd.Series(scenes[np.arange(len(need)) % len(scenes)], index=need.index)
    return birds


def _backgrounds(planned: pd.DataFrame, match: float) -> pd.Series:
    """The background of each bird at a match fraction; half and half outside the pool."""
    size = planned.groupby(["split", "label"])["rank"].transform("size")
    limit = [
        n_matched(match if split == "pool" else 0.5, n)
        for split, n in zip(planned["split"], size, strict=True)
    ]
    is_land = (planned["rank"] < limit) == (planned["label"] == "landbird")
    return pd.Series(np.where(is_land, "land", "water"), index=planned.index)


def variant(planned: pd.DataFrame, match: float, scene_names: dict[str, list[str]]) -> pd.DataFrame:
    """The manifest at a match fraction: label, split, species, path, background, scene."""
    background = _backgrounds(planned, match)
    scenes = [scene_names[where][int(planned.at[row, where])] for row, where in background.items()]
    return planned[["label", "split", "species"]].assign(
        path=background + "/" + planned["path"], background=background, scene=scenes
    )


def compose(
    bird: Image.Image, mask: Image.Image, scene: Image.Image, size: int | None
) -> Image.Image:
    """The bird where the mask is white, the scene elsewhere, mixed where it is grey.

    CUB's annotators differed where it is. The scene is scaled to cover the bird's image and its
    middle taken.

    Args:
        size: shorter side, px; images are never enlarged.
    """
    bird = bird.convert("RGB")
    mask = mask.convert("L")
    if mask.size != bird.size:
        raise ValueError(f"its segmentation is {mask.size}, the image {bird.size}")
    background = ImageOps.fit(scene.convert("RGB"), bird.size, Image.Resampling.LANCZOS)
    image = Image.composite(bird, background, mask)
    if size is None or min(image.size) <= size:
        return image
    scale = size / min(image.size)
    sides = (round(image.width * scale), round(image.height * scale))
    return image.resize(sides, Image.Resampling.LANCZOS)


def write_images(wanted: pd.DataFrame, sources: Sources, folder: Path, size: int | None) -> None:
    """Compose the images that are not there yet; each appears when it is whole.

    Args:
        wanted: one row an image: path (background/species/name), background and scene.
    Raises:
        DataError: sources that are missing or cannot be read, the first of them named.
    """

    missing = [row for row in wanted.itertuples() if not (folder / row.path).exists()]
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        work = tqdm(
            threads.map(lambda row: _write_image(row, sources, folder, size), missing),
            total=len(missing),
            desc="compose",
            unit="image",
            disable=None,
        )
        faults = [fault for fault in work if fault]
    if faults:
        more = "; ..." if len(faults) > 3 else ""
        raise DataError(
            f"{len(faults)} of {len(wanted)} images cannot be composed: "
            f"{'; '.join(faults[:3])}{more}; get these files again"
        )


def _write_image(row: Any, sources: Sources, folder: Path, size: int | None) -> str:
    """Compose and write one image; what is wrong with its sources, "" if nothing is."""
    name = row.path.partition("/")[2]
    mask_file = (sources.segmentations / name).with_suffix(".png")
    try:
        with (
            Image.open(sources.cub / "images" / name) as bird,
            Image.open(mask_file) as mask,
            Image.open(sources.scenes[row.background][row.scene]) as scene,
        ):
            image = compose(bird, mask, scene, size)
    except (OSError, ValueError, SyntaxError) as error:
        return f"{name} on {row.scene} ({error})"
    target = folder / row.path
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.partial")
    # JPEG like both sources, at Pillow's own quality like the original release: a PNG would be five
    # times as large and hold nothing more, and a finer JPEG would set the variants apart from the
    # release
    image.save(partial, format="JPEG")
    os.replace(partial, target)
    return ""


def image_folder(out: Path, birds: pd.DataFrame, sources: Sources, *settings: Any) -> Path:
    """Where the shared images go; named by all that decides them, so that none is mistaken."""
    digest = hashlib.sha256(repr((settings, sorted(WATERBIRDS))).encode())
    digest.update(birds.to_csv(index=False).encode())
    for scenes in sources.scenes.values():
        digest.update(repr([(name, file.stat().st_size) for name, file in scenes.items()]).encode())
    return out / "waterbirds_images" / digest.hexdigest()[:12]


def description(match: float, val_fraction: float, seed: int, size: int | None) -> dict:
    """dataset.yaml of a variant."""
    return {
        **waterbirds.DESCRIPTION,
        "name": variant_name(match),
        "title": f"Waterbirds, {100 * match:g}% matched",
        "description": waterbirds.DESCRIPTION["description"].replace("95%", f"{100 * match:g}%"),
        "source": (
            "CUB-200-2011 images and segmentations, Places365 scenes; composed by "
            "data_prep/waterbirds_variants.py"
        ),
        "generator": {"match": match, "val_fraction": val_fraction, "seed": seed, "size": size},
    }


def variant_name(match: float) -> str:
    return f"waterbirds_{100 * match:g}"


def prepare(
    root: Path,
    out: Path,
    allow_different: bool = False,
    trust_images: bool = False,
    *,
    places: Path | None = None,
    match: Sequence[float] = MATCH,
    val_fraction: float = VAL_FRACTION,
    seed: int = 0,
    size: int | None = None,
) -> Prepared:
    """Compose the images and write a dataset folder for each match fraction, all of them in `out`.

    Args:
        trust_images: has no effect here: composing reads every image to its end.
        size: shorter side of the images written, px; None: as in CUB (mostly 500 x 375).
    Raises:
        DataError: options out of range; see `find`, `read_cub`, `write_images`; counts that are not
            CUB's.
    """
    _check_options(match, val_fraction, seed, size)
    sources = find(root, places)
    birds = read_cub(sources.cub)
    splits = birds["is_train"].map({True: "CUB train", False: "CUB test"})
    different = check_counts(pd.crosstab(splits, birds["label"]), PUBLISHED, allow_different)
    scene_names = sources.scene_names
    n_scenes = {background: len(names) for background, names in scene_names.items()}
    planned = plan(birds, n_scenes, val_fraction, seed)
    check_filled(planned, CLASSES, SPLITS)
    manifests = {fraction: variant(planned, fraction, scene_names) for fraction in match}
    every = pd.concat(manifests.values(), ignore_index=True)
    images = image_folder(out, birds, sources, val_fraction, seed, size)
    _write_shared_images(every.drop_duplicates("path"), sources, images, size)
    for fraction, manifest in manifests.items():
        described = description(fraction, val_fraction, seed, size)
        write_dataset(out / variant_name(fraction), manifest, described, images)
    counts = pd.concat({variant_name(f): waterbirds.count(m) for f, m in manifests.items()})
    folders = [images, *(out / variant_name(fraction) for fraction in manifests)]
    return Prepared(every, waterbirds.DESCRIPTION, counts, different, folders)


def _write_shared_images(
    distinct: pd.DataFrame, sources: Sources, images: Path, size: int | None
) -> None:
    n_again = distinct["scene"].duplicated().sum()
    if n_again:
        print(
            f"{n_again} of {len(distinct)} images share their scene with another: there are too "
            "few scenes",
            flush=True,
        )
    write_images(distinct, sources, images, size)


def _check_options(
    match: Sequence[float], val_fraction: float, seed: int, size: int | None
) -> None:
    for fraction in match:
        if not 0.5 <= fraction <= 1:
            raise DataError(
                f"--match must lie in 0.5 to 1 (the share of matched birds); got {fraction:g}"
            )
    if not 0 < val_fraction < 1:
        raise DataError(f"--val-fraction must lie between 0 and 1; got {val_fraction:g}")
    if seed < 0:
        raise DataError(f"--seed must be 0 or more; got {seed}")
    if size is not None and size < 1:
        raise DataError(f"--size must be at least 1 px; got {size}")


def options(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(out=home() / "data" / "paper")
    add = parser.add_argument
    add("--places", type=Path, help="folder of the scenes, where they are not in --root")
    fractions = "match fractions, one dataset folder each"
    add("--match", type=float, nargs="+", default=MATCH, help=fractions)
    part = "part of CUB's training split"
    add("--val-fraction", type=float, default=VAL_FRACTION, help=part)
    add("--seed", type=int, default=0)
    add("--size", type=int, help="shorter side of the images written, px (default: CUB's)")


if __name__ == "__main__":
    n_val = sum(n_matched(VAL_FRACTION, int(n)) for n in PUBLISHED.loc["CUB train"])
    n_pool = PUBLISHED.loc["CUB train"].sum() - n_val
    sizes = pd.DataFrame({"birds": {"pool": n_pool, "val": n_val}})
    command(
        "waterbirds_variants",
        __doc__,
        prepare,
        archives,
        options,
        expected=[(description(match, VAL_FRACTION, 0, None), sizes) for match in MATCH],
    )
