"""Bad parameters, manifests, descriptions: each ends in one line that says what was found."""

import re
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pandas as pd
import pytest
import yaml
from toy_runs import do

from alpt_lib.datasets import read_dataset
from alpt_lib.errors import CompanionError
from alpt_lib.files import REPOSITORY
from alpt_lib.training import FineTunedNetwork
from companion.runs.plan import cautions, plan_runs


@pytest.fixture(autouse=True)
def no_training(monkeypatch):
    def train(*args):
        raise AssertionError("bad input was trained on")

    monkeypatch.setattr(FineTunedNetwork, "fit", train)


@pytest.fixture
def refused(home):
    """What runs on a dataset say; none of them must get as far as a round."""

    def said(folder: Path, **changes) -> str:
        with pytest.raises(CompanionError) as error:
            do(folder, **{"seeds": [1], "acquisitions": ["margin"], **changes})
        assert "\n" not in str(error.value)
        assert not [file for file in home.glob("runs/*/rounds.jsonl") if file.read_bytes()]
        return str(error.value)

    return said


INF, NAN = float("inf"), float("nan")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"preset": "maxi"}, r"unknown preset 'maxi'; known: smoke, mini, thorough, real, paper"),
        ({"epochs": 3}, r"unknown parameter 'epochs'"),
        ({"datasets": []}, r"datasets is empty; it takes a list of dataset names or folders"),
        ({"datasets": ["./nowhere"]}, r"nowhere/dataset.yaml is missing: a dataset folder needs"),
        ({"datasets": ["a", "a"]}, r"datasets names 'a' twice; got \['a', 'a'\]"),
        ({"models": ["bit-x"]}, r"unknown model 'bit-x' .*; known: bit-s, bit-m"),
        ({"models": [""]}, r"unknown model ''; known: bit-s, bit-m"),
        ({"models": [3]}, r"models takes a list of model names.*; got \[3\]"),
        ({"models": ["timm:resnet9000"]}, r"unknown timm model 'resnet9000'"),
        ({"recipe": {"backbone": "frozen", "lr": 0.1}}, "to convergence and has no lr; its recipe"),
        (
            {"recipe": {"backbone": "frozen"}, "stopping": ["early_stopping"]},
            "to convergence and has no stopping; its recipe",
        ),
        ({"models": ["roberta-m"]}, r"model mini-roberta-m reads texts; .*toybirds holds images"),
        ({"models": {"toybrids": ["bit-m"]}}, r"unknown dataset in models 'toybrids' \(did you me"),
        ({"acquisitions": ["margn"]}, r"'margn' \(did you mean 'margin'\?\); known: random, least"),
        ({"acquisitions": ["margin", "margin"]}, r"acquisitions names 'margin' twice"),
        ({"stopping": ["never"]}, r"unknown stopping 'never'.*; known: loss_ratio, early_stopping"),
        ({"seeds": []}, r"parameter seeds is empty; it takes a list of whole numbers"),
        ({"seeds": 3}, r"parameter seeds takes a list of whole numbers.*; got 3"),
        ({"seeds": "1, 2"}, r"parameter seeds takes a list of whole numbers.*; got"),
        ({"seeds": "[1"}, r"parameter seeds takes a list of whole numbers.*; got '\[1'"),
        ({"seeds": [1.5]}, r"parameter seeds takes a list of whole numbers.*; got \[1.5\]"),
        ({"seeds": [True]}, r"seeds takes a list of whole numbers.*; got \[True\]"),
        ({"seeds": [1, 2, 1]}, r"seeds names 1 twice; got \[1, 2, 1\]"),
        ({"seeds": [-1]}, r"seed must be greater than or equal to 0; got -1"),
        ({"seeds": [2**70]}, r"seed must be less than 4294967296; got 1180591620717411303424"),
        ({"protocol": [1]}, r"a mapping of protocol settings, e.g. \{budget: 40\}; got \[1\]"),
        ({"protocol": {"budgets": 4}}, r"protocol setting 'budgets' \(did you mean 'budget'\?\)"),
        ({"protocol": {"budget": "many"}}, r"budget must be a valid integer; got 'many' \(str\)"),
        ({"protocol": {"budget": True}}, r"budget must be a valid integer; got True \(bool\)"),
        ({"protocol": {"budget": -1}}, r"budget must be greater than or equal to 0; got -1"),
        ({"protocol": {"budget": 93}}, r"101 labels \(seed set 8 \+ budget 93\) .* pool holds 100"),
        ({"protocol": {"seed_set_size": 9}}, r"set of 9 cannot be split over 2 classes; use a mu"),
        ({"protocol": {"seed_set_size": 0}}, r"seed_set_size must be greater than or equal to 1"),
        ({"protocol": {"query_batch_size": 0}}, r"query_batch_size must be greater than or equal"),
        ({"protocol": {"eval_every": 0}}, r"eval_every must be greater than or equal to 1; got 0"),
        ({"protocol": {"pool_subsample": 1}}, r"pool_subsample 1 is smaller than query_batch_size"),
        ({"recipe": {"lr": -1}}, r"lr must be greater than 0; got -1"),
        ({"recipe": {"lr": 0}}, r"lr must be greater than 0; got 0"),
        ({"recipe": {"lr": "fast"}}, r"lr must be a valid number; got 'fast' \(str\)"),
        ({"recipe": {"lr": NAN}}, r"lr must be .*; got nan"),
        ({"recipe": {"lr": INF}}, r"lr must be a finite number; got inf"),
        ({"recipe": {"momentum": 1.5}}, r"momentum must be less than 1; got 1.5"),
        ({"recipe": {"weight_decay": -0.1}}, r"weight_decay must be greater than or .*; got -0.1"),
        ({"recipe": {"warmup_steps": -1}}, r"warmup_steps must be greater than or equal to 0"),
        ({"recipe": {"decay_steps": 5}}, r"decay_steps must be a valid tuple; got 5"),
        ({"recipe": {"decay_steps": ["late"]}}, r"decay_steps must be a valid integer; got 'late'"),
        ({"recipe": {"loss_ratio": NAN}}, r"loss_ratio must be .*; got nan"),
        ({"recipe": {"optimizer": "lion"}}, r"unknown optimizer 'lion'.*; known: sgd, adamw"),
        ({"recipe": {"resize": 32, "crop": 40}}, r"crop 40 exceeds resize 32"),
        ({"recipe": {"crop": 64}}, r"crop 64 exceeds the image size 32; set recipe resize too"),
        ({"recipe": {"crop": -5}}, r"crop must be greater than or equal to 0; got -5"),
        (
            {"recipe": {"stopping": "early_stopping", "validation_split": "dev"}},
            r"unknown split 'dev'; known: pool, val",
        ),
        (
            {"recipe": {"stopping": "early_stopping", "validation_split": "pool"}},
            r"validation_split must not be the pool",
        ),
        ({"probe": ["colour"]}, r"unknown probe.* 'colour'.*; known: label, background"),
        ({"probe": ["split"]}, r"unknown probe attribute 'split'; known: label, background"),
        ({"weights": "./none.safetensors", "models": ["bit-m"]}, r"weights not found: none.safet"),
        ({"weights": "{bit-m: a"}, r"weights takes a file or folder .*; got '\{bit-m: a'"),
        ({"weights": {"bit-x": "a"}}, r"unknown model in weights 'bit-x'"),
        ({"workers": -1}, r"workers takes a number of processes; 0 takes one per core; got -1"),
        ({"workers": True}, r"workers takes a number of processes.*; got True"),
        ({"n_points": 0}, r"n_points takes a whole number above 0; got 0"),
    ],
)
def test_a_bad_parameter_ends_in_one_line(birds_folder, refused, changes, said):
    assert re.search(said, message := refused(birds_folder, **changes)), message


def test_a_seed_set_of_all_but_two_of_the_pool_is_taken(birds_folder, monkeypatch):
    monkeypatch.undo()
    # 49 of each of two classes of 50
    exact = {"seed_set_size": 98, "budget": 0}
    (run,) = do(birds_folder, acquisitions=["margin"], protocol=exact, recipe={"max_steps": 1})
    assert run.metrics()["n_labels"].unique().tolist() == [98]


def test_an_unknown_dataset_lists_those_of_its_tier(birds_folder, refused, home):
    (home / "data" / "paper").mkdir()
    (home / "data" / "paper" / "toybirds").symlink_to(birds_folder)
    said = r"unknown dataset 'toybird' .*; known: toybirds; or give the path"
    assert re.search(said, refused(birds_folder, datasets=["toybird"], preset="paper"))


def write(name: str, content: str | bytes):
    data = content if isinstance(content, bytes) else content.encode()
    return lambda folder: (folder / name).write_bytes(data)


def replace(name: str, old: bytes, new: bytes, times: int = -1):
    def spoil(folder: Path) -> None:
        file = folder / name
        file.write_bytes(file.read_bytes().replace(old, new, times))

    return spoil


def table(change, to: str = "csv"):
    def spoil(folder: Path) -> None:
        spoiled = change(pd.read_csv(folder / "manifest.csv").astype(object))
        if to == "csv":
            spoiled.to_csv(folder / "manifest.csv", index=False)
        else:
            spoiled.to_parquet(folder / "manifest.parquet")

    return spoil


def cell(column: str, row: int, value, to: str = "csv"):
    def change(manifest: pd.DataFrame) -> pd.DataFrame:
        manifest.loc[row, column] = value
        return manifest

    return table(change, to)


def few_of_a_class(manifest: pd.DataFrame) -> pd.DataFrame:
    is_tall = (manifest["split"] == "pool") & (manifest["label"] == "tall")
    return manifest.drop(manifest.index[is_tall][3:])


def enormous_png(side: int) -> bytes:
    """A header that promises side x side pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def image_becomes_folder(folder: Path) -> None:
    (folder / "images" / "3.png").unlink()
    (folder / "images" / "3.png").mkdir()


UNREADABLE = r"1 image\(s\) cannot be read: images/3.png .*; replace or drop them"
MISSING = r"1 of 148 image files missing, first .*images/3.png"


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda folder: (folder / "manifest.csv").unlink(), r"manifest missing: no manifest.csv"),
        (write("manifest.csv", ""), r"manifest.csv .*no rows"),
        (write("manifest.csv", "path,label,split,background\n"), r"manifest.csv has no rows"),
        (write("manifest.csv", bytes(range(256)) * 20), r"manifest.csv cannot be read"),
        (write("manifest.csv", b"\0" * 99), r"manifest.csv cannot be read"),
        (write("manifest.parquet", "nope"), r"manifest.parquet cannot be read"),
        (replace("manifest.csv", b"background", b"label", 1), r"column 'label' appears twice"),
        (replace("manifest.csv", b",background", b"", 1), r"manifest.csv cannot be read"),
        (replace("manifest.csv", b"\n", b"\na,b,c,d,e,f\n", 1), r"manifest.csv cannot be read"),
        (replace("manifest.csv", b"\n", b"\nimages/3.png,tall\n", 1), r"cannot be read"),
        (table(few_of_a_class), r"needs 4 examples of each class; class .* has 3 in the pool"),
        (table(lambda t: t.drop(columns="split")), r"column 'split' missing from the manifest"),
        (table(lambda t: t.assign(split="pool")), r"no evaluation split; .* has only 'pool'"),
        (table(lambda t: t.replace("pool", "Pool")), r"split 'pool' missing; .*\['Pool', 'val'\]"),
        (
            table(lambda t: t.assign(path=3), "parquet"),
            r"148 row.* without a path, first .*3\)? in row 0",
        ),
        (cell("path", 1, "images/0.png"), r"1 image.* in the pool twice.* first images/0.png"),
        (cell("path", 120, "images/0.png"), r"or in an evaluation split too, first images/0.png"),
        (cell("path", 5, None, "parquet"), r"1 row.* without a path, first .* in row 5"),
        (cell("path", 5, ""), r"1 row.* without a path, first '' in row 5"),
        (cell("path", 5, "/etc/hostname"), r"/etc/hostname"),
        (cell("path", 5, "../../nothing.png"), r"first .*nothing.png"),
        (cell("split", 5, ""), r"1 row.* without a split, first '' in row 5"),
        (cell("label", 5, ""), r"1 label.* outside the classes .* first '' in row 5"),
        (cell("label", 5, None, "parquet"), r"1 label.* outside the classes .* in row 5"),
        (write("images/3.png", b""), UNREADABLE),
        (write("images/3.png", "a bird"), UNREADABLE),
        (write("images/3.png", enormous_png(60_000)), UNREADABLE),
        (lambda f: write("images/3.png", (f / "images/4.png").read_bytes()[:100])(f), UNREADABLE),
        (lambda folder: (folder / "images" / "3.png").unlink(), MISSING),
        (image_becomes_folder, MISSING),
    ],
)
def test_a_bad_dataset_ends_in_one_line(birds_copy, refused, spoil, said):
    spoil(birds_copy)
    assert re.search(said, message := refused(birds_copy)), message


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", r"must be a mapping with at least `classes"),
        (b"- tall", r"must be a mapping with at least `classes"),
        (b"classes: [tall", r"dataset.yaml is not valid yaml"),
        (bytes(range(128, 256)), r"dataset.yaml is not valid yaml"),
        (b"!!python/object/apply:os.abort []", r"not valid yaml: could not determine a construct"),
    ],
)
def test_a_description_that_is_no_mapping_ends_in_one_line(birds_copy, refused, content, said):
    (birds_copy / "dataset.yaml").write_bytes(content)
    assert re.search(said, refused(birds_copy))


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"imagesize": 32}, r"unknown setting 'imagesize' \(did you mean 'image_size'\?\)"),
        ({"classes": ["tall"]}, r"classes must be two or more, each once; got \['tall'\]"),
        ({"classes": ["tall", "long"]}, r"74 label\(s\) outside .*, first 'wide' in row 1"),
        ({"classes": ["tall", "wide", "tall"]}, r"classes must be two or more, each once"),
        ({"classes": "tall"}, r"classes must be a valid list; got 'tall'"),
        ({"classes": {"tall": 0}}, r"classes must be a valid list; got \{'tall': 0\}"),
        ({"image_size": "32px"}, r"image_size must be a valid integer; got '32px' \(str\)"),
        ({"image_size": 0}, r"image_size must be greater than or equal to 1; got 0"),
        ({"image_size": 10**6}, r"cannot write .* GB of decoded images to .*; free some space"),
        ({"max_tokens": 1}, r"max_tokens must be greater than or equal to 3; got 1"),
        ({"protocol": [1]}, r"protocol must be a valid dictionary; got \[1\]"),
        ({"recipe": "fast"}, r"recipe must be a valid dictionary; got 'fast'"),
        ({"protocol": {"budgets": 3}}, r"toybirds protocol setting 'budgets' \(did you mean 'bu"),
        ({"subgroups": ["colour"]}, r"column 'colour' missing .*; it has path, label, split, back"),
        ({"subgroups": "label"}, r"subgroups must be a valid list; got 'label'"),
        ({"subgroups": None}, r"subgroups must be a valid list; got None"),
        (
            {"minority": ["tall/blue"]},
            r"unknown minority subgroup 'tall/blue'.*; known: tall/green",
        ),
        ({"minority": 3}, r"minority must be a valid list; got 3"),
        ({"percentile_over": ["background"]}, r"percentile_over must be a valid string; got \['ba"),
        ({"eval_splits": ["dev"]}, r"split 'dev' missing; the manifest has \['pool', 'val'\]"),
        ({"eval_splits": ["pool"]}, r"must name each evaluation split once, and not 'pool'"),
        ({"eval_splits": ["val", "val"]}, r"eval_splits must name each evaluation split once"),
        ({"modality": "video"}, r"unknown modality 'video'; known: image, text"),
        ({"name": "a/b"}, r"name must be a word without slashes .*; got 'a/b'"),
    ],
)
def test_a_bad_description_ends_in_one_line(birds_copy, refused, setting, said):
    description = yaml.safe_load((birds_copy / "dataset.yaml").read_text())
    (birds_copy / "dataset.yaml").write_text(yaml.safe_dump({**description, **setting}))
    assert re.search(said, message := refused(birds_copy)), message


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_a_manifest_in_another_encoding_is_read_as_it_was_meant(birds_copy, encoding):
    file = birds_copy / "manifest.csv"
    text = file.read_text().replace("red", "réd")
    file.write_bytes(text.encode(encoding))
    assert "tall/réd" in read_dataset(birds_copy).subgroup("pool")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--preset", "maxi"], r"error: unknown preset 'maxi'; known: smoke, mini, thorough, "),
        (["--only", "99"], r"error: unknown notebook '99'"),
        (["--only", "01", "--set", "{seeds: [1, 1]}"], r"error: parameter seeds names 1 twice"),
        (["--only", "01", "--set", "{sseds: [1]}"], r"error: unknown parameter 'sseds'"),
        (
            ["--only", "01", "--executor", "rey"],
            r"error: unknown executor 'rey' \(did you mean 'ra",
        ),
    ],
)
def test_the_command_line_says_it_in_one_line(birds_folder, arguments, said):
    command = [sys.executable, "-m", "companion", "execute", "--quiet", "--preset", "smoke"]
    if "--set" not in arguments:
        command += ["--set", f"{{datasets: [{birds_folder}], models: [bit-m]}}"]
    done = subprocess.run([*command, *arguments], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 1
    assert re.match(said, done.stderr), done.stderr
    assert done.stderr.count("\n") == 1


def test_settings_that_a_head_or_another_model_has_no_use_for_are_said(birds_folder):
    given = {"datasets": [str(birds_folder)], "models": ["bit-m-np", "timm:resnet18-np"]}
    (line,) = cautions(plan_runs(given))
    assert line == (
        "toybirds: its dataset.yaml was made for bit-m-np; timm:resnet18-np gets its 32 px and "
        "settings, unless recipe says otherwise"
    )
    frozen = cautions(plan_runs({**given, "recipe": {"backbone": "frozen"}}))
    assert "toybirds: a linear head has no use for lr, max_steps, warmup_steps of its" in frozen[0]
