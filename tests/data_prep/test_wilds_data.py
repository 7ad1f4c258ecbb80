"""WILDS' four: tiny folders of the exact format, through the real wilds classes, to the library."""

import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import amazon
import camelyon17
import fmow
import iwildcam
import pandas as pd
import pytest
import wilds_folders
from release.command import Prepared
from release.download import download, fetch
from release.wilds import load

from alpt_lib import datasets, inputs
from alpt_lib.errors import DataError

SCRIPTS = {"iwildcam": iwildcam, "amazon": amazon, "camelyon17": camelyon17, "fmow": fmow}
OPTIONS = {"amazon": {"min_reviews": 10, "eval_reviewers": 0}}  # whose reviewers write 10 each


@pytest.fixture(scope="module")
def releases(tmp_path_factory) -> dict[str, Path]:
    """The four folders; read only."""
    writers = {name: getattr(wilds_folders, f"write_{name}") for name in SCRIPTS}
    return {name: write(tmp_path_factory.mktemp(name)) for name, write in writers.items()}


@pytest.fixture(scope="module")
def prepared(releases, tmp_path_factory) -> dict[str, datasets.Dataset]:
    """What the library reads of each."""
    folders = {}
    for name, root in releases.items():
        folders[name] = tmp_path_factory.mktemp("data") / name
        prepare(name, root, folders[name])
    return {name: datasets.read_dataset(folder) for name, folder in folders.items()}


def prepare(name: str, root: Path, out: Path, **changes) -> Prepared:
    options = {"allow_different": True, **OPTIONS.get(name, {}), **changes}
    return SCRIPTS[name].prepare(root, out, **options)


def first_colours(data: datasets.Dataset, split: str) -> list[list[int]]:
    """Mean colours of the first two images, to the next ten."""
    pixels = inputs.images(data, split, 8)[:2]
    return pixels.mean(axis=(1, 2)).round(-1).tolist()


def edit(file: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    """Change a csv as text, everything else as it was."""
    change(pd.read_csv(file, dtype=str, keep_default_na=False)).to_csv(file, index=False)


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("iwildcam", {"pool": 24, "val": 8, "id_val": 8}),
        ("amazon", {"pool": 60, "val": 30}),
        ("camelyon17", {"pool": 24, "val": 8, "id_val": 8}),
        ("fmow", {"pool": 24, "val": 8, "id_val": 8}),
    ],
)
def test_the_library_reads_the_pool_and_the_evaluation_splits_figures_first(prepared, name, sizes):
    data = prepared[name]
    assert {split: len(data.rows(split)) for split in ["pool", *data.eval_splits]} == sizes
    assert data.eval_splits[0] == "val"


def test_iwildcam_names_its_animals_and_its_cameras(prepared):
    data = prepared["iwildcam"]
    assert data.classes == ["empty", "tayassu pecari", "puma concolor", "mazama americana"]
    assert data.rows("pool")["label"].tolist()[:4] == data.classes
    for split in ("pool", "id_val"):
        assert set(data.rows(split)["location"]) == {"location 0", "location 1"}
    assert set(data.rows("val")["location"]) == {"location 2"}
    assert set(data.subgroup("val")) == set(data.classes)
    # a grey picture is read as colour
    assert inputs.images(data, "pool", 8).shape == (24, 8, 8, 3)
    # one label a class, and eight times that
    protocol = data.description.protocol
    assert (protocol["seed_set_size"], protocol["budget"]) == (4, 32)
    assert iwildcam.describe([str(i) for i in range(182)])["protocol"]["budget"] == 1456


def test_camelyon_has_other_hospitals_in_val_than_in_the_pool(prepared):
    data = prepared["camelyon17"]
    assert data.name == "camelyon17"
    pairs = {f"{label}/hospital {i}" for label in ("normal", "tumor") for i in (0, 3, 4)}
    assert set(data.subgroup("pool")) == pairs
    assert set(data.subgroup("val")) == {"normal/hospital 1", "tumor/hospital 1"}
    # normal, tumor
    assert first_colours(data, "val") == [[200, 40, 40], [40, 40, 200]]


def test_fmow_numbers_pictures_by_the_row_of_the_whole_table(prepared, releases):
    data = prepared["fmow"]
    table = pd.read_csv(releases["fmow"] / "fmow_v1.1" / "rgb_metadata.csv")
    rows = data.rows("pool")["path"].str.extract(r"rgb_img_(\d+)\.png")[0].astype(int)
    assert table["category"][rows].tolist() == data.rows("pool")["label"].tolist()
    assert set(table["split"][rows]) == {"train"}
    assert first_colours(data, "pool") == [[200, 40, 40], [40, 40, 200]]


def test_fmow_knows_years_and_regions(prepared):
    data = prepared["fmow"]
    assert set(data.rows("pool")["year"]) == {"2011"}
    assert set(data.rows("val")["year"]) == {"2014"}
    assert set(data.subgroup("pool")) == {"Europe", "Americas", "Other"}
    assert data.classes == ["airport", "dam", "port", "zoo"]


def test_amazon_reviews_are_those_of_the_wilds_class(prepared, releases):
    dataset = load(releases["amazon"] / "amazon_v2.1")
    reviewers, products = (dataset.metadata_map[field] for field in ("user", "category"))
    column = {field: i for i, field in enumerate(dataset.metadata_fields)}
    for split, theirs in (("pool", "train"), ("val", "val")):
        ours = prepared["amazon"].rows(split)
        subset = dataset.get_subset(theirs)
        assert ours["text"].tolist() == [subset[i][0] for i in range(len(subset))]
        assert ours["label"].astype(int).tolist() == [int(y) + 1 for y in subset.y_array]
        rows = subset.metadata_array.numpy().astype(int)
        assert ours["reviewer"].tolist() == [reviewers[i] for i in rows[:, column["user"]]]
        assert ours["category"].tolist() == [products[i] for i in rows[:, column["category"]]]


def test_amazon_is_read_alike_in_any_pieces(prepared, releases, tmp_path, monkeypatch):
    monkeypatch.setattr(amazon, "ROWS_AT_ONCE", 7)
    prepare("amazon", releases["amazon"], tmp_path / "out")
    rows = datasets.read_dataset(tmp_path / "out").rows("pool")
    pd.testing.assert_frame_equal(rows, prepared["amazon"].rows("pool"))


def test_evaluation_reviewers_with_few_reviews_are_left_out_and_the_rest_drawn_alike(
    releases, tmp_path, capsys
):
    copy = shutil.copytree(releases["amazon"], tmp_path / "release")
    splits = copy / "amazon_v2.1" / "splits" / "user.csv"
    # the first of the first evaluation reviewer's ten
    first = pd.read_csv(splits)["split"].eq(1).idxmax()
    edit(splits, lambda t: t.assign(split=t["split"].where(t.index != first, "-1.0")))
    prepared = [prepare("amazon", copy, tmp_path / f"{i}", eval_reviewers=1) for i in range(2)]
    drawn = [each.manifest for each in prepared]
    said = "evaluation: 1 of 3 reviewers; 1 have fewer than 10 reviews, 1 were not drawn"
    assert said in capsys.readouterr().out
    reviewers = [set(m.loc[m["split"] == "val", "reviewer"]) for m in drawn]
    assert reviewers[0] == reviewers[1]
    assert reviewers[0] < {"AVAL1", "AVAL2"}
    assert (drawn[0]["split"] == "pool").sum() == 60


def test_classes_that_the_pool_lacks_are_dropped_from_evaluation_and_counted(
    releases, tmp_path, capsys
):
    copy = shutil.copytree(releases["iwildcam"], tmp_path / "release")

    def without_puma(table: pd.DataFrame) -> pd.DataFrame:
        is_puma = (table["y"] == "2") & (table["split"] == "train")
        return table.assign(y=table["y"].where(~is_puma, "0"))

    edit(copy / "iwildcam_v2.0" / "metadata.csv", without_puma)
    prepare("iwildcam", copy, tmp_path / "out")
    said = "dropped 6 examples outside the pool, of 1 classes that the pool lacks, first 'puma"
    assert said in capsys.readouterr().out
    data = datasets.read_dataset(tmp_path / "out")
    assert data.classes == ["empty", "tayassu pecari", "mazama americana"]
    assert len(data.rows("val")) == 6
    assert data.description.protocol["seed_set_size"] == 3


def test_without_names_classes_are_called_by_their_numbers(releases, tmp_path):
    copy = shutil.copytree(releases["iwildcam"], tmp_path / "release")
    (copy / "iwildcam_v2.0" / "categories.csv").unlink()
    classes = prepare("iwildcam", copy, tmp_path / "out").description["classes"]
    assert classes == ["empty", "1", "2", "3"]


def drop(column: str, file: str) -> Callable[[Path], None]:
    return lambda folder: edit(folder / file, lambda table: table.drop(columns=column))


def put(column: str, value: str, file: str, row: int = 0) -> Callable[[Path], None]:
    def change(table: pd.DataFrame) -> pd.DataFrame:
        return table.assign(**{column: table[column].where(table.index != row, value)})

    return lambda folder: edit(folder / file, change)


def swap(column: str, old: str, new: str, file: str) -> Callable[[Path], None]:
    def change(table: pd.DataFrame) -> pd.DataFrame:
        return table.assign(**{column: table[column].replace(old, new)})

    return lambda folder: edit(folder / file, change)


def remove(pattern: str) -> Callable[[Path], None]:
    return lambda folder: sorted(folder.glob(pattern))[0].unlink()


def cut(pattern: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        file = sorted(folder.glob(pattern))[0]
        file.write_bytes(file.read_bytes()[:-100])

    return spoil


def shorten(folder: Path) -> None:
    edit(folder / "splits" / "user.csv", lambda t: t.iloc[:-3])


META = "metadata.csv"
RGB = "rgb_metadata.csv"
REVIEWS = "reviews.csv"
USER = "splits/user.csv"
IWILDCAM = [
    (remove("RELEASE*"), "RELEASE_v2.0.txt is missing: the release comes with it"),
    (
        drop("sequence_remapped", META),
        "column 'sequence_remapped' missing; it has Unnamed: 0, split, location_remapped, y",
    ),
    (swap("y", "1", "0", META), "y leaves out 1, but 0 to 3 must all occur"),
    (
        swap("location_remapped", "0", "1", META),
        "location_remapped leaves out 0, but 0 to 3 must all occur",
    ),
    (put("y", "", META, row=3), "y must be a whole number; got '' in row 3 (1 such rows)"),
    (
        put("datetime", "2013-06-05 05:44:19", META),
        "with a fraction of a second; got '2013-06-05 05:44:19' in row 0",
    ),
    (
        put("split", "training", META),
        "split must be one of train, val, id_val, test, id_test; got 'training' in row 0",
    ),
    (swap("split", "val", "test", META), "no images in split 'val' (48 in the others)"),
    (remove("train/id_val000*"), "1 of 40 images missing, first"),
    (cut("train/val003*"), "1 of 40 images cannot be read: val003"),
    (
        put("name", "empty", "categories.csv", row=1),
        "categories.csv gives 3 different names in 4 rows for 4 classes",
    ),
]
AMAZON = [
    (remove("RELEASE*"), "RELEASE_v2.1.txt is missing: the release comes with it"),
    (remove(USER), "user.csv is missing: unpack the release again"),
    (drop("category", REVIEWS), "column 'category' missing; it has reviewerID, asin, overall"),
    (swap("split", "1.0", "3.0", USER), "no reviews in split 'val' (112 in the others)"),
    (put("split", "7.0", USER), "split must be one of -1, 0, 1, 2, 3, 4; got '7.0' in row 0"),
    (shorten, "reviews.csv has 122 rows but splits/user.csv 119; they must be of one release"),
    (put("overall", "", REVIEWS), "overall must be a whole number of stars from 1 to 5; got"),
    (swap("overall", "2.0", "3.0", REVIEWS), "no example of class '2' in the pool; it has {"),
    (put("reviewerID", "", REVIEWS, row=1), "reviewerID must be given; got '' in row 1"),
]
CAMELYON17 = [
    (remove("RELEASE*"), "RELEASE_v1.0.txt is missing: the release comes with it"),
    (drop("tumor", META), "column 'tumor' missing; it has Unnamed: 0, patient, node"),
    (drop("Unnamed: 0", META), "the first column must be the row number; it is 'patient'"),
    (put("patient", "4", META), "patient must be three digits such as 004; got '4' in row 0"),
    (put("tumor", "", META), "tumor must be one of 0, 1; got '' in row 0"),
    (put("slide", "", META), "slide must be a whole number; got '' in row 0"),
    (swap("center", "1", "2", META), "no images in split 'val' (44 in the others)"),
    (
        swap("tumor", "1", "0", META),
        "no example of class 'tumor' in the pool; it has {'normal': 24}",
    ),
    (remove("patches/patient_004*/*.png"), "1 of 40 images missing, first"),
    (cut("patches/patient_024*/*.png"), "1 of 40 images cannot be read: patches/patient_024"),
]
FMOW = [
    (remove("RELEASE*"), "RELEASE_v1.1.txt is missing: the release comes with it"),
    (
        remove("country_code_mapping.csv"),
        "country_code_mapping.csv is missing: unpack the release again",
    ),
    (drop("timestamp", RGB), "column 'timestamp' missing; it has split, country_code, category"),
    (
        put("category", "castle", RGB, row=1),
        "category must be one of the 62 known ones; got 'castle' in row 1",
    ),
    (
        put("timestamp", "2011-05-06", RGB, row=1),
        "timestamp must be like 2012-05-06T08:21:28Z; got '2011-05-06' in row 1",
    ),
    (
        put("timestamp", "", RGB, row=2),
        "timestamp must be like 2012-05-06T08:21:28Z; got '' in row 2",
    ),
    (
        put("timestamp", "2019-05-06T08:21:28Z", RGB, row=1),
        "timestamp must be from 2002 to 2017; got '2019",
    ),
    (swap("split", "val", "test", RGB), "no images in split 'val' (40 in the others)"),
    (remove("images/rgb_img_*.png"), "1 of 40 images missing, first"),
    (cut("images/rgb_img_*.png"), "1 of 40 images cannot be read: rgb_img_"),
]
WRONG = {"iwildcam": IWILDCAM, "amazon": AMAZON, "camelyon17": CAMELYON17, "fmow": FMOW}
CASES = [
    pytest.param(name, spoil, said, id=f"{name}-{said[:40]}")
    for name, cases in WRONG.items()
    for spoil, said in cases
]


@pytest.mark.parametrize(("name", "spoil", "said"), CASES)
def test_a_wrong_folder_is_refused_in_one_line_and_nothing_is_written(
    releases, tmp_path, name, spoil, said
):
    root = shutil.copytree(releases[name], tmp_path / "release")
    spoil(next(root.iterdir()))
    with pytest.raises(DataError) as error:
        prepare(name, root, tmp_path / "out")
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("iwildcam", "5 of 5 counts differ from {}: pool images: 24 instead of 129809"),
        ("amazon", "5 of 5 counts differ from {}: pool reviews: 60 instead of 245502"),
        ("camelyon17", "4 of 4 counts differ from {}: pool images: 24 instead of 302436"),
        ("fmow", "5 of 5 counts differ from {}: pool images: 24 instead of 76863"),
    ],
)
def test_counts_must_be_the_published_ones_unless_allowed(releases, tmp_path, name, said):
    with pytest.raises(DataError, match=said.format("the published ones")):
        prepare(name, releases[name], tmp_path / "out", allow_different=False)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "said"), [("iwildcam", "4 instead of 182"), ("fmow", "4 instead of 62")]
)
def test_a_release_of_the_right_size_with_too_few_classes_is_refused(
    releases, tmp_path, monkeypatch, name, said
):
    sizes = prepare(name, releases[name], tmp_path / "allowed")
    assert f"pool classes: {said}" in sizes.different
    monkeypatch.setattr(SCRIPTS[name], "PUBLISHED", sizes.counts)
    said = f"1 of 1 counts differ from the published ones: pool classes: {said}"
    with pytest.raises(DataError, match=said):
        prepare(name, releases[name], tmp_path / "out", allow_different=False)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_folder_without_the_release_says_what_to_give(tmp_path, name):
    said = f"is missing: --root takes the folder {SCRIPTS[name].FOLDER} of WILDS, or"
    with pytest.raises(DataError, match=said):
        prepare(name, tmp_path, tmp_path / "out")


def test_the_release_folder_itself_is_as_good_as_the_one_that_holds_it(releases, tmp_path):
    prepared = prepare("camelyon17", releases["camelyon17"] / "camelyon17_v1.0", tmp_path / "out")
    assert len(prepared.manifest) == 44


def test_what_the_checks_miss_still_ends_in_one_line(releases, tmp_path):
    folder = shutil.copytree(releases["iwildcam"], tmp_path / "release") / "iwildcam_v2.0"
    swap("y", "1", "0", META)(folder)
    with pytest.raises(DataError, match="the wilds package cannot load it"):
        load(folder)


def test_the_published_counts_add_up_to_the_sizes_in_the_wilds_paper():
    # WILDS (Koh et al. 2021), Fig. 2; FMoW: without its sequestered images
    totals = {name: int(script.PUBLISHED.sum().item()) for name, script in SCRIPTS.items()}
    assert list(totals.values()) == [203_029, 539_502, 455_954, 141_696]


def test_bundles_are_those_that_the_wilds_package_would_fetch():
    from wilds.datasets import amazon_dataset, camelyon17_dataset, fmow_dataset, iwildcam_dataset

    classes = {
        "iwildcam": iwildcam_dataset.IWildCamDataset,
        "amazon": amazon_dataset.AmazonDataset,
        "camelyon17": camelyon17_dataset.Camelyon17Dataset,
        "fmow": fmow_dataset.FMoWDataset,
    }
    for name, script in SCRIPTS.items():
        theirs = classes[name]._versions_dict[script.FOLDER.rpartition("_v")[2]]
        assert script.ARCHIVE.urls[0] == theirs["download_url"]
        assert script.ARCHIVE.about_bytes == theirs["compressed_size"]


def test_a_flat_bundle_of_wilds_is_unpacked_into_the_folder_that_the_package_expects(
    releases, tmp_path
):
    source = tmp_path / "source"
    source.mkdir()
    # as its host serves it: the content of the folder
    with tarfile.open(source / camelyon17.ARCHIVE.file, "w:gz") as archive:
        archive.add(releases["camelyon17"] / "camelyon17_v1.0", ".")
    fetch([replace(camelyon17.ARCHIVE, about_bytes=None)], source)
    assert [path.name for path in source.iterdir()] == ["camelyon17_v1.0"]
    assert len(prepare("camelyon17", source, tmp_path / "out").manifest) == 44


def test_where_no_mirror_delivers_another_source_is_named(tmp_path):
    nowhere = replace(amazon.ARCHIVE, urls=("http://127.0.0.1:1/nothing",))
    said = r"elsewhere \(the archive files of huggingface.co/datasets/pangwei/wilds-amazon"
    with pytest.raises(DataError, match=said):
        download(nowhere, tmp_path)


def test_the_command_lines_end_with_counts_or_with_one_line_and_exit_1(releases, tmp_path):
    def run(*arguments) -> subprocess.CompletedProcess:
        where = ("--root", releases["amazon"], "--out", tmp_path / "out")
        command = [sys.executable, amazon.__file__, *map(str, where), *arguments]
        return subprocess.run(command, capture_output=True, text=True)

    refused = run()
    assert refused.returncode == 1
    assert refused.stderr.startswith("amazon: 5 of 5 counts differ")
    assert refused.stderr.count("\n") == 1
    done = run("--allow-different", "--min-reviews", "10", "--eval-reviewers", "2")
    assert done.returncode == 0
    assert "not as published: val reviews: 30 instead of 100050" in done.stdout
    assert len(datasets.read_dataset(tmp_path / "out").rows("val")) == 20
