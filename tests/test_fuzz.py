"""Bad manifests, descriptions and parameters, kind by kind: each ends in one line that names what was found."""

import os
import pickle
import re
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import save_file

from alpt_lib.errors import CompanionError
from companion.report import study


def refused(folder: Path, changes: dict | None = None) -> str:
    """What a run on this dataset says; it must not get as far as training."""
    given = {
        "datasets": [str(folder)],
        "models": ["bit-m-np"],
        "seeds": [1],
        "acquisitions": ["margin"],
        "workers": 1,
    }
    with pytest.raises(CompanionError) as error:
        study.run("01_accuracy_curves", {**given, **(changes or {})})
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.fixture(autouse=True)
def no_training(monkeypatch):
    def train(*args):
        raise AssertionError("bad input was trained on")

    monkeypatch.setattr(execute, "_run", train)


def write(name: str, content: str | bytes):
    return lambda folder: (folder / name).write_bytes(
        content if isinstance(content, bytes) else content.encode()
    )


def manifest(change):
    def spoil(folder):
        change(pd.read_csv(folder / "manifest.csv").astype(object)).to_csv(
            folder / "manifest.csv", index=False
        )

    return spoil


def parquet(change):
    def spoil(folder):
        change(pd.read_csv(folder / "manifest.csv").astype(object)).to_parquet(
            folder / "manifest.parquet"
        )

    return spoil


def cell(column: str, row: int, value):
    def change(table):
        table.loc[row, column] = value
        return table

    return change


def text(name: str, change):
    return lambda folder: (folder / name).write_bytes(change((folder / name).read_bytes()))


def enormous_png(side: int) -> bytes:
    """A header that promises side x side pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def image_becomes_folder(folder):
    (folder / "images" / "3.png").unlink()
    (folder / "images" / "3.png").mkdir()


MANIFESTS = {
    "empty": (write("manifest.csv", ""), "manifest.csv cannot be read: No columns"),
    "a header only": (
        write("manifest.csv", "path,label,split,background\n"),
        "split 'pool' missing",
    ),
    "binary": (write("manifest.csv", bytes(range(256)) * 20), "manifest.csv cannot be read"),
    "zero bytes": (write("manifest.csv", b"\0" * 99), "column 'path' missing"),
    "utf-16": (
        text("manifest.csv", lambda b: b.decode().encode("utf-16")),
        "cannot be read: 'utf-8' codec",
    ),
    "latin-1": (
        text("manifest.csv", lambda b: b.replace(b"red", b"r\xe9d")),
        "cannot be read: 'utf-8' codec",
    ),
    "a column twice": (
        text("manifest.csv", lambda b: b.replace(b"background", b"label", 1)),
        "column 'label' appears twice",
    ),
    "a long row": (
        text("manifest.csv", lambda b: b + b"a,b,c,d,e,f\n"),
        "Expected 4 fields in line 150, saw 6",
    ),
    "all rows long": (
        text("manifest.csv", lambda b: b.replace(b",background", b"", 1)),
        "have more fields than its header",
    ),
    "a short row": (
        text("manifest.csv", lambda b: b + b"images/3.png,tall\n"),
        "1 row.* without a split, first '' in row 148",
    ),
    "an image twice": (
        manifest(cell("path", 1, "images/0.png")),
        "1 image.* in the pool twice.* first images/0.png",
    ),
    "a pool image in val": (
        manifest(cell("path", 120, "images/0.png")),
        "or in an evaluation split too, first images/0.png",
    ),
    "no label": (
        manifest(cell("label", 5, "")),
        "1 label.* outside the classes .* first '' in row 5",
    ),
    "a NaN label": (parquet(cell("label", 5, None)), "1 label.* outside the classes .* in row 5"),
    "a NaN path": (parquet(cell("path", 5, None)), "1 row.* without a path, first .* in row 5"),
    "numbers for paths": (
        parquet(lambda t: t.assign(path=3)),
        "148 row.* without a path, first 3 in row 0",
    ),
    "no path": (manifest(cell("path", 5, "")), "1 row.* without a path, first '' in row 5"),
    "no split": (manifest(cell("split", 5, "")), "1 row.* without a split, first '' in row 5"),
    "Pool for pool": (
        manifest(lambda t: t.replace("pool", "Pool")),
        r"split 'pool' missing; the manifest has \['Pool', 'val'\]",
    ),
    "a path outside": (
        manifest(cell("path", 5, "/etc/hostname")),
        r"1 image\(s\) cannot be read .*: /etc/hostname",
    ),
    "a path upwards": (
        manifest(cell("path", 5, "../../nothing.png")),
        "1 of 148 image files missing, first .*nothing.png",
    ),
    "no parquet": (write("manifest.parquet", "nope"), "manifest.parquet cannot be read"),
    "an image of 0 bytes": (
        write("images/3.png", b""),
        "1 image.* cannot be read .*: images/3.png",
    ),
    "a text for an image": (
        write("images/3.png", "a bird"),
        "1 image.* cannot be read .*: images/3.png",
    ),
    "3.6 gigapixels": (
        write("images/3.png", enormous_png(60_000)),
        "1 image.* cannot be read .*: images/3.png",
    ),
    "a folder for an image": (
        image_becomes_folder,
        "1 of 148 image files missing, first .*images/3.png",
    ),
}


@pytest.mark.parametrize("kind", MANIFESTS)
def test_a_bad_manifest_ends_in_one_line(birds_copy, kind):
    spoil, said = MANIFESTS[kind]
    spoil(birds_copy)
    assert re.search(said, refused(birds_copy))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", r"must be a mapping with at least `classes"),
        (b"- tall", r"must be a mapping with at least `classes"),
        (b"classes: [tall", r"dataset.yaml is not valid yaml"),
        (bytes(range(128, 256)), r"dataset.yaml is not valid yaml"),
        (
            b"!!python/object/apply:os.abort []",
            r"not valid yaml: could not determine a constructor",
        ),
    ],
)
def test_a_description_that_is_no_mapping_ends_in_one_line(birds_copy, content, said):
    (birds_copy / "dataset.yaml").write_bytes(content)
    assert re.search(said, refused(birds_copy))


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"imagesize": 32}, r"unknown key 'imagesize' \(did you mean 'image_size'\?\)"),
        ({"classes": ["tall"]}, r"classes must be two or more, each once; got \['tall'\]"),
        ({"classes": ["tall", "wide", "tall"]}, r"classes must be two or more, each once"),
        ({"classes": "tall"}, r"classes must be list\[str\]; got 'tall'"),
        ({"classes": {"tall": 0}}, r"classes must be list\[str\]; got \{'tall': 0\}"),
        ({"classes": 2}, r"classes must be list\[str\]; got 2"),
        ({"classes": ["tall", None]}, r"classes must be list\[str\]; got \['tall', None\]"),
        ({"image_size": "big"}, r"image_size must be int; got 'big'"),
        ({"image_size": 32.5}, r"image_size must be int; got 32.5"),
        ({"image_size": True}, r"image_size must be int; got True"),
        ({"image_size": 0}, r"image_size must be at least 1 px; got 0"),
        ({"image_size": 10**6}, r"cannot write .* GB of decoded images to .*; free some space"),
        ({"max_tokens": 1}, r"max_tokens must be at least 3; got 1"),
        ({"protocol": [1]}, r"protocol must be dict.*; got \[1\]"),
        ({"recipe": "fast"}, r"recipe must be dict.*; got 'fast'"),
        (
            {"protocol": {"budgets": 3}},
            r"unknown toybirds protocol setting 'budgets' \(did you mean 'budget'\?\)",
        ),
        (
            {"subgroups": ["colour"]},
            r"column 'colour' missing from the manifest; it has path, label, split, background",
        ),
        ({"subgroups": "label"}, r"subgroups must be list\[str\]; got 'label'"),
        ({"subgroups": None}, r"subgroups must be list\[str\]; got None"),
        (
            {"minority": ["tall/blue"]},
            r"unknown minority subgroup 'tall/blue'.*; known: tall/green, tall/red",
        ),
        ({"minority": 3}, r"minority must be list\[str\] \| None; got 3"),
        (
            {"percentile_over": ["background"]},
            r"percentile_over must be str \| None; got \['background'\]",
        ),
        ({"eval_splits": ["dev"]}, r"split 'dev' missing; the manifest has \['pool', 'val'\]"),
        (
            {"eval_splits": ["pool"]},
            r"eval_splits must name each evaluation split once, and not 'pool'",
        ),
        ({"eval_splits": ["val", "val"]}, r"eval_splits must name each evaluation split once"),
        ({"modality": "video"}, r"modality must be image or text; got 'video'"),
        ({"name": "a/b"}, r"name must be a word, without a slash; got 'a/b'"),
    ],
)
def test_a_bad_description_ends_in_one_line(birds_copy, setting, said):
    description = yaml.safe_load((birds_copy / "dataset.yaml").read_text())
    (birds_copy / "dataset.yaml").write_text(yaml.safe_dump({**description, **setting}))
    assert re.search(said, refused(birds_copy))


INF, NAN = float("inf"), float("nan")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seeds": [-1]}, r"seed must lie between 0 and 4294967295; got -1"),
        ({"seeds": [2**70]}, r"seed must lie between 0 and 4294967295; got 1180591620717411303424"),
        ({"seeds": [True]}, r"seeds takes a list of whole numbers; got \[True\]"),
        ({"seeds": [1, 2, 1]}, r"seeds names 1 twice; got \[1, 2, 1\]"),
        ({"seeds": "[1"}, r"seeds takes a list of whole numbers; got '\[1'"),
        ({"acquisitions": ["margin", "margin"]}, r"acquisitions names 'margin' twice"),
        ({"datasets": []}, r"datasets is empty; it takes a list of dataset names or folders"),
        ({"models": [""]}, r"unknown model ''; known: bit-s, bit-m"),
        ({"models": [3]}, r"models takes a list of model names.*; got \[3\]"),
        ({"protocol": {"budget": -1}}, r"budget must be 0 or more; got -1"),
        ({"protocol": {"budget": True}}, r"budget must be int; got True \(bool\)"),
        ({"protocol": {"seed_set_size": 0}}, r"seed_set_size must be at least 1; got 0"),
        ({"protocol": {"eval_every": 0}}, r"eval_every must be at least 1; got 0"),
        (
            {"protocol": {"pool_subsample": 1}},
            r"pool_subsample 1 is smaller than query_batch_size 4",
        ),
        (
            {"protocol": [1]},
            r"protocol takes a mapping of protocol settings, e.g. \{budget: 40\}; got \[1\]",
        ),
        ({"recipe": {"lr": 0}}, r"lr must be positive and finite; got 0"),
        ({"recipe": {"lr": "fast"}}, r"lr must be float; got 'fast' \(str\)"),
        ({"recipe": {"lr": NAN}}, r"lr must be positive and finite; got nan"),
        ({"recipe": {"lr": INF}}, r"lr must be positive and finite; got inf"),
        ({"recipe": {"momentum": 1.5}}, r"momentum must lie in \[0, 1\); got 1.5"),
        (
            {"recipe": {"weight_decay": -0.1}},
            r"weight_decay must be 0 or more and finite; got -0.1",
        ),
        ({"recipe": {"warmup_steps": -1}}, r"warmup_steps must be 0 or more; got -1"),
        ({"recipe": {"decay_steps": 5}}, r"decay_steps must be a list of int; got 5"),
        (
            {"recipe": {"decay_steps": ["late"]}},
            r"decay_steps must be a list of int; got \['late'\]",
        ),
        ({"recipe": {"loss_ratio": NAN}}, r"loss_ratio must lie between 0 and 1; got nan"),
        (
            {"recipe": {"crop": 64}},
            r"toybirds: crop 64 exceeds the image size 32; set recipe resize too",
        ),
        ({"recipe": {"crop": -5}}, r"crop must be 0 or more; got -5"),
        (
            {"recipe": {"stopping": "early_stopping", "validation_split": "pool"}},
            r"validation_split must not be the pool",
        ),
        ({"probe": ["split"]}, r"unknown probe attribute 'split'; known: label, background"),
        ({"weights": "{bit-m: a"}, r"weights takes a file or folder .*; got '\{bit-m: a'"),
        ({"weights": {"bit-x": "a"}}, r"unknown model in weights 'bit-x'"),
        (
            {"models": {"toybrids": ["bit-m"]}},
            r"unknown dataset in models 'toybrids' \(did you mean 'toybirds'\?\)",
        ),
        ({"workers": -1}, r"workers takes a number of processes; 0 takes one per core; got -1"),
        ({"workers": True}, r"workers takes a number of processes.*; got True"),
        ({"n_points": 0}, r"n_points takes a whole number above 0; got 0"),
    ],
)
def test_a_bad_parameter_ends_in_one_line(birds_folder, changes, said):
    assert re.search(said, refused(birds_folder, changes))


class Mischief:
    """Unpickling it would write a file."""

    def __init__(self, file: Path):
        self.file = file

    def __reduce__(self):
        return open, (str(self.file), "w")


@pytest.mark.parametrize(
    ("name", "write", "said"),
    [
        (
            "w.safetensors",
            lambda f: f.write_bytes(b"\x10\0\0\0\0\0\0\0{}"),
            r"cannot be read as weights .*: SafetensorError",
        ),
        (
            "w.safetensors",
            lambda f: save_file({"a": torch.zeros(1)}, f),
            r"weights in w.safetensors do not fit this model: \d+ of",
        ),
        (
            "w.pth",
            lambda f: f.write_bytes(pickle.dumps(Mischief(f.with_name("done")), protocol=2)),
            r"cannot be read as weights",
        ),
        (
            "w.pth",
            lambda f: torch.save({"a": Mischief(f.with_name("done"))}, f),
            r"cannot be read as weights of this model",
        ),
        ("w.npz", lambda f: np.savez(f, a=np.zeros(2)), r"cannot be read as weights of this model"),
    ],
)
def test_weights_that_are_none_end_in_one_line_and_run_no_code(
    birds_folder, tmp_path, name, write, said
):
    write(tmp_path / name)
    assert re.search(
        said,
        refused(
            birds_folder, {"models": ["timm:mobilenetv2_035"], "weights": str(tmp_path / name)}
        ),
    )
    assert not (tmp_path / "done").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--only", "99"], r"error: unknown notebook '99'"),
        (["--only", "01", "--set", "{seeds: [1, 1]}"], r"error: parameter seeds names 1 twice"),
        (["--only", "01", "--set", "{sseds: [1]}"], r"error: unknown parameter 'sseds'"),
        (
            ["--only", "01", "--executor", "rey"],
            r"error: unknown executor 'rey' \(did you mean 'ray'\?\)",
        ),
    ],
)
def test_the_command_line_says_it_in_one_line(home, arguments, said):
    done = subprocess.run(
        [sys.executable, "-m", "alpt_lib", "run", "--dry-run", "--preset", "smoke", *arguments],
        capture_output=True,
        text=True,
        env=dict(os.environ),
    )
    assert done.returncode == 1
    assert re.match(said, done.stderr), done.stderr
    assert done.stderr.count("\n") == 1
