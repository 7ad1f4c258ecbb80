"""Embedded features made again from their pictures: equal, with the pictures beside them."""

import shutil
from pathlib import Path

import embed
import embedded
import numpy as np
import pytest
from sklearn.decomposition import PCA

from alpt_lib.datasets import read_dataset
from alpt_lib.errors import DataError

NETWORKS = {"one": "bit-m-np", "two": "bit-m-np"}


@pytest.fixture
def features(birds_copy, home) -> Path:
    """The features of two initialisations, as a folder without pictures holds them."""
    out = birds_copy.parent / "embedded" / "toybirds"
    for seed, (name, model) in enumerate(NETWORKS.items()):
        options = ["--model", model, "--name", name, "--dims", "4", "--seed", str(seed)]
        assert embed.main([str(birds_copy), *options, "--out", str(out)]) == 0
    return out


def again(birds: Path, features: Path, out: Path) -> dict[str, float]:
    return embed.embed_like(read_dataset(birds), features, Path("."), out)


def test_the_same_pictures_give_the_same_features_and_stand_beside_them(
    birds_copy, features, tmp_path, monkeypatch
):
    release = tmp_path / "prepared"
    shutil.copytree(birds_copy, release)
    for folder in (birds_copy, release):
        manifest = (folder / "manifest.csv").read_text()
        assert "images/" in manifest
    # an embedded manifest names files as the release does
    file = features / "manifest.csv"
    file.write_text(file.read_text().replace("images/", ""))
    target = tmp_path / "data" / "toybirds"
    assert again(release, features, target) == {"one": 0.0, "two": 0.0}
    data = read_dataset(target)
    assert (target / data.rows("pool")["path"][0]).is_file()
    for name in NETWORKS:
        old = np.load(features / "features" / f"{name}.npy")
        np.testing.assert_array_equal(np.load(target / "features" / f"{name}.npy"), old)

    # what was made from pictures is not replaced by the copy without them
    embedded.copy(features, target)
    assert read_dataset(target).rows("pool")["path"][0].startswith("images/")


def test_other_pictures_are_refused(birds_copy, features, tmp_path):
    file = features / "manifest.csv"
    lines = file.read_text().replace("images/", "").splitlines()
    lines[1], lines[2] = lines[2], lines[1]
    file.write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match="does not hold the same examples in pool"):
        again(birds_copy, features, tmp_path / "out")


@pytest.mark.parametrize("size", [1e-9, 1.0, 1e9])
def test_components_keep_their_information_whatever_the_features_measure(size):
    rng = np.random.default_rng(0)
    parts = [rng.normal(size=(n, 6)) * [9, 5, 3, 1, 0.5, 0.1] * size for n in (80, 40)]
    components, share = embed.reduce(parts, 6)
    assert share == pytest.approx(1)
    exact = PCA(6, svd_solver="covariance_eigh").fit(parts[0]).transform(parts[1])
    ratio = components[1] / exact
    # one factor for all of them
    np.testing.assert_allclose(ratio / np.median(ratio), 1, atol=0.01)


def test_what_half_precision_cannot_hold_is_refused():
    parts = [np.random.default_rng(0).normal(size=(80, 2)) * [1e9, 1e-9]]
    with pytest.raises(DataError, match="do not fit into half precision; leave --dims out"):
        embed.reduce(parts, 2)
