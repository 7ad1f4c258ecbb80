"""The run store: what identifies a run, what survives a crash, and that nothing is done twice."""

import errno
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from unittest.mock import patch

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal
from toy_runs import do, plan, rows

from alpt_lib.errors import ConfigError, DataError, StoreError, TrainingDiverged
from alpt_lib.files import REPOSITORY, hashed
from alpt_lib.loop import Round
from alpt_lib.training import FineTunedNetwork
from companion.listings import list_runs
from companion.runs import store, upkeep
from companion.runs.execute import RunsFailed, execute
from companion.runs.store import StoredRun, all_runs


@pytest.fixture
def fits(monkeypatch) -> list[int]:
    """How many labels each fit had that was done."""
    sizes = []
    fit = FineTunedNetwork.fit

    def counted(network, rows, rng):
        sizes.append(len(rows))
        return fit(network, rows, rng)

    monkeypatch.setattr(FineTunedNetwork, "fit", counted)
    return sizes


@pytest.fixture
def empty_home(tmp_path, monkeypatch):
    """Switches to a second, empty run store."""
    return lambda: monkeypatch.setenv("ALPT_HOME", str(tmp_path / "home2"))


# --- what is stored


def test_tables_hold_every_arm_seed_and_round_of_which_finished_runs_have_all(birds_folder):
    do(birds_folder, seeds=[1, 2])
    accuracy = all_runs(metric="accuracy", subgroup="all")
    n_labels = accuracy.groupby(["acquisition", "seed"])["n_labels"]
    assert n_labels.apply(list).tolist() == [[8, 12, 16, 20]] * 4
    asked = all_runs("acquisitions")
    assert asked.groupby(["acquisition", "seed"])["index"].nunique().tolist() == [20] * 4
    seed_sets = asked[asked["round"] == 0].groupby("seed")["index"].apply(set)
    assert seed_sets.map(len).tolist() == [8, 8]
    assert set(all_runs(seed=2, acquisition=["random"])["run_id"]) == {
        run.run_id for run in plan(birds_folder, seeds=[2], acquisitions=["random"])
    }
    for where in ({"what": "metric"}, {"metrics": "accuracy"}):
        with pytest.raises(ConfigError, match=r"unknown (table|column) 'metrics?' "):
            all_runs(**where)


def test_what_was_asked_for_carries_the_manifests_labels_and_attributes_without_the_dataset(
    birds_copy,
):
    manifest = pd.read_csv(birds_copy / "manifest.csv")
    # an attribute of that name is not the subgroup
    manifest.assign(subgroup="own").to_csv(birds_copy / "manifest.csv", index=False)
    (run,) = do(birds_copy, acquisitions=["least_confidence"], probe=["background"])
    seen = run.acquisitions()
    measured = run.metrics()
    shutil.rmtree(birds_copy)

    assert_frame_equal(StoredRun.at(run.folder).acquisitions(), seen)
    assert_frame_equal(all_runs("acquisitions")[list(seen)], seen)
    assert_frame_equal(all_runs("metrics")[store.METRIC_COLUMNS], measured)
    asked = manifest.iloc[seen["index"]].reset_index(drop=True)
    assert seen["label"].tolist() == asked["label"].tolist()
    assert seen["background"].tolist() == asked["background"].tolist()
    assert seen["subgroup"].tolist() == (asked["label"] + "/" + asked["background"]).tolist()
    assert seen["round"].tolist() == [0] * 8 + [1] * 4 + [2] * 4 + [3] * 4
    assert seen["score"].isna().tolist() == [True] * 8 + [False] * 12
    with pytest.raises(StoreError, match=r"was read without its dataset"):
        _ = StoredRun.at(run.folder).data


def test_the_store_says_what_made_it(birds_folder):
    (run,) = do(birds_folder, acquisitions=["random"])
    stored = json.loads((run.folder / "config.json").read_text())
    assert stored["config"]["acquisition"] == "random"
    assert stored["versions"].keys() >= {"torch", "numpy"}
    assert stored["commit"]


def test_a_run_id_depends_on_data_and_config_and_not_on_the_folder(birds_folder, birds_copy):
    def run_id(folder: Path, **changes) -> str:
        (run,) = plan(folder, **{"acquisitions": ["margin"], **changes})
        return run.run_id

    original = run_id(birds_folder)
    assert run_id(birds_copy) == original
    changes = [
        {"seeds": [2]},
        {"recipe": {"lr": 0.1}},
        {"protocol": {"budget": 8}},
        {"models": ["bit-m-deep-np"]},
        {"probe": ["label"]},
        {"acquisitions": ["random"]},
    ]
    assert len({original, *(run_id(birds_folder, **change) for change in changes)}) == 7


def test_an_upgrade_of_what_computes_is_a_new_run_and_leaves_the_old_rows(
    birds_folder, monkeypatch
):
    (run,) = do(birds_folder, acquisitions=["random"])
    stored = rows([run])
    installed = store.installed
    for package, version, is_new in [
        ("torch", "99.0.1", True),
        ("timm", "99.0", True),
        ("transformers", "99.0", False),
        ("torch", installed("torch") + ".7", False),
    ]:
        now = {package: version}
        monkeypatch.setattr(store, "installed", lambda p, now=now: now.get(p) or installed(p))
        (upgraded,) = plan(birds_folder, acquisitions=["random"])
        assert (upgraded.run_id != run.run_id) == is_new
        assert upgraded.is_done() != is_new
    assert rows([run]) == stored


# --- nothing is done twice


def test_a_finished_run_is_not_done_again_whoever_asks_for_it(birds_folder, fits):
    runs = do(birds_folder)
    stored = rows(runs)
    done = len(fits)
    assert do(birds_folder) == runs
    do(birds_folder, acquisitions=["least_confidence"])
    assert len(fits) == done
    assert rows(runs) == stored


@pytest.mark.parametrize(("fidelity", "n_seed_set_fits"), [("paper", 1), ("released", 2)])
def test_an_arm_is_the_same_beside_another_as_alone_and_shares_its_seed_set_fit_unless_released(
    birds_folder, fits, empty_home, fidelity, n_seed_set_fits
):
    recipe = {"fidelity": fidelity}
    _, beside = rows(do(birds_folder, recipe=recipe))
    assert fits.count(8) == n_seed_set_fits
    empty_home()
    assert rows(do(birds_folder, acquisitions=["least_confidence"], recipe=recipe)) == [beside]


def test_probes_measure_before_and_after_finetuning_and_leave_the_other_rows_alone(birds_folder):
    plain, probed = [
        pd.concat([run.metrics() for run in do(birds_folder, probe=probe)], ignore_index=True)
        for probe in ([], ["label", "background"])
    ]
    is_probe = probed["metric"].str.startswith("probe_")
    assert sorted(probed[is_probe]["round"].unique()) == [-1, 0, 1, 2, 3]
    assert_frame_equal(probed[~is_probe].reset_index(drop=True), plain)


# --- damage


@pytest.mark.parametrize("n_characters", [1, 60, -1])
def test_a_torn_last_line_is_left_out_and_its_round_done_again(birds_folder, n_characters):
    (run,) = do(birds_folder, acquisitions=["least_confidence"])
    file = run.folder / "rounds.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    # -1: all but the line end
    file.write_text("".join(lines[:2]) + lines[2][:n_characters])
    assert not run.is_done()
    assert len(run.rounds()) == (3 if n_characters == -1 else 2)
    do(birds_folder, acquisitions=["least_confidence"])
    assert file.read_text() == "".join(lines)
    assert not list(run.folder.glob("*.damaged"))


numbers = st.floats(width=64) | st.floats(width=32)
metric = st.fixed_dictionaries(
    {
        "metric": st.text(),
        "split": st.just("val"),
        "subgroup": st.text(),
        "value": numbers,
        "n_examples": st.integers(0, 2**40),
    }
)
contents = st.tuples(
    st.lists(st.tuples(st.integers(0, 99), numbers | st.none()), max_size=3),
    st.lists(metric, max_size=2),
    st.none() | st.dictionaries(st.text(), numbers, max_size=2),
)


def bits(rounds: list[Round]) -> list[str]:
    """Two floats have the same hexadecimal form exactly if they are the same number or both NaN."""

    def exact(value):
        if isinstance(value, float):
            return value.hex()
        if isinstance(value, dict):
            return {k: exact(v) for k, v in value.items()}
        return [exact(v) for v in value] if isinstance(value, list) else value

    return [repr(exact(asdict(r))) for r in rounds]


@settings(derandomize=True, max_examples=60, deadline=None)
@given(st.lists(contents, max_size=4), st.data())
def test_rounds_torn_anywhere_read_back_a_prefix_bit_for_bit(birds_folder, contents, data):
    rounds = [
        Round(i - 1, i + 9, [row for row, _ in asked], [score for _, score in asked], *rest)
        for i, (asked, *rest) in enumerate(contents)
    ]
    with tempfile.TemporaryDirectory() as home, patch.dict(os.environ, ALPT_HOME=home):
        (run,) = plan(birds_folder, acquisitions=["random"])
        file = run.folder / "rounds.jsonl"

        def write(some: list[Round]) -> bytes:
            with run.writing() as append:
                for now in some:
                    append(now)
            return file.read_bytes() if file.exists() else b""

        whole = write(rounds)
        assert bits(run.rounds()) == bits(rounds)
        kept = data.draw(st.integers(0, len(whole)))
        junk = data.draw(st.binary(max_size=5))
        # if only the line end is gone, the round is there
        lacks_end = whole[kept : kept + 1] == b"\n"
        file.write_bytes(whole[:kept] + (b"" if lacks_end else junk))
        n_whole = whole[:kept].count(b"\n") + lacks_end
        assert bits(run.rounds()) == bits(rounds[:n_whole])
        assert write(rounds[n_whole:]) == whole


def changed(line: str, **changes) -> str:
    """The line with other values, without the sum that would tell: as an earlier version wrote."""
    content = {**json.loads(line), **changes}
    content.pop("sum")
    return json.dumps(content) + "\n"


def with_another_digit(line: str, after: str) -> str:
    end = re.search(after, line).end()
    return f"{line[:end]}{9 - int(line[end])}{line[end + 1 :]}"


@pytest.mark.parametrize(
    "more",
    [
        lambda lines: changed(lines[-1], number=4),
        lambda lines: lines[-1],
        lambda lines: "nonsense\n",
        lambda lines: "no line end",
    ],
)
def test_lines_after_the_last_round_are_named_and_waited_for_by_nobody(birds_folder, more, fits):
    (run,) = do(birds_folder, acquisitions=["margin"])
    file = run.folder / "rounds.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    metrics = run.metrics()
    text = "".join(lines) + more(lines)
    file.write_text(text)
    done = len(fits)
    assert run.is_done()
    do(birds_folder, acquisitions=["margin"])
    assert len(fits) == done
    assert file.read_text() == text
    assert_frame_equal(run.metrics(), metrics)
    assert upkeep.verify()


@pytest.mark.parametrize(
    "change",
    [
        lambda line: "nonsense\n",
        lambda line: "",
        lambda line: line + line,
        lambda line: "\0" * len(line) + "\n",
        lambda line: '{"round": 1, "n_labels": 12}\n',
        lambda line: changed(line, examples={}),
        lambda line: changed(line, scores=[]),
        lambda line: changed(line, number="one"),
        # one digit of a score, of a row that was asked for
        lambda line: with_another_digit(line, r'"scores": ..0\.'),
        lambda line: with_another_digit(line, r'"asked": .'),
    ],
)
def test_rounds_after_a_damaged_line_are_done_again_and_a_copy_is_kept(birds_folder, change):
    (run,) = do(birds_folder, acquisitions=["margin"])
    file = run.folder / "rounds.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    lines[2] = change(whole := lines[2])
    file.write_text("".join(lines))
    n_valid = 3 if lines[2].startswith(whole) else 2
    assert len(run.rounds()) == n_valid
    assert len(all_runs("acquisitions")) == 8 + 4 * (n_valid - 1)
    assert not run.is_done()
    do(birds_folder, acquisitions=["margin"])
    lines_now = file.read_text().splitlines(keepends=True)
    assert lines_now == [*lines[:2], whole, *lines[3:]]
    (copy,) = run.folder.glob("*.damaged")
    assert copy.read_text() == "".join(lines)


DISK_FULL = """
import resource, sys
sys.path.insert(0, "tests")
from toy_runs import plan
from companion.runs.execute import RunsFailed, execute
folder, limit, n_workers = sys.argv[1], *map(int, sys.argv[2:])
# the kernel then refuses in mid-line, as a full disk does
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    execute(plan(folder, seeds=[1, 2], acquisitions=["margin"]), n_workers, quiet=True)
except RunsFailed as error:
    sys.exit(str(error))
"""


@pytest.mark.parametrize("n_workers", [1, 2])
def test_a_disk_that_fills_up_in_mid_line_is_one_line_and_the_same_command_goes_on_later(
    birds_folder, n_workers
):
    runs = do(birds_folder, seeds=[1, 2], acquisitions=["margin"])
    whole = rows(runs)
    for run in runs:
        (run.folder / "rounds.jsonl").unlink()
    kept = [b"".join(text.splitlines(keepends=True)[:3]) for text in whole]
    limit = min(map(len, kept)) + 100
    assert limit > max(f.stat().st_size for run in runs for f in run.folder.iterdir())
    command = [sys.executable, "-c", DISK_FULL, birds_folder, str(limit), str(n_workers)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("stopped, what is stored is whole: StoreError: cannot write the ")
    assert "File too large; the rounds before are kept: free some space" in done.stderr
    assert done.stderr.count("\n") == 1
    # nothing of the line that did not fit
    stored = rows(runs)
    assert any(text == part for text, part in zip(stored, kept, strict=True))
    assert all(part.startswith(text) for text, part in zip(stored, kept, strict=True))
    assert all(text[-1:] in (b"", b"\n") for text in stored)
    assert [run.failure() for run in runs] == [None, None]
    execute(runs, workers=1, quiet=True)
    assert rows(runs) == whole


def no_space(*args, **how):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_is_said_with_its_reason(birds_folder, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("companion.runs.store.append_durably", no_space)
        said = r"StoreError: cannot write the run store .*: No space left on device"
        with pytest.raises(RunsFailed, match=said):
            do(birds_folder, acquisitions=["random"])
    assert not plan(birds_folder, acquisitions=["random"])[0].is_done()
    do(birds_folder, acquisitions=["random"])


def test_a_disk_too_full_for_the_decoded_images_is_said_and_leaves_none(
    birds_folder, home, monkeypatch
):
    (home / "data" / "cache").unlink()
    monkeypatch.setattr(os, "posix_fallocate", no_space)
    said = r"cannot write 0.0 GB of decoded images to .*No space left on device; free"
    with pytest.raises(DataError, match=said):
        do(birds_folder)
    assert {f.suffix for f in (home / "data" / "cache").iterdir() if f.is_file()} == {".lock"}


_watched: dict = {"folder": None, "writes": []}


def _watch(event: str, args: tuple) -> None:
    if not _watched["folder"]:
        return
    writes = {"os.mkdir", "os.rename", "os.remove", "os.truncate", "fcntl.flock", "shutil.rmtree"}
    for_writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT
    is_write = event in writes or (event == "open" and args[2] & for_writing)
    if is_write and (not isinstance(args[0], str) or args[0].startswith(_watched["folder"])):
        _watched["writes"].append(event)


# the interpreter tells it of every file that is opened; it cannot be taken away again
sys.addaudithook(_watch)


def test_finished_runs_are_read_without_a_write_a_lock_or_decoded_images(birds_folder, home):
    first = [run.metrics() for run in do(birds_folder, probe=["label"])]
    (home / "data" / "cache").unlink()
    # whoever looks first hashes the images
    hashed_once = [run.run_id for run in plan(birds_folder, probe=["label"])]
    _watched.update(folder=str(home), writes=[])
    try:
        again = do(birds_folder, probe=["label"])
        for run, metrics in zip(again, first, strict=True):
            assert_frame_equal(run.metrics(), metrics)
        (home / "runs" / "x").write_text("the watch works")
    finally:
        _watched["folder"] = None
    assert _watched["writes"] == ["open"]
    assert not list((home / "data" / "cache").glob("*.npy"))
    assert hashed_once == [run.run_id for run in again]


# --- runs that fail


def diverge(network, rows, rng):
    raise TrainingDiverged("training loss is nan\nat step 3")


def test_one_failing_run_leaves_the_others_stored(birds_folder, monkeypatch):
    fit = FineTunedNetwork.fit

    def fail_for_seed_2(network, rows, rng):
        if network.config.seed == 2:
            raise RuntimeError("out of\nluck")
        return fit(network, rows, rng)

    monkeypatch.setattr(FineTunedNetwork, "fit", fail_for_seed_2)
    said = r"2 of 4 runs failed, the others are stored: .*RuntimeError: out of luck"
    with pytest.raises(RunsFailed, match=said):
        do(birds_folder, seeds=[1, 2])
    runs = plan(birds_folder, seeds=[1, 2])
    assert [run.is_done() for run in runs] == [run.config.seed == 1 for run in runs]


def test_a_run_that_diverges_keeps_its_reason_and_its_rounds_until_it_is_started_again(
    birds_folder, monkeypatch
):
    fit = FineTunedNetwork.fit
    (arm,) = plan(birds_folder, acquisitions=["margin"])
    assert arm.failure() is None
    with monkeypatch.context() as patch:
        patch.setattr(
            FineTunedNetwork, "fit", lambda *given: (diverge if len(given[1]) > 12 else fit)(*given)
        )
        with pytest.raises(RunsFailed, match="training loss is nan at step 3"):
            do(birds_folder, acquisitions=["margin"])
    assert arm.failure() == "TrainingDiverged: training loss is nan at step 3"
    assert [r.n_labels for r in arm.rounds()] == [0, 8, 12]
    # a job array leaves it, a person tries again
    with pytest.raises(RunsFailed, match="training loss is nan at step 3"):
        execute([arm], workers=1, quiet=True, forgives=False)
    do(birds_folder, acquisitions=["margin"])
    assert arm.failure() is None
    assert arm.is_done()


def test_a_learning_rate_that_is_too_high_is_said_with_what_to_change(birds_folder):
    said = r"1 of 1 runs failed.*: training loss is (nan|inf) at step .*; lower lr"
    with pytest.raises(RunsFailed, match=said):
        do(birds_folder, acquisitions=["margin"], recipe={"lr": 1e30, "warmup_steps": 0})


@pytest.mark.parametrize("content", ["", "{}", "[1]"])
def test_a_finished_run_whose_config_is_lost_is_said_and_mended(birds_folder, content, capsys):
    done, _ = do(birds_folder)
    before = rows([done])
    (done.folder / "config.json").write_text(content)
    assert list(list_runs()["run_id"]) != [done.run_id]
    assert "1 run(s) left out, config.json cannot be read" in capsys.readouterr().err
    assert not done.is_done()
    do(birds_folder)
    assert done.is_done()
    assert rows([done]) == before
    assert done.run_id in list(list_runs()["run_id"])


def test_a_folder_in_the_place_of_rounds_is_named_and_hides_no_other_run(birds_folder):
    done, other = do(birds_folder)
    (done.folder / "rounds.jsonl").unlink()
    (done.folder / "rounds.jsonl").mkdir()
    assert set(list_runs()["run_id"]) == {done.run_id, other.run_id}
    (fault,) = upkeep.verify()
    assert fault.startswith(f"{done.run_id}: rounds.jsonl is no file")


# --- upkeep


@pytest.fixture
def stored(birds_folder, home) -> list[StoredRun]:
    """A finished run and one of two rounds, with files beside them that are no runs."""
    done, part = do(birds_folder)
    lines = (part.folder / "rounds.jsonl").read_text().splitlines(keepends=True)
    (part.folder / "rounds.jsonl").write_text("".join(lines[:3]))
    (home / "runs" / "mini_01.rendered").write_text("a stamp")
    (home / "runs" / "notes").mkdir()
    (home / "runs" / "0123456789abcdef").symlink_to(home / "data")
    return [done, part]


def test_the_listing_says_what_is_stored(stored):
    table = upkeep.listing().set_index("run_id").loc[[run.run_id for run in stored]]
    assert table["acquisition"].tolist() == ["random", "least_confidence"]
    assert table["dataset"].unique().tolist() == ["toybirds"]
    assert table[["rounds_done", "rounds"]].to_numpy().tolist() == [[4, 4], [2, 4]]
    n_bytes = [sum(f.stat().st_size for f in run.folder.iterdir()) for run in stored]
    assert table["bytes"].tolist() == n_bytes
    assert table["versions"].str.contains("torch ").all()
    assert len(upkeep.listing()) == 2


def change_seed(text: str) -> str:
    record = json.loads(text)
    record["identity"]["seed"] = 7
    return json.dumps(record)


def ask_again(text: str) -> str:
    before, first, *others = text.splitlines(keepends=True)
    asked = json.loads(first)["asked"]
    twice = json.loads(before)["asked"][0]
    return "".join([before, changed(first, asked=[twice, *asked[1:]]), *others])


def ask_outside(text: str) -> str:
    before, first, *others = text.splitlines(keepends=True)
    asked = json.loads(first)["asked"]
    return "".join([before, changed(first, asked=[100, *asked[1:]]), *others])


UNREADABLE = "config.json is missing or unreadable: delete the folder to do its run again"
TORN = "the last line of rounds.jsonl is torn"
NUMBERS = "rounds are missing, repeated or too many: "


@pytest.mark.parametrize(
    ("name", "change", "faults"),
    [
        ("config.json", lambda text: text[:40], [UNREADABLE]),
        ("config.json", change_seed, ["the identity in config.json gives another id"]),
        ("rounds.jsonl", lambda text: text[:-1], [TORN]),
        ("rounds.jsonl", lambda text: text[:-9], [TORN, f"line 5 {upkeep.NO_ROUND}"]),
        (
            "rounds.jsonl",
            lambda text: "".join(text.splitlines(keepends=True)[::3]),
            [f"{NUMBERS}[-1, 2]"],
        ),
        (
            "rounds.jsonl",
            lambda text: text + changed(text.splitlines()[-1], number=4),
            [f"{NUMBERS}[-1, 0, 1, 2, 3, 4]"],
        ),
        # the first that seed 1 asks for
        ("rounds.jsonl", ask_again, ["pool row 39 is acquired twice"]),
        ("rounds.jsonl", ask_outside, ["pool row 100 is not in the pool of 100"]),
    ],
)
def test_verify_names_what_is_wrong_and_nothing_else(stored, name, change, faults):
    assert upkeep.verify() == []
    file = stored[0].folder / name
    file.write_text(change(file.read_text()))
    assert upkeep.verify() == [f"{stored[0].run_id}: {fault}" for fault in faults]


def test_a_round_of_another_run_is_none_of_this_one(stored):
    one, other = (run.folder / "rounds.jsonl" for run in stored)
    theirs = other.read_text().splitlines(keepends=True)[1]
    first, _, *others = one.read_text().splitlines(keepends=True)
    one.write_text("".join([first, theirs, *others]))
    assert len(stored[0].rounds()) == 1
    assert f"{stored[0].run_id}: line 2 {upkeep.NO_ROUND}" in upkeep.verify()


def test_rounds_of_an_earlier_version_have_no_sum_and_count(stored, birds_folder, fits):
    file = stored[0].folder / "rounds.jsonl"
    metrics = stored[0].metrics()
    text = "".join(map(changed, file.read_text().splitlines(keepends=True)))
    file.write_text(text)
    assert upkeep.verify() == []
    done = len(fits)
    do(birds_folder)
    assert len(fits) == done + 2  # of the other run, which is not finished
    assert_frame_equal(stored[0].metrics(), metrics)
    assert file.read_text() == text


def test_a_run_of_the_old_format_is_named_and_left_alone(stored, birds_folder, home):
    done, _ = stored
    record = json.loads((done.folder / "config.json").read_text())
    identity = {**record["identity"], "results_version": 2}
    old = home / "runs" / hashed(identity)
    old.mkdir()
    content = json.dumps({**record, "run_id": old.name, "identity": identity})
    (old / "config.json").write_text(content)
    line = {"round": 0, "n_labels": 8, "query": [1, 2], "scores": [0.5, 0.4], "metrics": []}
    (old / "rounds.jsonl").write_text(json.dumps(line) + "\n")
    before = {file.name: file.read_bytes() for file in old.iterdir()}

    said = "written by an older version (results version 2): left alone; its run is done again "
    assert [fault for fault in upkeep.verify() if said in fault] == upkeep.verify() != []
    do(birds_folder)
    for what in ("metrics", "acquisitions"):
        assert set(all_runs(what)["run_id"]) == {run.run_id for run in stored}
    listed = upkeep.listing().set_index("run_id").loc[old.name]
    assert listed[["rounds_done", "failed"]].tolist() == [0, "older version"]
    assert {file.name: file.read_bytes() for file in old.iterdir()} == before


def test_a_damaged_config_of_an_unfinished_run_is_written_again(stored, birds_folder):
    _, part = stored
    (part.folder / "config.json").write_text("{")
    assert len(upkeep.verify()) == 1
    do(birds_folder)
    assert upkeep.verify() == []
    assert part.run_id in upkeep.listing()["run_id"].tolist()


def test_prune_shows_first_removes_only_runs_that_are_not_kept_and_not_being_written(stored, home):
    done, part = stored
    before = {path for path in (home / "runs").iterdir() if path != part.folder}
    assert upkeep.prune({done.run_id})["run_id"].tolist() == [part.run_id]
    assert part.folder.exists()
    with part.claim():
        assert upkeep.prune({done.run_id}, remove=True).empty
    assert part.folder.exists()
    assert upkeep.prune({done.run_id}, remove=True)["run_id"].tolist() == [part.run_id]
    assert set((home / "runs").iterdir()) == before
