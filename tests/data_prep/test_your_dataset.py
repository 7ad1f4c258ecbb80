"""The same pictures as folders, csv, parquet and in Hugging Face's formats; what is refused."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import datasets as hugging_face
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import yaml
import your_dataset
from PIL import Image
from pyarrow import parquet
from your_dataset import from_folders, from_hugging_face, from_table, prepare, protocol_for

from alpt_lib import datasets, inputs
from alpt_lib.config import Recipe, override
from alpt_lib.errors import DataError
from alpt_lib.files import REPOSITORY
from companion.runs.plan import plan_runs

CLASSES = ["cat", "dog"]
FEATURES = hugging_face.Features(
    image=hugging_face.Image(),
    label=hugging_face.ClassLabel(names=CLASSES),
    place=hugging_face.Value("string"),
    tags=hugging_face.List(hugging_face.Value("int64")),
)
TEXTS = hugging_face.Features(
    text=hugging_face.Value("string"), label=hugging_face.ClassLabel(names=["bad", "good"])
)


@pytest.fixture(autouse=True)
def quiet_package():
    hugging_face.disable_progress_bars()


def paint(file: Path, grey: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (grey,) * 3).save(file)


@pytest.fixture
def pictures(tmp_path) -> Path:
    """30 pictures in class folders: 20 cats and 10 dogs, each of another grey."""
    root = tmp_path / "source"
    for i in range(30):
        paint(root / CLASSES[i >= 20] / f"{i:02}.png", 8 * i)
    return root


@pytest.fixture
def table(pictures) -> pd.DataFrame:
    """The same as rows, with an attribute: every fifth was taken outdoors."""
    files = sorted(pictures.rglob("*.png"))
    names = [(file.relative_to(pictures).as_posix(), file.parent.name) for file in files]
    table = pd.DataFrame(names, columns=["image", "label"])
    return table.assign(place=["out", "in", "in", "in", "in"] * 6)


def as_hugging_face(pictures: Path, table: pd.DataFrame) -> hugging_face.Dataset:
    """Images as bytes, labels as numbers; beside them a column of lists."""
    columns = table.to_dict("list")
    columns["image"] = [{"bytes": (pictures / p).read_bytes(), "path": p} for p in table["image"]]
    columns["tags"] = [[1, 2]] * len(table)
    return hugging_face.Dataset.from_dict(columns, features=FEATURES)


def rows(folder: Path) -> pd.DataFrame:
    """Label, split and colour of every example, read through the library."""
    data = datasets.read_dataset(folder)
    parts = []
    for split in ("pool", *data.eval_splits):
        greys = inputs.images(data, split, 8)[:, 0, 0, 0]
        parts.append(data.rows(split)[["label", "split"]].assign(grey=greys))
    return pd.concat(parts).sort_values("grey").reset_index(drop=True)


def run(*arguments) -> str:
    """The command line: "", or the line with which it ends."""
    line = ""
    try:
        your_dataset.main([str(argument) for argument in arguments])
    except SystemExit as stop:
        line = stop.code
    assert not line or line.startswith("your_dataset: ")
    assert "\n" not in line
    return line


# every source


def by_csv(pictures, table, out):
    table.to_csv(pictures / "labels.csv", index=False)
    return from_table(pictures / "labels.csv", out)


def by_csv_elsewhere(pictures, table, out):
    file = pictures.parent / "notes" / "labels.tsv"
    file.parent.mkdir()
    renamed = table.rename(columns={"image": "photo", "label": "animal"})
    renamed["photo"] = "../source/" + table["image"]
    renamed.to_csv(file, index=False, sep="\t")
    return from_table(file, out, {"image": "photo", "label": "animal"})


def by_csv_from_windows(pictures, table, out):
    table["image"] = table["image"].str.replace("/", "\\").str.replace(".png", ".PNG")
    renamed = table.rename(columns={"image": "Image", "label": " LABEL"})
    renamed.to_csv(pictures / "labels.csv", index=False, sep=";", encoding="utf-16")
    return from_table(pictures / "labels.csv", out)


def by_csv_with_repeats(pictures, table, out):
    twice = pd.concat([table.assign(rater=1), table.assign(rater=2, image="./" + table["image"])])
    twice.sort_values("image").to_csv(pictures / "labels.csv", index=False)
    return from_table(pictures / "labels.csv", out)


def by_parquet_of_paths(pictures, table, out):
    table.to_parquet(pictures / "labels.parquet", index=False)
    return from_table(pictures / "labels.parquet", out)


def by_parquet_of_images(pictures, table, out):
    file = pictures.parent / "hub" / "0000.parquet"
    file.parent.mkdir()
    as_hugging_face(pictures, table).to_parquet(file)
    from_file = from_table(file, out)
    from_folder = from_hugging_face(str(file.parent), out)
    pd.testing.assert_frame_equal(from_file.frame, from_folder.frame)
    return from_folder


def by_saved_shards(pictures, table, out):
    saved = pictures.parent / "saved"
    as_hugging_face(pictures, table).save_to_disk(saved, num_shards=2)
    return from_hugging_face(saved, out)


def by_a_saved_selection(pictures, table, out):
    saved = pictures.parent / "saved"
    shuffled = as_hugging_face(pictures, table.iloc[::-1]).select(range(29, -1, -1))
    shuffled.save_to_disk(saved)
    return from_hugging_face(saved, out)


def by_the_packages_own_cache(pictures, table, out):
    file = pictures.parent / "0000.parquet"
    as_hugging_face(pictures, table).to_parquet(file)
    cache = str(pictures.parent / "cache")
    loaded = hugging_face.load_dataset("parquet", data_files=str(file), cache_dir=cache)
    return from_hugging_face(Path(loaded["train"].cache_files[0]["filename"]).parent, out)


def by_a_manifest_with_a_new_column(pictures, table, out):
    first = pictures.parent / "first"
    prepare(from_folders(pictures), first)
    manifest = pd.read_csv(first / "manifest.csv").assign(place=table["place"])
    manifest.to_csv(first / "manifest.csv", index=False)
    return from_table(first / "manifest.csv", out)


@pytest.mark.parametrize(
    "read",
    [
        by_a_manifest_with_a_new_column,
        by_csv,
        by_csv_elsewhere,
        by_csv_from_windows,
        by_csv_with_repeats,
        by_parquet_of_paths,
        by_parquet_of_images,
        by_saved_shards,
        by_a_saved_selection,
        by_the_packages_own_cache,
    ],
)
def test_every_source_gives_the_same_labels_and_splits_as_the_folders(
    read, pictures, table, tmp_path
):
    prepare(from_folders(pictures), tmp_path / "expected")
    source = read(pictures, table, tmp_path / "out")
    prepare(source, tmp_path / "out", subgroups=["label", "place"])
    expected = rows(tmp_path / "expected")
    pd.testing.assert_frame_equal(rows(tmp_path / "out"), expected)
    assert expected["grey"].tolist() == list(range(0, 240, 8))
    assert expected["label"].tolist() == ["cat"] * 20 + ["dog"] * 10
    data = datasets.read_dataset(tmp_path / "out")
    places = [name.split("/")[1] for split in ("pool", "val") for name in data.subgroup(split)]
    assert places.count("out") == 6


def test_a_drawn_split_takes_the_same_share_of_each_class_and_follows_the_seed(pictures, tmp_path):
    drawn = [
        prepare(from_folders(pictures), tmp_path / "out", val_fraction=0.3, seed=seed)
        for seed in (1, 1, 2)
    ]
    assert drawn[0].counts.loc["val"].to_dict() == {"cat": 6, "dog": 3}
    first, again, other = (each.manifest["split"] for each in drawn)
    assert first.equals(again)
    assert not first.equals(other)


@pytest.mark.parametrize("above", ["", "archive/photos/"])
def test_folders_train_and_test_become_pool_and_test_wherever_they_lie(
    pictures, tmp_path, above, capsys
):
    for split, names in (("train", ("0*", "20*", "21*")), ("test", ("1*", "22*"))):
        for file in [file for name in names for file in pictures.rglob(f"{name}.png")]:
            target = tmp_path / "splits" / above / split / file.parent.name
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)
    counts = prepare(from_folders(tmp_path / "splits"), tmp_path / "out").counts
    assert counts.to_dict("index") == {"pool": {"cat": 10, "dog": 2}, "test": {"cat": 10, "dog": 1}}
    assert datasets.read_dataset(tmp_path / "out").eval_splits == ["test"]
    assert ("all images lie in archive/" in capsys.readouterr().out) == bool(above)


def test_the_label_is_the_folder_that_an_image_lies_in(pictures, tmp_path, capsys):
    (pictures / "animals").mkdir()
    for name in CLASSES:
        (pictures / name).rename(pictures / "animals" / name)
    for i in range(4):
        paint(pictures / "plants" / "oak" / f"{i}.png", i + 1)
    counts = prepare(from_folders(pictures), tmp_path / "out").counts
    assert counts.sum().to_dict() == {"cat": 20, "dog": 10, "oak": 4}
    assert "animals/cat gives cat; classes: cat, dog, oak" in capsys.readouterr().out


def test_a_class_that_is_called_like_a_split_is_said(pictures, tmp_path, capsys):
    for i in range(3):
        paint(pictures / "test" / f"{i}.png", i + 1)
    assert set(prepare(from_folders(pictures), tmp_path / "out").counts) == {*CLASSES, "test"}
    assert "note: test counts as a class, beside others" in capsys.readouterr().out


def test_paths_in_another_spelling_are_said_so_that_one_sees_the_difference(
    pictures, table, tmp_path, capsys
):
    table["image"] = " " + table["image"]
    by_csv(pictures, table, tmp_path / "out")
    said = "30 paths are read in another spelling, first ' cat/00.png' as 'cat/00.png'"
    assert said in capsys.readouterr().out


def test_a_split_column_is_kept_and_val_comes_first_in_figures(pictures, table, tmp_path):
    splits = ["train", "train", "Validation", "test", "night"] * 6
    prepare(by_csv(pictures, table.assign(split=splits), tmp_path), tmp_path / "out")
    data = datasets.read_dataset(tmp_path / "out")
    assert data.eval_splits == ["val", "test", "night"]
    sizes = [len(data.rows(split)) for split in ("pool", *data.eval_splits)]
    assert sizes == [12, 6, 6, 6]


def test_a_dict_and_parquet_by_split_give_the_same_rows_and_an_unlabelled_test_set_is_left_out(
    tmp_path, capsys
):
    texts = [f"words {i}" for i in range(12)]
    parts = hugging_face.DatasetDict()
    for split, low, high in (
        ("train", 0, 8),
        ("validation_matched", 8, 10),
        ("validation_mismatched", 10, 12),
        ("test", 0, 3),
    ):
        labels = [-1 if split == "test" else i % 2 for i in range(low, high)]
        content = {"text": texts[low:high], "label": labels}
        parts[split] = hugging_face.Dataset.from_dict(content, features=TEXTS)
        (tmp_path / "hub" / "data").mkdir(parents=True, exist_ok=True)
        parts[split].to_parquet(tmp_path / "hub" / "data" / f"{split}-00000-of-00001.parquet")
    parts.save_to_disk(tmp_path / "saved")
    for name in ("saved", "hub"):
        prepare(from_hugging_face(str(tmp_path / name), tmp_path), tmp_path / f"out_{name}")
        assert "split test left out: it has no labels" in capsys.readouterr().out
        data = datasets.read_dataset(tmp_path / f"out_{name}")
        frame = pd.concat([data.rows("pool"), data.rows("val")]).sort_values("text")
        expected = sorted(zip(texts, ["bad", "good"] * 6, ["pool"] * 8 + ["val"] * 4, strict=True))
        assert list(zip(frame["text"], frame["label"], frame["split"], strict=True)) == expected


def test_one_configuration_is_chosen_by_name(tmp_path):
    for config, label in (("easy", ["a", "b"]), ("hard", ["c", "d"])):
        (tmp_path / "hub" / config / "train").mkdir(parents=True)
        content = pa.table({"text": ["one", "two", "three", "four"], "label": label * 2})
        parquet.write_table(content, tmp_path / "hub" / config / "train" / "0000.parquet")
    source = from_hugging_face(str(tmp_path / "hub"), tmp_path, config="hard")
    assert set(source.frame["label"]) == {"c", "d"}
    for config, said in ((None, "choose one with --config: easy, hard"), ("x", "no configuration")):
        with pytest.raises(DataError, match=said):
            from_hugging_face(str(tmp_path / "hub"), tmp_path, config=config)


@pytest.mark.parametrize(
    "kind",
    [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())],
)
def test_texts_of_any_arrow_kind_are_read(tmp_path, kind):
    content = {"text": ["good", "bad"], "label": pa.array(["x", "y"]).cast(kind)}
    (tmp_path / "hub").mkdir()
    parquet.write_table(pa.table(content), tmp_path / "hub" / "0.parquet")
    frame = from_hugging_face(tmp_path / "hub", tmp_path).frame
    assert frame[["text", "label"]].to_numpy().tolist() == [["good", "x"], ["bad", "y"]]


# what it writes


@pytest.mark.parametrize(
    ("per_class", "expected"),
    [
        ([500, 500], (40, "balanced", 320, 40)),  # the paper's Waterbirds but for its 64 rounds
        ([60, 40], (10, "balanced", 32, 4)),
        ([2400, 1600, 1], (40, "random", 320, 40)),  # a rare class does not shrink the whole
        ([300, 3], (30, "random", 96, 12)),
        ([1] * 182 + [9_000], (183, "balanced", 1464, 183)),  # iWildCam: one of each class
        ([2] * 100, (20, "random", 64, 8)),  # too many classes for one of each and a budget
    ],
)
def test_the_protocol_fits_the_pool(per_class, expected):
    counts = pd.Series(per_class)
    protocol = protocol_for(counts)
    settings = ("seed_set_size", "seed_set", "budget", "query_batch_size")
    assert tuple(protocol[setting] for setting in settings) == expected
    assert protocol["budget"] <= counts.sum() / 3


@pytest.mark.parametrize("n", [2, 3, 5, 9, 20])
def test_even_a_tiny_pool_can_serve_its_protocol(n):
    protocol = protocol_for(pd.Series([n, 1]))
    assert protocol["seed_set_size"] + protocol["budget"] <= n + 1


def test_a_rare_class_makes_the_seed_set_random_and_that_is_said(tmp_path, capsys):
    labels = "a" * 120 + "b" * 80 + "cc"
    frame = pd.DataFrame({"text": [f"text {i}" for i in range(202)], "label": list(labels)})
    frame.to_csv(tmp_path / "t.csv", index=False)
    assert run("--table", tmp_path / "t.csv", "--out", tmp_path / "out") == ""
    said = "the seed set is drawn at random, for the pool has 1 of class 'c', the rarest of 3"
    assert said in capsys.readouterr().out


def test_the_recipe_is_that_of_the_model(pictures, tmp_path):
    for model, size, optimizer, lr in (
        ("bit-m", 32, "sgd", 0.03),
        ("timm:resnet18.a1_in1k", 224, "adamw", 1e-4),
        ("timm:resnetv2_50x1_bit.goog_in21k", 224, "sgd", 0.003),
    ):
        description = prepare(from_folders(pictures), tmp_path / "out", model=model).description
        recipe = override(Recipe(), description["recipe"], "recipe")
        assert (description["image_size"], recipe.optimizer, recipe.lr) == (size, optimizer, lr)


def test_the_folder_can_be_planned_as_it_is(pictures, tmp_path):
    prepare(from_folders(pictures), tmp_path / "out")
    (planned, _) = plan_runs({"datasets": [str(tmp_path / "out")]})
    assert planned.config.model == "mini-bit-m"
    assert planned.config.protocol.seed_set_size == 8


def test_classes_called_yes_and_no_stay_words(tmp_path):
    lines = [f"text {i},{'yes' if i % 2 else 'no'}\n" for i in range(20)]
    (tmp_path / "t.csv").write_text("text,label\n" + "".join(lines))
    prepare(from_table(tmp_path / "t.csv", tmp_path), tmp_path / "out")
    assert datasets.read_dataset(tmp_path / "out").classes == ["no", "yes"]


def test_another_source_replaces_the_first_and_leaves_nothing_of_it(
    pictures, table, tmp_path, monkeypatch
):
    out = tmp_path / "out"
    prepare(by_parquet_of_images(pictures, table, out), out)
    prepare(from_folders(pictures), out)
    written = sorted(path.name for path in out.iterdir())
    assert written == ["dataset.yaml", "images", "manifest.csv", "pictures"]
    # pictures keep their bytes
    kept = {file.read_bytes() for file in (out / "pictures").iterdir()}
    assert kept == {file.read_bytes() for file in pictures.rglob("*.png")}
    assert datasets.read_dataset(out).rows("pool")["path"].str.startswith("images/").all()
    # one that is interrupted leaves no folder that seems complete
    monkeypatch.setattr(datasets, "write_whole", Mock(side_effect=KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        prepare(from_folders(pictures), out)
    assert not (out / "dataset.yaml").exists()


def test_a_dataset_folder_made_by_hand_is_not_overwritten(pictures, birds_copy):
    before = (birds_copy / "manifest.csv").read_bytes()
    with pytest.raises(DataError, match="a dataset that this script did not write"):
        prepare(from_folders(pictures), birds_copy)
    assert (birds_copy / "manifest.csv").read_bytes() == before


def test_columns_whose_names_are_taken_are_left_out_and_named(pictures, table, tmp_path, capsys):
    source = by_csv(pictures, table.assign(score=1, path="x", rank=2), tmp_path)
    assert list(source.frame) == ["path", "label", "place"]
    source = from_table(pictures / "labels.csv", tmp_path, {"text": "place"})
    assert list(source.frame) == ["image", "label", "text"]
    assert "left out, for their names are taken: path, rank, score" in capsys.readouterr().out


def test_copies_are_said_with_the_harm_they_do_and_kept_on_one_side(pictures, tmp_path, capsys):
    copies = [
        shutil.copy(pictures / "cat" / "00.png", pictures / "cat" / f"0{i}b.png") for i in "ab"
    ]
    copies.append(shutil.copy(pictures / "cat" / "00.png", pictures / "dog" / "copy.png"))
    sides = set()
    for seed in range(8):
        manifest = prepare(from_folders(pictures), tmp_path / "out", seed=seed).manifest
        is_copy = manifest["path"].isin([os.path.relpath(copy, pictures) for copy in copies])
        is_copy |= manifest["path"] == "cat/00.png"
        (side,) = set(manifest.loc[is_copy, "split"])
        sides.add(side)
    assert sides == {"pool", "val"}
    said = capsys.readouterr().out
    assert "examples that occur more than once: 1 (first cat/00.png = cat/0ab.png)" in said
    assert "of these with another label: 1; one label must be wrong" in said
    assert "with another split" not in said


def test_files_that_are_left_out_are_counted_with_the_reason(pictures, capsys):
    for name in ("notes.txt", "more.txt", "film.mp4", "photo.heic", ".hidden"):
        (pictures / name).touch()
    shutil.copy(pictures / "cat" / "00.png", os.fsencode(pictures) + b"/cat/caf\xe9\x1b.png")
    assert len(from_folders(pictures).frame) == 30
    said = capsys.readouterr().out
    assert "their names are not those of images: 2 x .txt, 1 x .mp4" in said
    assert "Pillow has no decoder for them here: 1 x .heic" in said
    assert "their names are no UTF-8: 1, first cat/caf\\udce9\\x1b.png; rename them" in said


def test_names_with_control_characters_are_kept_as_they_are(pictures, tmp_path):
    odd = 'a\rb\nc\x1b[31m,".png'
    (pictures / "cat" / "00.png").rename(pictures / "cat" / odd)
    prepare(from_folders(pictures), tmp_path / "out")
    data = datasets.read_dataset(tmp_path / "out")
    paths = {*data.rows("pool")["path"], *data.rows("val")["path"]}
    assert f"images/cat/{odd}" in paths
    assert len(paths) == 30


# what it refuses


def truncate(root: Path) -> None:
    file = root / "dog" / "25.png"
    file.write_bytes(file.read_bytes()[:45])


def rename_to_documents(root: Path) -> None:
    for file in root.rglob("*.png"):
        file.rename(file.with_suffix(".doc"))


def move_one_up(root: Path) -> None:
    (root / "cat" / "03.png").rename(root / "03.png")


def keep_one_class(root: Path) -> None:
    shutil.rmtree(root / "dog")


def keep_no_class(root: Path) -> None:
    keep_one_class(root)
    shutil.rmtree(root / "cat")


def keep_one_dog(root: Path) -> None:
    """And copies of it."""
    for file in sorted((root / "dog").iterdir())[1:]:
        shutil.copy(root / "dog" / "20.png", file)


def mix_splits_and_classes(root: Path) -> None:
    (root / "cat").rename(root / "train")
    shutil.copytree(root / "train", root / "val")


def only_evaluation(root: Path) -> None:
    (root / "test").mkdir()
    for name in CLASSES:
        (root / name).rename(root / "test" / name)


def splits_below_classes(root: Path) -> None:
    for name in CLASSES:
        shutil.move(root / name, root / "train")
        (root / name).mkdir()
        shutil.copytree(root / "train", root / name / "train")
        shutil.move(root / "train", root / name / "test")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (truncate, "1 of 30 images cannot be read: dog/25.png (OSError: "),
        (rename_to_documents, "holds no images, only 30 x .doc; images end in .avif"),
        (shutil.rmtree, "does not exist"),
        (keep_no_class, "holds no images, only nothing"),
        (move_one_up, "1 of 30 images lie in no class folder, first 03.png"),
        (keep_one_class, "a single class, 'cat'"),
        (keep_one_dog, "a class needs at least 2 different examples, one for the pool and one for"),
        (mix_splits_and_classes, "train, val are splits, dog is not"),
        (only_evaluation, "no training split; found test"),
        (splits_below_classes, "images lie in test, train, which are splits; put these on top"),
    ],
)
def test_a_folder_that_cannot_serve_ends_with_one_line(spoil, said, pictures, tmp_path):
    spoil(pictures)
    assert said in run("--images", pictures, "--out", tmp_path / "out")
    assert not (tmp_path / "out" / "dataset.yaml").exists()


def test_a_dataset_folder_is_not_written_into_its_source(pictures):
    said = run("--images", pictures, "--out", pictures / "dataset")
    assert "which would be read as a source the next time; choose a folder outside of it" in said
    assert not (pictures / "dataset").exists()


@pytest.mark.parametrize(
    ("change", "options", "said"),
    [
        ({"label": ["", *CLASSES * 14, "cat"]}, "", "1 of 30 rows have no label, first row 0"),
        ({"image": ["gone.png", *["cat/00.png"] * 29]}, "", "missing, first 'gone.png' (no such f"),
        ({"image": ["00.png", *["cat/00.png"] * 29]}, "", "first '00.png' (there is 'cat/00.png':"),
        (
            {"image": ["cat/01.png", *["cat/00.png"] * 29]},
            "",
            "1 images stand in several rows that differ in label or split, first cat/00.png (cat, ",
        ),
        ({"split": ["train"] * 29 + [""]}, "", "1 of 30 rows have no split, first row 29"),
        (
            {"split": ["train"] * 5 + ["val"] * 25},
            "",
            "1 of 2 classes have no example in the training split, first dog",
        ),
        (
            {"text": "words"},
            "",
            "both 'image' and 'text' found; name one with --image-column or --text-column; it has",
        ),
        ({}, "--label-column kind", "no label column 'kind'; it has image, label, place"),
        ({"label.1": "x"}, "", "column 'label' appears twice; rename one of them"),
        (
            {},
            "--subgroups weather",
            "no column 'weather' to tell subgroups apart; it has label, place",
        ),
        (
            {},
            "--model hf:roberta-base",
            "--model hf:roberta-base does not read images; take bit-m or timm:NAME",
        ),
        ({}, "--name my:birds", "may hold letters, digits"),
        ({}, "--val-fraction 20", "--val-fraction must lie between 0 and 1; got 20.0"),
    ],
)
def test_a_table_that_cannot_serve_ends_with_one_line(
    change, options, said, pictures, table, tmp_path
):
    table.assign(**change).to_csv(pictures / "labels.csv", index=False)
    where = ("--table", pictures / "labels.csv", "--out", tmp_path / "out")
    assert said in run(*where, *options.split())


def test_a_table_without_a_header_says_what_to_do(tmp_path):
    (tmp_path / "t.csv").write_text("good film,pos\nbad film,neg\n")
    said = run("--table", tmp_path / "t.csv", "--out", tmp_path / "out")
    assert "or put a header above the first line; it has good film, pos" in said


def test_images_that_a_dataset_only_points_to_are_taken_from_there_or_refused(
    pictures, table, tmp_path
):
    content = {"image": [str(pictures / path) for path in table["image"]], "label": table["label"]}
    features = hugging_face.Features({key: FEATURES[key] for key in content})
    pointing = hugging_face.Dataset.from_dict(content, features=features)
    storage = pointing.data.table
    (tmp_path / "hub").mkdir()
    parquet.write_table(storage, tmp_path / "hub" / "0.parquet")
    assert len(from_hugging_face(tmp_path / "hub", tmp_path / "out").frame) == 30
    (pictures / "cat" / "00.png").unlink()
    said = r"an image is missing or only a path \(.*cat/00.png\); save the dataset with its images"
    with pytest.raises(DataError, match=said):
        from_hugging_face(tmp_path / "hub", tmp_path / "out")


def test_a_torn_parquet_a_folder_of_something_else_and_a_missing_package_are_one_line(
    tmp_path, monkeypatch
):
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "train.parquet").write_bytes(b"PAR1 and then nothing")
    (tmp_path / "empty").mkdir()
    for name, said in (("torn", "torn cannot be read: "), ("empty", "contain any data files")):
        assert said in run("--hugging-face", tmp_path / name, "--out", tmp_path / "out")
    monkeypatch.setitem(sys.modules, "datasets", None)
    said = run("--hugging-face", tmp_path / "torn", "--out", tmp_path / "out")
    assert "pip install -e '.[hugging-face]'" in said


def test_a_hub_dataset_is_loaded_by_its_name_and_configuration(tmp_path, monkeypatch):
    """The hub is played by functions."""
    loaded = Mock()
    words = hugging_face.Dataset.from_dict({"text": ["one", "two"], "label": ["a", "b"]})
    loaded.return_value = {"train": words}
    monkeypatch.setattr("huggingface_hub.get_session", Mock())
    monkeypatch.setattr(hugging_face, "get_dataset_config_names", lambda _: ["easy", "hard"])
    monkeypatch.setattr(hugging_face, "load_dataset", loaded)
    source = from_hugging_face("someone/words", tmp_path / "out", config="easy")
    expected = {"text": ["one", "two"], "label": ["a", "b"], "split": ["pool", "pool"]}
    assert source.frame.to_dict("list") == expected
    assert loaded.call_args.args == ("someone/words", "easy")
    with pytest.raises(
        DataError, match="several configurations; choose one with --config: easy, h"
    ):
        from_hugging_face("someone/words", tmp_path / "out")


def test_without_a_network_a_hub_name_says_what_to_get_and_where_to_put_it(tmp_path):
    said = run("--hugging-face", "someone/birds", "--out", tmp_path / "out")
    assert "the hub did not deliver it" in said
    assert "the parquet files of https://huggingface.co/datasets/someone/birds elsewhere" in said


# through a notebook


def test_new_texts_run_through_a_notebook_by_papermill_parameters_alone(tmp_path, home):
    rng = np.random.default_rng(0)
    words = {"good": ["fine", "lovely", "superb"], "bad": ["poor", "awful", "dull"]}
    texts = [
        (f"the {rng.choice(['kettle', 'plot', 'tent'])} is {rng.choice(words[label])} {i}", label)
        for i in range(30)
        for label in words
    ]
    file = tmp_path / "reviews.parquet"
    pd.DataFrame(texts, columns=["review", "verdict"]).to_parquet(file, index=False)
    columns = ("--text-column", "review", "--label-column", "verdict")
    assert run("--table", file, *columns, "--out", tmp_path / "reviews") == ""
    parameters = {
        "datasets": [str(tmp_path / "reviews")],
        "seeds": [1],
        "workers": 1,
        "protocol": {"budget": 4, "query_batch_size": 4},
        "recipe": {"max_steps": 2},
    }
    notebook = ["notebooks/10_your_dataset.ipynb", str(tmp_path / "out.ipynb")]
    options = ["-k", "python3", "--no-progress-bar", "-y", yaml.safe_dump(parameters)]
    command = [sys.executable, "-m", "papermill", *notebook, *options]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    folder = home / "figures" / "custom" / "10_your_dataset"
    assert set(pd.read_csv(folder / "class_mix.csv")["class"]) == {"bad", "good"}
    assert set(pd.read_csv(folder / "final_gains.csv")["dataset"]) == {"reviews"}
    # text in figures stays text
    drawn = "".join(file.read_text(encoding="utf-8") for file in folder.glob("*.svg"))
    assert "the kettle is" in drawn
