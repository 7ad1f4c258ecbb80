"""iWildCam v2.0 of WILDS (Beery et al. 2020; Koh et al. 2021): which animal passed a camera?

The release is the folder `iwildcam_v2.0`: RELEASE_v2.0.txt, metadata.csv, categories.csv (class
names), and the images of all splits in train/. The training split is the pool; `val` has other
cameras than the pool, `id_val` the same ones on other days. It must give these counts, in 182
classes:

    train 129,809   val 14,961   id_val 7,314   test 42,791   id_test 8,154

Classes are those that occur in the pool. WILDS made its splits so that every class does; should a
variant have others, their examples are dropped from the other splits, and the script says how many.
The seed set holds one example per class.

    python data_prep/iwildcam.py --root FOLDER | --download [--out data/paper/iwildcam]
        [--allow-different] [--trust-images]
"""

from pathlib import Path

import pandas as pd
from release.checks import release_table
from release.command import Prepared, command
from release.download import Archive
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
    whole_numbers,
    write_images,
)

from alpt_lib.errors import DataError
from companion.recipes import BIT_HYPERRULE

FOLDER = "iwildcam_v2.0"
# size and hash: as its host says of this copy; the bundle of WILDS has other bytes
COPY = Archive(
    f"{FOLDER}.huggingface.tar.gz",
    (f"https://huggingface.co/datasets/emmilly/iwildcam-wilds-v2/resolve/main/{FOLDER}.tar.gz",),
    11_957_415_473,
    "sha256:05c872f46eee44315f79bc90f4098c69ae3799a2b95116db02292ea1b4e370d2",
)
ARCHIVE = bundle(FOLDER, "0x6313da2b204647e79a14b468131fcd64", 11_957_420_032, copies=(COPY,))
SPLITS = ["train", "val", "id_val", "test", "id_test"]
PUBLISHED = pd.DataFrame(
    {"images": [129_809, 14_961, 7_314, 42_791, 8_154]}, index=["pool", *SPLITS[1:]]
)
N_CLASSES = 182
COLUMNS = ["split", "location_remapped", "sequence_remapped", "y", "datetime", "filename"]


def describe(classes: list[str]) -> dict:
    return {
        "name": "iwildcam",
        "title": "iWildCam",
        "description": (
            "Camera traps: which animal passes, if any? Most pictures are empty, the animals have"
            " a long tail, and the cameras of val are not among the pool's (id_val: the same "
            "cameras on other days)."
        ),
        "classes": classes,
        "subgroups": ["label"],
        # figures show the first: cameras that the pool does not have
        "eval_splits": ["val", "id_val"],
        "image_size": 512,
        "figure_metrics": ["accuracy", "accuracy_class_balanced"],
        "default_model": "bit-m",
        # released code: 182, one per class, +1,456 by 20, from 12,000 pool images drawn anew each
        # round
        "protocol": {
            "seed_set_size": len(classes),
            "seed_set": "balanced",
            "budget": 8 * len(classes),
            "query_batch_size": 20,
            "pool_subsample": 12_000,
            "eval_every": 2,
        },
        "recipe": BIT_HYPERRULE,
        "source": "WILDS, iwildcam_v2.0 (wilds.stanford.edu)",
        "licence": "Community Data License Agreement, Permissive, 1.0",
    }


def check_metadata(folder: Path) -> None:
    """Raises a DataError for whatever in metadata.csv the wilds package would crash on, and for
    unknown splits.
    """
    file = folder / "metadata.csv"
    table = release_table(file, COLUMNS, "unpack the release again")
    one_of(table, "split", SPLITS, file)
    for column in ("y", "location_remapped", "sequence_remapped"):
        whole_numbers(table, column, file, gapless=True)
    times = pd.to_datetime(table["datetime"], format="%Y-%m-%d %H:%M:%S.%f", errors="coerce")
    report_rows(
        table,
        "datetime",
        times.isna(),
        "like 2013-06-05 05:44:19.000, with a fraction of a second",
        file,
    )


def class_names(folder: Path, n_classes: int) -> list[str]:
    """(n_classes,) names in the order of y, from categories.csv.

    Without that file "empty", "1", "2", ...

    Raises:
        DataError: the file names a class twice, or leaves one out.
    """
    file = folder / "categories.csv"
    if not file.exists():
        print(f"no {file.name}: classes are called by their numbers", flush=True)
        return ["empty", *map(str, range(1, n_classes))]
    table = release_table(file, ["y", "name"], "unpack the release again")
    # it also lists animals that were left out
    table = table[table["y"].isin([str(y) for y in range(n_classes)])]
    names = dict(zip(table["y"].astype(int), table["name"], strict=True))
    n_names = len(set(names.values()))
    if n_names < n_classes or len(table) > n_classes:
        raise DataError(
            f"{file} gives {n_names} different names in {len(table)} rows for {n_classes} "
            "classes; get the "
            "original file, or move it away to call classes by their numbers"
        )
    return [names[y] for y in range(n_classes)]


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
    names = class_names(folder, dataset.n_classes)
    manifest = drop_unseen(
        pd.DataFrame(
            {
                "path": dataset._input_array,
                "label": table["y"].map(dict(enumerate(names))),
                "split": table["split"],
                "location": "location " + table["location"].astype(str),
            }
        )
    )
    seen = set(manifest["label"])
    description = describe([name for name in names if name in seen])
    different += compare_classes(description["classes"], N_CLASSES, allow_different)
    return write_images(
        manifest, description, folder / "train", out, counts, different, trust_images
    )


if __name__ == "__main__":
    command(
        "iwildcam",
        __doc__,
        prepare,
        [ARCHIVE],
        expected=[(describe([str(c) for c in range(N_CLASSES)]), PUBLISHED)],
    )
