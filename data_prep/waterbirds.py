"""Waterbirds (Sagawa et al. 2020) as a dataset folder: check the original release.

The release is the folder `waterbird_complete95_forest2water2`, or `waterbirds_v1.0` of WILDS:
metadata.csv with img_id, img_filename, y, split, place, place_filename, and the images beside it.
--root is that folder or the one that holds it. Images of any size will do; they stay where they
are, the dataset folder holds a link to them.

It must give these counts (landbird on land, landbird on water, waterbird on land, waterbird on
water):

    train 3498  184   56 1057     4,795, the pool: 95% matched
    val    467  466  133  133     1,199, backgrounds balanced within each class
    test  2255 2255  642  642     5,794, likewise; the paper and its released code report val

    python data_prep/waterbirds.py --root FOLDER | --download [--out data/paper/waterbirds]
        [--allow-different] [--embed FOLDER_OF_WEIGHTS]

--embed makes the features of data_prep/embedded/real_waterbirds again (its CARD.md says with which
weights), says how far they are from the embedded ones, and shows the pictures in contact sheets.
"""

from pathlib import Path

import pandas as pd
from readers.cub import species
from release.checks import check_counts, check_filled, check_images, decode, release_table
from release.command import Prepared, command
from release.download import Archive

from alpt_lib.datasets import write_dataset
from companion.recipes import BIT_HYPERRULE

CLASSES = ["landbird", "waterbird"]  # y = 0, 1
BACKGROUNDS = ["land", "water"]  # place = 0, 1
SPLITS = ["pool", "val", "test"]  # split = 0, 1, 2; the training split is the pool
GROUPS = [f"{label}/{background}" for label in CLASSES for background in BACKGROUNDS]
PUBLISHED = pd.DataFrame(
    [[3498, 184, 56, 1057], [467, 466, 133, 133], [2255, 2255, 642, 642]],
    index=SPLITS,
    columns=GROUPS,
)
COLUMNS = ["img_id", "img_filename", "y", "split", "place", "place_filename"]

NAME = "waterbird_complete95_forest2water2"
FOLDERS = [NAME, "waterbirds_v1.0"]
ARCHIVES = [
    # neither a size nor a hash is published
    Archive(
        f"{NAME}.tar.gz",
        (
            f"https://nlp.stanford.edu/data/dro/{NAME}.tar.gz",
            f"https://downloads.cs.stanford.edu/nlp/data/dro/{NAME}.tar.gz",
        ),
        unpacked=NAME,
    )
]

DESCRIPTION = {
    "name": "waterbirds",
    "title": "Waterbirds",
    "description": (
        "Land or water birds (CUB) pasted on land or water scenes (Places); 95% of the pool is "
        "matched."
    ),
    "classes": CLASSES,
    "subgroups": ["label", "background"],
    "minority": ["landbird/water", "waterbird/land"],
    # the split that the paper's released code reports
    "eval_splits": ["val"],
    "image_size": 512,
    "figure_metrics": ["accuracy", "accuracy_minority"],
    "default_model": "bit-m",
    # released code
    "protocol": {"seed_set_size": 40, "budget": 320, "query_batch_size": 5, "eval_every": 2},
    "recipe": BIT_HYPERRULE,
    "source": f"nlp.stanford.edu/data/dro/{NAME}.tar.gz",
    "licence": "non-commercial research use (CUB-200-2011, Places)",
}


def find_release(root: Path) -> Path:
    """The folder of metadata.csv: `root`, or a release folder in it; `root` if neither has one."""
    folders = (root, *(root / name for name in FOLDERS))
    return next((f for f in folders if (f / "metadata.csv").is_file()), root)


def read_release(folder: Path) -> pd.DataFrame:
    """The manifest of a release folder: path (in it), label, split, background, species.

    One row an image.

    Raises:
        DataError: metadata.csv or a column missing, or a value outside its codes.
    """
    file = folder / "metadata.csv"
    metadata = release_table(
        file,
        COLUMNS,
        f"--root takes the folder of the unpacked release ({' or '.join(FOLDERS)}) "
        "or the folder that holds it",
    )
    return pd.DataFrame(
        {
            "path": metadata["img_filename"],
            "label": decode(metadata, "y", CLASSES, file),
            "split": decode(metadata, "split", SPLITS, file),
            "background": decode(metadata, "place", BACKGROUNDS, file),
            "species": species(metadata["img_filename"]),
        }
    )


def count(manifest: pd.DataFrame) -> pd.DataFrame:
    """(3 splits, 4 groups) int: images in each."""
    table = pd.crosstab(manifest["split"], manifest["label"] + "/" + manifest["background"])
    return table.reindex(index=SPLITS, columns=GROUPS, fill_value=0).rename_axis(
        index=None, columns=None
    )


def prepare(
    root: Path, out: Path, allow_different: bool = False, trust_images: bool = False
) -> Prepared:
    """Check a release and write its dataset folder.

    Raises:
        DataError: see `read_release`; counts that are not the published ones; missing or broken
            images.
    """
    folder = find_release(root)
    manifest = read_release(folder)
    counts = count(manifest)
    different = check_counts(counts, PUBLISHED, allow_different)
    check_filled(manifest, CLASSES, ["pool", "val"])
    check_images(folder, manifest["path"].tolist(), trust_images)
    write_dataset(out, manifest, DESCRIPTION, images=folder)
    return Prepared(manifest, DESCRIPTION, counts, different)


if __name__ == "__main__":
    command(
        "waterbirds",
        __doc__,
        prepare,
        ARCHIVES,
        expected=[(DESCRIPTION, PUBLISHED)],
        embedded="real_waterbirds",
    )
