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


NAN = float("nan")


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
        ({"recipe": {"lr": 0}}, r"lr must be greater than 0; got 0"),
        ({"recipe": {"lr": NAN}}, r"lr must be .*; got nan"),
        ({"recipe": {"momentum": 1.5}}, r"momentum must be less than 1; got 1.5"),
        ({"recipe": {"weight_decay": -0.1}}, r"weight_decay must be greater than or .*; got -0.1"),
        ({"recipe": {"decay_steps": 5}}, r"decay_steps must be a valid tuple; got 5"),
        ({"recipe": {"loss_ratio": NAN}}, r"loss_ratio must be .*; got nan"),
        ({"recipe": {"optimizer": "lion"}}, r"unknown optimizer 'lion'.*; known: sgd, adamw"),
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


def write(name: str, content: bytes):
    return lambda folder: (folder / name).write_bytes(content)


def few_of_a_class(folder: Path) -> None:
    manifest = pd.read_csv(folder / "manifest.csv")
    is_tall = (manifest["split"] == "pool") & (manifest["label"] == "tall")
    manifest.drop(manifest.index[is_tall][3:]).to_csv(folder / "manifest.csv", index=False)


def describe(**settings):
    def spoil(folder: Path) -> None:
        description = yaml.safe_load((folder / "dataset.yaml").read_text())
        (folder / "dataset.yaml").write_text(yaml.safe_dump({**description, **settings}))

    return spoil


def enormous_png(side: int) -> bytes:
    """A header that promises side x side pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


UNREADABLE = r"1 image\(s\) cannot be read: images/3.png .*; replace or drop them"


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        # what reading the folder refuses is in test_datasets.py
        (describe(classes=["tall"]), r"classes must be two or more, each once; got \['tall'\]"),
        (few_of_a_class, r"needs 4 examples of each class; class .* has 3 in the pool"),
        (write("images/3.png", b""), UNREADABLE),
        (write("images/3.png", b"a bird"), UNREADABLE),
        (write("images/3.png", enormous_png(60_000)), UNREADABLE),
        (lambda f: write("images/3.png", (f / "images/4.png").read_bytes()[:100])(f), UNREADABLE),
        (describe(image_size=10**6), r"cannot write .* GB of decoded images to .*; free some sp"),
        (describe(protocol={"budgets": 3}), r"toybirds protocol setting 'budgets' \(did you mean"),
    ],
)
def test_a_bad_dataset_ends_in_one_line(birds_copy, refused, spoil, said):
    spoil(birds_copy)
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
