"""Camelyon17 v1.0 of WILDS (Bandi et al. 2018; Koh et al. 2021): tumour or normal tissue?

The release is the folder `camelyon17_v1.0`: RELEASE_v1.0.txt, metadata.csv and patches/ (96 x 96
px). The training split, from hospitals 0, 3 and 4, is the pool; `id_val` has the same hospitals,
`val` hospital 1, `test` hospital 2. It must give

    train 302,436   val 34,904   id_val 33,560   test 85,054

The dataset is called `camelyon` in tables, like its miniature, so that notebook 08 and the claims
know it by one name; its folder is data/paper/camelyon17. How many labels the paper bought here
could not be found: the protocol is ours.

    python data_prep/camelyon17.py --root FOLDER | --download [--out data/paper/camelyon17]
        [--allow-different] [--trust-images]
"""

from pathlib import Path

import pandas as pd
from release.checks import check_filled, release_table
from release.command import Prepared, command
from release.wilds import (
    bundle,
    compare,
    examples,
    find,
    load,
    one_of,
    report_rows,
    whole_numbers,
    write_images,
)

from alpt_lib.errors import DataError
from companion.recipes import BIT_HYPERRULE

FOLDER = "camelyon17_v1.0"
ARCHIVE = bundle(
    FOLDER,
    "0xe45e15f39fb54e9d9e919556af67aabe",
    10_658_709_504,
    elsewhere=(
        "huggingface.co/datasets/wltjr1007/Camelyon17-WILDS has the images as parquet, in another"
        " layout"
    ),
)
PUBLISHED = pd.DataFrame(
    {"images": [302_436, 34_904, 33_560, 85_054]}, index=["pool", "val", "id_val", "test"]
)
COLUMNS = ["patient", "node", "x_coord", "y_coord", "tumor", "slide", "center", "split"]
CLASSES = ["normal", "tumor"]  # tumor = 0, 1

DESCRIPTION = {
    "name": "camelyon17",
    "title": "Camelyon17",
    "description": (
        "Stained lymph node tissue, 96 px at 10 times: tumour in the middle, or none. Three "
        "hospitals in the pool, a fourth in val; far from what pretraining saw."
    ),
    "classes": CLASSES,
    "subgroups": ["label", "hospital"],
    "minority": [],
    # figures show the first: a hospital that the pool does not have
    "eval_splits": ["val", "id_val"],
    "image_size": 512,
    "figure_metrics": ["accuracy"],
    "default_model": "bit-m",
    # ours: as on Waterbirds, from a part of the pool as on iWildCam
    "protocol": {
        "seed_set_size": 40,
        "seed_set": "balanced",
        "budget": 320,
        "query_batch_size": 5,
        "pool_subsample": 12_000,
        "eval_every": 2,
    },
    # BiT's rule counts 96 x 96 px among the large images: 512 -> 480
    "recipe": BIT_HYPERRULE,
    "source": "WILDS, camelyon17_v1.0 (wilds.stanford.edu)",
    "licence": "CC0 1.0",
}


def check_metadata(folder: Path) -> None:
    """Raises a DataError for whatever in metadata.csv the wilds package would crash on or read
    wrongly.
    """
    file = folder / "metadata.csv"
    table = release_table(file, COLUMNS, "unpack the release again")
    # wilds takes the first column for the index, and would miss this one
    if table.columns[0] in COLUMNS:
        raise DataError(
            f"{file}: the first column must be the row number; it is {table.columns[0]!r}"
        )
    report_rows(
        table,
        "patient",
        ~table["patient"].str.fullmatch(r"\d{3}"),
        "three digits such as 004",
        file,
    )
    for column in ("node", "x_coord", "y_coord", "slide"):
        whole_numbers(table, column, file)
    for column, n in (("tumor", 2), ("split", 2), ("center", 5)):
        one_of(table, column, [str(code) for code in range(n)], file)


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
    manifest = pd.DataFrame(
        {
            "path": dataset._input_array,
            "label": table["y"].map(dict(enumerate(CLASSES))),
            "split": table["split"],
            "hospital": "hospital " + table["hospital"].astype(str),
            "slide": "slide " + table["slide"].astype(str),
        }
    )
    check_filled(manifest, CLASSES, DESCRIPTION["eval_splits"])
    return write_images(manifest, DESCRIPTION, folder, out, counts, different, trust_images)


if __name__ == "__main__":
    command("camelyon17", __doc__, prepare, [ARCHIVE], expected=[(DESCRIPTION, PUBLISHED)])
