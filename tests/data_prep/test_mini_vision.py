"""The miniature image worlds and what their models were pretrained on."""

import hashlib
import json

import mini_vision
import numpy as np
import pandas as pd
import pytest
from mini import drawing, figures, mini_source

from alpt_lib.files import WEIGHTS


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Two of the worlds, written twice from the same seed and once from another."""
    folders = {}
    for name, seed in (("a", "3"), ("again", "3"), ("other", "4")):
        folders[name] = tmp_path_factory.mktemp(name)
        options = ["--seed", seed, "--only", "squares_circles"]
        mini_vision.main(["--out", str(folders[name]), *options])
    return folders


def contents(folder):
    return {
        path.relative_to(folder): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_same_seed_gives_the_same_bytes_and_another_seed_does_not(small):
    assert contents(small["a"]) == contents(small["again"])
    assert contents(small["a"]) != contents(small["other"])


def test_nothing_unfinished_is_left_beside_a_world(small):
    assert [path.name for path in small["a"].iterdir()] == ["squares_circles"]


def test_a_whole_world_is_left_alone_and_a_damaged_one_is_drawn_again(small, capsys):
    folder = small["again"] / "squares_circles"
    arguments = ["--out", str(small["again"]), "--seed", "3", "--only", "squares_circles"]
    mini_vision.main(arguments)
    assert "is there" in capsys.readouterr().out
    (folder / "images" / "000000.png").unlink()
    mini_vision.main(arguments)
    assert "written" in capsys.readouterr().out
    assert (folder / "images" / "000000.png").exists()


def test_an_unknown_world_is_refused_with_the_known_ones(capsys):
    with pytest.raises(SystemExit) as stop:
        mini_vision.main(["--only", "waterbird"])
    assert stop.value.code != 0
    assert "waterbirds_85" in capsys.readouterr().err


@pytest.mark.parametrize("percent", [50, 70, 85, 95])
def test_the_pool_matches_as_often_as_its_name_says_and_class_marginals_stay_fixed(percent):
    classes = {"landbird": 1155, "waterbird": 345}
    partner = {"landbird": "forest", "waterbird": "water"}
    frame = mini_vision.pool_and_val(
        classes, partner, percent / 100, "background", 400, np.random.default_rng(0)
    )
    pool = frame[frame["split"] == "pool"]
    assert pool["label"].value_counts().to_dict() == classes
    matched = pool["background"] == pool["label"].map(partner)
    assert matched.groupby(pool["label"]).mean().to_numpy() == pytest.approx(
        percent / 100, abs=0.002
    )
    val = frame[frame["split"] == "val"]
    assert val.groupby(["label", "background"]).size().to_list() == [100, 100, 100, 100]


def test_every_label_and_minority_subgroup_of_a_small_world_is_described(small):
    frame = pd.read_csv(small["a"] / "squares_circles" / "manifest.csv")
    about = mini_vision.WORLDS["squares_circles"][1]
    assert set(frame["label"]) == set(about["classes"])
    groups = frame[about["subgroups"]].agg("/".join, axis=1)
    shares = groups[frame["split"] == "pool"].value_counts(normalize=True)
    assert shares[about["minority"]].sum() == pytest.approx(0.05, abs=0.005)


def test_cameras_of_the_wild_validation_are_not_among_the_pools():
    frame, images = mini_vision.iwildcam(np.random.default_rng(5))
    cameras = frame.groupby("split")["location"].agg(set)
    assert not cameras["val"] & cameras["pool"]
    assert cameras["id_val"] <= cameras["pool"]
    assert (frame["label"] == "empty").mean() == pytest.approx(0.5, abs=0.04)
    assert images.shape == (len(frame), 32, 32, 3)
    assert images.dtype == np.uint8


def test_no_class_of_a_target_world_is_a_source_class():
    source = {*mini_source.GLYPHS, *mini_source.KINDS}
    targets = {*figures.BIRDS, *figures.ANIMALS, *figures.BESIDE, *"0123456789"}
    assert not source & {*targets, "person", "square", "circle", "bird"}
    assert not set(mini_source.GLYPHS) & set("0123456789OolI|Zbq")  # nor look-alikes of digits
    assert not set(drawing.TEXTURES) & {"forest", "water", "temple", "flower"}


def test_the_source_labels_what_it_shows():
    images, labels = mini_source.SourceTask(broad=False).batch(64, np.random.default_rng(0))
    assert images.shape == (64, 32, 32, 3)
    assert set(labels) == set(mini_source.FACTORS)
    for name, values in labels.items():
        assert 0 <= values.min() <= values.max() < mini_source.FACTORS[name][0]
    assert labels["object"].max() < 24  # narrow: 12 blobs and 12 glyphs


def test_weights_are_those_listed():
    listed = json.loads((WEIGHTS / "weights.json").read_text())
    files = list(WEIGHTS.glob("mini-bit-*.safetensors"))
    assert {file.name for file in files} == {name for name in listed if name.startswith("mini-bit")}
    for file in files:
        assert hashlib.sha256(file.read_bytes()).hexdigest() == listed[file.name]["sha256"]
        assert listed[file.name]["images_seen"] == listed[file.name]["of_images"]
