"""The run store and the runner: what identifies a run, what survives a crash, and that nothing is done twice."""

import errno
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

from alpt_lib import datasets, errors, training
from alpt_lib.config import RunConfig
from alpt_lib.errors import CompanionError
from companion.report import study
from companion.runs import execute, store, upkeep
from companion.runs.execute import RunsFailed, execute
from companion.runs.plan import plan_runs
from companion.runs.work import _run


def parameters(folder: Path, **changes) -> dict:
    return {
        "datasets": [str(folder)],
        "models": ["bit-m-np"],
        "seeds": [1],
        "workers": 1,
        **changes,
    }


def run(folder: Path, **changes) -> study.Study:
    return study.run("01_accuracy_curves", parameters(folder, **changes))


def config(folder: Path, **changes) -> RunConfig:
    return plan_runs(parameters(folder, **changes))[-1].config


def refuse_to_train(*args):
    raise AssertionError("a finished run was run again")


def tables(study: study.Study) -> tuple[pd.DataFrame, pd.DataFrame]:
    return study.metrics, study.acquisitions


def assert_same_tables(one: study.Study, other: study.Study) -> None:
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
    n_labels = study.metrics.query("metric == 'accuracy' and subgroup == 'all'").groupby(
        ["acquisition", "seed"]
    )["n_labels"]
    assert n_labels.apply(list).tolist() == [[8, 12, 16, 20]] * 4
    per_run = study.acquisitions.groupby(["acquisition", "seed"])
    assert per_run["index"].nunique().tolist() == [20] * 4
    assert study.acquisitions.query("round == 0").groupby("seed")["index"].apply(set).map(
        len
    ).tolist() == [8, 8]


def test_acquired_rows_carry_their_label_subgroup_and_attributes(birds_folder):
    table = run(birds_folder).acquisitions
    manifest = (
        pd.read_csv(birds_folder / "manifest.csv").iloc[table["index"]].reset_index(drop=True)
    )
    assert table["background"].tolist() == manifest["background"].tolist()
    assert table["subgroup"].tolist() == (manifest["label"] + "/" + manifest["background"]).tolist()


def test_a_run_id_depends_on_data_and_config_and_not_on_the_folder(birds_folder, birds_copy):
    original = store.run_id(config(birds_folder))
    assert store.run_id(config(birds_copy)) == original
    changes = [
        {"seeds": [2]},
        {"recipe": {"lr": 0.1}},
        {"protocol": {"budget": 8}},
        {"models": ["bit-m-deep-np"]},
        {"probe": ["label"]},
    ]
    assert (
        len({original, *(store.run_id(config(birds_folder, **change)) for change in changes)}) == 6
    )
    pd.read_csv(birds_copy / "manifest.csv")[:-1].to_csv(birds_copy / "manifest.csv", index=False)
    datasets.read_dataset.cache_clear()
    store.run_id.cache_clear()
    assert store.run_id(config(birds_copy)) != original


def test_a_finished_run_is_not_run_again(birds_folder, monkeypatch):
    first = run(birds_folder)
    monkeypatch.setattr(execute, "_run", refuse_to_train)
    assert_same_tables(run(birds_folder), first)


def test_two_notebooks_share_a_run(birds_folder, monkeypatch):
    run(birds_folder)
    monkeypatch.setattr(execute, "_run", refuse_to_train)
    study.run("03_subgroup_upsampling", parameters(birds_folder, acquisitions=["least_confidence"]))


def test_the_store_says_what_made_it(birds_folder):
    run(birds_folder, acquisitions=["random"])
    stored = json.loads(
        (store.folder(config(birds_folder, acquisitions=["random"])) / "config.json").read_text()
    )
    assert stored["config"]["acquisition"] == "random"
    assert stored["versions"].keys() >= {"torch", "numpy"}
    assert stored["commit"]


@pytest.mark.parametrize("n_characters", [1, 60, -1])
def test_a_torn_last_line_is_left_out_and_its_round_done_again(birds_folder, n_characters):
    first = run(birds_folder, acquisitions=["least_confidence"])
    arm = config(birds_folder)
    file = store.folder(arm) / "rounds.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[:2]) + lines[2][:n_characters])  # -1: all but the line end
    assert not store.is_done(arm)
    assert len(store.read(arm)) == (3 if n_characters == -1 else 2)
    assert_same_tables(run(birds_folder, acquisitions=["least_confidence"]), first)
    assert file.read_text() == "".join(lines)


def test_a_killed_sweep_goes_on_where_it_stopped(birds_folder, another_home):
    """SIGKILL once two rounds are stored; the same call then gives the tables of an uninterrupted one."""
    slow = {"protocol": {"budget": 16, "query_batch_size": 1}, "acquisitions": ["margin"]}
    arm = config(birds_folder, **slow)
    file = store.folder(arm) / "rounds.jsonl"
    code = f"from alpt_lib import experiments; experiments.run('01_accuracy_curves', {parameters(birds_folder, **slow)!r})"
    process = subprocess.Popen(
        [sys.executable, "-c", code], env=dict(os.environ), stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while not (file.exists() and file.read_bytes().count(b"\n") >= 2):
        assert process.poll() is None, "the sweep ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = file.read_bytes().splitlines()[:2]
    assert not store.is_done(arm)
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
    together = (
        run(birds_folder).metrics.query("acquisition == 'least_confidence'").reset_index(drop=True)
    )
    another_home()
    assert_frame_equal(run(birds_folder, acquisitions=["least_confidence"]).metrics, together)


def test_probes_measure_before_and_after_finetuning_and_leave_the_other_rows_alone(birds_folder):
    plain, probed = (
        run(birds_folder).metrics,
        run(birds_folder, probe=["label", "background"]).metrics,
    )
    is_probe = probed["metric"].str.startswith("probe_")
    assert sorted(probed[is_probe]["round"].unique()) == [store.BEFORE, 0, 1, 2, 3]
    columns = ["acquisition", "round", "metric", "subgroup", "value"]
    assert_frame_equal(probed[~is_probe][columns].reset_index(drop=True), plain[columns])


def test_one_failing_run_leaves_the_others_stored_and_shown(birds_folder, monkeypatch, capsys):
    work = _run

    def fail_for_seed_2(config_, *args):
        if config_.seed == 2:
            raise RuntimeError("out of\nluck")
        work(config_, *args)

    monkeypatch.setattr(execute, "_run", fail_for_seed_2)
    configs = [
        config(birds_folder, seeds=[seed], acquisitions=[arm])
        for seed in (1, 2)
        for arm in ("random", "margin")
    ]
    with pytest.raises(
        RunsFailed, match=r"2 of 4 runs failed, the others are stored: .*RuntimeError: out of luck"
    ):
        execute(configs, workers=1)
    assert set(run(birds_folder, seeds=[1, 2], acquisitions=["random", "margin"]).metrics.seed) == {
        1
    }
    assert "Left out: 2 of 4 runs, which are not finished." in capsys.readouterr().out
    assert [store.is_done(c) for c in configs] == [True, True, False, False]


def test_an_upgrade_of_what_computes_is_a_new_run_and_leaves_the_old_rows(
    birds_folder, monkeypatch
):
    run(birds_folder, acquisitions=["random"])
    arm = config(birds_folder, acquisitions=["random"])
    old, rows = store.run_id(arm), (store.folder(arm) / "rounds.jsonl").read_bytes()
    for package, version, is_new in [
        ("torch", "99.0.1", True),
        ("timm", "99.0", True),
        ("transformers", "99.0", False),
        ("torch", store._version("torch") + ".7", False),
    ]:
        with monkeypatch.context() as patch:
            real = store._version
            patch.setattr(
                results, "_version", lambda name: version if name == package else real(name)
            )  # noqa: B023
            store.run_id.cache_clear()
            assert (store.run_id(arm) != old) == is_new
            if is_new:
                assert not store.is_done(arm)
        store.run_id.cache_clear()
    assert (store.folder(arm) / "rounds.jsonl").read_bytes() == rows


def test_another_image_size_is_another_run(birds_folder, birds_copy):
    description = (birds_copy / "dataset.yaml").read_text()
    (birds_copy / "dataset.yaml").write_text(
        description.replace("image_size: 32", "image_size: 16")
    )
    assert store.run_id(config(birds_copy)) != store.run_id(config(birds_folder))


DISK_FULL = """
import os, resource, signal, sys
from alpt_lib import experiments
limit = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))  # the kernel then refuses in mid-line, as a full disk does
try:
    experiments.run('01_accuracy_curves', eval(sys.argv[2]))
except experiments.results.CompanionError as error:
    sys.exit(str(error))
"""


def test_a_disk_that_fills_up_in_mid_line_is_one_line_and_the_same_command_goes_on_later(
    birds_folder, home
):
    given = {"acquisitions": ["margin"]}
    whole = run(birds_folder, **given)
    file = store.folder(config(birds_folder, **given)) / "rounds.jsonl"
    text = file.read_text()
    file.unlink()
    limit = len("".join(text.splitlines(keepends=True)[:2])) + 100
    assert limit > max(f.stat().st_size for f in file.parent.iterdir())
    done = subprocess.run(
        [sys.executable, "-c", DISK_FULL, str(limit), repr(parameters(birds_folder, **given))],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "cannot write the run store" in done.stderr
    assert "File too large; the rounds before are kept: free some space" in done.stderr
    assert done.stderr.count("\n") == 1
    assert file.read_text() == text[:limit]  # torn
    assert store.failure(config(birds_folder, **given)) is None
    assert_same_tables(run(birds_folder, **given), whole)
    assert file.read_text() == text


def no_space(*args):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_is_said_with_its_reason(birds_folder, home, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", no_space)
        with pytest.raises(
            CompanionError,
            match=r"StoreError: cannot write the run store .*: No space left on device",
        ):
            run(birds_folder, acquisitions=["random"])
    assert not store.is_done(config(birds_folder, acquisitions=["random"]))
    run(birds_folder, acquisitions=["random"])


def test_a_disk_too_full_for_the_decoded_images_is_said_and_leaves_none(
    birds_folder, home, tmp_path, monkeypatch
):
    (home / "data" / "cache").unlink()
    monkeypatch.setattr(os, "posix_fallocate", no_space)
    with pytest.raises(
        errors.DataError,
        match=r"cannot write 0.0 GB of decoded images to .*No space left on device; free",
    ):
        run(birds_folder)
    assert [file.suffix for file in (home / "data" / "cache").iterdir()] == [".lock"]


_watched: dict = {"home": None, "writes": []}


def _watch(event: str, args: tuple) -> None:
    if not _watched["home"]:
        return
    writes = {"os.mkdir", "os.rename", "os.remove", "os.truncate", "fcntl.flock", "shutil.rmtree"}
    is_write = event in writes or (
        event == "open" and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    )
    if is_write and (not isinstance(args[0], str) or args[0].startswith(_watched["home"])):
        _watched["writes"].append((event, args))


sys.addaudithook(
    _watch
)  # the interpreter tells it of every file that is opened; it cannot be taken away again


def test_finished_runs_are_read_without_a_write_a_lock_or_decoded_images(birds_folder, home):
    first = run(birds_folder, probe=["label"])
    (home / "data" / "cache").unlink()
    store.run_id.cache_clear()
    _watched.update(home=str(home), writes=[])
    try:
        assert_same_tables(run(birds_folder, probe=["label"]), first)
        (home / "runs" / "x").write_text("the watch works")
    finally:
        _watched["home"] = None
    assert [event for event, _ in _watched["writes"]] == ["open"]
    assert not (home / "data" / "cache").exists()


def test_a_run_that_diverges_keeps_its_reason_and_its_rounds_until_it_is_started_again(
    birds_folder, monkeypatch
):
    fit = training.Learner.fit

    def diverge(learner, rows, *args):
        if len(rows) > 12:
            raise errors.TrainingDiverged("training loss is nan\nat step 3")
        return fit(learner, rows, *args)

    arm = config(birds_folder, acquisitions=["margin"])
    assert store.failure(arm) is None
    with monkeypatch.context() as patch:
        patch.setattr(training.Learner, "fit", diverge)
        with pytest.raises(RunsFailed, match="training loss is nan at step 3"):
            run(birds_folder, acquisitions=["margin"])
    assert store.failure(arm) == "TrainingDiverged: training loss is nan at step 3"
    assert [r.n_labels for r in store.read(arm)] == [8, 12]
    run(birds_folder, acquisitions=["margin"])
    assert store.failure(arm) is None
    assert store.is_done(arm)


@pytest.fixture
def stored(birds_folder, home) -> tuple[Path, Path]:
    """A finished run and one of two rounds, with files beside them that are no runs."""
    run(birds_folder)
    done, part = (
        store.folder(config(birds_folder, acquisitions=[name]))
        for name in ("random", "least_confidence")
    )
    lines = (part / "rounds.jsonl").read_text().splitlines(keepends=True)
    (part / "rounds.jsonl").write_text("".join(lines[:2]))
    (home / "runs" / "mini_01.rendered").write_text("a stamp")
    (home / "runs" / "notes").mkdir()
    (home / "runs" / "0123456789abcdef").symlink_to(home / "data")
    return done, part


def test_the_listing_says_what_is_stored(stored):
    table = upkeep.listing().set_index("run_id").loc[[folder.name for folder in stored]]
    assert table["acquisition"].tolist() == ["random", "least_confidence"]
    assert table["dataset"].unique().tolist() == ["toybirds"]
    assert table[["rounds_done", "rounds"]].to_numpy().tolist() == [[4, 4], [2, 4]]
    assert table["bytes"].tolist() == [
        sum(f.stat().st_size for f in folder.iterdir()) for folder in stored
    ]
    assert table["versions"].str.contains("torch ").all()
    assert len(upkeep.listing()) == 2


def change_seed(text: str) -> str:
    record = json.loads(text)
    record["identity"]["seed"] = 7
    return json.dumps(record)


@pytest.mark.parametrize(
    ("name", "change", "faults"),
    [
        (
            "config.json",
            lambda text: text[:40],
            ["config.json is missing or unreadable: delete the folder to do its run anew"],
        ),
        ("config.json", change_seed, ["the identity in config.json gives another id"]),
        ("rounds.jsonl", lambda text: text[:-1], ["the last line of rounds.jsonl is torn"]),
        (
            "rounds.jsonl",
            lambda text: text[:-9],
            ["line 4 of rounds.jsonl is no round", "the last line of rounds.jsonl is torn"],
        ),
        (
            "rounds.jsonl",
            lambda text: "".join(text.splitlines(keepends=True)[::3]),
            ["rounds are missing, repeated or too many: [0, 3]"],
        ),
        (
            "rounds.jsonl",
            lambda text: text.replace('"query": [', '"query": [5, 5, ', 1),
            ["pool row 5 is acquired twice"],
        ),
    ],
)
def test_verify_names_what_is_wrong_and_nothing_else(stored, name, change, faults):
    assert upkeep.verify() == []
    file = stored[0] / name
    file.write_text(change(file.read_text()))
    assert upkeep.verify() == [f"{stored[0].name}: {fault}" for fault in faults]


def test_a_damaged_config_of_an_unfinished_run_is_written_anew(stored, birds_folder):
    _, part = stored
    (part / "config.json").write_text("{")
    assert len(upkeep.verify()) == 1
    run(birds_folder)
    assert upkeep.verify() == []
    assert part.name in upkeep.listing()["run_id"].tolist()


def test_prune_shows_first_removes_only_runs_that_are_not_kept_and_not_being_written(
    stored, home, birds_folder
):
    done, part = stored
    before = {path for path in (home / "runs").iterdir() if path != part}
    assert upkeep.prune({done.name})["run_id"].tolist() == [part.name]
    assert part.exists()
    with store.writing(config(birds_folder, acquisitions=["least_confidence"])):
        assert upkeep.prune({done.name}, remove=True).empty
    assert part.exists()
    assert upkeep.prune({done.name}, remove=True)["run_id"].tolist() == [part.name]
    assert set((home / "runs").iterdir()) == before
