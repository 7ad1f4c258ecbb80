"""Waterbirds: a made-up release of the exact format, the real one if ALPT_REAL_DATA names it."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import waterbirds
from PIL import Image

from alpt_lib import datasets, inputs
from alpt_lib.errors import DataError

# (y, split, place) of the made-up images: three in the pool, two in val, one in test
ROWS = [(0, 0, 0), (0, 0, 1), (1, 0, 1), (0, 1, 0), (1, 1, 0), (1, 2, 1)]


@pytest.fixture
def release(tmp_path) -> Path:
    """Six images in the release's format."""
    root = tmp_path / "waterbird_complete95_forest2water2"
    rows = []
    for i, (y, split, place) in enumerate(ROWS):
        name = f"{i:03}.Sooty_Albatross/bird_{i}.jpg"
        (root / name).parent.mkdir(parents=True)
        Image.new("RGB", (8, 8), (40 * i, 0, 0)).save(root / name)
        rows.append((i + 1, name, y, split, place, "/o/ocean/00000001.jpg"))
    columns = ["img_id", "img_filename", "y", "split", "place", "place_filename"]
    pd.DataFrame(rows, columns=columns).to_csv(root / "metadata.csv", index=False)
    return root


def run_script(*arguments) -> subprocess.CompletedProcess:
    command = [sys.executable, waterbirds.__file__, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def test_codes_become_names_and_the_training_split_the_pool(release, tmp_path):
    for _ in range(2):  # a second preparation replaces the first
        waterbirds.prepare(release, tmp_path / "out", allow_different=True)
    manifest = pd.read_csv(tmp_path / "out" / "manifest.csv")
    assert manifest["split"].tolist() == ["pool", "pool", "pool", "val", "val", "test"]
    assert (manifest["label"] == "waterbird").tolist() == [bool(y) for y, *_ in ROWS]
    assert manifest["background"].tolist() == ["land", "water", "water", "land", "land", "water"]
    assert set(manifest["species"]) == {"Sooty Albatross"}
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert written == ["dataset.yaml", "images", "manifest.csv"]


def test_the_folder_is_one_the_library_reads_with_the_papers_recipe(release, tmp_path):
    waterbirds.prepare(release, tmp_path / "out", allow_different=True)
    data = datasets.read_dataset(tmp_path / "out")
    assert data.eval_splits == ["val"]
    assert data.subgroup("pool").tolist() == ["landbird/land", "landbird/water", "waterbird/water"]
    pixels = inputs.images(data, "pool", 8)
    assert pixels[1].mean(axis=(0, 1)).round().tolist() == [40, 0, 0]
    recipe = data.description.recipe
    settings = [recipe[key] for key in ("lr", "max_steps", "resize", "crop")]
    assert settings == [0.003, 500, 512, 480]
    assert recipe["train_batch_size"] // recipe["micro_batch_size"] == 8


@pytest.mark.parametrize("name", ["waterbird_complete95_forest2water2", "waterbirds_v1.0"])
def test_the_folder_that_holds_the_release_does_as_root(release, tmp_path, name):
    release = release.rename(tmp_path / name)
    if name == "waterbirds_v1.0":
        (release / "RELEASE_v1.0.txt").touch()
    waterbirds.prepare(tmp_path, tmp_path / "out", allow_different=True)
    assert len(datasets.read_dataset(tmp_path / "out").rows("pool")) == 3


def test_counts_that_differ_are_named_and_nothing_is_written_unless_allowed(release, tmp_path):
    refused = run_script("--root", release, "--out", tmp_path / "out")
    assert refused.returncode == 1
    assert refused.stderr.startswith("waterbirds: 12 of 12 counts differ from the published ones")
    assert "pool landbird/land: 1 instead of 3498" in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()
    done = run_script("--root", release, "--out", tmp_path / "out", "--allow-different")
    assert done.returncode == 0
    assert "not as published: pool waterbird/land: 0 instead of 56" in done.stdout
    assert "disk: source" in done.stdout
    assert (tmp_path / "out" / "dataset.yaml").exists()


def drop_metadata(root: Path) -> None:
    (root / "metadata.csv").unlink()


def drop_image(root: Path) -> None:
    next(root.glob("002.*/*.jpg")).unlink()


def cut_image(root: Path) -> None:
    image = next(root.glob("003.*/*.jpg"))
    image.write_bytes(image.read_bytes()[:-20])


def change(**columns) -> Callable[[Path], None]:
    """Replace columns of metadata.csv; None: leave one out."""

    def spoil(root: Path) -> None:
        table = pd.read_csv(root / "metadata.csv").assign(**columns)
        table.dropna(axis="columns", how="all").to_csv(root / "metadata.csv", index=False)

    return spoil


WRONG = [
    (drop_metadata, "metadata.csv is missing: --root takes the folder of the unpacked release"),
    (
        change(place=None),
        "column 'place' missing; it has img_id, img_filename, y, split, place_filename",
    ),
    (drop_image, "1 of 6 images missing, first"),
    (cut_image, "1 of 6 images cannot be read: 003.Sooty_Albatross/bird_3.jpg (OSError: Truncated"),
    (change(y=7), "y must be one of 0, 1; got '7' in row 0"),
    (change(y=0), "no example of class 'waterbird' in the pool; it has {'landbird': 3}"),
    (
        change(split=[0, 0, 0, 0, 2, 2]),
        "split 'val' is empty; the release has {'pool': 4, 'test': 2}",
    ),
]


@pytest.mark.parametrize(("spoil", "said"), WRONG)
def test_a_spoiled_release_is_refused_in_a_line(release, tmp_path, spoil, said):
    spoil(release)
    with pytest.raises(DataError) as error:
        waterbirds.prepare(release, tmp_path / "out", allow_different=True)
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_images_that_are_trusted_are_not_opened(release, tmp_path):
    cut_image(release)
    waterbirds.prepare(release, tmp_path / "out", allow_different=True, trust_images=True)
    assert (tmp_path / "out" / "dataset.yaml").exists()


@pytest.mark.real_data
@pytest.mark.skipif("ALPT_REAL_DATA" not in os.environ, reason="ALPT_REAL_DATA names no folder")
def test_the_real_release_has_the_published_counts(tmp_path):
    metadata = next(Path(os.environ["ALPT_REAL_DATA"]).glob("waterbird*/metadata.csv"))
    waterbirds.prepare(metadata.parent, tmp_path / "out")
    data = datasets.read_dataset(tmp_path / "out")
    published = dict(zip(waterbirds.GROUPS, (3498, 184, 56, 1057), strict=True))
    assert pd.Series(data.subgroup("pool")).value_counts().to_dict() == published
    assert len(data.rows("val")) == 1199
    assert data.minority == ["landbird/water", "waterbird/land"]
