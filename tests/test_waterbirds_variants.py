"""data_prep/waterbirds_variants.py on small CUB and Places folders of the real layout; and its labels on the real release."""

import io
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from alpt_lib import datasets

SCRIPT = Path(__file__).resolve().parent.parent / "data_prep" / "waterbirds_variants.py"
sys.path.insert(0, str(SCRIPT.parent))

import release  # noqa: E402
import waterbirds_variants as variants  # noqa: E402
from release import ReleaseError  # noqa: E402

SPECIES = [
    "001.Black_footed_Albatross",
    "002.Pacific_Loon",
    "003.Blue_Jay",
    "004.House_Wren",
    "005.Western_Meadowlark",
]
N_PER_SPECIES = 18  # two in three of them in CUB's training split: waterbirds 36, landbirds 24; with 30% in validation 25, 17
SCENES = ["b/bamboo_forest", "f/forest/broadleaf", "o/ocean", "l/lake/natural"]
SCENE_BLUE = {"bamboo_forest": 20, "forest": 60, "ocean": 140, "lake": 200}


def write_cub(root: Path) -> None:
    """Red birds of 24 x 20 px whose left half is bird, a column of which is half bird, and the lists of CUB."""
    cub, names = root / "CUB_200_2011", []
    mask = np.zeros((20, 24), np.uint8)
    mask[:, :12], mask[:, 12] = 255, 102
    for number, species in enumerate(SPECIES):
        (cub / "images" / species).mkdir(parents=True)
        (root / "segmentations" / species).mkdir(parents=True)
        for i in range(N_PER_SPECIES):
            name = f"{species}/{species[4:]}_{i:04}_{number}"
            Image.new("RGB", (24, 20), (150 + 5 * i, 0, 0)).save(cub / "images" / f"{name}.jpg")
            Image.fromarray(mask).save(root / "segmentations" / f"{name}.png")
            names.append(f"{name}.jpg")
    lists = {
        "images.txt": names,
        "train_test_split.txt": [int(i % 3 > 0) for i in range(len(names))],
        "image_class_labels.txt": [int(name[:3]) for name in names],
        "bounding_boxes.txt": ["0.0 0.0 24.0 20.0"] * len(names),
    }
    for file, values in lists.items():
        (cub / file).write_text("".join(f"{i + 1} {value}\n" for i, value in enumerate(values)))
    (cub / "classes.txt").write_text("".join(f"{int(name[:3])} {name}\n" for name in SPECIES))


def write_places(places: Path, n: int = 40) -> None:
    """Blue scenes of 60 x 30 px, each a little different; the blue tells which kind."""
    for scene in SCENES:
        (places / scene).mkdir(parents=True)
        for i in range(n):
            colour = (0, 4 * i, SCENE_BLUE[scene.split("/")[1]])
            Image.new("RGB", (60, 30), colour).save(places / scene / f"{i:08}.jpg", quality=95)


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
    variants.prepare(original, out, allow_different=True)
    return out


def manifest(out: Path, percent: int) -> pd.DataFrame:
    return pd.read_csv(out / f"waterbirds_{percent}" / "manifest.csv")


def image(out: Path, percent: int, row) -> np.ndarray:
    return np.asarray(Image.open(out / f"waterbirds_{percent}" / row.path)).astype(int)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def run_script(*arguments) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, SCRIPT, *map(str, arguments)], capture_output=True, text=True
    )


def test_each_variant_is_a_folder_that_the_library_reads(prepared):
    for percent in (50, 60, 70, 80, 90, 95):
        data = datasets.read_dataset(prepared / f"waterbirds_{percent}")
        assert data.name == f"waterbirds_{percent}"
        assert data.description.title == f"Waterbirds, {percent}% matched"
        assert f"{percent}% of the pool is matched" in data.description.description
        assert data.eval_splits == ["val"]
        assert data.minority == ["landbird/water", "waterbird/land"]
    assert data.images("pool", 8).shape == (42, 8, 8, 3)
    recipe = yaml.safe_load((prepared / "waterbirds_95" / "dataset.yaml").read_text())["recipe"]
    assert recipe["micro_batch_size"] == 4


def test_splits_and_classes_are_the_same_at_every_fraction(prepared):
    by_hand = {
        ("pool", "landbird"): 17,
        ("pool", "waterbird"): 25,
        ("val", "landbird"): 7,
        ("val", "waterbird"): 11,
        ("test", "landbird"): 12,
        ("test", "waterbird"): 18,
    }
    for percent in (50, 60, 70, 80, 90, 95):
        table = manifest(prepared, percent)
        assert table.groupby(["split", "label"]).size().to_dict() == by_hand
        columns = ["label", "split", "species"]
        pd.testing.assert_frame_equal(table[columns], manifest(prepared, 50)[columns])


@pytest.mark.parametrize(
    ("percent", "landbirds", "waterbirds"),
    [(50, 9, 13), (60, 10, 15), (70, 12, 18), (80, 14, 20), (90, 15, 23), (95, 16, 24)],
)  # of 17 and 25, a half rounded up
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
    assert (
        variants.n_matched(0.95, 3682) == 3498
    )  # the published group sizes of the original release
    assert variants.n_matched(0.95, 1113) == 1057
    assert variants.n_matched(0.5, 933) == 467


def test_only_backgrounds_that_must_change_do(prepared):
    for fewer, more in ((50, 60), (60, 70), (70, 80), (80, 90), (90, 95)):
        a, b = manifest(prepared, fewer), manifest(prepared, more)
        moved = a["path"] != b["path"]
        assert (a.loc[moved, "split"] == "pool").all()
        at_home = b["background"].map({"land": "landbird", "water": "waterbird"})
        assert (
            b.loc[moved, "label"] == at_home[moved]
        ).all()  # a higher fraction only brings birds home
        assert (a.loc[~moved, "scene"] == b.loc[~moved, "scene"]).all()


def test_no_scene_is_used_twice_and_each_fits_its_background(prepared):
    for percent in (50, 95):
        table = manifest(prepared, percent)
        assert not table["scene"].duplicated().any()
        kinds = (
            table["scene"]
            .str.split("/")
            .str[2]
            .groupby(table["background"])
            .agg(lambda names: set(names))
        )
        assert kinds.to_dict() == {"land": {"bamboo_forest", "forest"}, "water": {"ocean", "lake"}}


def test_scenes_are_used_again_where_there_are_too_few_and_that_is_said(source, tmp_path, capsys):
    for scene in SCENES:
        for file in sorted((source / "places" / "data_large" / scene).glob("*"))[3:]:
            file.unlink()
    variants.prepare(source, tmp_path / "out", allow_different=True, match=[0.7])
    assert (
        "78 of 90 images share their scene with another: there are too few scenes"
        in capsys.readouterr().out
    )
    uses = manifest(tmp_path / "out", 70).groupby(["background", "scene"]).size().unstack(0)
    assert uses.notna().sum().tolist() == [6, 6]
    assert (uses.max() - uses.min()).max() <= 3  # spread over all


def test_the_bird_is_where_the_mask_is_white_and_the_scene_elsewhere():
    bird, mask = (
        Image.new("RGB", (4, 2), (200, 0, 0)),
        Image.fromarray(np.array([[255, 102, 0, 0]] * 2, np.uint8)),
    )
    scene = Image.new("RGB", (30, 10), (0, 100, 50))
    composed = np.asarray(variants.compose(bird, mask, scene, None)).tolist()
    assert (
        composed == [[[200, 0, 0], [80, 60, 30], [0, 100, 50], [0, 100, 50]]] * 2
    )  # 0.4 bird and 0.6 scene in the second


def test_the_middle_of_a_scene_that_is_too_wide_is_taken():
    scene = np.zeros((10, 40, 3), np.uint8)
    scene[:, 15:25] = 255  # the middle 10 of 40 columns
    composed = variants.compose(
        Image.new("RGB", (10, 10)), Image.new("L", (10, 10), 0), Image.fromarray(scene), None
    )
    assert np.asarray(composed).min() == 255


@pytest.mark.parametrize("percent", [50, 95])
def test_the_images_written_show_their_bird_on_their_scene(prepared, percent):
    for row in manifest(prepared, percent).itertuples():
        found = image(prepared, percent, row)
        number = int(row.path.split("_")[-2])
        kind, i = row.scene.split("/")[2], int(Path(row.scene).stem)
        np.testing.assert_allclose(
            found[10, 4], (150 + 5 * number, 0, 0), atol=12
        )  # JPEG changes colours a little
        np.testing.assert_allclose(found[10, 21], (0, 4 * i, SCENE_BLUE[kind]), atol=12)
        assert found.shape == (20, 24, 3)


def test_the_same_seed_gives_the_same_bytes_whatever_the_threads(
    original, prepared, tmp_path, monkeypatch
):
    monkeypatch.setattr(variants.os, "cpu_count", lambda: 5)
    variants.prepare(original, tmp_path / "out", allow_different=True)
    assert contents(tmp_path / "out") == contents(prepared)


def test_another_seed_gives_other_validation_birds_and_scenes(original, prepared, tmp_path):
    variants.prepare(original, tmp_path / "out", allow_different=True, match=[0.7], seed=1)
    a, b = manifest(prepared, 70), manifest(tmp_path / "out", 70)
    assert (a["split"] != b["split"]).any()
    assert (a["scene"] != b["scene"]).any()
    assert a.groupby(["split", "label"]).size().equals(b.groupby(["split", "label"]).size())


def test_a_fraction_asked_for_alone_gives_the_images_of_the_whole_grid(
    original, prepared, tmp_path
):
    variants.prepare(original, tmp_path / "out", allow_different=True, match=[0.8])
    alone, whole = (
        contents(tmp_path / "out" / "waterbirds_images"),
        contents(prepared / "waterbirds_images"),
    )
    assert len(alone) == len(SPECIES) * N_PER_SPECIES
    assert alone.items() <= whole.items()
    pd.testing.assert_frame_equal(manifest(tmp_path / "out", 80), manifest(prepared, 80))


def test_the_grid_shares_images_that_do_not_change(prepared):
    tables = [manifest(prepared, percent) for percent in (50, 60, 70, 80, 90, 95)]
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
        variants.prepare(original, out, allow_different=True)
    assert not list(out.glob("*/dataset.yaml"))
    before = {file: os.stat(file).st_mtime_ns for file in out.rglob("*.jpg")}
    monkeypatch.undo()
    variants.prepare(original, out, allow_different=True)
    assert len(before) >= 20
    assert all(os.stat(file).st_mtime_ns == written for file, written in before.items())
    assert contents(out) == contents(prepared)


def test_other_options_never_meet_old_images(original, tmp_path):
    variants.prepare(original, tmp_path, allow_different=True, match=[0.9])
    variants.prepare(original, tmp_path, allow_different=True, match=[0.9], size=10)
    variants.prepare(original, tmp_path, allow_different=True, match=[0.9], val_fraction=0.2)
    assert len(list((tmp_path / "waterbirds_images").iterdir())) == 3
    assert (
        manifest(tmp_path, 90)["split"].eq("val").sum() == 5 + 7
    )  # a fifth of 24 and of 36, rounded


def test_size_is_the_shorter_side(original, tmp_path):
    variants.prepare(original, tmp_path, allow_different=True, match=[0.9], size=10)
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
    variants.prepare(source, tmp_path / "out", allow_different=True, match=[0.6], places=places)
    pd.testing.assert_frame_equal(manifest(tmp_path / "out", 60), manifest(prepared, 60))


def test_segmentations_may_lie_in_the_cub_folder_which_may_be_the_root(source, prepared, tmp_path):
    (source / "segmentations").rename(source / "CUB_200_2011" / "segmentations")
    variants.prepare(
        source / "CUB_200_2011",
        tmp_path / "out",
        allow_different=True,
        match=[0.6],
        places=source / "places",
    )
    pd.testing.assert_frame_equal(manifest(tmp_path / "out", 60), manifest(prepared, 60))


def test_places_is_fetched_only_where_no_layout_of_it_is_found(source, tmp_path):
    files = [a.file for a in variants.archives(root=source, places=None, seed=0)]
    assert files == ["CUB_200_2011.tgz", "segmentations.tgz"]
    assert len(variants.archives(root=tmp_path, places=None)) == 3
    assert len(variants.archives(root=tmp_path, places=tmp_path)) == 2


def test_of_the_places_archive_only_the_four_scenes_are_unpacked(tmp_path):
    members = [f"data_large/{scene}/00000001.jpg" for scene in [*SCENES, "o/oast_house"]]
    with tarfile.open(tmp_path / variants.PLACES.file, "w") as written:
        for name in members:
            written.addfile(tarfile.TarInfo(name), io.BytesIO())
    release.unpack(tmp_path / variants.PLACES.file, tmp_path, "data_large", variants.PLACES.only)
    unpacked = sorted(
        str(p.relative_to(tmp_path)) for p in (tmp_path / "data_large").rglob("*.jpg")
    )
    assert unpacked == sorted(set(members) - {"data_large/o/oast_house/00000001.jpg"})


def test_the_command_prints_counts_and_says_how_cub_differs(original, tmp_path):
    done = run_script(
        "--root", original, "--out", tmp_path / "out", "--match", "0.7", "0.9", "--allow-different"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1].split() == [
        "waterbirds_70",
        "pool",
        "12",
        "5",
        "7",
        "18",
        "42",
    ]
    assert "not as published: CUB train landbird: 24 instead of 4615" in done.stdout
    assert f"wrote {tmp_path}/out/waterbirds_images/" in done.stdout
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "waterbirds_70",
        "waterbirds_90",
        "waterbirds_images",
    ]


def drop_cub_list(source: Path) -> None:
    (source / "CUB_200_2011" / "images.txt").unlink()


def drop_split_list(source: Path) -> None:
    (source / "CUB_200_2011" / "train_test_split.txt").unlink()


def cut_split_list(source: Path) -> None:
    file = source / "CUB_200_2011" / "train_test_split.txt"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:50]))


def drop_column(source: Path) -> None:
    file = source / "CUB_200_2011" / "images.txt"
    file.write_text("".join(line.split()[0] + "\n" for line in file.read_text().splitlines()))


def empty_train_split(source: Path) -> None:
    file = source / "CUB_200_2011" / "train_test_split.txt"
    file.write_text("".join(line.split()[0] + " 0\n" for line in file.read_text().splitlines()))


def leave_out_a_class(source: Path) -> None:
    for file in ("images.txt", "train_test_split.txt"):
        lines = (source / "CUB_200_2011" / file).read_text().splitlines(keepends=True)
        (source / "CUB_200_2011" / file).write_text(
            "".join(lines[2 * N_PER_SPECIES : 4 * N_PER_SPECIES])
        )


def drop_segmentations(source: Path) -> None:
    shutil.rmtree(source / "segmentations")


def drop_a_scene(source: Path) -> None:
    shutil.rmtree(source / "places" / "data_large" / "l")


def drop_an_image(source: Path) -> None:
    (source / "CUB_200_2011" / "images" / SPECIES[2] / "Blue_Jay_0004_2.jpg").unlink()


def cut_a_scene(source: Path) -> None:
    for file in (source / "places" / "data_large" / "o" / "ocean").glob("*"):
        file.write_bytes(file.read_bytes()[:-30])


def resize_a_mask(source: Path) -> None:
    Image.new("L", (24, 21)).save(source / "segmentations" / SPECIES[2] / "Blue_Jay_0004_2.png")


WRONG = [
    (drop_cub_list, "no CUB_200_2011/images.txt in"),
    (drop_split_list, "train_test_split.txt cannot be read"),
    (cut_split_list, "images.txt names 90 images, train_test_split.txt 50"),
    (drop_column, "images.txt: every line must be an image number and a value"),
    (empty_train_split, "split 'pool' is empty; the release has {'test': 90}"),
    (leave_out_a_class, "no example of class 'waterbird' in the pool"),
    (drop_segmentations, "no segmentations in"),
    (drop_a_scene, "no images of the scene lake/natural in"),
    (drop_an_image, "1 of 90 images cannot be composed: 003.Blue_Jay/Blue_Jay_0004_2.jpg on /"),
    (cut_a_scene, "image file is truncated"),
    (resize_a_mask, "its segmentation is (24, 21), the image (24, 20)"),
]


@pytest.mark.parametrize(("spoil", "said"), WRONG)
def test_wrong_sources_are_refused_in_a_line(source, tmp_path, spoil, said):
    spoil(source)
    with pytest.raises(ReleaseError) as error:
        variants.prepare(source, tmp_path / "out", allow_different=True, match=[0.7])
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert not list((tmp_path).glob("out/*/dataset.yaml"))


@pytest.mark.parametrize(
    ("spoil", "arguments", "said"),
    [
        (drop_cub_list, [], "no CUB_200_2011/images.txt in"),
        (drop_a_scene, [], "no images of the scene lake/natural in"),
        (
            None,
            [],
            "4 of 4 counts differ from the published ones: CUB train landbird: 24 instead of 4615",
        ),
        (
            None,
            ["--match", "0.3"],
            "--match must lie in 0.5 to 1 (the share of matched birds); got 0.3",
        ),
    ],
)
def test_the_command_ends_with_one_line(source, tmp_path, spoil, arguments, said):
    if spoil:
        spoil(source)
    done = run_script("--root", source, "--out", tmp_path / "out", *arguments)
    assert done.returncode == 1
    assert done.stderr.startswith(
        f"waterbirds_variants: {said}" if spoil is None else "waterbirds_variants: "
    )
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "options", [{"match": [1.2]}, {"val_fraction": 1.0}, {"seed": -1}, {"size": 0}]
)
def test_options_out_of_range_are_refused(original, tmp_path, options):
    with pytest.raises(ReleaseError, match="must"):
        variants.prepare(original, tmp_path, allow_different=True, **options)


@pytest.mark.real_data
@pytest.mark.skipif("ALPT_REAL_DATA" not in os.environ, reason="ALPT_REAL_DATA names no folder")
def test_labels_are_those_of_the_real_release_and_its_splits_give_cubs_counts(tmp_path):
    file = next(Path(os.environ["ALPT_REAL_DATA"]).glob("waterbird*/metadata.csv"))
    metadata = pd.read_csv(file)
    metadata["img_filename"].to_csv(tmp_path / "images.txt", sep=" ", header=False)
    (metadata["split"] < 2).astype(int).to_csv(
        tmp_path / "train_test_split.txt", sep=" ", header=False
    )
    birds = variants.read_cub(tmp_path)
    assert (birds["label"] == metadata["y"].map({0: "landbird", 1: "waterbird"})).all()
    counts = pd.crosstab(birds["is_train"], birds["label"])
    assert counts.loc[True].tolist() == variants.PUBLISHED.loc["CUB train"].tolist()
    assert counts.loc[False].tolist() == variants.PUBLISHED.loc["CUB test"].tolist()
