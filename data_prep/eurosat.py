"""EuroSAT (Helber et al. 2019) as a dataset folder: land use from satellites, ten classes.

The release (RGB) is a folder of 27,000 JPEGs of 64 x 64 px, one folder a class; --root is that
folder or the one that holds it. Of each class 600 images are taken, the same ones whatever the
order of files: 400 for the pool, 200 for val. The release has no split of its own.

It must give these counts:

    AnnualCrop 3000, Forest 3000, HerbaceousVegetation 3000, Highway 2500, Industrial 2500,
    Pasture 2000, PermanentCrop 2500, Residential 3000, River 2500, SeaLake 3000

    python data_prep/eurosat.py --root FOLDER | --download [--out data/paper/eurosat]
        [--allow-different] [--embed FOLDER_OF_WEIGHTS]
"""

import hashlib
from pathlib import Path

import pandas as pd
from release.checks import check_counts, check_filled, check_images
from release.command import Prepared, command
from release.download import Archive

from alpt_lib.datasets import write_dataset
from alpt_lib.errors import DataError

PUBLISHED = pd.DataFrame(
    {
        "AnnualCrop": 3000,
        "Forest": 3000,
        "HerbaceousVegetation": 3000,
        "Highway": 2500,
        "Industrial": 2500,
        "Pasture": 2000,
        "PermanentCrop": 2500,
        "Residential": 3000,
        "River": 2500,
        "SeaLake": 3000,
    },
    index=["images"],
)
CLASSES = list(PUBLISHED.columns)
TAKEN = {"pool": 400, "val": 200}  # of each class

FOLDERS = ["2750", "EuroSAT_RGB", "EuroSAT"]
ARCHIVES = [
    Archive(
        "EuroSAT.zip",
        (
            "https://huggingface.co/datasets/torchgeo/eurosat/resolve/"
            "c877bcd43f099cd0196738f714544e355477f3fd/EuroSAT.zip",
            "https://madm.dfki.de/files/sentinel/EuroSAT.zip",
        ),
        digest="md5:c8fa014336c82ac7804f0398fcb19387",
        about_bytes=94_000_000,
        unpacked=FOLDERS[0],
    )
]

DESCRIPTION = {
    "name": "eurosat",
    "title": "EuroSAT, satellite images",
    "description": (
        "Land use seen by Sentinel-2, ten classes of equal size: far from what ImageNet shows, and "
        "no spurious attribute."
    ),
    "classes": CLASSES,
    "eval_splits": ["val"],
    "image_size": 64,
    "figure_metrics": ["accuracy"],
    "default_model": "bit-m",
    "protocol": {"seed_set_size": 40, "budget": 320, "query_batch_size": 20},
    "source": "github.com/phelber/EuroSAT",
    "licence": "MIT; Copernicus Sentinel data",
}


def find_release(root: Path) -> Path:
    """The folder of the class folders: `root`, or a release folder in it."""
    folders = (root, *(root / name for name in FOLDERS))
    return next((f for f in folders if (f / CLASSES[0]).is_dir()), root)


def read_release(folder: Path) -> pd.DataFrame:
    """The manifest of all images: path in the release, label; no split yet.

    Raises:
        DataError: a class folder is missing.
    """
    missing = [name for name in CLASSES if not (folder / name).is_dir()]
    if missing:
        raise DataError(
            f"{folder} has no folder {missing[0]}; --root takes the unpacked release, one folder "
            "a class"
        )
    paths = [f"{name}/{file.name}" for name in CLASSES for file in (folder / name).glob("*.jpg")]
    return pd.DataFrame({"path": paths, "label": [path.split("/")[0] for path in paths]})


def draw(images: pd.DataFrame) -> pd.DataFrame:
    """The images that are used, with their split: of each class those whose names hash lowest."""
    lottery = images["path"].map(lambda path: hashlib.sha256(path.encode()).hexdigest())
    drawn = images.assign(lottery=lottery).sort_values(["label", "lottery"], ignore_index=True)
    place = drawn.groupby("label").cumcount()
    drawn["split"] = "val"
    drawn.loc[place < TAKEN["pool"], "split"] = "pool"
    drawn = drawn[place < sum(TAKEN.values())]
    return drawn.drop(columns="lottery").reset_index(drop=True)


def prepare(
    root: Path, out: Path, allow_different: bool = False, trust_images: bool = False
) -> Prepared:
    """Check a release and write its dataset folder.

    Raises:
        DataError: see `read_release`; counts that are not the published ones; broken images.
    """
    folder = find_release(root)
    images = read_release(folder)
    counts = pd.crosstab(pd.Series("images", index=images.index), images["label"])
    different = check_counts(counts, PUBLISHED, allow_different)
    manifest = draw(images)
    check_filled(manifest, CLASSES, ["pool", "val"])
    check_images(folder, manifest["path"].tolist(), trust_images)
    write_dataset(out, manifest, DESCRIPTION, images=folder)
    used = pd.crosstab(manifest["split"], manifest["label"])
    return Prepared(manifest, DESCRIPTION, used, different)


EXPECTED = pd.DataFrame({name: TAKEN for name in CLASSES})

if __name__ == "__main__":
    command(
        "eurosat",
        __doc__,
        prepare,
        ARCHIVES,
        expected=[(DESCRIPTION, EXPECTED)],
        embedded="eurosat",
    )
