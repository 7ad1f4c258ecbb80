"""Treeperson on made-up folders: the authors' metadata, GQA's and Visual Genome's files."""

import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import mini_vision
import pandas as pd
import pytest
import treeperson
from PIL import Image
from readers import scene_graphs

from alpt_lib import datasets, inputs

# (image id, y, place, split) of the made-up metadata.csv: four in train, two in val
ROWS = [
    ("2360366", 1, 1, 0),
    ("273", 1, 0, 0),
    ("713226", 0, 0, 0),
    ("4823", 0, 1, 0),
    ("2399755", 1, 0, 1),
    ("56", 0, 1, 1),
]

# what the objects of an image are called, how many images are like it, and what the image then is
SCENES = [
    (["man", "building", "shirt"], 15, "person/building"),
    (["Women ", "houses"], 15, "person/building"),
    (["trees", "sky"], 15, "no person/tree"),
    (["palm tree", "giraffe"], 15, "no person/tree"),
    (["boy", "tree"], 10, "person/tree"),
    (["church", "bus"], 10, "no person/building"),
    (["man", "tree", "building"], 5, "both"),
    (["man", "sky"], 5, "neither"),
    (["tree house", "palm"], 3, "neither"),
    ([], 2, "neither"),
]
TRUTH = {
    str(1000 + i): what for i, what in enumerate(what for _, n, what in SCENES for _ in range(n))
}
OBJECTS = dict(zip(TRUTH, (names for names, n, _ in SCENES for _ in range(n)), strict=True))
SMALL = ["--train", "40", "--val", "8"]


def write_images(folder: Path, ids) -> None:
    """One JPEG, many times; its red is 200."""
    folder.mkdir(parents=True, exist_ok=True)
    data = io.BytesIO()
    Image.new("RGB", (16, 16), (200, 0, 0)).save(data, "JPEG")
    for image_id in ids:
        (folder / f"{image_id}.jpg").write_bytes(data.getvalue())


def gqa_json() -> str:
    """As in GQA: image id -> its objects, of one name each, with much that is of no use here."""
    box = {"x": 1, "y": 1, "w": 9, "h": 9}
    more = {"attributes": ["green"], "relations": [{"name": "to the left of", "object": "7"}]}
    scenes = {}
    for image_id, names in OBJECTS.items():
        objects = {str(7 * k): {"name": name, **box, **more} for k, name in enumerate(names)}
        scenes[image_id] = {"width": 16, "height": 16, "objects": objects}
    return json.dumps(scenes)


def visual_genome_json() -> str:
    """As in Visual Genome: a list of images, each with objects that have several names."""
    scenes = []
    for image_id, names in OBJECTS.items():
        objects = [
            {"object_id": k, "names": ["thing", name], "synsets": ["thing.n.01"], "x": 1, "y": 1}
            for k, name in enumerate(names)
        ]
        url = "https://x/VG_100K/1.jpg"
        scenes.append({"image_id": int(image_id), "image_url": url, "objects": objects})
    return json.dumps(scenes, indent=1)


@pytest.fixture
def release(tmp_path) -> Path:
    """The authors' layout: images/ and metadata.csv."""
    root = tmp_path / "release"
    write_images(root / "images", [row[0] for row in ROWS])
    rows = [(k, f"images/{image_id}.jpg", *codes) for k, (image_id, *codes) in enumerate(ROWS, 1)]
    columns = ["img_id", "img_filename", "y", "place", "split"]
    pd.DataFrame(rows, columns=columns).to_csv(root / "metadata.csv", index=False)
    return root


@pytest.fixture
def gqa(tmp_path) -> Path:
    """GQA's layout: images/ and two files of scene graphs."""
    root = tmp_path / "gqa"
    write_images(root / "images", TRUTH)
    scenes = json.loads(gqa_json())
    parts = {"train": list(scenes)[::2], "val": list(scenes)[1::2]}
    for split, ids in parts.items():
        part = {image_id: scenes[image_id] for image_id in ids}
        (root / f"{split}_sceneGraphs.json").write_text(json.dumps(part))
    return root


def run(monkeypatch, *arguments) -> str | None:
    """The command line in this process: None, or the line with which it exits 1."""
    monkeypatch.setattr(sys, "argv", ["treeperson.py", *map(str, arguments)])
    try:
        treeperson.main()
    except SystemExit as stop:
        return stop.code  # a text, which Python prints to stderr before it exits with 1
    return None


def rebuild(
    root: Path, out: Path, *files: Path, train: int = 40, val: int = 8, seed: int = 0
) -> pd.DataFrame:
    sizes = {"train": train, "val": val, "seed": seed}
    treeperson.prepare(root=root, out=out, scene_graphs=list(files), **sizes)
    return pd.read_csv(out / "manifest.csv", dtype=str)


def test_codes_become_names_and_the_training_split_the_pool(release, tmp_path):
    treeperson.prepare(root=release, out=tmp_path / "out", allow_different=True)
    manifest = pd.read_csv(tmp_path / "out" / "manifest.csv")
    assert manifest["label"].tolist() == [["no person", "person"][y] for _, y, _, _ in ROWS]
    assert manifest["place"].tolist() == [["tree", "building"][place] for _, _, place, _ in ROWS]
    assert manifest["split"].tolist() == ["pool"] * 4 + ["val"] * 2
    assert manifest["path"][0] == "images/images/2360366.jpg"
    # the library reads it, and things are called as in the miniature
    data = datasets.read_dataset(tmp_path / "out")
    assert (data.name, data.eval_splits) == ("treeperson", ["val"])
    groups = "person/building person/tree no person/tree no person/building"
    assert " ".join(data.subgroup("pool")) == groups
    assert data.minority == ["no person/building", "person/tree"]
    assert data.minority == mini_vision.WORLDS["treeperson"][1]["minority"]
    assert abs(inputs.images(data, "val", 8)[..., 0].mean() - 200) < 3


@pytest.mark.parametrize("folders", [("VG_100K", "VG_100K_2"), (".", "."), ("images", ".")])
def test_an_image_is_found_in_whichever_folder_holds_it(release, tmp_path, folders):
    root, ids = tmp_path / "other", [row[0] for row in ROWS]
    write_images(root / folders[0], ids[:4])
    write_images(root / folders[1], ids[4:])
    options = {"metadata": release / "metadata.csv", "allow_different": True}
    treeperson.prepare(root=root, out=tmp_path / "out", **options)
    data = datasets.read_dataset(tmp_path / "out")
    for split, folder, part in (("pool", folders[0], ids[:4]), ("val", folders[1], ids[4:])):
        paths = [str(Path("images", folder, f"{image_id}.jpg")) for image_id in part]
        assert data.rows(split)["path"].tolist() == paths


def test_the_released_counts_are_accepted_as_they_are(release, tmp_path, capsys):
    groups = {"00": (3700, 498), "01": (370, 498), "10": (370, 498), "11": (3730, 498)}
    rows = [
        (f"images/{ROWS[0][0]}.jpg", *group, split)
        for group, sizes in groups.items()
        for split in (0, 1)
        for _ in range(sizes[split])
    ]
    table = pd.DataFrame(rows, columns=["img_filename", "y", "place", "split"])
    table.rename_axis("img_id").to_csv(release / "metadata.csv")
    prepared = treeperson.prepare(root=release, out=tmp_path / "out", trust_images=True)
    assert prepared.different == []
    assert prepared.counts.sum(axis=1).to_dict() == {"pool": 8170, "val": 1992}
    said = "10,162 images; the paper says 8,638, the authors' metadata.csv has 10,162"
    assert said in capsys.readouterr().out


def test_the_real_command_line_ends_with_one_line_and_exit_code_1(release, tmp_path):
    command = [sys.executable, treeperson.__file__, "--root", release, "--out", tmp_path / "out"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    said = "8 of 8 counts differ from the published ones: pool no person/tree: 1 instead of"
    assert done.stderr.startswith(f"treeperson: {said}")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def drop_metadata(root: Path) -> None:
    (root / "metadata.csv").unlink()


def change(**columns) -> Callable[[Path], None]:
    """Replace columns of metadata.csv; None: leave one out."""

    def spoil(root: Path) -> None:
        table = pd.read_csv(root / "metadata.csv").assign(**columns)
        table.dropna(axis="columns", how="all").to_csv(root / "metadata.csv", index=False)

    return spoil


def drop_image(root: Path) -> None:
    (root / "images" / "4823.jpg").unlink()


def cut_image(root: Path) -> None:
    file = root / "images" / "273.jpg"
    file.write_bytes(file.read_bytes()[:-60])


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (
            drop_metadata,
            "metadata.csv is missing: it is utils/datasets/treeperson/metadata.csv in the authors'",
        ),
        (change(place=None), "column 'place' missing; it has img_id, img_filename, y, split"),
        (change(split=2), "split must be one of 0, 1; got '2' in row 0"),
        (change(split=0), "split 'val' is empty; the release has {'pool': 6}"),
        (drop_image, "1 of 6 images missing from "),
        (cut_image, "1 of 6 images cannot be read: images/273.jpg (OSError: "),
    ],
)
def test_a_spoiled_release_is_refused_in_a_line_and_nothing_is_written(
    release, tmp_path, monkeypatch, spoil, said
):
    spoil(release)
    line = run(monkeypatch, "--root", release, "--out", tmp_path / "out", "--allow-different")
    assert line.startswith("treeperson: ")
    assert said in line
    assert "\n" not in line
    assert not (tmp_path / "out").exists()


def test_images_with_trees_or_buildings_but_not_both_are_chosen_as_their_objects_say(gqa, tmp_path):
    chosen = rebuild(gqa, tmp_path / "out", *gqa.glob("*.json"))
    ids = chosen["path"].map(lambda path: Path(path).stem)
    said = dict(zip(ids, chosen["label"] + "/" + chosen["place"], strict=True))
    assert len(said) == len(chosen) == 48
    assert said == {image_id: TRUTH[image_id] for image_id in said}
    # classes are balanced, exactly 90% of the pool and 50% of val aligned
    aligned = (chosen["label"] == "person") == (chosen["place"] == "building")
    groups = aligned.groupby([chosen["split"], chosen["label"]])
    cells = [(split, label) for split in ("pool", "val") for label in ("no person", "person")]
    assert groups.size().to_dict() == dict(zip(cells, (20, 20, 4, 4), strict=True))
    assert groups.mean().to_dict() == dict(zip(cells, (0.9, 0.9, 0.5, 0.5), strict=True))


def test_the_rebuilt_folder_is_one_the_library_reads(gqa, tmp_path, monkeypatch, capsys):
    files = sorted(gqa.glob("*.json"))
    options = ("--out", tmp_path / "out", "--scene-graphs", *files, *SMALL)
    assert run(monkeypatch, "--root", gqa, *options) is None
    data = datasets.read_dataset(tmp_path / "out")
    assert (len(data.rows("pool")), len(data.rows("val"))) == (40, 8)
    assert data.description.generator == {
        "script": "data_prep/treeperson.py",
        "seed": 0,
        "scene_graphs": ["train_sceneGraphs.json", "val_sceneGraphs.json"],
    }
    said = capsys.readouterr().out
    assert "95 images in the scene graphs, 80 of them with trees or buildings but not both" in said
    assert "48 images; the paper says 8,638, the authors' metadata.csv has 10,162" in said
    assert "not as published: pool no person/tree: 18 instead of 3700" in said


def test_gqa_and_visual_genome_plain_and_zipped_give_the_same_bytes(gqa, tmp_path):
    for name, text in (("gqa.json", gqa_json()), ("objects.json", visual_genome_json())):
        (tmp_path / name).write_text(text)
    with zipfile.ZipFile(tmp_path / "sceneGraphs.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(gqa.glob("*.json")):
            archive.write(file, file.name)
    ways = [("gqa.json",), ("objects.json",), ("sceneGraphs.zip",), ("objects.json", "gqa.json")]
    for k, files in enumerate(ways):
        rebuild(gqa, tmp_path / f"out{k}", *(tmp_path / name for name in files))
    manifests = {(tmp_path / f"out{k}" / "manifest.csv").read_bytes() for k in range(len(ways))}
    assert len(manifests) == 1


def test_an_image_in_two_files_has_what_either_names(tmp_path):
    for name, text in (
        ("a.json", '{"7": {"objects": {"1": {"name": "girl"}}}}'),
        ("b.json", '[{"image_id": 7, "objects": [{"names": ["tree"]}]}]'),
    ):
        (tmp_path / name).write_text(text)
    scenes = scene_graphs.read_scenes([tmp_path / "a.json", tmp_path / "b.json"])
    assert scenes == {"7": {"person", "tree"}}


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(gqa, tmp_path):
    files = sorted(gqa.glob("*.json"))
    for k, (seed, order) in enumerate([(3, 1), (3, -1), (4, 1)]):
        rebuild(gqa, tmp_path / f"out{k}", *files[::order], seed=seed)
    first, again, other = ((tmp_path / f"out{k}" / "manifest.csv").read_bytes() for k in range(3))
    assert first == again
    assert first != other


def test_too_few_images_of_a_subgroup_shrink_pool_and_val_alike(gqa, tmp_path, capsys):
    # 10 of each misaligned subgroup: a pool of 200 and a val of 40 take 10 + 10 of them, so half of
    # each can be had; but 30 of each aligned one against 90 + 10: three tenths
    chosen = rebuild(gqa, tmp_path / "out", *gqa.glob("*.json"), train=200, val=40)
    assert chosen["split"].value_counts().to_dict() == {"pool": 60, "val": 12}
    said = capsys.readouterr().out
    assert "pool: 60 images instead of 200 (a subgroup has too few)" in said
    assert "val: 12 images instead of 40 (a subgroup has too few)" in said
    # a size that has no exact shares is rounded down
    chosen = rebuild(gqa, tmp_path / "out", *gqa.glob("*.json"), train=59, val=7)
    assert chosen["split"].value_counts().to_dict() == {"pool": 40, "val": 4}
    assert "pool: 40 images instead of 59 (for exact shares)" in capsys.readouterr().out


@pytest.mark.parametrize("text", [gqa_json(), visual_genome_json()])
@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_reading_in_pieces_gives_what_reading_at_once_gives(monkeypatch, text, chunk):
    is_mapping = text[0] == "{"
    first = text[:2000].rsplit(', "10' if is_mapping else ",\n {", 1)[0]
    text = first + ("}" if is_mapping else "]")
    whole = json.loads(text)
    monkeypatch.setattr(scene_graphs, "CHUNK", chunk)
    pieces = list(scene_graphs.members(io.StringIO(text), "it"))
    assert len(pieces) > 1
    assert pieces == (list(whole.items()) if is_mapping else [(None, scene) for scene in whole])


def cut(root: Path) -> list[Path]:
    file = root / "train_sceneGraphs.json"
    file.write_text(file.read_text()[:-30])
    return [file]


def no_json(root: Path) -> list[Path]:
    return [next((root / "images").glob("*.jpg"))]


def of(name: str, content: str | None) -> Callable[[Path], list[Path]]:
    """A file of this content, or none of this name."""

    def write(root: Path) -> list[Path]:
        if content is not None:
            (root / name).write_text(content)
        return [root / name]

    return write


def spoiled_zip(root: Path) -> list[Path]:
    file = root / "objects.json.zip"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("objects.json", visual_genome_json())
    content = bytearray(file.read_bytes())
    content[200:220] = bytes(20)
    file.write_bytes(content)
    return [file]


def without_images(root: Path) -> list[Path]:
    (root / "images").rename(root / "pictures")
    return sorted(root.glob("*.json"))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (cut, "train_sceneGraphs.json is cut off or no scene graphs, at "),
        (no_json, ".jpg is no JSON mapping or list; it begins with "),
        (
            of("coco.json", '{"info": {"year": 2014}, "images": [{"id": 1}]}'),
            "coco.json: info has no objects with names; --scene-graphs takes GQA's train_sceneGrap",
        ),
        (of("names.json", '["tree", "person"]'), "names.json is cut off or no scene graphs, at "),
        (of("empty.json", "{}"), "no scene graphs in "),
        (of("objects.json", None), "objects.json is missing; --scene-graphs takes "),
        (spoiled_zip, "objects.json.zip is broken ("),
        (
            of("few.json", json.dumps(dict(list(json.loads(gqa_json()).items())[:50]))),
            "--train 40 --val 8 cannot be had: eligible are 20 no person/tree, 0 no person/building"
            ", 0 person/tree, 30 person/building",
        ),
        (without_images, "48 of 48 images missing from "),
    ],
)
def test_wrong_scene_graphs_are_refused_in_a_line_and_nothing_is_written(
    gqa, tmp_path, monkeypatch, spoil, said
):
    files = spoil(gqa)
    options = ("--out", tmp_path / "out", "--scene-graphs", *files, *SMALL)
    line = run(monkeypatch, "--root", gqa, *options)
    assert line.startswith("treeperson: ")
    assert said in line
    assert "\n" not in line
    assert not (tmp_path / "out").exists()


def test_both_ways_at_once_are_refused(gqa, tmp_path, monkeypatch):
    options = ("--out", tmp_path / "out", "--metadata", "m.csv", "--scene-graphs")
    said = "give --metadata (the authors' choice) or --scene-graphs (a new one), not both"
    assert run(monkeypatch, "--root", gqa, *options) == f"treeperson: {said}"


@pytest.mark.parametrize(
    ("options", "files"),
    [
        ([], ["metadata.csv", "images.zip"]),
        (["--metadata", "mine.csv", "--source", "visual-genome"], ["VG_100K.zip", "VG_100K_2.zip"]),
        (["--scene-graphs"], ["sceneGraphs.zip", "images.zip"]),
        (["--scene-graphs", "mine.json"], ["images.zip"]),
        (
            ["--scene-graphs", "--source", "visual-genome"],
            ["objects.json.zip", "VG_100K.zip", "VG_100K_2.zip"],
        ),
    ],
)
def test_a_download_fetches_what_the_options_need(monkeypatch, tmp_path, options, files):
    fetched = []
    monkeypatch.setattr(
        "release.command.fetch",
        lambda archives, root: fetched.extend(archive.file for archive in archives),
    )
    where = ("--root", tmp_path, "--out", tmp_path / "out")
    assert "is missing" in run(monkeypatch, "--download", *where, *options)
    assert fetched == files
