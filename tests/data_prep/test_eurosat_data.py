"""EuroSAT: a made-up release of the exact layout."""

from pathlib import Path

import eurosat
import pandas as pd
import pytest
from PIL import Image

from alpt_lib import datasets
from alpt_lib.errors import DataError


@pytest.fixture
def release(tmp_path) -> Path:
    """Three images of each class, one of River broken, in the folder that the archive holds."""
    root = tmp_path / "2750"
    for name in eurosat.CLASSES:
        (root / name).mkdir(parents=True)
        for i in range(3):
            Image.new("RGB", (4, 4), (60 * i, 0, 0)).save(root / name / f"{name}_{i + 1}.jpg")
    return root


def test_the_same_images_are_drawn_whatever_else_lies_there(release, tmp_path, monkeypatch):
    monkeypatch.setattr(eurosat, "TAKEN", {"pool": 1, "val": 1})
    eurosat.prepare(release.parent, tmp_path / "out", allow_different=True)
    data = datasets.read_dataset(tmp_path / "out")
    assert [len(data.rows(split)) for split in ("pool", "val")] == [10, 10]
    assert data.rows("pool")["label"].tolist() == eurosat.CLASSES
    before = pd.read_csv(tmp_path / "out" / "manifest.csv")
    (release / "River" / "notes.txt").write_text("")
    eurosat.prepare(release, tmp_path / "out", allow_different=True)
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "out" / "manifest.csv"), before)


def test_counts_that_are_not_published_stop_it(release, tmp_path):
    with pytest.raises(DataError, match="AnnualCrop: 3 instead of 3000"):
        eurosat.prepare(release, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_no_release_is_named(tmp_path):
    with pytest.raises(DataError, match="has no folder AnnualCrop; --root takes the unpacked"):
        eurosat.prepare(tmp_path, tmp_path / "out")
