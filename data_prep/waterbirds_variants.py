"""Waterbirds at other match fractions (paper, Figs. 8 and 9), composed from CUB-200-2011 birds and Places365 scenes.

A variant `waterbirds_70` has 70% of its pool matched: landbirds on land (bamboo forest, broadleaf forest), waterbirds on
water (ocean, natural lake). Its birds, classes and splits are those of every other variant, and so is every image whose
background did not change: only backgrounds move, from matched to mismatched, as the fraction falls. As in Sagawa et al.
(2020), whose generator the authors used, the bird is cut out by its segmentation and put on a scene, each scene used once;
CUB's test split is kept, and validation (backgrounds half and half in each class, as in test) is part of its training split.
The original release (waterbirds.py) is not one of them: it has other validation birds and other scenes.

--root holds CUB_200_2011/ (images.txt, train_test_split.txt, images/), segmentations/ (beside it or in it) and, if --places
names no other folder, Places365 as it unpacks: data_large/b/bamboo_forest/, data_256/..., or plainly bamboo_forest/ etc.
--download fetches 106 GB, nearly all of it the training images of Places365, of which 1.5 GB are kept. Its archive of 256 px
images (train_256_places365standard.tar, 24 GB) will do too, with blurrier scenes: unpack it in --root before.

    python data_prep/waterbirds_variants.py --root FOLDER | --download [--match 0.5 0.95] [--seed 0] [--out data/paper]

writes the folders waterbirds_50 ... waterbirds_95 into --out and, beside them, the images that they share.

Of the n birds of a class in the pool, match x n are matched, rounded to the next whole number, a half up. Same sources,
options and seed give the same bytes with the same release of Pillow, whatever the number of threads.
"""

import argparse
import hashlib
import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import waterbirds
from PIL import Image, ImageOps
from release import (
    HOME,
    Archive,
    Prepared,
    ReleaseError,
    check_counts,
    check_filled,
    command,
    write_dataset,
)
from tqdm.auto import tqdm
from waterbirds import BACKGROUNDS, CLASSES, SPLITS

MATCH = [0.5, 0.6, 0.7, 0.8, 0.9, 0.95]  # Figs. 8 and 9
VAL_FRACTION = 0.3  # as in the authors' variants; the original release took 0.2
SCENES = {"land": ["bamboo_forest", "forest/broadleaf"], "water": ["ocean", "lake/natural"]}

# Seabirds and waterfowl. A species counts if its name contains one of these: so the released labels were made, "tern" in
# Eastern Towhee, Western Meadowlark and Western Wood Pewee included, and so the paper's numbers. We keep them.
WATERBIRDS = (
    "albatross",
    "auklet",
    "cormorant",
    "frigatebird",
    "fulmar",
    "gull",
    "jaeger",
    "kittiwake",
    "pelican",
    "puffin",
    "tern",
    "guillemot",
    "gadwall",
    "grebe",
    "mallard",
    "merganser",
    "pacific_loon",
)
# training and test images of CUB by class, as published with Waterbirds (its training and validation splits together)
PUBLISHED = pd.DataFrame(
    [[4615, 1379], [4510, 1284]], index=["CUB train", "CUB test"], columns=CLASSES
)

# size: as several users of the Caltech archive record it; md5: the publisher's
CUB = Archive(
    "CUB_200_2011.tgz",
    (
        "https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz?download=1",
        "https://data.caltech.edu/api/records/65de6-vp158/files/CUB_200_2011.tgz/content",
    ),
    1_150_585_339,
    "md5:97eceeb196236b17998738112f37df78",
    unpacked="CUB_200_2011",
)
SEGMENTATIONS = Archive(
    "segmentations.tgz",
    (
        "https://data.caltech.edu/records/w9d68-gec53/files/segmentations.tgz?download=1",
        "https://data.caltech.edu/api/records/w9d68-gec53/files/segmentations.tgz/content",
    ),
    39_272_883,
    "md5:4d47ba1228eae64f2fa547c47bc65255",
    unpacked="segmentations",
)
# the archive and its md5 as in torchvision.datasets.Places365; 105 GB as its page says; four of 365 scenes are unpacked
PLACES = Archive(
    "train_large_places365standard.tar",
    ("http://data.csail.mit.edu/places/places365/train_large_places365standard.tar",),
    None,
    "md5:67e186b496a84c929568076ed01a8aa1",
    unpacked="data_large",
    about_bytes=105_000_000_000,
    unpacked_bytes=1_500_000_000,
    only=tuple(f"data_large/{scene[0]}/{scene}/" for scenes in SCENES.values() for scene in scenes),
)


@dataclass(frozen=True)
class Sources:
    """Where the parts are, once found."""

    cub: Path
    segmentations: Path
    scenes: dict[
        str, dict[str, Path]
    ]  # background -> name as in Places ("/o/ocean/00000001.jpg") -> file


def archives(root: Path, places: Path | None, **_) -> list[Archive]:
    """What is still to be fetched; Places only where no layout of it is found."""
    has_scenes = _scene_folder(_places(root, places), SCENES["land"][0]) is not None
    return [CUB, SEGMENTATIONS, *([] if places or has_scenes else [PLACES])]


def find(root: Path, places: Path | None) -> Sources:
    """The three parts in one of their layouts.

    Raises:
        ReleaseError: a part that is not there: what it is called, where it was looked for.
    """
    cub = root / "CUB_200_2011" if (root / "CUB_200_2011").is_dir() else root
    if not (cub / "images.txt").is_file():
        raise ReleaseError(
            f"no CUB_200_2011/images.txt in {root}: unpack {CUB.file} there, or --download"
        )
    segmentations = next(
        (f / "segmentations" for f in (cub.parent, cub) if (f / "segmentations").is_dir()), None
    )
    if segmentations is None:
        raise ReleaseError(
            f"no segmentations in {root}: unpack {SEGMENTATIONS.file} there, or --download"
        )
    scenes = {
        background: _list_scenes(_places(root, places), names)
        for background, names in SCENES.items()
    }
    return Sources(cub, segmentations, scenes)


def _places(root: Path, places: Path | None) -> Path:
    if places is not None:
        return places.expanduser().resolve()
    return next(
        (
            root / name
            for name in ("places", "places365")
            if _scene_folder(root / name, SCENES["land"][0])
        ),
        root,
    )


def _scene_folder(places: Path, scene: str) -> Path | None:
    bases = ["", "data_large", "data_256", "data_large_standard", "data_256_standard", "train"]
    names = [f"{scene[0]}/{scene}", scene, scene.replace("/", "-")]
    return next(
        (
            places / base / name
            for base in bases
            for name in names
            if (places / base / name).is_dir()
        ),
        None,
    )


def _list_scenes(places: Path, scenes: list[str]) -> dict[str, Path]:
    found = {}
    for scene in scenes:
        folder = _scene_folder(places, scene)
        files = sorted(folder.glob("*.jpg")) if folder else []
        if not files:
            raise ReleaseError(
                f"no images of the scene {scene} in {places}: it needs {scene[0]}/{scene}/*.jpg as in Places365 "
                f"({PLACES.file}); name the folder that holds the scenes with --places"
            )
        found |= {f"/{scene[0]}/{scene}/{file.name}": file for file in files}
    return found


def read_cub(cub: Path) -> pd.DataFrame:
    """CUB's images in its order: path, label, is_train, species.

    Raises:
        ReleaseError: a list that is missing, is not of two columns, or does not name the same images.
    """
    names, is_train = _read_list(cub / "images.txt"), _read_list(cub / "train_test_split.txt")
    if list(names.index) != list(is_train.index):
        raise ReleaseError(
            f"{cub}: images.txt names {len(names)} images, train_test_split.txt {len(is_train)}; get CUB again"
        )
    if not is_train.isin(["0", "1"]).all():
        raise ReleaseError(
            f"{cub / 'train_test_split.txt'}: must hold 0 and 1 only; it has {', '.join(is_train.unique()[:5])}"
        )
    in_water = (
        names.str.split("/")
        .str[0]
        .str.lower()
        .map(lambda species: any(name in species for name in WATERBIRDS))
    )
    return pd.DataFrame(
        {
            "path": names,
            "label": np.where(in_water, "waterbird", "landbird"),
            "is_train": is_train == "1",
            "species": waterbirds.species(names),
        }
    ).reset_index(drop=True)


def _read_list(file: Path) -> pd.Series:
    try:
        table = pd.read_csv(file, sep=" ", header=None, names=["img_id", "value"], dtype=str)
    except (OSError, ValueError) as error:
        raise ReleaseError(
            f"{file} cannot be read ({' '.join(str(error).split())}); unpack {CUB.file} again"
        ) from error
    if table.isna().any(axis=None) or table.empty:
        raise ReleaseError(
            f"{file}: every line must be an image number and a value; unpack {CUB.file} again"
        )
    return table.set_index("img_id")["value"]


def n_matched(match: float, n: int) -> int:
    """Whole images for a fraction of n, a half rounded up; exact, for 0.7 x 10 is not 7 in floating point."""
    return math.floor(Fraction(str(match)) * n + Fraction(1, 2))


def plan(
    birds: pd.DataFrame, n_scenes: dict[str, int], val_fraction: float, seed: int
) -> pd.DataFrame:
    """What no match fraction changes: split, position in the order in which backgrounds are matched, and scenes.

    Validation takes its fraction of each class (Sagawa et al.: of all birds), so that class marginals do not hang on the
    seed. Scenes are numbered by need: evaluation splits first, then the pool's birds of this background, then the others,
    those first that are mismatched soonest; the paper's grid thus needs some 7,500 land and 6,400 water scenes, and Places has
    about 10,000 of each. Where there are too few, scenes are used again.

    Returns:
        `birds` with split (str), rank (int, 0 is matched first), land and water (number of the scene, NaN: never on it).
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
        need = need[(need["stage"] > 0) | (_backgrounds(birds, 0.5) == background)].sort_values(
            ["stage", "rank"], kind="stable"
        )
        scenes = rng.permutation(n_scenes[background])
        birds[background] = pd.Series(scenes[np.arange(len(need)) % len(scenes)], index=need.index)
    return birds


def _backgrounds(planned: pd.DataFrame, match: float) -> pd.Series:
    """The background of each bird at a match fraction; half and half outside the pool whatever it is."""
    size = planned.groupby(["split", "label"])["rank"].transform("size")
    limit = [
        n_matched(match if split == "pool" else 0.5, n)
        for split, n in zip(planned["split"], size, strict=True)
    ]
    is_land = (planned["rank"] < limit) == (planned["label"] == "landbird")
    return pd.Series(np.where(is_land, "land", "water"), index=planned.index)


def variant(planned: pd.DataFrame, match: float, scene_names: dict[str, list[str]]) -> pd.DataFrame:
    """The manifest at a match fraction: path (background/species/name), label, split, background, species, scene."""
    background = _backgrounds(planned, match)
    scenes = [scene_names[where][int(planned.at[row, where])] for row, where in background.items()]
    return planned[["label", "split", "species"]].assign(
        path=background + "/" + planned["path"], background=background, scene=scenes
    )


def compose(
    bird: Image.Image, mask: Image.Image, scene: Image.Image, size: int | None
) -> Image.Image:
    """The bird where the mask is white, the scene elsewhere, mixed where it is grey (CUB's annotators differed there).

    The scene is scaled to cover the bird's image and its middle taken. `size`: shorter side in px, never enlarged.
    """
    bird, mask = bird.convert("RGB"), mask.convert("L")
    if mask.size != bird.size:
        raise ValueError(f"its segmentation is {mask.size}, the image {bird.size}")
    image = Image.composite(
        bird, ImageOps.fit(scene.convert("RGB"), bird.size, Image.Resampling.LANCZOS), mask
    )
    if size is None or min(image.size) <= size:
        return image
    scale = size / min(image.size)
    return image.resize(
        (round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS
    )


def write_images(
    wanted: pd.DataFrame,
    sources: Sources,
    folder: Path,
    size: int | None,
    threads: int | None = None,
) -> None:
    """Compose the images that are not there yet; each appears under its name when it is whole, so a stopped run goes on.

    Args:
        wanted: one row an image: path (background/species/name), background and scene.
    Raises:
        ReleaseError: sources that are missing or cannot be read, the first of them named.
    """

    def write(row) -> str | None:
        target, name = folder / row.path, row.path.partition("/")[2]
        if target.exists():
            return None
        files = (
            sources.cub / "images" / name,
            (sources.segmentations / name).with_suffix(".png"),
            sources.scenes[row.background][row.scene],
        )
        try:
            with (
                Image.open(files[0]) as bird,
                Image.open(files[1]) as mask,
                Image.open(files[2]) as scene,
            ):
                image = compose(bird, mask, scene, size)
        except (OSError, ValueError, SyntaxError) as error:
            return f"{name} on {row.scene} ({error})"
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f"{target.name}.partial")
        # JPEG like both sources, at Pillow's own quality like the original release: a PNG would be five times as large
        # and hold nothing more, and a finer JPEG would set the variants apart from the release
        image.save(partial, format="JPEG")
        os.replace(partial, target)
        return None

    with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        work = tqdm(
            pool.map(write, wanted.itertuples()),
            total=len(wanted),
            desc="compose",
            unit="image",
            disable=None,
        )
        broken = [problem for problem in work if problem]
    if broken:
        raise ReleaseError(
            f"{len(broken)} of {len(wanted)} images cannot be composed: {'; '.join(broken[:3])}"
            f"{'; ...' if len(broken) > 3 else ''}; get these files again"
        )


def image_folder(out: Path, birds: pd.DataFrame, sources: Sources, *settings) -> Path:
    """Where the shared images go; named by all that decides them, so that other options never meet old images."""
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
        "source": "CUB-200-2011 images and segmentations, Places365 scenes; composed by data_prep/waterbirds_variants.py",
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
        ReleaseError: options out of range; see `find`, `read_cub`, `write_images`; counts that are not CUB's.
    """
    _check_options(match, val_fraction, seed, size)
    sources = find(root, places)
    birds = read_cub(sources.cub)
    counted = pd.crosstab(
        birds["is_train"].map({True: "CUB train", False: "CUB test"}), birds["label"]
    )
    different = check_counts(counted, PUBLISHED, allow_different)
    scene_names = {background: list(scenes) for background, scenes in sources.scenes.items()}
    planned = plan(
        birds,
        {background: len(names) for background, names in scene_names.items()},
        val_fraction,
        seed,
    )
    check_filled(planned, CLASSES, SPLITS)
    manifests = {fraction: variant(planned, fraction, scene_names) for fraction in match}
    every = pd.concat(manifests.values(), ignore_index=True)
    distinct = every.drop_duplicates("path")
    if n_again := distinct["scene"].duplicated().sum():
        print(
            f"{n_again} of {len(distinct)} images share their scene with another: there are too few scenes",
            flush=True,
        )
    images = image_folder(out, birds, sources, val_fraction, seed, size)
    write_images(distinct, sources, images, size)
    for fraction, manifest in manifests.items():
        write_dataset(
            out / variant_name(fraction),
            manifest,
            description(fraction, val_fraction, seed, size),
            images,
        )
    counts = pd.concat(
        {
            variant_name(fraction): waterbirds.count(manifest)
            for fraction, manifest in manifests.items()
        }
    )
    folders = [images, *(out / variant_name(fraction) for fraction in manifests)]
    return Prepared(every, waterbirds.DESCRIPTION, counts, different, folders)


def _check_options(
    match: Sequence[float], val_fraction: float, seed: int, size: int | None
) -> None:
    for fraction in match:
        if not 0.5 <= fraction <= 1:
            raise ReleaseError(
                f"--match must lie in 0.5 to 1 (the share of matched birds); got {fraction:g}"
            )
    if not 0 < val_fraction < 1:
        raise ReleaseError(f"--val-fraction must lie between 0 and 1; got {val_fraction:g}")
    if seed < 0:
        raise ReleaseError(f"--seed must be 0 or more; got {seed}")
    if size is not None and size < 1:
        raise ReleaseError(f"--size must be at least 1 px; got {size}")


def options(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(out=HOME / "data" / "paper")
    parser.add_argument(
        "--places", type=Path, help="folder of the scenes, where they are not in --root"
    )
    parser.add_argument(
        "--match",
        type=float,
        nargs="+",
        default=MATCH,
        help="match fractions, one dataset folder each",
    )
    parser.add_argument(
        "--val-fraction", type=float, default=VAL_FRACTION, help="part of CUB's training split"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--size", type=int, help="shorter side of the images written, px (default: CUB's)"
    )


if __name__ == "__main__":
    n_val = sum(n_matched(VAL_FRACTION, int(n)) for n in PUBLISHED.loc["CUB train"])
    sizes = pd.DataFrame(
        {"birds": {"pool": PUBLISHED.loc["CUB train"].sum() - n_val, "val": n_val}}
    )
    command(
        "waterbirds_variants",
        __doc__,
        prepare,
        archives,
        options,
        expected=[(description(match, VAL_FRACTION, 0, None), sizes) for match in MATCH],
    )
