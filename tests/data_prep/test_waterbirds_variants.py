"""Waterbirds at other match fractions, of small CUB and Places folders; labels as released."""

import io
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import waterbirds_variants as variants
from cub_folders import N_PER_SPECIES, SCENE_BLUE, SCENES, SPECIES, write_cub, write_places
from PIL import Image
from readers.cub import PLACES, archives, read_cub
from release.archive import unpack

from alpt_lib import datasets, inputs
from alpt_lib.errors import DataError

PERCENTS = (50, 60, 70, 80, 90, 95)


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("source")
    write_cub(root)
    write_places(root / "places" / "data_large")
    return root


@pytest.fixture
def source(original, tmp_path) -> Path:
    """A copy that a test may spoil."""
    return shutil.copytree(original, tmp_path / "source")


@pytest.fixture(scope="module")
def prepared(original, tmp_path_factory) -> Path:
    """The paper's grid; read only."""
    out = tmp_path_factory.mktemp("out")
    prepare(original, out)
    return out


def manifest(out: Path, percent: int) -> pd.DataFrame:
    return pd.read_csv(out / f"waterbirds_{percent}" / "manifest.csv")


def image(out: Path, percent: int, row) -> np.ndarray:
    return np.asarray(Image.open(out / f"waterbirds_{percent}" / row.path)).astype(int)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def prepare(source: Path, out: Path, **options) -> None:
    variants.prepare(source, out, allow_different=True, **options)


def run_script(*arguments) -> subprocess.CompletedProcess:
    command = [sys.executable, variants.__file__, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def test_each_variant_is_a_folder_that_the_library_reads(prepared):
    for percent in PERCENTS:
        data = datasets.read_dataset(prepared / f"waterbirds_{percent}")
        assert data.name == f"waterbirds_{percent}"
        assert data.description.title == f"Waterbirds, {percent}% matched"
        assert f"{percent}% of the pool is matched" in data.description.description
        assert data.eval_splits == ["val"]
        assert data.minority == ["landbird/water", "waterbird/land"]
    assert inputs.images(data, "pool", 8).shape == (42, 8, 8, 3)
    assert data.description.recipe["micro_batch_size"] == 4


def test_splits_and_classes_are_the_same_at_every_fraction(prepared):
    by_hand = {"landbird": [17, 12, 7], "waterbird": [25, 18, 11]}
    for percent in PERCENTS:
        table = manifest(prepared, percent)
        sizes = pd.crosstab(table["split"], table["label"]).loc[["pool", "test", "val"]]
        assert sizes.to_dict("list") == by_hand
        columns = ["label", "split", "species"]
        pd.testing.assert_frame_equal(table[columns], manifest(prepared, 50)[columns])


# of 17 and 25, a half rounded up
@pytest.mark.parametrize(
    ("percent", "landbirds", "waterbirds"),
    [(50, 9, 13), (60, 10, 15), (70, 12, 18), (80, 14, 20), (90, 15, 23), (95, 16, 24)],
)
def test_the_pool_is_matched_as_asked_and_the_rest_half_and_half(
    prepared, percent, landbirds, waterbirds
):
    table = manifest(prepared, percent)
    table["matched"] = (table["label"] == "landbird") == (table["background"] == "land")
    matched = table.groupby(["split", "label"])["matched"].sum()
    assert (matched["pool", "landbird"], matched["pool", "waterbird"]) == (landbirds, waterbirds)
    assert (matched["val", "landbird"], matched["val", "waterbird"]) == (4, 6)  # of 7 and 11
    assert (matched["test", "landbird"], matched["test", "waterbird"]) == (6, 9)  # of 12 and 18


def test_rounding_is_exact_where_floating_point_is_not():
    assert variants.n_matched(0.7, 10) == 7
    assert variants.n_matched(0.145, 100) == 15  # 14.5; in floating point 14.499999999999998
    # the published group sizes of the original release
    assert variants.n_matched(0.95, 3682) == 3498
    assert variants.n_matched(0.95, 1113) == 1057
    assert variants.n_matched(0.5, 933) == 467


def test_only_backgrounds_that_must_change_do(prepared):
    for fewer, more in pairwise(PERCENTS):
        a = manifest(prepared, fewer)
        b = manifest(prepared, more)
        moved = a["path"] != b["path"]
        assert (a.loc[moved, "split"] == "pool").all()
        at_home = b["background"].map({"land": "landbird", "water": "waterbird"})
        # a higher fraction only brings birds home
        assert (b.loc[moved, "label"] == at_home[moved]).all()
        assert (a.loc[~moved, "scene"] == b.loc[~moved, "scene"]).all()


def test_no_scene_is_used_twice_and_each_fits_its_background(prepared):
    for percent in (50, 95):
        table = manifest(prepared, percent)
        assert not table["scene"].duplicated().any()
        kinds = table["scene"].str.split("/").str[2].groupby(table["background"]).agg(set)
        assert kinds.to_dict() == {"land": {"bamboo_forest", "forest"}, "water": {"ocean", "lake"}}


def test_scenes_are_used_again_where_there_are_too_few_and_that_is_said(source, tmp_path, capsys):
    for scene in SCENES:
        for file in sorted((source / "places" / "data_large" / scene).glob("*"))[3:]:
            file.unlink()
    prepare(source, tmp_path / "out", match=[0.7])
    said = "78 of 90 images share their scene with another: there are too few scenes"
    assert said in capsys.readouterr().out
    uses = manifest(tmp_path / "out", 70).groupby(["background", "scene"]).size().unstack(0)
    assert uses.notna().sum().tolist() == [6, 6]
    assert (uses.max() - uses.min()).max() <= 3  # spread over all


def test_the_bird_is_where_the_mask_is_white_and_the_scene_elsewhere():
    bird = Image.new("RGB", (4, 2), (200, 0, 0))
    mask = Image.fromarray(np.array([[255, 102, 0, 0]] * 2, np.uint8))
    scene = Image.new("RGB", (30, 10), (0, 100, 50))
    composed = np.asarray(variants.compose(bird, mask, scene, None)).tolist()
    # 0.4 bird and 0.6 scene in the second
    assert composed == [[[200, 0, 0], [80, 60, 30], [0, 100, 50], [0, 100, 50]]] * 2


def test_the_middle_of_a_scene_that_is_too_wide_is_taken():
    scene = np.zeros((10, 40, 3), np.uint8)
    scene[:, 15:25] = 255  # the middle 10 of 40 columns
    bird = Image.new("RGB", (10, 10))
    composed = variants.compose(bird, bird.convert("L"), Image.fromarray(scene), None)
    assert np.asarray(composed).min() == 255


@pytest.mark.parametrize("percent", [50, 95])
def test_the_images_written_show_their_bird_on_their_scene(prepared, percent):
    for row in manifest(prepared, percent).itertuples():
        pixels = image(prepared, percent, row)
        red = 150 + 5 * int(row.path.split("_")[-2])
        scene = (0, 4 * int(Path(row.scene).stem), SCENE_BLUE[row.scene.split("/")[2]])
        # JPEG changes colours a little
        np.testing.assert_allclose(pixels[10, 4], (red, 0, 0), atol=12)
        np.testing.assert_allclose(pixels[10, 21], scene, atol=12)
        assert pixels.shape == (20, 24, 3)


def test_the_same_seed_gives_the_same_bytes_whatever_the_threads(
    original, prepared, tmp_path, monkeypatch
):
    monkeypatch.setattr(variants.os, "cpu_count", lambda: 5)
    prepare(original, tmp_path / "out")
    assert contents(tmp_path / "out") == contents(prepared)


def test_another_seed_gives_other_validation_birds_and_scenes(original, prepared, tmp_path):
    prepare(original, tmp_path / "out", match=[0.7], seed=1)
    a = manifest(prepared, 70)
    b = manifest(tmp_path / "out", 70)
    assert (a["split"] != b["split"]).any()
    assert (a["scene"] != b["scene"]).any()
    assert a.groupby(["split", "label"]).size().equals(b.groupby(["split", "label"]).size())


def test_a_fraction_asked_for_alone_gives_the_images_of_the_whole_grid(
    original, prepared, tmp_path
):
    prepare(original, tmp_path / "out", match=[0.8])
    alone = contents(tmp_path / "out" / "waterbirds_images")
    whole = contents(prepared / "waterbirds_images")
    assert len(alone) == len(SPECIES) * N_PER_SPECIES
    assert alone.items() <= whole.items()
    pd.testing.assert_frame_equal(manifest(tmp_path / "out", 80), manifest(prepared, 80))


def test_the_grid_shares_images_that_do_not_change(prepared):
    tables = [manifest(prepared, percent) for percent in PERCENTS]
    distinct = len(set().union(*(table["path"] for table in tables)))
    n_moved = (16 - 9) + (24 - 13)  # landbirds and waterbirds matched at 95% but not at 50%
    assert distinct == len(SPECIES) * N_PER_SPECIES + n_moved
    assert len(contents(prepared / "waterbirds_images")) == distinct


def test_a_stopped_run_goes_on_and_ends_the_same(original, prepared, tmp_path, monkeypatch):
    out, save, saved = tmp_path / "out", Image.Image.save, []

    def stop(self, target, **options):
        save(self, target, **options)
        saved.append(target)
        if len(saved) == 30:
            raise KeyboardInterrupt

    monkeypatch.setattr(Image.Image, "save", stop)
    with pytest.raises(KeyboardInterrupt):
        prepare(original, out)
    assert not list(out.glob("*/dataset.yaml"))
    before = {file: os.stat(file).st_mtime_ns for file in out.rglob("*.jpg")}
    monkeypatch.undo()
    prepare(original, out)
    assert len(before) >= 20
    assert all(os.stat(file).st_mtime_ns == written for file, written in before.items())
    assert contents(out) == contents(prepared)


def test_other_options_never_meet_old_images(original, tmp_path):
    prepare(original, tmp_path, match=[0.9])
    prepare(original, tmp_path, match=[0.9], size=10)
    prepare(original, tmp_path, match=[0.9], val_fraction=0.2)
    assert len(list((tmp_path / "waterbirds_images").iterdir())) == 3
    # a fifth of 24 and of 36, rounded
    assert manifest(tmp_path, 90)["split"].eq("val").sum() == 5 + 7


def test_size_is_the_shorter_side(original, tmp_path):
    prepare(original, tmp_path, match=[0.9], size=10)
    row = next(manifest(tmp_path, 90).itertuples())
    assert image(tmp_path, 90, row).shape == (10, 12, 3)


def lay_out(source: Path, target: str, flat: bool = False) -> None:
    places = source / "places" / "data_large"
    for scene in SCENES:
        goal = source / target / (scene[2:].replace("/", "-") if flat else scene)
        goal.parent.mkdir(parents=True, exist_ok=True)
        (places / scene).rename(goal)
    shutil.rmtree(source / "places", ignore_errors=not target.startswith("places"))


@pytest.mark.parametrize(
    ("target", "flat"),
    [
        ("data_large", False),
        ("data_256", False),
        ("places365/data_large_standard", False),
        ("elsewhere/train", True),
    ],
)
def test_places_may_lie_as_it_unpacks_or_elsewhere(source, prepared, tmp_path, target, flat):
    lay_out(source, target, flat)
    places = source / "elsewhere" if target.startswith("elsewhere") else None
    prepare(source, tmp_path / "out", match=[0.6], places=places)
    pd.testing.assert_frame_equal(manifest(tmp_path / "out", 60), manifest(prepared, 60))


def test_segmentations_may_lie_in_the_cub_folder_which_may_be_the_root(source, prepared, tmp_path):
    (source / "segmentations").rename(source / "CUB_200_2011" / "segmentations")
    cub = source / "CUB_200_2011"
    prepare(cub, tmp_path / "out", match=[0.6], places=source / "places")
    pd.testing.assert_frame_equal(manifest(tmp_path / "out", 60), manifest(prepared, 60))


def test_places_is_fetched_only_where_no_layout_of_it_is_found(source, tmp_path):
    files = [archive.file for archive in archives(root=source, places=None, seed=0)]
    assert files == ["CUB_200_2011.tgz", "segmentations.tgz"]
    assert len(archives(root=tmp_path, places=None)) == 3
    assert len(archives(root=tmp_path, places=tmp_path)) == 2


def test_of_the_places_archive_only_the_four_scenes_are_unpacked(tmp_path):
    members = [f"data_large/{scene}/00000001.jpg" for scene in [*SCENES, "o/oast_house"]]
    with tarfile.open(tmp_path / PLACES.file, "w") as written:
        for name in members:
            written.addfile(tarfile.TarInfo(name), io.BytesIO())
    unpack(tmp_path / PLACES.file, tmp_path, "data_large", PLACES.only)
    unpacked = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.jpg"))
    assert unpacked == sorted(set(members) - {"data_large/o/oast_house/00000001.jpg"})


def test_the_command_prints_counts_and_says_how_cub_differs(original, tmp_path):
    options = ("--match", "0.7", "0.9", "--allow-different")
    done = run_script("--root", original, "--out", tmp_path / "out", *options)
    assert done.returncode == 0, done.stderr
    first_row = " ".join(done.stdout.splitlines()[1].split())
    assert first_row == "waterbirds_70 pool 12 5 7 18 42"
    assert "not as published: CUB train landbird: 24 instead of 4615" in done.stdout
    assert f"wrote {tmp_path}/out/waterbirds_images/" in done.stdout
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert written == ["waterbirds_70", "waterbirds_90", "waterbirds_images"]


def rewrite(name: str, change: Callable[[list[str]], list[str]]) -> Callable[[Path], None]:
    """Change the lines of CUB's lists of this kind of name."""

    def spoil(source: Path) -> None:
        for file in (source / "CUB_200_2011").glob(name):
            file.write_text("".join(change(file.read_text().splitlines(keepends=True))))

    return spoil


def remove(pattern: str) -> Callable[[Path], None]:
    def spoil(source: Path) -> None:
        for path in source.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return spoil


def cut_a_scene(source: Path) -> None:
    for file in (source / "places" / "data_large" / "o" / "ocean").glob("*"):
        file.write_bytes(file.read_bytes()[:-30])


def resize_a_mask(source: Path) -> None:
    Image.new("L", (24, 21)).save(source / "segmentations" / SPECIES[2] / "Blue_Jay_0004_2.png")


SPLIT_LIST = "train_test_split.txt"
LANDBIRDS = slice(2 * N_PER_SPECIES, 4 * N_PER_SPECIES)
drop_cub_list = remove("CUB_200_2011/images.txt")
drop_a_scene = remove("places/data_large/l")
WRONG = [
    (drop_cub_list, "no CUB_200_2011/images.txt in"),
    (remove(f"CUB_200_2011/{SPLIT_LIST}"), "train_test_split.txt cannot be read"),
    (
        rewrite(SPLIT_LIST, lambda lines: lines[:50]),
        "images.txt names 90 images, train_test_split.txt 50",
    ),
    (
        rewrite("images.txt", lambda lines: [line.split()[0] + "\n" for line in lines]),
        "images.txt: every line must be an image number and a value",
    ),
    (
        rewrite(SPLIT_LIST, lambda lines: [line.split()[0] + " 0\n" for line in lines]),
        "split 'pool' is empty; the release has {'test': 90}",
    ),
    (
        rewrite("[it]*[st].txt", lambda lines: lines[LANDBIRDS]),
        "no example of class 'waterbird' in the pool",
    ),
    (remove("segmentations"), "no segmentations in"),
    (drop_a_scene, "no images of the scene lake/natural in"),
    (
        remove("CUB_200_2011/images/*/Blue_Jay_0004_2.jpg"),
        "1 of 90 images cannot be composed: 003.Blue_Jay/Blue_Jay_0004_2.jpg on /",
    ),
    (cut_a_scene, "image file is truncated"),
    (resize_a_mask, "its segmentation is (24, 21), the image (24, 20)"),
]


@pytest.mark.parametrize(("spoil", "said"), WRONG)
def test_wrong_sources_are_refused_in_a_line(source, tmp_path, spoil, said):
    spoil(source)
    with pytest.raises(DataError) as error:
        prepare(source, tmp_path / "out", match=[0.7])
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert not list((tmp_path).glob("out/*/dataset.yaml"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            [],
            "4 of 4 counts differ from the published ones: CUB train landbird: 24 instead of 4615",
        ),
        (
            ["--match", "0.3"],
            "--match must lie in 0.5 to 1 (the share of matched birds); got 0.3",
        ),
    ],
)
def test_the_command_ends_with_one_line(original, tmp_path, arguments, said):
    done = run_script("--root", original, "--out", tmp_path / "out", *arguments)
    assert done.returncode == 1
    assert done.stderr.startswith(f"waterbirds_variants: {said}")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "options", [{"match": [1.2]}, {"val_fraction": 1.0}, {"seed": -1}, {"size": 0}]
)
def test_options_out_of_range_are_refused(original, tmp_path, options):
    with pytest.raises(DataError, match="must"):
        prepare(original, tmp_path, **options)


@pytest.mark.real_data
@pytest.mark.skipif("ALPT_REAL_DATA" not in os.environ, reason="ALPT_REAL_DATA names no folder")
def test_labels_are_those_of_the_real_release_and_its_splits_give_cubs_counts(tmp_path):
    file = next(Path(os.environ["ALPT_REAL_DATA"]).glob("waterbird*/metadata.csv"))
    metadata = pd.read_csv(file)
    metadata["img_filename"].to_csv(tmp_path / "images.txt", sep=" ", header=False)
    (metadata["split"] < 2).astype(int).to_csv(
        tmp_path / "train_test_split.txt", sep=" ", header=False
    )
    birds = read_cub(tmp_path)
    assert (birds["label"] == metadata["y"].map({0: "landbird", 1: "waterbird"})).all()
    counts = pd.crosstab(birds["is_train"], birds["label"])
    assert counts.loc[True].tolist() == variants.PUBLISHED.loc["CUB train"].tolist()
    assert counts.loc[False].tolist() == variants.PUBLISHED.loc["CUB test"].tolist()
