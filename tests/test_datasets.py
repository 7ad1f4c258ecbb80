"""The data contract: what a manifest means, and everything that can be wrong with it."""

import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from alpt_lib import datasets
from alpt_lib.errors import DataError
from alpt_lib.inputs import _decode


def describe(folder, **changes):
    """Change keys of dataset.yaml; None removes a key."""
    file = folder / "dataset.yaml"
    content = {**yaml.safe_load(file.read_text()), **changes}
    file.write_text(yaml.safe_dump({k: v for k, v in content.items() if v is not None}))


def edit(folder, change):
    """Pass the manifest through a function."""
    change(pd.read_csv(folder / "manifest.csv")).to_csv(folder / "manifest.csv", index=False)


def test_images_on_demand_are_those_of_the_cache(birds_folder):
    data = datasets.read_dataset(birds_folder)
    rows = np.array([3, 70, 3])
    np.testing.assert_array_equal(
        data.images_on_demand("pool", 20)[rows], data.images("pool", 20)[rows]
    )


def test_a_row_number_counts_within_its_split(birds_folder):
    data = datasets.read_dataset(birds_folder)
    manifest = pd.read_csv(birds_folder / "manifest.csv")
    assert data.rows("val")["path"].tolist() == manifest["path"][100:].tolist()
    assert data.labels("pool").tolist() == [0, 1] * 50


def test_subgroups_join_the_named_columns(birds_folder):
    data = datasets.read_dataset(birds_folder)
    first = pd.read_csv(birds_folder / "manifest.csv").iloc[0]
    assert data.subgroup("pool")[0] == f"{first['label']}/{first['background']}"


def test_the_minority_are_subgroups_under_half_their_even_share(birds_folder):
    counts = (
        pd.read_csv(birds_folder / "manifest.csv")
        .query("split == 'pool'")
        .groupby(["label", "background"])
        .size()
    )
    expected = ["/".join(group) for group, n in counts.items() if n < 100 / 4 / 2]
    assert datasets.read_dataset(birds_folder).minority == sorted(expected)
    assert len(expected) == 2


def test_without_subgroup_columns_there_is_one_subgroup(birds_copy):
    describe(birds_copy, subgroups=[])
    assert set(datasets.read_dataset(birds_copy).subgroup("pool")) == {"all"}


def test_every_split_but_the_pool_is_evaluated_unless_some_are_named(birds_copy):
    edit(birds_copy, lambda m: pd.concat([m, m[-4:].assign(split="test")]))
    assert datasets.read_dataset(birds_copy).eval_splits == ["test", "val"]
    datasets.read_dataset.cache_clear()
    describe(birds_copy, eval_splits=["test"])
    assert datasets.read_dataset(birds_copy).eval_splits == ["test"]


def test_a_parquet_manifest_reads_like_the_csv(birds_copy):
    before = datasets.read_dataset(birds_copy).rows("pool")
    datasets.read_dataset.cache_clear()
    pd.read_csv(birds_copy / "manifest.csv").to_parquet(birds_copy / "manifest.parquet")
    (birds_copy / "manifest.csv").unlink()
    pd.testing.assert_frame_equal(
        datasets.read_dataset(birds_copy).rows("pool"), before, check_dtype=False
    )


def test_labels_that_are_numbers_match_classes_that_are_numbers(birds_copy):
    edit(birds_copy, lambda m: m.assign(label=m["label"].map({"tall": 1, "wide": 2})))
    describe(birds_copy, classes=[1, 2])
    assert datasets.read_dataset(birds_copy).labels("pool").tolist() == [0, 1] * 50


def test_an_attribute_called_NA_stays_a_name(birds_copy):
    edit(birds_copy, lambda m: m.assign(background="NA"))
    assert set(datasets.read_dataset(birds_copy).subgroup("val")) == {"tall/NA", "wide/NA"}


def test_images_are_decoded_in_manifest_order_and_once(birds_folder, monkeypatch):
    data = datasets.read_dataset(birds_folder)
    images = data.images("val", 32)
    with Image.open(birds_folder / data.rows("val")["path"][7]) as image:
        assert np.array_equal(images[7], np.asarray(image))
    monkeypatch.setattr(datasets, "_decode", None)
    assert np.array_equal(data.images("val", 32), images)


def test_several_processes_at_once_decode_once_and_a_dead_ones_half_is_overwritten(
    birds_folder, tmp_path, monkeypatch
):
    monkeypatch.setenv("ALPT_HOME", str(tmp_path))
    data, decode, calls = datasets.read_dataset(birds_folder), _decode, []
    target = tmp_path / "data" / "cache" / f"toybirds_{data.fingerprint}_pool_32.npy"
    target.parent.mkdir(parents=True)
    target.with_suffix(".partial").write_bytes(b"half" * 10_000)
    monkeypatch.setattr(
        datasets, "_decode", lambda *args: [calls.append(args), time.sleep(0.1), decode(*args)]
    )
    with ThreadPoolExecutor() as threads:
        first, *others = threads.map(lambda _: np.array(data.images("pool", 32)), range(4))
    assert len(calls) == 1
    assert all(np.array_equal(first, other) for other in others)
    assert sorted(file.name for file in target.parent.iterdir()) == [
        target.with_suffix(".lock").name,
        target.name,
    ]


def test_a_damaged_cache_is_named_and_a_cache_that_cannot_be_made_too(
    birds_folder, tmp_path, monkeypatch
):
    monkeypatch.setenv("ALPT_HOME", str(tmp_path))
    data = datasets.read_dataset(birds_folder)
    file = Path(data.images("val", 32).filename)
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(
        DataError, match=rf"cannot make or read {file}: .*; make .* or delete a damaged file"
    ):
        data.images("val", 32)
    shutil.rmtree(tmp_path / "data")
    (tmp_path / "data").write_text("no folder")
    with pytest.raises(DataError, match=r"cannot make or read .*Not a directory"):
        data.images("val", 32)


def test_images_are_resized_to_the_size_asked_for(birds_folder):
    assert datasets.read_dataset(birds_folder).images("val", 16).shape == (48, 16, 16, 3)


def test_grey_and_transparent_images_become_rgb(birds_copy):
    Image.new("L", (32, 32), 90).save(birds_copy / "images" / "0.png")
    Image.new("RGBA", (32, 32), (10, 20, 30, 128)).save(birds_copy / "images" / "1.png")
    images = datasets.read_dataset(birds_copy).images("pool", 32)
    assert images[0, 0, 0].tolist() == [90, 90, 90]
    assert images[1, 0, 0].tolist() == [10, 20, 30]


def test_texts_come_in_manifest_order(reviews_folder):
    texts = datasets.read_dataset(reviews_folder).rows("val")["text"].tolist()
    assert texts == pd.read_csv(reviews_folder / "manifest.csv")["text"][60:].tolist()


def test_texts_are_tokenised_once_a_kind_and_padded_to_the_longest(reviews_folder, monkeypatch):
    calls = []

    def lengths(texts: list[str]) -> np.ndarray:
        calls.append(len(texts))
        longest = max(map(len, texts))
        return np.array([[len(text)] * len(text) + [0] * (longest - len(text)) for text in texts])

    monkeypatch.setattr(datasets, "TEXTS_AT_ONCE", 7)
    data = datasets.read_dataset(reviews_folder)
    found, texts = (
        data.tokens("val", lengths, "lengths", padding=0),
        data.rows("val")["text"].tolist(),
    )
    assert calls == [7, 7, 7, 7, 2]
    assert found.dtype == np.int32
    assert found.shape == (30, max(map(len, texts)))
    assert all(
        row.tolist() == [len(t)] * len(t) + [0] * (len(row) - len(t))
        for row, t in zip(found, texts, strict=True)
    )
    data.tokens("val", None, "lengths", padding=0)
    with pytest.raises(TypeError):
        data.tokens("val", None, "of another kind", padding=0)


def test_the_fingerprint_follows_the_size_of_the_files(birds_copy):
    original = datasets.read_dataset(birds_copy).fingerprint
    with open(birds_copy / "images" / "0.png", "ab") as file:
        file.write(b"one more byte")
    datasets.read_dataset.cache_clear()
    assert datasets.read_dataset(birds_copy).fingerprint != original


def test_a_title_does_not_change_the_fingerprint(birds_copy):
    original = datasets.read_dataset(birds_copy).fingerprint
    describe(birds_copy, title="Toy birds")
    datasets.read_dataset.cache_clear()
    assert datasets.read_dataset(birds_copy).fingerprint == original


def test_a_dataset_is_found_by_name_in_its_tier_or_by_path(birds_folder, home):
    (home / "data" / "mini").mkdir()
    (home / "data" / "mini" / "toybirds").symlink_to(birds_folder)
    assert datasets.locate("toybirds") == home / "data" / "mini" / "toybirds"
    assert datasets.locate(str(birds_folder)) == birds_folder
    with pytest.raises(
        DataError, match=r"unknown dataset 'toybird' \(did you mean 'toybirds'\?\); known: toybirds"
    ):
        datasets.locate("toybird")


def unlink(name):
    return lambda folder: (folder / name).unlink()


def rows(change):
    return lambda folder: edit(folder, change)


def keys(**changes):
    return lambda folder: describe(folder, **changes)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (unlink("dataset.yaml"), r"dataset.yaml is missing: a dataset folder needs"),
        (unlink("manifest.csv"), r"manifest missing: no manifest.csv or manifest.parquet in"),
        (lambda f: (f / "dataset.yaml").write_text("classes: [a"), r"is not valid yaml"),
        (
            lambda f: (f / "dataset.yaml").write_text("- a\n- b\n"),
            r"must be a mapping with at least `classes: \[\.\.\.\]`",
        ),
        (keys(classes=[]), r"must be a mapping with at least `classes"),
        (
            keys(subgroup=["label"]),
            r"unknown key 'subgroup' \(did you mean 'subgroups'\?\); known: name, classes",
        ),
        (keys(modality="video"), r"modality must be image or text; got 'video'"),
        (lambda f: (f / "manifest.csv").write_text(""), r"manifest.csv cannot be read"),
        (
            rows(lambda m: m.drop(columns="path")),
            r"column 'path' missing from the manifest; it has label, split, background",
        ),
        (rows(lambda m: m.drop(columns="label")), r"column 'label' missing from the manifest"),
        (rows(lambda m: m.drop(columns="split")), r"column 'split' missing from the manifest"),
        (
            rows(lambda m: m.drop(columns="background")),
            r"column 'background' missing from the manifest",
        ),
        (keys(modality="text"), r"column 'text' missing from the manifest"),
        (keys(percentile_over="reviewer"), r"column 'reviewer' missing from the manifest"),
        (
            keys(classes=["tall", "broad"]),
            r"74 label\(s\) outside the classes \['tall', 'broad'\], first 'wide' in row 1",
        ),
        (
            rows(lambda m: m.assign(split="val")),
            r"split 'pool' missing; the manifest has \['val'\]",
        ),
        (
            rows(lambda m: m.assign(split="pool")),
            r"no evaluation split; the manifest has only 'pool'",
        ),
        (keys(eval_splits=["test"]), r"split 'test' missing; the manifest has \['pool', 'val'\]"),
        (unlink("images/5.png"), r"1 of 148 image files missing, first .*5.png"),
        (
            keys(minority=["tall/blue"]),
            r"unknown minority subgroup 'tall/blue'.*known: tall/green, tall/red",
        ),
    ],
)
def test_a_spoiled_folder_is_refused_in_a_line(birds_copy, spoil, said):
    spoil(birds_copy)
    with pytest.raises(DataError, match=said) as error:
        datasets.read_dataset(birds_copy)
    assert "\n" not in str(error.value)


def test_truncated_images_are_all_named_and_leave_no_cache(birds_copy, decoded):
    for i in (101, 103):
        file = birds_copy / "images" / f"{i}.png"
        file.write_bytes(file.read_bytes()[:200])
    before = set(decoded.glob("*.[np]*"))
    with pytest.raises(
        DataError,
        match=r"2 image\(s\) cannot be read .*: images/101.png, images/103.png; replace or drop them",
    ):
        datasets.read_dataset(birds_copy).images("val", 32)
    assert set(decoded.glob("*.[np]*")) == before


def test_an_unknown_split_lists_the_known_ones(birds_folder):
    with pytest.raises(DataError, match=r"unknown split 'test'; known: pool, val"):
        datasets.read_dataset(birds_folder).rows("test")
