"""Tiny folders of the exact on-disk format of four WILDS releases, for the real `wilds` classes to
load.

Every writer takes the folder that shall hold the release and returns it, as `--root` would be
given. Classes can be told apart by colour or word. In each split the classes take turns, so each
has as many examples as the others, give or take one.
"""

import csv
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

SIZES = {"train": 24, "val": 8, "id_val": 8, "test": 4, "id_test": 4}
COLOURS = [
    (200, 40, 40),
    (40, 40, 200),
    (40, 180, 40),
    (200, 200, 40),
    (180, 40, 180),
    (40, 180, 180),
]
ANIMALS = [
    "empty",
    "tayassu pecari",
    "puma concolor",
    "mazama americana",
    "dasyprocta punctata",
    "urocyon cinereoargenteus",
]
LAND_USES = ["airport", "dam", "port", "zoo"]
WORDS = {1: "awful", 2: "poor", 3: "ordinary", 4: "good", 5: "superb"}
PRODUCTS = ["Books", "Digital_Music", "Gift_Cards"]


def release_file(folder: Path, version: str) -> None:
    folder.mkdir(parents=True)
    (folder / f"RELEASE_v{version}.txt").write_text("made up, in the format of the release\n")


def picture(colour: tuple[int, int, int], px: int, rng: np.random.Generator) -> Image.Image:
    """A patch of one colour, with noise."""
    return Image.fromarray(np.clip(rng.normal(colour, 25, (px, px, 3)), 0, 255).astype(np.uint8))


def write_iwildcam(
    root: Path, sizes: dict[str, int] = SIZES, n_classes: int = 4, px: int = 32
) -> Path:
    """iwildcam_v2.0: two cameras in the pool and the id splits, one each in val and test.

    The first picture is grey.
    """
    rng = np.random.default_rng(0)
    folder = root / "iwildcam_v2.0"
    release_file(folder, "2.0")
    (folder / "train").mkdir()
    cameras = {"train": [0, 1], "id_val": [0, 1], "id_test": [0, 1], "val": [2], "test": [3]}
    rows = []
    for split, n in sizes.items():
        for i in range(n):
            y = i % n_classes
            name = f"{split}{i:03}-21bc-11ea-a13a-137349068a90.jpg"
            camera = cameras[split][i // n_classes % len(cameras[split])]
            image = picture(COLOURS[y], px, rng)
            (image.convert("L") if not rows else image).save(folder / "train" / name, quality=90)
            time = f"2013-06-0{i % 9 + 1} 05:44:19.000"
            rows.append((split, camera, len(rows), y, time, name))
    columns = ["split", "location_remapped", "sequence_remapped", "y", "datetime", "filename"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "metadata.csv")
    names = [(y, 100 + y, name) for y, name in enumerate(ANIMALS[:n_classes])]
    names.append((99999, 317, "left out by WILDS"))
    table = pd.DataFrame(names, columns=["y", "category_id", "name"])
    table.to_csv(folder / "categories.csv", index=False)
    return root


def write_camelyon17(root: Path, sizes: dict[str, int] = SIZES, px: int = 96) -> Path:
    """camelyon17_v1.0.

    Hospitals 0, 3 and 4 in train and id_val (split 0 and 1), 1 in val, 2 in test, whatever their
    split.
    """
    rng = np.random.default_rng(0)
    folder = root / "camelyon17_v1.0"
    release_file(folder, "1.0")
    hospitals = {"train": [0, 3, 4], "id_val": [0, 3, 4], "val": [1], "test": [2]}
    rows = []
    for split, codes in hospitals.items():
        for i in range(sizes[split]):
            tumor = i % 2
            center = codes[i // 2 % len(codes)]
            patient = f"{20 * center + 4:03}"
            node = i % 3
            x = 3328 + 32 * len(rows)
            place = folder / "patches" / f"patient_{patient}_node_{node}"
            place.mkdir(parents=True, exist_ok=True)
            file = place / f"patch_{place.name}_x_{x}_y_21792.png"
            picture(COLOURS[tumor], px, rng).save(file, compress_level=1)
            slide = 10 * center + node
            rows.append((patient, node, x, 21792, tumor, slide, center, int(split == "id_val")))
    columns = ["patient", "node", "x_coord", "y_coord", "tumor", "slide", "center", "split"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "metadata.csv")
    return root


def write_fmow(root: Path, sizes: dict[str, int] = SIZES, px: int = 32) -> Path:
    """fmow_v1.1: four land uses.

    Every fifth row is sequestered (seq) and has no picture, one is in no split of wilds.
    """
    rng = np.random.default_rng(0)
    folder = root / "fmow_v1.1"
    release_file(folder, "1.1")
    (folder / "images").mkdir()
    years = {"train": 2011, "id_val": 2012, "id_test": 2012, "val": 2014, "test": 2016}
    # a training picture of the years of val
    rows = [("train", "FRA", "2015-03-04T10:00:00Z", "dam")]
    for split, n in sizes.items():
        for i in range(n):
            while len(rows) % 5 == 0:
                rows.append(("seq", "USA", "2010-01-01T10:00:00Z", "zoo"))
            country = ["FRA", "USA", "ATA"][i // 4 % 3]
            picture(COLOURS[i % 4], px, rng).save(folder / "images" / f"rgb_img_{len(rows)}.png")
            time = f"{years[split]}-05-06T08:21:28Z"
            rows.append((split.removeprefix("id_"), country, time, LAND_USES[i % 4]))
    columns = ["split", "country_code", "timestamp", "category"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "rgb_metadata.csv", index=False)
    # wilds calls the rest Other
    countries = [("France", "FRA", "Europe"), ("United States of America", "USA", "Americas")]
    table = pd.DataFrame(countries, columns=["name", "alpha-3", "region"])
    table.to_csv(folder / "country_code_mapping.csv", index=False)
    return root


def write_amazon(root: Path, reviewers: dict[str, int] | None = None, n_reviews: int = 10) -> Path:
    """amazon_v2.1.

    Each reviewer writes `n_reviews` in their split, one on a line of its own that no split uses.

    Args:
        reviewers: of train, val and test; those of train write id_val and id_test too, one review
            each.
    """
    folder = root / "amazon_v2.1"
    release_file(folder, "2.1")
    (folder / "splits").mkdir()
    codes = {"train": 0, "val": 1, "id_val": 2, "test": 3, "id_test": 4}
    rows = []
    splits = []
    for split, n in (reviewers or {"train": 6, "val": 3, "test": 1}).items():
        others = ["id_val", "id_test"] if split == "train" else []
        for k in range(n):
            for i, used in enumerate([*[split] * n_reviews, *others, None]):
                rows.append(review(f"A{split.upper()}{k}", len(rows), (i + k) % 5 + 1))
                splits.append(float(codes.get(used, -1)))
    pd.DataFrame(rows).to_csv(folder / "reviews.csv", index=False, quoting=csv.QUOTE_NONNUMERIC)
    pd.DataFrame({"split": splits}).to_csv(folder / "splits" / "user.csv", index=False)
    return root


def review(reviewer: str, number: int, stars: int) -> dict:
    """One row of reviews.csv; texts hold what a careless reader of csv files would stumble over."""
    text = [
        f'a "{WORDS[stars]}" thing, number {number}',
        f"NA\n{WORDS[stars]}, I say",
        f"{WORDS[stars]} {number}",
    ][number % 3]
    return {
        "reviewerID": reviewer,
        "asin": f"B{number:09}",
        "overall": float(stars),
        "reviewTime": "01 4, 2015",
        "unixReviewTime": 1420329600,
        "reviewText": text,
        "summary": WORDS[stars],
        "verified": True,
        "category": PRODUCTS[number % 7 % 3],
        "reviewYear": 2015,
    }
