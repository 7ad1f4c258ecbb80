"""Pools and oracles made of a dataset: what is drawn, and that contents stay with their rows."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import resampled
import yaml
from PIL import Image

from alpt_lib.datasets import Dataset, read_dataset
from alpt_lib.errors import DataError

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


def made(source: Path, kind: str = "") -> dict[str, Dataset]:
    """What was made of the source, by what follows its name."""
    folders = resampled.write_variants(source, size=SIZE)
    names = {folder.name.removeprefix("toy_"): folder for folder in folders}
    return {name: read_dataset(f) for name, f in names.items() if name.startswith(kind)}


def test_every_pool_has_the_share_it_is_named_by_and_the_source_s_class_shares(source):
    for name, data in made(source, "matched").items():
        rows = data.rows("pool")
        matched = (rows["label"] == "a") == (rows["background"] == "red")
        by_class = matched.groupby(rows["label"]).agg(["sum", "size"])
        # 200 of the source's 300 are a
        assert by_class["size"].tolist() == [67, 33]
        percent = int(name.removeprefix("matched_"))
        wanted = [np.floor(percent * n / 100 + 0.5) for n in (67, 33)]
        assert by_class["sum"].tolist() == wanted


def test_rows_are_drawn_once_from_what_is_not_evaluated_and_shares_are_nested(source):
    drawn = [set(data.rows("pool")["path"]) for data in made(source, "matched").values()]
    assert {len(paths) for paths in drawn} == {SIZE}
    evaluated = set(read_dataset(source).rows("val")["path"])
    assert not any(paths & evaluated for paths in drawn)
    manifest = pd.read_csv(source / "manifest.csv").set_index("path")
    matched = (manifest["label"] == "a") == (manifest["background"] == "red")
    nested = [{path for path in paths if matched[path]} for paths in drawn]
    assert all(low < high for low, high in pairwise(nested))


def test_features_and_evaluation_stay_with_their_rows(source):
    original = read_dataset(source)
    for data in made(source).values():
        for split in ("pool", "val"):
            numbers = data.rows(split)["path"].str.removesuffix(".jpg").astype(float)
            assert data.features("net", split)[:, 0].tolist() == numbers.tolist()
        evaluated = data.rows("val")[["label", "background", "split", "path"]]
        pd.testing.assert_frame_equal(evaluated, original.rows("val"))


@pytest.mark.parametrize(("kind", "given"), [("wrong", {"a": "b", "b": "a"}), ("unsure", None)])
def test_an_oracle_errs_for_its_share_where_it_should_and_the_truth_is_kept(source, kind, given):
    truth = read_dataset(source).rows("pool")
    rare = (truth["label"] == "a") != (truth["background"] == "red")
    for name, data in made(source, kind).items():
        rows = data.rows("pool")
        assert rows["true_label"].tolist() == truth["label"].tolist()
        errs = rows["label"] != rows["true_label"]
        liable = rare if "minority" in name else np.ones(len(rows), dtype=bool)
        assert errs.sum() == int(name.split("_")[-1]) * np.sum(liable) // 100
        assert not errs[~liable].any()
        says = truth["label"][errs].map(given) if given else "can't tell"
        assert (rows["label"][errs] == says).all()
        assert set(data.subgroup("pool")[rare]) == {"a/green", "b/red"} == set(data.minority)
    if kind == "wrong":
        low, high = (made(source)[f"wrong_{p}"].rows("pool") for p in (10, 20))
        assert (high["label"] != high["true_label"])[low["label"] != low["true_label"]].all()


def test_copies_are_of_every_row_alike(source):
    for name, data in made(source, "copies").items():
        counts = data.rows("pool")["path"].value_counts()
        assert set(counts) == {int(name[-1])}
        assert set(counts.index) == set(read_dataset(source).rows("pool")["path"])


def test_what_is_complete_is_left_alone_and_follows_its_source(source):
    (folder, *_) = resampled.write_variants(source, size=SIZE)
    before = (folder / "manifest.csv").stat().st_mtime_ns
    resampled.write_variants(source, size=SIZE)
    assert (folder / "manifest.csv").stat().st_mtime_ns == before
    np.save(source / "features" / "net.npy", np.full((600, 1), 7.0))
    resampled.write_variants(source, size=SIZE)
    assert read_dataset(folder).features("net", "pool").mean() == 7
    resampled.write_variants(source, size=SIZE // 2)
    assert len(read_dataset(folder).rows("pool")) == SIZE // 2


def test_a_pool_that_cannot_be_filled_is_refused(source, capsys):
    assert resampled.main([str(source), "--out", str(source.parent), "--pool", "600"]) == 1
    says = "toy: 50% matched needs 200 rows of a in its minority subgroups; it has 100"
    assert capsys.readouterr().err == f"error: {says}\n"


def test_some_kinds_alone_can_be_made(source, capsys):
    options = ["--out", str(source.parent / "made"), "--pool", "600", "--kinds", "copies"]
    assert resampled.main([str(source), *options]) == 0
    names = [line.rpartition("/")[2] for line in capsys.readouterr().out.splitlines()]
    assert names == ["toy_copies_2", "toy_copies_4"]


def test_a_dataset_without_minority_has_what_needs_none(source):
    file = source / "dataset.yaml"
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), "minority": []}))
    names = [folder.name.removeprefix("toy_") for folder in resampled.write_variants(source)]
    assert names == ["wrong_10", "wrong_20", "wrong_30", "unsure_30", "copies_2", "copies_4"]


@pytest.mark.parametrize("modality", ["image", "text"])
def test_pictures_and_texts_stay_with_their_rows(source, tmp_path, modality):
    described = yaml.safe_load((source / "dataset.yaml").read_text())
    del described["default_model"]
    frame = pd.read_csv(source / "manifest.csv")
    if modality == "text":
        frame = frame.rename(columns={"path": "text"})
    for row, name in enumerate(frame.get("path", ())):
        Image.new("RGB", (4, 4), (row % 256, row // 256, 0)).save(source / name, "png")
    frame.to_csv(source / "manifest.csv", index=False)
    (source / "dataset.yaml").write_text(yaml.safe_dump({**described, "modality": modality}))
    datasets = made(source)
    assert ("copies_2" in datasets) == (modality == "text")
    manifest = frame.set_index("path" if modality == "image" else "text")
    for name, data in datasets.items():
        if modality == "text":
            own = data.rows("pool")["text"]
        else:
            colours = [Image.open(file).getpixel((0, 0)) for file in data.files("pool")]
            own = [f"{red + 256 * green}.jpg" for red, green, _ in colours]
        truth = data.rows("pool")["true_label" if name.startswith(("w", "u")) else "label"]
        assert manifest.loc[own, "label"].tolist() == truth.tolist()


def test_features_that_the_source_lacks_are_named(source):
    with pytest.raises(DataError, match="unknown features 'other'; known: net"):
        resampled.write_variants(source, models=["other"], size=SIZE)
