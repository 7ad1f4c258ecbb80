"""The paper preset from end to end on tiny folders of the releases' exact formats.

Weights are tiny and random, in the files that BiT (npz) and RoBERTa (a folder) come in.
"""

import importlib
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from cub_folders import write_cub, write_places
from paper_models import TINY_BIT, tiny_bit_npz, tiny_roberta
from PIL import Image
from wilds_folders import write_amazon, write_camelyon17, write_fmow, write_iwildcam

from companion.cli import main

PROTOCOL = {"seed_set_size": 10, "budget": 4, "query_batch_size": 2, "pool_subsample": 9}
SIDES = {"resize": 40, "crop": 32}
SIZES = {"train": 24, "val": 10, "id_val": 10, "test": 5, "id_test": 5}


def write_waterbirds(root: Path) -> Path:
    """24 images in train, 16 in val, 4 in test; in train one in six is mismatched."""
    rows = []
    for i in range(44):
        split = 0 if i < 24 else 1 if i < 40 else 2
        y = i % 2
        place = 1 - y if i % 12 >= 10 or (split and i % 4 >= 2) else y
        name = f"{i:03}.Sooty_Albatross/bird_{i}.jpg"
        (root / name).parent.mkdir(parents=True)
        Image.new("RGB", (50, 40), (100 + 50 * y, 5 * i, 200 * place)).save(root / name)
        rows.append((i + 1, name, y, split, place, "/o/ocean/00000001.jpg"))
    columns = ["img_id", "img_filename", "y", "split", "place", "place_filename"]
    pd.DataFrame(rows, columns=columns).to_csv(root / "metadata.csv", index=False)
    return root


def write_treeperson(root: Path) -> Path:
    """The authors' metadata.csv and images/: 24 in train, 12 in val."""
    rows = []
    (root / "images").mkdir(parents=True)
    for i in range(36):
        y = i % 2
        place = y if i % 12 < 10 else 1 - y
        name = f"images/{1000 + i}.jpg"
        Image.new("RGB", (48, 36), (120 * y, 100, 200 * place)).save(root / name)
        rows.append((i + 1, name, y, place, int(i >= 24)))
    columns = ["img_id", "img_filename", "y", "place", "split"]
    pd.DataFrame(rows, columns=columns).to_csv(root / "metadata.csv", index=False)
    return root


def write_variants(root: Path) -> Path:
    write_cub(root)
    write_places(root / "places")
    return root


RELEASES = {
    "waterbirds": write_waterbirds,
    "treeperson": write_treeperson,
    "waterbirds_variants": write_variants,
    "iwildcam": lambda root: write_iwildcam(root, SIZES, n_classes=5),
    "camelyon17": lambda root: write_camelyon17(root, SIZES),
    "fmow": lambda root: write_fmow(root, SIZES),
    "amazon": write_amazon,
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    """A home folder whose data/paper the scripts have filled from the tiny releases."""
    folder = tmp_path_factory.mktemp("paper")
    out = folder / "data" / "paper"
    for script, write in RELEASES.items():
        root = folder / "source" / script
        root.mkdir(parents=True)
        options = {"min_reviews": 5} if script == "amazon" else {}
        target = out if script == "waterbirds_variants" else out / script
        prepare = importlib.import_module(script).prepare
        prepare(root=write(root), out=target, allow_different=True, **options)
    return folder


@pytest.fixture
def run(prepared, home, tmp_path, monkeypatch):
    """The command at the paper preset, few labels and steps; gives the folder of the figures."""
    name, file = tiny_bit_npz(tmp_path)
    tiny = {
        "seeds": [1],
        "weights": {name: str(file), "roberta-m": str(tiny_roberta(tmp_path))},
        "models": [TINY_BIT],
        "protocol": PROTOCOL,
        "recipe": {"max_steps": 2, "train_batch_size": 8, "micro_batch_size": 3, **SIDES},
    }

    def command(only: str, where: Path = prepared, preset: str = "paper", **changes) -> Path:
        monkeypatch.setenv("ALPT_HOME", str(where))
        given = yaml.safe_dump({**tiny, **changes})
        options = ["--preset", preset, "--only", only, "--workers", "1", "--set", given]
        assert main(["run", *options]) == 0
        return where / "figures" / "custom"

    return command


def test_waterbirds_treeperson_iwildcam_and_amazon_come_to_their_curves(run):
    images = ["waterbirds", "treeperson", "iwildcam"]
    output = run("01", models={name: [TINY_BIT] for name in images})
    curves = pd.read_csv(output / "01_accuracy_curves" / "accuracy_curves.csv")
    shown = curves.groupby("dataset")["metric"].unique().map(set).to_dict()
    assert shown == {
        "waterbirds": {"accuracy", "accuracy_minority"},
        "treeperson": {"accuracy", "accuracy_minority"},
        "iwildcam": {"accuracy", "accuracy_class_balanced"},
        "amazon": {"accuracy_reviewer_mean", "accuracy_reviewer_p10"},
    }
    # 2 a round from 10, evaluated every second (Amazon: every fourth) and last round
    assert set(curves["n_labels"]) == {10, 14}
    claims = pd.read_csv(output / "claims.csv")["claim"].str.partition(":")[0]
    assert {"Waterbirds", "Treeperson", "iWildCam", "Amazon"} <= set(claims)
    assert (output / "01_accuracy_curves" / "accuracy_curves.svg").exists()


def test_iwildcam_s_four_acquisition_functions_are_shown_at_unseen_and_seen_locations(run):
    output = run("02") / "02_acquisition_functions"
    for name in ("final_gains", "acquisition_functions"):
        table = pd.read_csv(output / f"{name}.csv")
        arms = {"random", "least_confidence", "entropy", "margin"}
        assert set(table["acquisition"]) | {"random"} == arms
        assert set(zip(table["split"], table["metric"], strict=True)) == {
            (split, metric)
            for split in ("val", "id_val")
            for metric in ("accuracy", "accuracy_class_balanced")
        }
    # no panel of the commonest class: here all are equally common
    assert (output / "acquisition_functions.svg").read_text().count('<g id="axes_') == 3


def test_the_ambiguity_variants_come_to_their_sweep(run):
    table = pd.read_csv(run("07") / "07_ambiguity_sweep" / "gain_by_ambiguity.csv")
    # the pool holds 25 waterbirds and 17 landbirds
    shares = (0.501, 0.6, 0.7, 0.8, 0.9, 0.95)
    expected = [100 * (round(m * 25) + round(m * 17)) / 42 for m in shares]
    np.testing.assert_allclose(sorted(set(table["matched"])), expected, atol=2.5)


def test_camelyon17_and_fmow_come_to_the_failure_cases(run):
    output = run(
        "08",
        protocol={**PROTOCOL, "seed_set_size": 8},
        seeds=[1, 2],
        models=[TINY_BIT, f"{TINY_BIT}-np"],
    )
    probes = pd.read_csv(output / "08_failure_cases" / "probe_accuracy.csv")
    assert set(probes["dataset"]) == {"camelyon17", "fmow"}
    claims = pd.read_csv(output / "08_failure_cases" / "claims.csv")
    verdicts = claims.set_index("claim")["verdict"]
    assert (
        verdicts["Satellite images (EuroSAT), linear head on frozen Lite0: no gain over random"]
        == "not testable"
    )
    for name in ("Camelyon17", "FMoW"):
        assert verdicts[f"{name}: no gain over random"] != "not testable"


@pytest.mark.real_data
@pytest.mark.skipif("ALPT_REAL_DATA" not in os.environ, reason="ALPT_REAL_DATA names no folder")
def test_the_real_waterbirds_are_fine_tuned_beside_a_frozen_network(run, home):
    real = Path(os.environ["ALPT_REAL_DATA"])
    out = home / "data" / "paper" / "waterbirds"
    prepare = importlib.import_module("waterbirds").prepare
    prepare(root=real / "waterbirds_160", out=out, trust_images=True)
    # checked whole, then cut: decoding all takes a minute
    manifest = pd.read_csv(out / "manifest.csv")
    few = manifest.groupby("split").sample(200, random_state=0)
    few.to_csv(out / "manifest.csv", index=False)
    output = run(
        "01",
        where=home,
        preset="real",
        weights={"lite0": str(real / "weights" / "tf_efficientnet_lite0.safetensors")},
        models={"waterbirds": ["lite0"]},
        protocol={"budget": 5, "query_batch_size": 5, "pool_subsample": 64},
        recipe={"max_steps": 2},
    )
    stored = [
        json.loads(file.read_text())["config"] for file in (home / "runs").glob("*/config.json")
    ]
    fine_tuned = [c for c in stored if c["recipe"]["backbone"] == "fine-tuned"]
    assert {c["model"] for c in fine_tuned} == {"timm:tf_efficientnet_lite0.in1k"}
    assert {c["model"] for c in stored if c not in fine_tuned} == {"features:lite0"}
    fitted = [fine_tuned[0]["recipe"][key] for key in ("augment", "stopping", "crop", "lr")]
    assert fitted == ["crop_flip", "loss_ratio", 128, 1e-3]
    curves = pd.read_csv(output / "01_accuracy_curves" / "accuracy_curves.csv")
    assert sorted(set(curves["n_labels"])) == [40, 45]
    assert set(curves["dataset"]) == {"waterbirds", "real_waterbirds"}
    assert set(curves["metric"]) == {"accuracy", "accuracy_minority"}
