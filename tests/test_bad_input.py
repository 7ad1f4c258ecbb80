"""Bad input through the entry that every notebook uses: one line that says what to do, and nothing taken for done."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import timm
import yaml
from safetensors.torch import load_file, save_file

from alpt_lib import errors, models
from alpt_lib.errors import CompanionError
from alpt_lib.files import WEIGHTS
from companion.report import study


def run(folder: Path, **changes) -> study.Study:
    given = {
        "datasets": [str(folder)],
        "models": ["bit-m-np"],
        "seeds": [1],
        "acquisitions": ["margin"],
        "workers": 1,
    }
    return study.run("01_accuracy_curves", {**given, **changes})


def stored_rounds(home: Path) -> list[Path]:
    return [file for file in home.glob("runs/*/rounds.jsonl") if file.read_text()]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"preset": "maxi"}, r"unknown preset 'maxi'; known: smoke, mini, paper"),
        (
            {"datasets": ["./nowhere"]},
            r"nowhere/dataset.yaml is missing: a dataset folder needs dataset.yaml",
        ),
        ({"models": ["bit-x"]}, r"unknown model 'bit-x' .*; known: bit-s, bit-m"),
        ({"models": ["timm:resnet9000"]}, r"unknown timm model 'resnet9000'"),
        (
            {"models": ["roberta-m"]},
            r"model mini-roberta-m reads texts; dataset toybirds holds images",
        ),
        (
            {"acquisitions": ["margn"]},
            r"unknown acquisition.* 'margn' \(did you mean 'margin'\?\); known: random, least_confidence",
        ),
        (
            {"stopping": ["never"]},
            r"unknown stopping 'never'.*; known: loss_ratio, early_stopping, fixed_steps",
        ),
        ({"seeds": []}, r"parameter seeds is empty; it takes a list of whole numbers"),
        ({"seeds": "1, 2"}, r"parameter seeds takes a list of whole numbers; got"),
        ({"seeds": [1.5]}, r"parameter seeds takes a list of whole numbers; got \[1.5\]"),
        (
            {"protocol": {"budgets": 4}},
            r"unknown protocol setting 'budgets' \(did you mean 'budget'\?\); known: seed_set_size",
        ),
        ({"protocol": {"budget": "many"}}, r"budget must be int; got 'many' \(str\)"),
        (
            {"protocol": {"budget": 93}},
            r"asked for 101 labels \(seed set 8 \+ budget 93\) but the pool holds 100",
        ),
        (
            {"protocol": {"seed_set_size": 98, "budget": 0}},
            None,
        ),  # 49 of each of two classes of 50: fits exactly
        ({"protocol": {"query_batch_size": 0}}, r"query_batch_size must be at least 1; got 0"),
        ({"recipe": {"lr": -1}}, r"lr must be positive and finite; got -1"),
        ({"recipe": {"optimizer": "lion"}}, r"unknown optimizer 'lion'.*; known: sgd, adamw"),
        ({"recipe": {"resize": 32, "crop": 40}}, r"crop 40 exceeds resize 32"),
        ({"probe": ["colour"]}, r"unknown probe.* 'colour'.*; known: label, background"),
        (
            {"weights": "./none.safetensors", "models": ["bit-m"]},
            r"weights not found: none.safetensors",
        ),
        (
            {"recipe": {"stopping": "early_stopping", "validation_split": "dev"}},
            r"unknown split 'dev'; known: pool, val",
        ),
    ],
)
def test_a_bad_parameter_is_one_line_and_no_round(birds_folder, home, changes, said):
    if said is None:
        assert run(birds_folder, **changes).metrics["n_labels"].unique().tolist() == [98]
        return
    with pytest.raises(CompanionError) as error:
        run(birds_folder, **changes)
    assert re.search(said, str(error.value)), str(error.value)
    assert "\n" not in str(error.value)
    assert stored_rounds(home) == []


def test_an_unknown_dataset_lists_those_of_its_tier(birds_folder, home):
    (home / "data" / "paper").mkdir()
    (home / "data" / "paper" / "toybirds").symlink_to(birds_folder)
    with pytest.raises(
        CompanionError, match=r"unknown dataset 'toybird' .*; known: toybirds; or give the path"
    ):
        run(birds_folder, datasets=["toybird"], preset="paper")


def keep_few_of_a_class(folder: Path) -> None:
    manifest = pd.read_csv(folder / "manifest.csv")
    surplus = manifest.index[(manifest["split"] == "pool") & (manifest["label"] == "tall")][3:]
    manifest.drop(surplus).to_csv(folder / "manifest.csv", index=False)


def drop_column(folder: Path) -> None:
    pd.read_csv(folder / "manifest.csv").drop(columns="split").to_csv(
        folder / "manifest.csv", index=False
    )


def drop_class(folder: Path) -> None:
    description = yaml.safe_load((folder / "dataset.yaml").read_text())
    (folder / "dataset.yaml").write_text(
        yaml.safe_dump({**description, "classes": ["tall", "long"]})
    )


def truncate(folder: Path) -> None:
    file = folder / "images" / "3.png"
    file.write_bytes(file.read_bytes()[:100])


def no_validation(folder: Path) -> None:
    pd.read_csv(folder / "manifest.csv").assign(split="pool").to_csv(
        folder / "manifest.csv", index=False
    )


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (
            lambda folder: (folder / "manifest.csv").unlink(),
            r"manifest missing: no manifest.csv or manifest.parquet in",
        ),
        (drop_column, r"column 'split' missing from the manifest"),
        (
            drop_class,
            r"74 label\(s\) outside the classes \['tall', 'long'\], first 'wide' in row 1",
        ),
        (no_validation, r"no evaluation split; the manifest has only 'pool'"),
        (
            lambda folder: (folder / "images" / "3.png").unlink(),
            r"1 of 148 image files missing, first .*images/3.png",
        ),
        (truncate, r"1 image\(s\) cannot be read .*: images/3.png; replace or drop them"),
        (
            keep_few_of_a_class,
            r"a balanced seed set needs 4 examples of each class; class .* has 3 in the pool",
        ),
    ],
)
def test_a_bad_dataset_is_one_line_and_no_round(birds_copy, home, spoil, said):
    spoil(birds_copy)
    with pytest.raises(CompanionError, match=said) as error:
        run(birds_copy)
    assert "\n" not in str(error.value)
    assert stored_rounds(home) == []


def with_nan(state: dict) -> dict:
    state["bn1.weight"][0] = float("nan")
    return state


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (with_nan, r"hold NaN or infinite values: 1 of \d+ tensors, first bn1.weight"),
        (
            lambda state: {k: v for k, v in state.items() if k != "bn1.bias"},
            r"do not fit this model: 1 of \d+ .*bn1.bias",
        ),
    ],
)
def test_weights_that_do_not_serve_are_said_once_and_before_any_run(
    birds_folder, home, tmp_path, change, said
):
    file = tmp_path / "weights.safetensors"
    save_file(change(timm.create_model("mobilenetv2_035").state_dict()), file)
    with pytest.raises(errors.ModelError, match=said) as error:
        run(birds_folder, models=["timm:mobilenetv2_035"], weights=str(file), seeds=[1, 2])
    assert "\n" not in str(error.value)
    assert stored_rounds(home) == []


def test_embedded_weights_that_were_changed_fail_their_checksum(
    birds_folder, home, tmp_path, monkeypatch
):
    shutil.copytree(WEIGHTS, tmp_path / "weights")
    file = tmp_path / "weights" / "mini-bit-m.safetensors"
    state = load_file(file)
    first = next(iter(state))
    save_file({**state, first: state[first] + 1}, file)
    monkeypatch.setattr(models, "WEIGHTS", tmp_path / "weights")
    with pytest.raises(errors.ModelError, match=r"mini-bit-m.safetensors fails its checksum"):
        run(birds_folder, models=["bit-m"])
    assert stored_rounds(home) == []


def test_a_hub_model_without_a_network_says_which_file_from_where_to_where(
    birds_folder, home, tmp_path, monkeypatch
):
    monkeypatch.setattr(models.hub, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        errors.ModelError, match=r"download model.safetensors from .*/timm/mobilenetv2_100.ra_in1k "
    ):
        run(birds_folder, models=["timm:mobilenetv2_100"])
    assert stored_rounds(home) == []


def test_a_diverging_run_fails_with_what_to_change_and_keeps_no_half_round(birds_folder, home):
    with pytest.raises(
        CompanionError,
        match=r"1 of 1 runs failed.*: training loss is (nan|inf) at step .*; lower lr",
    ):
        run(birds_folder, recipe={"lr": 1e30, "warmup_steps": 0})
    assert stored_rounds(home) == []


def test_a_store_line_that_is_no_round_is_not_taken_for_done(birds_folder, home):
    run(birds_folder)
    file = stored_rounds(home)[0]
    whole = file.read_text()
    file.write_text(whole.splitlines(keepends=True)[0] + '{"round": 3}\n')
    run(birds_folder)
    assert file.read_text() == whole


def test_the_command_line_ends_with_one_line_and_exit_status_1(home):
    done = subprocess.run(
        [sys.executable, "-m", "alpt_lib", "run", "--preset", "maxi"],
        capture_output=True,
        text=True,
        env=dict(os.environ),
    )
    assert done.returncode == 1
    assert done.stderr == "error: unknown preset 'maxi'; known: smoke, mini, paper\n"
