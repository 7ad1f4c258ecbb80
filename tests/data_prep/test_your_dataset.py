"""data_prep/your_dataset.py: the same pictures as folders, csv, parquet and Hugging Face's formats; then through a notebook."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import huggingface_hub
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from alpt_lib import datasets
from alpt_lib.config import Recipe, override
from alpt_lib.files import REPOSITORY
from companion.runs.plan import plan_runs

sys.path.insert(0, str(REPOSITORY / "data_prep"))

import your_dataset
from release import ReleaseError
from your_dataset import from_folders, from_hugging_face, from_table, prepare

CLASSES = ["cat", "dog"]
IMAGE_FEATURES = {
    "image": {"_type": "Image"},
    "label": {"names": CLASSES, "_type": "ClassLabel"},
    "place": {"dtype": "string", "_type": "Value"},
}
TEXT_FEATURES = {
    "text": {"dtype": "string", "_type": "Value"},
    "label": {"names": ["bad", "good"], "_type": "ClassLabel"},
}


@pytest.fixture
def pictures(tmp_path) -> Path:
    """30 pictures in class folders: 20 cats and 10 dogs, each of another grey."""
    root = tmp_path / "source"
    for i in range(30):
        file = root / CLASSES[i >= 20] / f"{i:02}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (8 * i,) * 3).save(file)
    return root


@pytest.fixture
def table(pictures) -> pd.DataFrame:
    """The same as rows, with an attribute: every fifth was taken outdoors."""
    files = sorted(pictures.rglob("*.png"))
    return pd.DataFrame(
        {
            "image": [f.relative_to(pictures).as_posix() for f in files],
            "label": [f.parent.name for f in files],
            "place": ["out" if i % 5 == 0 else "in" for i in range(30)],
        }
    )


def hugging_face_table(
    pictures: Path, table: pd.DataFrame, features: dict = IMAGE_FEATURES
) -> pa.Table:
    """As datasets.Dataset stores it: images as bytes and path, labels as numbers, features in the schema's metadata."""
    image = [
        {"bytes": (pictures / name).read_bytes(), "path": Path(name).name}
        for name in table["image"]
    ]
    columns = {
        "image": image,
        "label": [CLASSES.index(c) for c in table["label"]],
        "place": table["place"].tolist(),
    }
    return pa.table(columns).replace_schema_metadata(
        {"huggingface": json.dumps({"info": {"features": features}})}
    )


def save_to_disk(
    content: pa.Table, folder: Path, features: dict, split: str | None = None, shards: int = 1
) -> Path:
    """The files that Dataset.save_to_disk writes: arrow streams, dataset_info.json, state.json."""
    folder.mkdir(parents=True)
    names = [f"data-{i:05}-of-{shards:05}.arrow" for i in range(shards)]
    size = -(-len(content) // shards)
    for i, name in enumerate(names):
        with (
            pa.OSFile(str(folder / name), "wb") as sink,
            pa.ipc.new_stream(sink, content.schema) as writer,
        ):
            writer.write_table(content.slice(i * size, size))
    info = {"citation": "", "description": "", "features": features, "homepage": "", "license": ""}
    (folder / "dataset_info.json").write_text(json.dumps(info, indent=2))
    state = {
        "_data_files": [{"filename": name} for name in names],
        "_fingerprint": "0a",
        "_format_columns": None,
        "_format_kwargs": {},
        "_format_type": None,
        "_output_all_columns": False,
        "_split": split,
    }
    (folder / "state.json").write_text(json.dumps(state, indent=2))
    return folder


def save_dict(content: dict[str, pa.Table], folder: Path, features: dict) -> Path:
    """The files that DatasetDict.save_to_disk writes."""
    for split, part in content.items():
        save_to_disk(part, folder / split, features, split)
    (folder / "dataset_dict.json").write_text(json.dumps({"splits": list(content)}))
    return folder


def rows(folder: Path) -> pd.DataFrame:
    """Label, split and colour of every example, read through the library."""
    data = datasets.read_dataset(folder)
    parts = [
        data.rows(s)[["label", "split"]].assign(grey=data.images(s, 8)[:, 0, 0, 0])
        for s in ["pool", *data.eval_splits]
    ]
    return pd.concat(parts).sort_values("grey").reset_index(drop=True)


# ---- every source


def by_csv(pictures, table, tmp_path):
    table.to_csv(pictures / "labels.csv", index=False)
    return from_table(pictures / "labels.csv", tmp_path / "out")


def by_csv_elsewhere(pictures, table, tmp_path):
    (tmp_path / "notes").mkdir()
    renamed = table.assign(image="../source/" + table["image"]).rename(
        columns={"image": "photo", "label": "animal"}
    )
    renamed.to_csv(tmp_path / "notes" / "labels.tsv", index=False, sep="\t")
    return from_table(
        tmp_path / "notes" / "labels.tsv", tmp_path / "out", {"image": "photo", "label": "animal"}
    )


def by_parquet_of_paths(pictures, table, tmp_path):
    table.to_parquet(pictures / "labels.parquet", index=False)
    return from_table(pictures / "labels.parquet", tmp_path / "out")


def by_parquet_of_images(pictures, table, tmp_path):
    (tmp_path / "hub").mkdir()
    pq.write_table(hugging_face_table(pictures, table), tmp_path / "hub" / "0000.parquet")
    return from_hugging_face(str(tmp_path / "hub"), tmp_path / "out")


def by_saved_shards(pictures, table, tmp_path):
    saved = save_to_disk(
        hugging_face_table(pictures, table), tmp_path / "saved", IMAGE_FEATURES, shards=2
    )
    return from_hugging_face(str(saved), tmp_path / "out")


def by_arrow_with_features_beside_it(pictures, table, tmp_path):
    saved = save_to_disk(
        hugging_face_table(pictures, table).replace_schema_metadata(None),
        tmp_path / "saved",
        IMAGE_FEATURES,
    )
    (saved / "state.json").unlink()
    return from_hugging_face(str(saved), tmp_path / "out")


def by_a_manifest_with_a_new_column(pictures, table, tmp_path):
    prepare(from_folders(pictures), tmp_path / "first")
    manifest = pd.read_csv(tmp_path / "first" / "manifest.csv").assign(place=table["place"])
    manifest.to_csv(tmp_path / "first" / "manifest.csv", index=False)
    return from_table(tmp_path / "first" / "manifest.csv", tmp_path / "out")


@pytest.mark.parametrize(
    "read",
    [
        by_a_manifest_with_a_new_column,
        by_csv,
        by_csv_elsewhere,
        by_parquet_of_paths,
        by_parquet_of_images,
        by_saved_shards,
        by_arrow_with_features_beside_it,
    ],
)
def test_every_source_gives_the_same_labels_and_splits_as_the_folders(
    read, pictures, table, tmp_path
):
    prepare(from_folders(pictures), tmp_path / "expected")
    prepare(read(pictures, table, tmp_path), tmp_path / "out", subgroups=["label", "place"])
    expected, found = rows(tmp_path / "expected"), rows(tmp_path / "out")
    pd.testing.assert_frame_equal(found, expected)
    assert expected["grey"].tolist() == list(range(0, 240, 8))
    assert expected["label"].tolist() == ["cat"] * 20 + ["dog"] * 10
    outdoors = (
        pd.Series(datasets.read_dataset(tmp_path / "out").subgroup("pool"))
        .str.endswith("/out")
        .sum()
    )
    assert (
        outdoors + (datasets.read_dataset(tmp_path / "out").rows("val")["place"] == "out").sum()
        == 6
    )


def test_a_drawn_split_takes_the_same_share_of_each_class_and_follows_the_seed(pictures, tmp_path):
    counts = prepare(from_folders(pictures), tmp_path / "out", val_fraction=0.3).counts
    assert counts.loc["val"].to_dict() == {"cat": 6, "dog": 3}
    first, again, other = (
        your_dataset.stratified(pd.Series(list("ab") * 20), 0.25, seed) for seed in (1, 1, 2)
    )
    assert first.equals(again)
    assert not first.equals(other)


def test_top_level_folders_train_and_test_become_pool_and_test(pictures, tmp_path):
    for split, names in (("train", ("0*", "20*", "21*")), ("test", ("1*", "22*"))):
        for file in [f for name in names for f in pictures.rglob(f"{name}.png")]:
            target = tmp_path / "splits" / split / file.parent.name
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)
    counts = prepare(from_folders(tmp_path / "splits"), tmp_path / "out").counts
    assert counts.to_dict("index") == {"pool": {"cat": 10, "dog": 2}, "test": {"cat": 10, "dog": 1}}
    assert datasets.read_dataset(tmp_path / "out").eval_splits == ["test"]


def test_a_split_column_is_kept_and_val_comes_first_in_figures(pictures, table, tmp_path):
    splits = ["train", "train", "Validation", "test", "night"] * 6
    table.assign(split=splits).to_csv(pictures / "labels.csv", index=False)
    prepare(from_table(pictures / "labels.csv", tmp_path), tmp_path / "out")
    data = datasets.read_dataset(tmp_path / "out")
    assert data.eval_splits == ["val", "test", "night"]
    assert {s: len(data.rows(s)) for s in ["pool", "val", "test", "night"]} == {
        "pool": 12,
        "val": 6,
        "test": 6,
        "night": 6,
    }


def test_a_dataset_dict_and_parquet_by_split_give_the_same_rows_and_an_unlabelled_test_set_is_left_out(
    tmp_path, capsys
):
    texts = pa.table(
        {"text": [f"words {i}" for i in range(12)], "label": [i % 2 for i in range(12)]}
    )
    parts = {
        "train": texts.slice(0, 8),
        "validation": texts.slice(8, 4),
        "test": texts.slice(0, 3).set_column(1, "label", pa.array([-1, -1, -1])),
    }
    saved = save_dict(parts, tmp_path / "saved", TEXT_FEATURES)
    (tmp_path / "hub" / "data").mkdir(parents=True)
    for split, part in parts.items():
        described = part.replace_schema_metadata(
            {"huggingface": json.dumps({"info": {"features": TEXT_FEATURES}})}
        )
        pq.write_table(described, tmp_path / "hub" / "data" / f"{split}-00000-of-00001.parquet")
    found = []
    for name, folder in (("a", saved), ("b", tmp_path / "hub")):
        prepare(from_hugging_face(str(folder), tmp_path), tmp_path / name)
        assert "split test left out: it has no labels" in capsys.readouterr().out
        data = datasets.read_dataset(tmp_path / name)
        found.append(
            pd.concat([data.rows("pool"), data.rows("val")])
            .sort_values("text")
            .reset_index(drop=True)
        )
    expected = (
        pd.DataFrame(
            {
                "text": [f"words {i}" for i in range(12)],
                "label": ["bad", "good"] * 6,
                "split": ["pool"] * 8 + ["val"] * 4,
            }
        )
        .sort_values("text")
        .reset_index(drop=True)
    )
    for frame in found:
        assert frame[["text", "label", "split"]].astype(str).equals(expected.astype(str))


def test_one_configuration_is_chosen_by_name(tmp_path):
    for config, label in (("easy", ["a", "b"]), ("hard", ["c", "d"])):
        (tmp_path / "hub" / config / "train").mkdir(parents=True)
        pq.write_table(
            pa.table({"text": ["one", "two", "three", "four"], "label": label * 2}),
            tmp_path / "hub" / config / "train" / "0000.parquet",
        )
    assert set(
        from_hugging_face(str(tmp_path / "hub"), tmp_path, config="hard").frame["label"]
    ) == {"c", "d"}
    with pytest.raises(
        ReleaseError, match="several configurations; choose one with --config: easy, hard"
    ):
        from_hugging_face(str(tmp_path / "hub"), tmp_path)


# ---- what it writes


@pytest.mark.parametrize(
    ("per_class", "expected"),
    [
        ([500, 500], (40, "balanced", 320, 40)),  # the paper's Waterbirds but for its 64 rounds
        ([60, 40], (10, "balanced", 32, 4)),
        ([300, 3], (6, "balanced", 48, 6)),  # as many as the rare class has
        ([1] * 182 + [9_000], (183, "balanced", 1464, 183)),  # iWildCam: one of each class
        ([2] * 100, (20, "random", 64, 8)),  # too many classes for one of each and a budget
    ],
)
def test_the_protocol_fits_the_pool(per_class, expected):
    counts = pd.Series(per_class)
    found = your_dataset.protocol_for(counts)
    assert (
        tuple(found[k] for k in ("seed_set_size", "seed_set", "budget", "query_batch_size"))
        == expected
    )
    assert found["budget"] <= counts.sum() / 3


@pytest.mark.parametrize("n", [2, 3, 5, 9, 20])
def test_even_a_tiny_pool_can_serve_its_protocol(n):
    found = your_dataset.protocol_for(pd.Series([n, 1]))
    assert found["seed_set_size"] + found["budget"] <= n + 1


def test_the_recipe_is_that_of_the_model(pictures, tmp_path):
    for model, size, optimizer, lr in (
        ("bit-m", 32, "sgd", 0.03),
        ("timm:resnet18.a1_in1k", 224, "adamw", 1e-4),
        ("timm:resnetv2_50x1_bit.goog_in21k", 224, "sgd", 0.003),
    ):
        found = prepare(from_folders(pictures), tmp_path / "out", model=model).description
        recipe = override(Recipe(), found["recipe"], "recipe")
        assert (found["image_size"], recipe.optimizer, recipe.lr) == (size, optimizer, lr)


def test_the_folder_can_be_planned_as_it_is(pictures, tmp_path):
    prepare(from_folders(pictures), tmp_path / "out")
    (planned, _) = plan_runs({"datasets": [str(tmp_path / "out")]})
    assert planned.config.model == "mini-bit-m"
    assert planned.config.protocol.seed_set_size == 8


def test_another_source_replaces_the_first_and_leaves_nothing_of_it(pictures, table, tmp_path):
    prepare(by_parquet_of_images(pictures, table, tmp_path), tmp_path / "out")
    prepare(from_folders(pictures), tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "dataset.yaml",
        "images",
        "manifest.csv",
        "pictures",
    ]
    assert (
        datasets.read_dataset(tmp_path / "out").rows("pool")["path"].str.startswith("images/").all()
    )


def test_a_dataset_folder_made_by_hand_is_not_overwritten(pictures, birds_copy):
    before = (birds_copy / "manifest.csv").read_bytes()
    with pytest.raises(ReleaseError, match="a dataset that this script did not write"):
        prepare(from_folders(pictures), birds_copy)
    assert (birds_copy / "manifest.csv").read_bytes() == before


def test_columns_whose_names_are_taken_are_left_out_and_named(pictures, table, tmp_path, capsys):
    table.assign(score=1, path="x", rank=2).to_csv(pictures / "labels.csv", index=False)
    assert list(from_table(pictures / "labels.csv", tmp_path).frame) == ["path", "label", "place"]
    assert from_table(
        pictures / "labels.csv", tmp_path, {"text": "place"}
    ).frame.columns.tolist() == ["image", "label", "text"]
    assert "left out, for their names are taken: score, path, rank" in capsys.readouterr().out


def test_copies_are_said_with_the_harm_they_do(pictures, tmp_path, capsys):
    shutil.copy(pictures / "cat" / "00.png", pictures / "dog" / "copy.png")
    prepare(from_folders(pictures), tmp_path / "out")
    said = capsys.readouterr().out
    assert "examples that occur more than once: 1 (first cat/00.png = dog/copy.png)" in said
    assert "of these with another label: 1; one label must be wrong" in said


def test_files_that_are_no_images_are_counted_by_their_ending(pictures, capsys):
    for name in ("notes.txt", "more.txt", "film.mp4", ".hidden"):
        (pictures / name).touch()
    assert len(from_folders(pictures).frame) == 30
    assert "their names are not those of images: 2 x .txt, 1 x .mp4" in capsys.readouterr().out


# ---- what it refuses


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


def keep_one_dog(root: Path) -> None:
    for file in sorted((root / "dog").iterdir())[1:]:
        file.unlink()


def mix_splits_and_classes(root: Path) -> None:
    (root / "cat").rename(root / "train")
    shutil.copytree(root / "train", root / "val")


def only_evaluation(root: Path) -> None:
    (root / "test").mkdir()
    for name in CLASSES:
        (root / name).rename(root / "test" / name)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (truncate, "1 of 30 images cannot be read (truncated or no image): dog/25.png"),
        (rename_to_documents, "holds no images, only 30 x .doc; images end in .bmp"),
        (shutil.rmtree, "does not exist"),
        (lambda root: [shutil.rmtree(root / c) for c in CLASSES], "holds no images, only nothing"),
        (move_one_up, "1 of 30 images lie in no class folder, first 03.png"),
        (keep_one_class, "a single class, 'cat'"),
        (
            keep_one_dog,
            "a class needs at least 2 examples, one for the pool and one for val; 1 have 1: dog",
        ),
        (mix_splits_and_classes, "train, val are splits, dog is not"),
        (only_evaluation, "no training split; found test"),
    ],
)
def test_a_folder_that_cannot_serve_ends_with_one_line(spoil, said, pictures, tmp_path, capsys):
    spoil(pictures)
    with pytest.raises(SystemExit) as stopped:
        your_dataset.main(["--images", str(pictures), "--out", str(tmp_path / "out")])
    assert said in stopped.value.code
    assert stopped.value.code.startswith("your_dataset: ")
    assert "\n" not in stopped.value.code
    assert not (tmp_path / "out" / "dataset.yaml").exists()


@pytest.mark.parametrize(
    ("change", "options", "said"),
    [
        (
            {"label": [""] + ["cat", "dog"] * 14 + ["cat"]},
            [],
            "1 of 30 rows have no label, first row 0",
        ),
        ({"image": ["gone.png"] + ["cat/00.png"] * 29}, [], "1 of 30 images missing, first"),
        ({"split": ["train"] * 29 + [""]}, [], "1 of 30 rows have no split, first row 29"),
        (
            {"split": ["train"] * 5 + ["val"] * 25},
            [],
            "1 of 2 classes have no example in the training split, first dog",
        ),
        (
            {"text": "words"},
            [],
            "both 'image' and 'text' found; name one with --image-column or --text-column; it has image, label",
        ),
        ({}, ["--label-column", "kind"], "no label column 'kind'; it has image, label, place"),
        (
            {},
            ["--subgroups", "weather"],
            "no column 'weather' to tell subgroups apart; it has label, place",
        ),
        (
            {},
            ["--model", "hf:roberta-base"],
            "--model hf:roberta-base does not read images; take bit-m or timm:NAME",
        ),
        ({}, ["--name", "my birds"], "--name may hold letters, digits"),
        ({}, ["--val-fraction", "20"], "--val-fraction must lie between 0 and 1; got 20.0"),
    ],
)
def test_a_table_that_cannot_serve_ends_with_one_line(
    change, options, said, pictures, table, tmp_path
):
    table.assign(**change).to_csv(pictures / "labels.csv", index=False)
    with pytest.raises(SystemExit) as stopped:
        your_dataset.main(
            ["--table", str(pictures / "labels.csv"), "--out", str(tmp_path / "out"), *options]
        )
    assert said in stopped.value.code
    assert "\n" not in stopped.value.code


def test_images_that_a_dataset_only_points_to_are_refused(pictures, table, tmp_path):
    content = hugging_face_table(pictures, table)
    pointing = pa.array(
        [{"bytes": None, "path": "/elsewhere/1.png"}] * 30, type=content.schema.field("image").type
    )
    saved = save_to_disk(
        content.set_column(0, "image", pointing), tmp_path / "saved", IMAGE_FEATURES
    )
    with pytest.raises(
        ReleaseError,
        match=r"only a path \(/elsewhere/1.png\); save the dataset with its images embedded",
    ):
        from_hugging_face(str(saved), tmp_path / "out")


def test_a_torn_parquet_and_a_folder_of_something_else_are_named(tmp_path):
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "train.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(ReleaseError, match=r"train\.parquet cannot be read"):
        from_hugging_face(str(tmp_path / "torn"), tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        ReleaseError,
        match=r"holds no dataset: neither state.json or dataset_dict.json \(save_to_disk\) nor",
    ):
        from_hugging_face(str(tmp_path / "empty"), tmp_path)


def test_of_a_hub_dataset_only_the_files_of_one_configuration_are_fetched(tmp_path, monkeypatch):
    """The hub is played by two functions: its main branch holds csv files, its conversion two configurations in parquet."""
    listed = {
        "main": ["README.md", "data.csv"],
        "refs/convert/parquet": ["easy/train/0000.parquet", "hard/train/0000.parquet"],
    }
    fetched = []

    def snapshot_download(name, repo_type, revision, allow_patterns):
        fetched.append((name, repo_type, revision, allow_patterns))
        for file in allow_patterns:
            (tmp_path / file).parent.mkdir(parents=True)
            pq.write_table(pa.table({"text": ["one", "two"], "label": ["a", "b"]}), tmp_path / file)
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "get_session", Mock())
    monkeypatch.setattr(
        huggingface_hub.HfApi,
        "list_repo_files",
        lambda self, name, repo_type, revision: listed[revision],
    )
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    source = from_hugging_face("someone/words", tmp_path / "out", config="easy")
    assert source.frame.to_dict("list") == {
        "text": ["one", "two"],
        "label": ["a", "b"],
        "split": ["train", "train"],
    }
    assert fetched == [
        ("someone/words", "dataset", "refs/convert/parquet", ["easy/train/0000.parquet"])
    ]


def test_without_a_network_a_hub_name_says_what_to_get_and_where_to_put_it(tmp_path):
    with pytest.raises(ReleaseError) as error:
        from_hugging_face("someone/birds", tmp_path)
    assert "the hub did not deliver it" in str(error.value)
    assert (
        "download the parquet files of https://huggingface.co/datasets/someone/birds elsewhere"
        in str(error.value)
    )
    assert "\n" not in str(error.value)


# ---- through a notebook


def test_new_texts_run_through_a_notebook_by_papermill_parameters_alone(tmp_path, home):
    rng = np.random.default_rng(0)
    words = {"good": ["fine", "lovely", "superb"], "bad": ["poor", "awful", "dull"]}
    texts = pd.DataFrame(
        [
            (
                f"the {rng.choice(['kettle', 'plot', 'tent'])} is {rng.choice(words[label])} {i}",
                label,
            )
            for i in range(30)
            for label in words
        ],
        columns=["review", "verdict"],
    )
    texts.to_parquet(tmp_path / "reviews.parquet", index=False)
    your_dataset.main(
        [
            "--table",
            str(tmp_path / "reviews.parquet"),
            "--text-column",
            "review",
            "--label-column",
            "verdict",
            "--out",
            str(tmp_path / "reviews"),
        ]
    )
    parameters = {
        "datasets": [str(tmp_path / "reviews")],
        "seeds": [1],
        "workers": 1,
        "protocol": {"budget": 4, "query_batch_size": 4},
        "recipe": {"max_steps": 2},
    }
    target = tmp_path / "out.ipynb"
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "papermill",
            "notebooks/10_your_dataset.ipynb",
            str(target),
            "-k",
            "python3",
            "--no-progress-bar",
            "-y",
            yaml.safe_dump(parameters),
        ],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    folder = home / "figures" / "custom" / "10_your_dataset"
    assert set(pd.read_csv(folder / "class_mix.csv")["class"]) == {"bad", "good"}
    assert set(pd.read_csv(folder / "final_gains.csv")["dataset"]) == {"reviews"}
    drawn = "".join(
        file.read_text(encoding="utf-8") for file in folder.glob("*.svg")
    )  # text in figures stays text
    assert "the kettle is" in drawn
