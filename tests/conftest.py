"""Small datasets made on the spot, a home folder of one's own, and one thread."""

import os

# read when huggingface_hub is imported; no test may need a network
os.environ["HF_HUB_OFFLINE"] = "1"
# arrays this small only wait for each other
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import shutil
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image

from alpt_lib.progress import QUIET

torch.set_num_threads(1)

BIRDS = {
    "name": "toybirds",
    "classes": ["tall", "wide"],
    "subgroups": ["label", "background"],
    "image_size": 32,
    "default_model": "bit-m-np",
    "protocol": {"seed_set_size": 8, "budget": 12, "query_batch_size": 4},
    "recipe": {"lr": 0.03, "warmup_steps": 2, "max_steps": 6},
}


def draw(label: int, background: int, rng: np.random.Generator) -> np.ndarray:
    """(32, 32, 3) uint8: a tall or wide bar on a background tinted red or green."""
    image = rng.integers(0, 40, (32, 32, 3))
    image[..., background] += 120
    image[(slice(4, 28), slice(12, 20)) if label == 0 else (slice(12, 20), slice(4, 28))] = 220
    return image.astype(np.uint8)


def write_birds(
    folder: Path, n_pool: int = 100, n_val: int = 48, matched: float = 0.9, seed: int = 0
) -> Path:
    """Two classes; the background goes with the label in `matched` of the pool, in half of val."""
    rng = np.random.default_rng(seed)
    (folder / "images").mkdir(parents=True)
    rows = []
    for i in range(n_pool + n_val):
        split = "pool" if i < n_pool else "val"
        label = i % 2
        background = label if rng.random() < (matched if split == "pool" else 0.5) else 1 - label
        Image.fromarray(draw(label, background, rng)).save(folder / "images" / f"{i}.png")
        rows.append(
            (f"images/{i}.png", BIRDS["classes"][label], split, ["red", "green"][background])
        )
    pd.DataFrame(rows, columns=["path", "label", "split", "background"]).to_csv(
        folder / "manifest.csv", index=False
    )
    (folder / "dataset.yaml").write_text(yaml.safe_dump(BIRDS), encoding="utf-8")
    return folder


def pytest_collection_modifyitems(config, items):
    """Tests that take minutes wait to be asked for."""
    if "slow" not in config.getoption("markexpr"):
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(pytest.mark.skip(reason="takes minutes; runs with pytest -m slow"))


@pytest.fixture(autouse=True)
def heard(monkeypatch):
    """A command that was told to be quiet leaves the next test as loud as before."""
    monkeypatch.setenv(QUIET, "1")
    monkeypatch.delenv(QUIET)


@pytest.fixture(autouse=True)
def alone():
    """What a session began in a thread ends with its test, and draws no number of the next one."""
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        if not thread.daemon:
            thread.join(timeout=60)


@pytest.fixture(scope="session")
def birds_folder(tmp_path_factory) -> Path:
    """100 pool and 48 val images of 32 px, two classes, two backgrounds; read only."""
    return write_birds(tmp_path_factory.mktemp("data") / "toybirds")


@pytest.fixture
def birds_copy(birds_folder, tmp_path) -> Path:
    """A copy of the toy dataset that a test may spoil."""
    return shutil.copytree(birds_folder, tmp_path / "toybirds")


@pytest.fixture(scope="session")
def reviews_folder(tmp_path_factory) -> Path:
    """60 pool and 30 val texts, two classes, one attribute."""
    folder = tmp_path_factory.mktemp("data") / "toyreviews"
    folder.mkdir()
    rng = np.random.default_rng(0)
    rows = []
    for i in range(90):
        label = i % 2
        words = rng.permutation([["good", "fine", "great"], ["bad", "poor", "awful"]][label])
        rows.append(
            (
                " ".join(words),
                ["good", "bad"][label],
                "pool" if i < 60 else "val",
                f"reviewer{i % 3}",
            )
        )
    pd.DataFrame(rows, columns=["text", "label", "split", "reviewer"]).to_csv(
        folder / "manifest.csv", index=False
    )
    (folder / "dataset.yaml").write_text(
        yaml.safe_dump(
            {
                "name": "toyreviews",
                "modality": "text",
                "classes": ["good", "bad"],
                "percentile_over": "reviewer",
                "max_tokens": 8,
            }
        )
    )
    return folder


@pytest.fixture(scope="session")
def decoded(tmp_path_factory) -> Path:
    """Decoded images, shared by the homes of all tests: their names hold the data's fingerprint."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def home(tmp_path_factory, decoded, monkeypatch) -> Path:
    """An empty home folder: data/, runs/ and figures/ of this test go here."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "data").mkdir()
    (folder / "data" / "cache").symlink_to(decoded)
    monkeypatch.setenv("ALPT_HOME", str(folder))
    return folder
