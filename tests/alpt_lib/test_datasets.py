"""The data contract: what a manifest means, and everything that can be wrong with it."""

import os
import shutil

import pandas as pd
import pytest
import yaml

from alpt_lib.datasets import (
    CANNOT_TELL,
    Description,
    locate,
    prepared,
    read_dataset,
    write_dataset,
)
from alpt_lib.errors import DataError


def describe(folder, **changes):
    """Change keys of dataset.yaml; None removes a key."""
    file = folder / "dataset.yaml"
    content = {**yaml.safe_load(file.read_text()), **changes}
    file.write_text(yaml.safe_dump({k: v for k, v in content.items() if v is not None}))


def edit(folder, change):
    """Pass the manifest through a function."""
    change(pd.read_csv(folder / "manifest.csv")).to_csv(folder / "manifest.csv", index=False)


def keys(**changes):
    return lambda folder: describe(folder, **changes)


def rows(change):
    return lambda folder: edit(folder, change)


def drop(column):
    return rows(lambda manifest: manifest.drop(columns=column))


def unlink(name):
    return lambda folder: (folder / name).unlink()


def write(name, content):
    data = content if isinstance(content, bytes) else content.encode()
    return lambda folder: (folder / name).write_bytes(data)


def cell(column, row, value):
    """One other value, also of another type."""

    def spoil(folder):
        manifest = pd.read_csv(folder / "manifest.csv").astype(object)
        manifest.loc[row, column] = value
        manifest[column] = manifest[column].map(lambda v: v if v is None else str(v))
        manifest.to_parquet(folder / "manifest.parquet")

    return spoil


def number_paths(folder):
    manifest = pd.read_csv(folder / "manifest.csv").assign(path=3)
    manifest.to_parquet(folder / "manifest.parquet")


def image_becomes_folder(folder):
    (folder / "images" / "3.png").unlink()
    (folder / "images" / "3.png").mkdir()


def test_a_row_number_counts_within_its_split(birds_folder, reviews_folder):
    data = read_dataset(birds_folder)
    manifest = pd.read_csv(birds_folder / "manifest.csv")
    assert data.rows("val")["path"].tolist() == manifest["path"][100:].tolist()
    assert data.files("val")[3] == birds_folder / manifest["path"][103]
    assert data.labels("pool").tolist() == data.pool().labels.tolist() == [0, 1] * 50
    assert list(data.attributes("val")) == ["label", "background"]
    with pytest.raises(DataError, match=r"unknown split 'test'; known: pool, val"):
        data.rows("test")
    texts = read_dataset(reviews_folder).rows("val")["text"].tolist()
    assert texts == pd.read_csv(reviews_folder / "manifest.csv")["text"][60:].tolist()


def test_subgroups_join_the_named_columns_and_the_minority_are_those_under_half_their_even_share(
    birds_folder,
):
    data = read_dataset(birds_folder)
    manifest = pd.read_csv(birds_folder / "manifest.csv")
    names = (manifest["label"] + "/" + manifest["background"])[:100]
    assert data.subgroup("pool").tolist() == names.tolist()
    counts = names.value_counts()
    assert data.pool_shares.to_dict() == (counts / 100).to_dict()
    assert data.minority == sorted(counts.index[counts < 100 / 4 / 2])
    assert len(data.minority) == 2


def test_without_subgroup_columns_there_is_one_and_an_attribute_called_NA_stays_a_name(birds_copy):
    edit(birds_copy, lambda m: m.assign(background="NA"))
    assert set(read_dataset(birds_copy).subgroup("val")) == {"tall/NA", "wide/NA"}
    describe(birds_copy, subgroups=[])
    assert set(read_dataset(birds_copy).subgroup("pool")) == {"all"}


def test_every_split_but_the_pool_is_evaluated_unless_some_are_named(birds_copy):
    edit(birds_copy, lambda m: pd.concat([m, m[-4:].assign(split="test")]))
    assert read_dataset(birds_copy).eval_splits == ["test", "val"]
    describe(birds_copy, eval_splits=["test"])
    assert read_dataset(birds_copy).eval_splits == ["test"]


def test_labels_that_are_numbers_match_classes_that_are_numbers(birds_copy):
    edit(birds_copy, lambda m: m.assign(label=m["label"].map({"tall": 1, "wide": 2})))
    describe(birds_copy, classes=[1, 2])
    assert read_dataset(birds_copy).labels("pool").tolist() == [0, 1] * 50


def test_of_pool_examples_the_oracle_may_be_unable_to_tell_the_class(birds_copy):
    edit(birds_copy, lambda m: m.assign(label=m["label"].where(m.index != 1, CANNOT_TELL)))
    assert read_dataset(birds_copy).labels("pool").tolist() == [0, -1] + [0, 1] * 49
    edit(birds_copy, lambda m: m.assign(label=m["label"].where(m.index != 120, CANNOT_TELL)))
    with pytest.raises(DataError, match=r"1 label\(s\) outside the classes .* in row 120"):
        read_dataset(birds_copy)


@pytest.mark.parametrize("content", ["path", "text"])
def test_what_is_written_as_csv_or_parquet_is_read_back(birds_folder, tmp_path, content):
    frame = pd.read_csv(birds_folder / "manifest.csv").rename(columns={"path": content})
    frame[content] = frame[content].str.removeprefix("images/")
    description = {"name": "été", "classes": ["tall", "wide"]}
    if content == "text":
        frame.loc[0, "text"] = 'a "quoted", long\r\ntext'
        description["modality"] = "text"
    images = birds_folder / "images" if content == "path" else None
    # the second time another folder stands there
    for _ in range(2):
        write_dataset(tmp_path / "written", frame, description, images)
    data = read_dataset(tmp_path / "written")
    expected = frame.iloc[:100].assign(path="images/" + frame["path"]) if images else frame[:100]
    pd.testing.assert_frame_equal(data.rows("pool"), expected, check_dtype=False)
    assert data.name == "été"


def test_a_dataset_is_found_by_name_in_its_tier_or_by_path(birds_folder, home):
    (home / "data" / "mini").mkdir()
    place = home / "data" / "mini" / "toybirds"
    place.symlink_to(birds_folder)
    assert prepared("mini") == {"toybirds": place}
    assert locate("toybirds") == place
    assert locate(str(birds_folder)) == birds_folder
    said = r"unknown dataset 'toybird' \(did you mean 'toybirds'\?\); known: toybirds"
    with pytest.raises(DataError, match=said):
        locate("toybird")


def replace_in_place(folder):
    """Other bytes, as many, in the same inode, a moment after the file was hashed."""
    file = folder / "images" / "0.png"
    file.write_bytes(file.read_bytes()[::-1])


def replace_by_a_copy(folder):
    """Another file of the same size and time, as rsync puts it there."""
    file = folder / "images" / "0.png"
    copy = shutil.copy2(file, folder / "copy.png")
    copy.write_bytes(file.read_bytes()[::-1])
    os.utime(copy, ns=(file.stat().st_mtime_ns,) * 2)
    os.replace(copy, file)


def prepare_again(folder):
    frame = pd.read_csv(folder / "manifest.csv")
    write_dataset(folder, frame[:-1], yaml.safe_load((folder / "dataset.yaml").read_text()))


def touch(folder):
    """The same bytes at another time."""
    for file in (folder / "images" / "0.png", folder / "manifest.csv"):
        os.utime(file, (1, 1))


@pytest.mark.parametrize("settled", [True, False])
@pytest.mark.parametrize(
    ("change", "is_another"),
    [
        (replace_in_place, True),
        (replace_by_a_copy, True),
        (prepare_again, True),
        (rows(lambda m: m.assign(label=m["label"][::-1].to_numpy())), True),
        (rows(lambda m: m.assign(background="red")), True),
        (keys(classes=["wide", "tall"]), True),
        (keys(subgroups=["label"]), True),
        (keys(minority=["tall/red"]), True),
        (keys(title="Toy birds", image_size=16, protocol={}), False),
        (touch, False),
    ],
)
def test_what_changes_in_a_folder_is_seen_at_once_and_makes_another_dataset(
    birds_copy, change, is_another, settled
):
    if settled:
        # files so old that their hashes are remembered
        for file in (birds_copy / "images").iterdir():
            os.utime(file, (1e9, 1e9))
    before = read_dataset(birds_copy)
    fingerprint = before.fingerprint
    change(birds_copy)
    after = read_dataset(birds_copy)
    assert (after.fingerprint != fingerprint) == is_another
    assert before.fingerprint == fingerprint
    described = yaml.safe_load((birds_copy / "dataset.yaml").read_text())
    assert after.description == Description(**described)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (unlink("dataset.yaml"), r"dataset.yaml is missing: a dataset folder needs"),
        (unlink("manifest.csv"), r"manifest missing: no manifest.csv or manifest.parquet in"),
        (write("dataset.yaml", "classes: [a"), r"is not valid yaml"),
        (write("dataset.yaml", bytes(range(128, 256))), r"dataset.yaml is not valid yaml"),
        (
            write("dataset.yaml", "!!python/object/apply:os.abort []"),
            r"not valid yaml: could not determine a construct",
        ),
        (write("dataset.yaml", ""), r"must be a mapping with at least `classes"),
        (
            write("dataset.yaml", "- a\n- b\n"),
            r"must be a mapping with at least `classes: \[\.\.\.",
        ),
        (write("manifest.csv", ""), r"manifest.csv has no rows"),
        (write("manifest.csv", "path,label,split,background\n"), r"manifest.csv has no rows"),
        (write("manifest.csv", bytes(range(256)) * 20), r"manifest.csv cannot be read"),
        (write("manifest.csv", b"\0" * 99), r"manifest.csv cannot be read"),
        (write("manifest.parquet", "nope"), r"manifest.parquet cannot be read"),
        (keys(classes=[]), r"must be a mapping with at least `classes"),
        (keys(classes=["tall"]), r"classes must be two or more, each once; got \['tall'\]"),
        (keys(classes=[True, "tall"]), r"yaml reads a class as True: put yes, no, on, off in quo"),
        (keys(classes="tall"), r"classes must be a valid list; got 'tall'"),
        (keys(classes={"tall": 0}), r"classes must be a valid list; got \{'tall': 0\}"),
        (keys(subgroups="label"), r"subgroups must be a valid list; got 'label'"),
        (keys(minority=3), r"minority must be a valid list; got 3"),
        (keys(percentile_over=["background"]), r"percentile_over must be a valid string; got"),
        (keys(image_size=0), r"image_size must be greater than or equal to 1; got 0"),
        (keys(max_tokens=1), r"max_tokens must be greater than or equal to 3; got 1"),
        (keys(protocol=[1]), r"protocol must be a valid dictionary; got \[1\]"),
        (keys(recipe="fast"), r"recipe must be a valid dictionary; got 'fast'"),
        (keys(name="a/b"), r"name must be a word without slashes .*; got 'a/b'"),
        (keys(name="a\0b"), r"without slashes and control characters, .*; got 'a\\x00b'"),
        (keys(name="é" * 51), r"name must be a word .*, of at most 100 bytes"),
        (keys(image_size="big"), r"image_size must be a valid integer; got 'big' \(str\)"),
        (
            keys(subgroup=[]),
            r"unknown setting 'subgroup' \(did you mean 'subgroups'\?\); known: name, c",
        ),
        (keys(modality="video"), r"unknown modality 'video'; known: image, text"),
        (keys(modality="text"), r"column 'text' missing from the manifest"),
        (keys(percentile_over="reviewer"), r"column 'reviewer' missing from the manifest"),
        (keys(classes=["tall", "x"]), r"74 label\(s\) outside the .*'x'\], first 'wide' in row 1"),
        (keys(eval_splits=["test"]), r"split 'test' missing; the manifest has \['pool', 'val'\]"),
        (keys(eval_splits=["pool"]), r"eval_splits must name each evaluation split once, and not"),
        (
            keys(minority=["tall/x"]),
            r"unknown minority subgroup 'tall/x'.*known: tall/green, tall/r",
        ),
        (drop("path"), r"column 'path' missing from the manifest; it has label, split, background"),
        (drop("label"), r"column 'label' missing from the manifest"),
        (drop("split"), r"column 'split' missing from the manifest"),
        (drop("background"), r"column 'background' missing from the manifest"),
        (
            rows(lambda m: m.assign(split="val")),
            r"split 'pool' missing; the manifest has \['val'\]",
        ),
        (rows(lambda m: m.assign(split="pool")), r"no evaluation split; the manifest has only 'po"),
        (rows(lambda m: m.assign(split=m["split"][m.index != 7])), r"1 row\(s\) without a split"),
        (rows(lambda m: pd.concat([m, m[:2]])), r"2 image\(s\) are in the pool twice"),
        (cell("path", 120, "images/0.png"), r"or in an evaluation split too, first images/0.png"),
        (cell("path", 5, None), r"1 row.* without a path, first .* in row 5"),
        (cell("path", 5, ""), r"1 row.* without a path, first '' in row 5"),
        (cell("path", 5, "/etc/hostname"), r"/etc/hostname"),
        (cell("label", 5, ""), r"1 label.* outside the classes .* first '' in row 5"),
        (cell("label", 5, None), r"1 label.* outside the classes .* in row 5"),
        (number_paths, r"148 row.* without a path, first .*3\)? in row 0"),
        (image_becomes_folder, r"1 of 148 image files missing, first .*images/3.png"),
        (unlink("images/5.png"), r"1 of 148 image files missing, first .*5.png"),
    ],
)
def test_a_spoiled_folder_is_refused_in_a_line(birds_copy, spoil, said):
    spoil(birds_copy)
    with pytest.raises(DataError, match=said) as error:
        read_dataset(birds_copy)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("path", ["../outside.png", "images/link.png"])
def test_images_outside_the_folder_are_read_only_where_it_says_so(birds_copy, path):
    outside = (birds_copy / "images" / "0.png").rename(birds_copy.parent / "outside.png")
    (birds_copy / "images" / "link.png").symlink_to(outside)
    edit(birds_copy, lambda m: m.replace({"path": {"images/0.png": path}}))
    with pytest.raises(DataError, match=r"png leads out of the dataset folder; .*allow_outside: t"):
        read_dataset(birds_copy)
    describe(birds_copy, allow_outside=True)
    assert len(read_dataset(birds_copy).rows("pool")) == 100
