"""FMoW v1.1 of WILDS (Christie et al. 2018; Koh et al. 2021): what use has a piece of land?

The release is the folder `fmow_v1.1`: RELEASE_v1.1.txt, rgb_metadata.csv, country_code_mapping.csv
and images/rgb_img_N.png, where N is the row of the csv. The pool is the training split up to 2012;
`val` is from 2013 to 2015, `test` from 2016 on, `id_val` and `id_test` from the pool's years. It
must give these counts, in 62 classes:

    train 76,863   val 19,915   id_val 11,483   test 22,108   id_test 11,327

Classes are those that occur in the pool (all 62 do); examples of others are dropped from the other
splits, and the script says how many. How many labels the paper bought here could not be found: the
protocol, one per class and eight times that, is ours, after iWildCam.

    python data_prep/fmow.py --root FOLDER | --download [--out data/paper/fmow] [--allow-different]
        [--trust-images]
"""

from pathlib import Path

import pandas as pd
from release.checks import release_table
from release.command import Prepared, command
from release.wilds import (
    bundle,
    compare,
    compare_classes,
    drop_unseen,
    examples,
    find,
    load,
    one_of,
    report_rows,
    write_images,
)

from companion.recipes import BIT_HYPERRULE

FOLDER = "fmow_v1.1"
ARCHIVE = bundle(FOLDER, "0xaec91eb7c9d548ebb15e1b5e60f966ab", 53_893_324_800)
SPLITS = [
    "train",
    "val",
    "test",
    "seq",
]  # of the csv; wilds splits these further by year, and leaves seq out
FIRST_YEAR, LAST_YEAR = 2002, 2017
PUBLISHED = pd.DataFrame(
    {"images": [76_863, 19_915, 11_483, 22_108, 11_327]},
    index=["pool", "val", "id_val", "test", "id_test"],
)
N_CLASSES = 62


def describe(classes: list[str]) -> dict:
    return {
        "name": "fmow",
        "title": "FMoW",
        "description": (
            "Satellite pictures of 62 kinds of land use and buildings. The pool ends in 2012, val"
            " is from 2013 to 2015 (id_val: the pool's years)."
        ),
        "classes": classes,
        "subgroups": ["region"],
        "minority": [],
        # figures show the first: years after the pool's
        "eval_splits": ["val", "id_val"],
        "image_size": 512,
        "figure_metrics": ["accuracy", "accuracy_class_balanced"],
        "default_model": "bit-m",
        # ours: 62, one per class, +496
        "protocol": {
            "seed_set_size": len(classes),
            "seed_set": "balanced",
            "budget": 8 * len(classes),
            "query_batch_size": 16,
            "pool_subsample": 12_000,
            "eval_every": 2,
        },
        "recipe": BIT_HYPERRULE,
        "source": "WILDS, fmow_v1.1 (wilds.stanford.edu)",
        "licence": "FMoW Challenge Public License",
    }


def check_metadata(folder: Path) -> None:
    """Raises a DataError for whatever in the two csv files the wilds package would crash on."""
    from wilds.datasets.fmow_dataset import categories

    file = folder / "rgb_metadata.csv"
    table = release_table(
        file, ["split", "country_code", "timestamp", "category"], "unpack the release again"
    )
    release_table(
        folder / "country_code_mapping.csv", ["alpha-3", "region"], "unpack the release again"
    )
    one_of(table, "split", SPLITS, file)
    one_of(table, "category", categories, file)
    text = table["timestamp"]
    is_used = table["split"] != "seq"
    times = pd.to_datetime(text.where(text != ""), errors="coerce", utc=True)
    unreadable = (times.isna() | ~text.str.endswith("Z")) & (is_used | (text != ""))
    report_rows(table, "timestamp", unreadable, "like 2012-05-06T08:21:28Z", file)
    years = f"from {FIRST_YEAR} to {LAST_YEAR}"
    report_rows(
        table, "timestamp", is_used & ~times.dt.year.between(FIRST_YEAR, LAST_YEAR), years, file
    )


def prepare(
    root: Path, out: Path, allow_different: bool = False, trust_images: bool = False
) -> Prepared:
    """Check a release and write its dataset folder.

    Raises:
        DataError: what is missing or wrong; or counts that are not the published ones.
    """
    folder = find(root, FOLDER)
    check_metadata(folder)
    dataset = load(folder)
    table = examples(dataset)
    counts, different = compare(
        table["split"], PUBLISHED, ["pool", "val", "id_val"], allow_different
    )
    classes = {number: name for name, number in dataset.category_to_idx.items()}
    regions = [
        name if isinstance(name, str) else "Other" for name in dataset.metadata_map["region"]
    ]  # a country without one
    manifest = pd.DataFrame(
        {
            "path": [
                f"rgb_img_{row}.png" for row in dataset.full_idxs
            ],  # numbered by row of the csv, with the rows left out
            "label": table["y"].map(classes),
            "split": table["split"],
            "region": table["region"].map(dict(enumerate(regions))),
            "year": table["year"] + FIRST_YEAR,
        }
    )
    manifest = drop_unseen(manifest.dropna(subset="split"))
    seen = set(manifest["label"])
    description = describe([name for name in classes.values() if name in seen])
    different += compare_classes(description["classes"], N_CLASSES, allow_different)
    return write_images(
        manifest, description, folder / "images", out, counts, different, trust_images
    )


if __name__ == "__main__":
    command(
        "fmow",
        __doc__,
        prepare,
        [ARCHIVE],
        expected=[(describe([str(c) for c in range(N_CLASSES)]), PUBLISHED)],
    )
