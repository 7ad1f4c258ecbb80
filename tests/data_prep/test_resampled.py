"""Pools made of a dataset of features: what is drawn, and that features stay with their rows."""

import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from alpt_lib.datasets import read_dataset
from alpt_lib.errors import DataError
from alpt_lib.files import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "data_prep"))
import resampled

SIZE = 100


@pytest.fixture
def source(tmp_path) -> Path:
    """600 rows, two thirds of the pool's 300 a, a third mismatched; feature = number of row."""
    rng = np.random.default_rng(0)
    rows = []
    for split, shares in (("pool", (150, 50, 50, 50)), ("val", (25,) * 4), ("test", (50,) * 4)):
        groups = (("a", "red"), ("a", "green"), ("b", "green"), ("b", "red"))
        for (label, background), n in zip(groups, shares, strict=True):
            rows += [(label, background, split)] * n
    frame = pd.DataFrame(rows, columns=["label", "background", "split"])
    frame = frame.loc[rng.permutation(len(frame))].reset_index(drop=True)
    frame = frame.assign(path=[f"{row}.jpg" for row in frame.index])
    folder = tmp_path / "toy"
    (folder / "features").mkdir(parents=True)
    np.save(folder / "features" / "net.npy", np.arange(len(frame), dtype=np.float32)[:, None])
    frame.to_csv(folder / "manifest.csv", index=False)
    described = {
        "name": "toy",
        "classes": ["a", "b"],
        "subgroups": ["label", "background"],
        "minority": ["a/green", "b/red"],
        "eval_splits": ["val"],
        "modality": "features",
        "default_model": "net",
    }
    (folder / "dataset.yaml").write_text(yaml.safe_dump(described))
    return folder


def pools(source: Path) -> dict[str, pd.DataFrame]:
    folders = resampled.write_variants(source, size=SIZE)
    return {folder.name: read_dataset(folder).rows("pool") for folder in folders}


def test_every_pool_has_the_share_it_is_named_by_and_the_source_s_class_shares(source):
    for name, rows in pools(source).items():
        matched = (rows["label"] == "a") == (rows["background"] == "red")
        by_class = matched.groupby(rows["label"]).agg(["sum", "size"])
        # 200 of the source's 300 are a
        assert by_class["size"].tolist() == [67, 33]
        percent = int(name.removeprefix("toy_matched_"))
        wanted = [np.floor(percent * n / 100 + 0.5) for n in (67, 33)]
        assert by_class["sum"].tolist() == wanted


def test_rows_are_drawn_once_from_what_is_not_evaluated_and_shares_are_nested(source):
    drawn = [set(rows["path"]) for rows in pools(source).values()]
    assert {len(paths) for paths in drawn} == {SIZE}
    evaluated = set(read_dataset(source).rows("val")["path"])
    assert not any(paths & evaluated for paths in drawn)
    manifest = pd.read_csv(source / "manifest.csv").set_index("path")
    matched = (manifest["label"] == "a") == (manifest["background"] == "red")
    nested = [{path for path in paths if matched[path]} for paths in drawn]
    assert all(low < high for low, high in pairwise(nested))


def test_features_and_evaluation_stay_with_their_rows(source):
    original = read_dataset(source)
    for folder in resampled.write_variants(source, size=SIZE):
        data = read_dataset(folder)
        for split in ("pool", "val"):
            numbers = data.rows(split)["path"].str.removesuffix(".jpg").astype(float)
            assert data.features("net", split)[:, 0].tolist() == numbers.tolist()
        pd.testing.assert_frame_equal(data.rows("val"), original.rows("val"))


def test_what_is_complete_is_left_alone_and_follows_its_source(source):
    (folder, *_) = resampled.write_variants(source, size=SIZE)
    before = (folder / "manifest.csv").stat().st_mtime_ns
    resampled.write_variants(source, size=SIZE)
    assert (folder / "manifest.csv").stat().st_mtime_ns == before
    np.save(source / "features" / "net.npy", np.full((600, 1), 7.0))
    resampled.write_variants(source, size=SIZE)
    assert read_dataset(folder).features("net", "pool").mean() == 7


def test_a_pool_that_cannot_be_filled_is_refused(source, capsys):
    assert resampled.main([str(source), "--out", str(source.parent), "--pool", "600"]) == 1
    says = "toy: 50% matched needs 200 rows of a in its minority subgroups; it has 100"
    assert capsys.readouterr().err == f"error: {says}\n"


def test_a_dataset_without_minority_has_no_such_pools(source):
    file = source / "dataset.yaml"
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), "minority": []}))
    assert resampled.write_variants(source) == []


def test_features_that_the_source_lacks_are_named(source):
    with pytest.raises(DataError, match="unknown features 'other'; known: net"):
        resampled.write_variants(source, models=["other"], size=SIZE)
