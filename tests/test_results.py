"""The run store and the runner: what identifies a run, what survives a crash, and that nothing is done twice."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from alpt_lib import datasets, execute, experiments, results
from alpt_lib.config import RunConfig


def parameters(folder: Path, **changes) -> dict:
    return {"datasets": [str(folder)], "models": ["bit-m-np"], "seeds": [1], "workers": 1, **changes}


def run(folder: Path, **changes) -> experiments.Study:
    return experiments.run("01_accuracy_curves", parameters(folder, **changes))


def config(folder: Path, **changes) -> RunConfig:
    return experiments.plan(parameters(folder, **changes))[-1].config


def refuse_to_train(*args):
    raise AssertionError("a finished run was run again")


def tables(study: experiments.Study) -> tuple[pd.DataFrame, pd.DataFrame]:
    return study.metrics, study.acquisitions


def assert_same_tables(one: experiments.Study, other: experiments.Study) -> None:
    for a, b in zip(tables(one), tables(other), strict=True):
        assert_frame_equal(a, b)


@pytest.fixture
def another_home(home, tmp_path, monkeypatch):
    """Switches to a second, empty run store."""
    def switch():
        (tmp_path / "home2").mkdir()
        shutil.copytree(home / "data", tmp_path / "home2" / "data")
        monkeypatch.setenv("ALPT_HOME", str(tmp_path / "home2"))
    return switch


def test_tables_hold_every_arm_seed_and_round(birds_folder):
    study = run(birds_folder, seeds=[1, 2])
    n_labels = study.metrics.query("metric == 'accuracy' and subgroup == 'all'").groupby(["acquisition", "seed"])["n_labels"]
    assert n_labels.apply(list).tolist() == [[8, 12, 16, 20]] * 4
    per_run = study.acquisitions.groupby(["acquisition", "seed"])
    assert per_run["index"].nunique().tolist() == [20] * 4
    assert study.acquisitions.query("round == 0").groupby("seed")["index"].apply(set).map(len).tolist() == [8, 8]


def test_acquired_rows_carry_their_label_subgroup_and_attributes(birds_folder):
    table = run(birds_folder).acquisitions
    manifest = pd.read_csv(birds_folder / "manifest.csv").iloc[table["index"]].reset_index(drop=True)
    assert table["background"].tolist() == manifest["background"].tolist()
    assert table["subgroup"].tolist() == (manifest["label"] + "/" + manifest["background"]).tolist()


def test_a_run_id_depends_on_data_and_config_and_not_on_the_folder(birds_folder, birds_copy):
    original = results.run_id(config(birds_folder))
    assert results.run_id(config(birds_copy)) == original
    changes = [
        {"seeds": [2]}, {"recipe": {"lr": 0.1}}, {"protocol": {"budget": 8}}, {"models": ["bit-m-deep-np"]}, {"probe": ["label"]},
    ]
    assert len({original, *(results.run_id(config(birds_folder, **change)) for change in changes)}) == 6
    pd.read_csv(birds_copy / "manifest.csv")[:-1].to_csv(birds_copy / "manifest.csv", index=False)
    datasets.load.cache_clear()
    results.run_id.cache_clear()
    assert results.run_id(config(birds_copy)) != original


def test_a_finished_run_is_not_run_again(birds_folder, monkeypatch):
    first = run(birds_folder)
    monkeypatch.setattr(execute, "_run", refuse_to_train)
    assert_same_tables(run(birds_folder), first)


def test_two_notebooks_share_a_run(birds_folder, monkeypatch):
    run(birds_folder)
    monkeypatch.setattr(execute, "_run", refuse_to_train)
    experiments.run("03_subgroup_upsampling", parameters(birds_folder, acquisitions=["least_confidence"]))


def test_the_store_says_what_made_it(birds_folder):
    run(birds_folder, acquisitions=["random"])
    stored = json.loads((results.folder(config(birds_folder, acquisitions=["random"])) / "config.json").read_text())
    assert stored["config"]["acquisition"] == "random"
    assert stored["versions"].keys() >= {"torch", "numpy"}
    assert stored["commit"]


@pytest.mark.parametrize("n_characters", [1, 60, -1])
def test_a_torn_last_line_is_left_out_and_its_round_done_again(birds_folder, n_characters):
    first = run(birds_folder, acquisitions=["least_confidence"])
    arm = config(birds_folder)
    file = results.folder(arm) / "rounds.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[:2]) + lines[2][:n_characters])  # -1: all but the line end
    assert not results.is_done(arm)
    assert len(results.read(arm)) == (3 if n_characters == -1 else 2)
    assert_same_tables(run(birds_folder, acquisitions=["least_confidence"]), first)
    assert file.read_text() == "".join(lines)


def test_a_killed_sweep_goes_on_where_it_stopped(birds_folder, another_home):
    """SIGKILL once two rounds are stored; the same call then gives the tables of an uninterrupted one."""
    slow = {"protocol": {"budget": 16, "query_batch_size": 1}, "acquisitions": ["margin"]}
    arm = config(birds_folder, **slow)
    file = results.folder(arm) / "rounds.jsonl"
    code = f"from alpt_lib import experiments; experiments.run('01_accuracy_curves', {parameters(birds_folder, **slow)!r})"
    process = subprocess.Popen([sys.executable, "-c", code], env=dict(os.environ), stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (file.exists() and file.read_bytes().count(b"\n") >= 2):
        assert process.poll() is None, "the sweep ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = file.read_bytes().splitlines()[:2]
    assert not results.is_done(arm)
    resumed = run(birds_folder, **slow)
    assert file.read_bytes().splitlines()[:2] == kept
    another_home()
    assert_same_tables(run(birds_folder, **slow), resumed)


def test_one_and_two_workers_give_identical_tables(birds_folder, another_home):
    one = run(birds_folder, seeds=[1, 2], workers=1)
    another_home()
    assert_same_tables(run(birds_folder, seeds=[1, 2], workers=2), one)


def test_arms_of_a_seed_share_the_seed_set_fit(birds_folder):
    study = run(birds_folder)
    start = study.metrics.query("round == 0")
    by_arm = [group.reset_index(drop=True)["value"] for _, group in start.groupby("acquisition")]
    assert by_arm[0].equals(by_arm[1])


def test_an_arm_alone_gives_the_rows_it_gives_beside_another(birds_folder, another_home):
    together = run(birds_folder).metrics.query("acquisition == 'least_confidence'").reset_index(drop=True)
    another_home()
    assert_frame_equal(run(birds_folder, acquisitions=["least_confidence"]).metrics, together)


def test_probes_measure_before_and_after_finetuning_and_leave_the_other_rows_alone(birds_folder):
    plain, probed = run(birds_folder).metrics, run(birds_folder, probe=["label", "background"]).metrics
    is_probe = probed["metric"].str.startswith("probe_")
    assert sorted(probed[is_probe]["round"].unique()) == [results.BEFORE, 0, 1, 2, 3]
    columns = ["acquisition", "round", "metric", "subgroup", "value"]
    assert_frame_equal(probed[~is_probe][columns].reset_index(drop=True), plain[columns])


def test_one_failing_run_leaves_the_others_stored(birds_folder, monkeypatch):
    work = execute._run

    def fail_for_seed_2(config_, *args):
        if config_.seed == 2:
            raise RuntimeError("out of\nluck")
        work(config_, *args)

    monkeypatch.setattr(execute, "_run", fail_for_seed_2)
    with pytest.raises(execute.RunsFailed, match=r"2 of 4 runs failed, the others are stored: .*RuntimeError: out of luck"):
        run(birds_folder, seeds=[1, 2])
    assert results.is_done(config(birds_folder, seeds=[1]))
    assert not results.is_done(config(birds_folder, seeds=[2]))
