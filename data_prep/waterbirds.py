"""Waterbirds (Sagawa et al. 2020) as a dataset folder: check the original release and write its manifest.

The release is the folder `waterbird_complete95_forest2water2` (nlp.stanford.edu/data/dro/, a tar.gz of the same name), or
`waterbirds_v1.0` of WILDS: metadata.csv with img_id, img_filename, y, split, place, place_filename, and the images beside
it. Images of any size will do; they stay where they are, the dataset folder holds a link to them.

It must give these counts (landbird on land, landbird on water, waterbird on land, waterbird on water):

    train 3498  184   56 1057     4,795, the pool: 95% matched
    val    467  466  133  133     1,199, backgrounds balanced within each class
    test  2255 2255  642  642     5,794, likewise; the paper and its released code report val

    python data_prep/waterbirds.py --root FOLDER [--out data/paper/waterbirds] [--allow-different]
"""

import argparse
import os
import sys
from pathlib import Path

import pandas as pd
import yaml

CLASSES = ["landbird", "waterbird"]  # y = 0, 1
BACKGROUNDS = ["land", "water"]  # place = 0, 1
SPLITS = ["pool", "val", "test"]  # split = 0, 1, 2; the training split is the pool
GROUPS = [f"{label}/{background}" for label in CLASSES for background in BACKGROUNDS]
PUBLISHED = pd.DataFrame(
    [[3498, 184, 56, 1057], [467, 466, 133, 133], [2255, 2255, 642, 642]], index=SPLITS, columns=GROUPS)
COLUMNS = ["img_id", "img_filename", "y", "split", "place", "place_filename"]

DESCRIPTION = {
    "name": "waterbirds",
    "title": "Waterbirds",
    "description": "Land or water birds (CUB) pasted on land or water scenes (Places); 95% of the pool is matched.",
    "classes": CLASSES,
    "subgroups": ["label", "background"],
    "minority": ["landbird/water", "waterbird/land"],
    "eval_splits": ["val"],  # the split that the paper's released code reports
    "image_size": 512,
    "figure_metrics": ["accuracy", "accuracy_minority"],
    "default_model": "bit-m",
    "protocol": {"seed_set_size": 40, "budget": 320, "query_batch_size": 5, "eval_every": 2},  # released code
    "recipe": {  # BiT-HyperRule for sets under 20,000 examples, as in the released code
        "optimizer": "sgd", "lr": 0.003, "momentum": 0.9, "weight_decay": 0.0, "warmup_steps": 100,
        "decay_steps": [200, 300, 400], "max_steps": 500, "train_batch_size": 32,
        "augment": "crop_flip", "resize": 512, "crop": 480,
    },
    "source": "nlp.stanford.edu/data/dro/waterbird_complete95_forest2water2.tar.gz",
    "licence": "non-commercial research use (CUB-200-2011, Places)",
}


class ReleaseError(ValueError):
    """What is wrong with the release folder, in one line."""


def read_release(root: Path) -> pd.DataFrame:
    """The manifest of a release folder: path, label, split, background, species; one row an image.

    Raises:
        ReleaseError: metadata.csv or a column missing, a value outside its codes, or images missing.
    """
    file = root / "metadata.csv"
    if not file.is_file():
        raise ReleaseError(f"{file} is missing: --root takes the folder of the unpacked release")
    metadata = pd.read_csv(file, dtype=str, keep_default_na=False)
    for column in COLUMNS:
        if column not in metadata.columns:
            raise ReleaseError(f"{file}: column {column!r} missing; it has {', '.join(metadata.columns)}")
    names = metadata["img_filename"]
    missing = [name for name in names if not (root / name).is_file()]
    if missing:
        raise ReleaseError(f"{len(missing)} of {len(names)} images missing, first {root / missing[0]}; unpack the release again")
    return pd.DataFrame({
        "path": "images/" + names,
        "label": _decode(metadata, "y", CLASSES, file),
        "split": _decode(metadata, "split", SPLITS, file),
        "background": _decode(metadata, "place", BACKGROUNDS, file),
        # 001.Black_footed_Albatross/... -> Black footed Albatross
        "species": names.str.split("/").str[0].str.partition(".")[2].str.replace("_", " "),
    })


def _decode(metadata: pd.DataFrame, column: str, names: list[str], file: Path) -> pd.Series:
    codes = {str(code): name for code, name in enumerate(names)}
    unknown = metadata.index[~metadata[column].isin(codes)]
    if len(unknown):
        row = unknown[0]
        raise ReleaseError(f"{file}: {column} must be one of {', '.join(codes)}; got {metadata[column][row]!r} in row {row}")
    return metadata[column].map(codes)


def count(manifest: pd.DataFrame) -> pd.DataFrame:
    """(3 splits, 4 groups) int: images in each."""
    table = pd.crosstab(manifest["split"], manifest["label"] + "/" + manifest["background"])
    return table.reindex(index=SPLITS, columns=GROUPS, fill_value=0)


def differences(counts: pd.DataFrame) -> list[str]:
    """One phrase for each count that is not the published one."""
    return [f"{split} {group}: {counts.loc[split, group]} instead of {PUBLISHED.loc[split, group]}"
            for split in SPLITS for group in GROUPS if counts.loc[split, group] != PUBLISHED.loc[split, group]]


def write(manifest: pd.DataFrame, root: Path, out: Path) -> None:
    """Write the dataset folder; dataset.yaml comes last, so that a folder which has it is complete."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "dataset.yaml").unlink(missing_ok=True)
    if not _link(root, out / "images"):
        manifest = manifest.assign(path=str(root) + manifest["path"].str.removeprefix("images"))
    _replace(out / "manifest.csv", manifest.to_csv(index=False))
    _replace(out / "dataset.yaml", yaml.safe_dump(DESCRIPTION, sort_keys=False))


def _link(root: Path, link: Path) -> bool:
    """Point `link` at the images; False where links cannot be made (the manifest then holds absolute paths)."""
    if link.exists() and not link.is_symlink():
        raise ReleaseError(f"{link} exists and is no link; choose another --out or move it away")
    try:
        link.unlink(missing_ok=True)
        link.symlink_to(root, target_is_directory=True)
    except OSError:
        return False
    return True


def _replace(file: Path, text: str) -> None:
    partial = file.with_name(f"{file.name}.partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, file)


def prepare(root: Path, out: Path, allow_different: bool = False) -> pd.DataFrame:
    """Check a release and write its dataset folder; returns the counts.

    Raises:
        ReleaseError: see `read_release`; or counts that are not the published ones.
    """
    root = root.expanduser().resolve()
    manifest = read_release(root)
    counts = count(manifest)
    different = differences(counts)
    if different and not allow_different:
        raise ReleaseError(f"{len(different)} of {counts.size} counts differ from the published ones: {'; '.join(different)}; "
                           "use the original release, or --allow-different")
    write(manifest, root, out.expanduser())
    return counts


def main() -> None:
    home = Path(os.environ.get("ALPT_HOME", Path(__file__).resolve().parent.parent))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="folder of the unpacked release")
    parser.add_argument("--out", type=Path, default=home / "data" / "paper" / "waterbirds", help="dataset folder to write")
    parser.add_argument("--allow-different", action="store_true", help="write it even if the counts are not the published ones")
    arguments = parser.parse_args()
    try:
        counts = prepare(arguments.root, arguments.out, arguments.allow_different)
    except (ReleaseError, OSError) as error:
        sys.exit(f"waterbirds: {error}")
    print(counts.assign(all=counts.sum(axis=1)).to_string())
    for difference in differences(counts):
        print(f"not as published: {difference}")
    print(f"wrote {arguments.out}")


if __name__ == "__main__":
    main()
