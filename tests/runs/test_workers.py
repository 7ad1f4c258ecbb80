"""Sweeps over several processes: workers that die, Ctrl-C, and processes that share a store."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import pytest
import timm
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file
from toy_runs import do, plan, rows

from alpt_lib.config import RunConfig
from alpt_lib.errors import CompanionError
from alpt_lib.files import REPOSITORY
from companion import notebook_text
from companion.runs import workers
from companion.runs.execute import RunsFailed, execute
from companion.runs.plan import CHANGED, plan_runs
from companion.runs.store import StoredRun
from companion.runs.work import groups, longest_first

COMMAND = [sys.executable, "-m", "companion", "execute", "--quiet", "--preset", "smoke"]


@pytest.fixture(scope="module")
def changes(birds_folder) -> dict:
    """Four runs of 13 short fits each: two seeds, two acquisition functions."""
    return {
        "datasets": [str(birds_folder)],
        "models": ["bit-m-np"],
        "seeds": [1, 2],
        "acquisitions": ["least_confidence", "margin"],
        "protocol": {"budget": 12, "query_batch_size": 1},
        "recipe": {"max_steps": 6},
    }


@pytest.fixture
def runs(changes) -> list[StoredRun]:
    name = "01_accuracy_curves"
    given = notebook_text.overrides([name], "smoke", changes)[name]
    own = notebook_text.tagged_literals(name)
    return [each.run for each in plan_runs({**own, **given})]


@pytest.fixture(scope="module")
def command(changes) -> list[str]:
    """The command that does them."""
    return [*COMMAND, "--only", "01", "--set", yaml.safe_dump(changes), "--workers"]


@pytest.fixture
def undisturbed(runs, undisturbed_rows, tmp_path_factory, monkeypatch) -> list[bytes]:
    """What one process stores that nothing disturbs."""
    if not undisturbed_rows:
        with monkeypatch.context() as patch:
            patch.setenv("ALPT_HOME", str(tmp_path_factory.mktemp("undisturbed")))
            execute(runs, workers=1, quiet=True)
            undisturbed_rows += rows(runs)
    return undisturbed_rows


@pytest.fixture(scope="module")
def undisturbed_rows() -> list[bytes]:
    return []


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 240
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)


# how Python begins in the processes that a test starts: `deaths` says at which round of which run
# they die, and in how many of its attempts; each round that is written is put down in `log`
APPEND = """
import json, os, signal
from companion.runs import store

def lines(file):
    return file.read_text().splitlines() if file.exists() else []

def watched(file, text, **how):
    at, times = json.loads(os.environ["deaths"]).get(file.parent.name, (-1, 0))
    if file.name == "rounds.jsonl":
        if len(lines(file)) == at and len(lines(file.with_name("attempts"))) <= times:
            os.kill(os.getpid(), signal.SIGKILL)
        with open(os.environ["log"], "a") as log:
            log.write(file.parent.name + "\\n")
    append(file, text, **how)

append, store.append_durably = store.append_durably, watched
"""
AT_ONCE = "import os; os.kill(os.getpid(), 9)"


@pytest.fixture
def beginning(tmp_path, monkeypatch):
    """Has this code run at the beginning of each process from now on."""

    def begin_with(code: str, deaths: dict[str, tuple[int, int]]) -> Path:
        (tmp_path / "sitecustomize.py").write_text(code)
        monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{REPOSITORY}")
        monkeypatch.setenv("deaths", json.dumps(deaths))
        monkeypatch.setenv("log", str(tmp_path / "log"))
        return tmp_path / "log"

    return begin_with


def test_a_killed_worker_costs_a_round_and_a_run_that_kills_two_is_given_up(
    runs, undisturbed, beginning
):
    deadly, *resumed = runs
    once = {run.run_id: (5 + i, 1) for i, run in enumerate(resumed[1:])}
    beginning(APPEND, {deadly.run_id: (3, 99), **once})
    said = (
        " runs failed, the others are stored: toybirds mini-bit-m-np least_confidence seed 1: its "
        "process died 2 times at the same round (killed, or out of memory)"
    )
    with pytest.raises(RunsFailed) as raised:
        execute(runs, workers=2, quiet=True)
    assert str(raised.value) == f"1 of 4{said}"
    assert deadly.n_stored() == 3
    assert rows(resumed) == undisturbed[1:]

    with pytest.raises(RunsFailed) as raised:
        # in this process nothing dies, but a job array does not try it again
        execute(runs, workers=1, quiet=True, forgives=False)
    assert str(raised.value) == f"1 of 1{said}"
    assert deadly.n_stored() == 3
    execute(runs, workers=1, quiet=True)
    assert rows(runs) == undisturbed


def test_workers_that_die_before_they_do_anything_end_in_one_line(runs, beginning):
    beginning(AT_ONCE, {})
    with pytest.raises(RunsFailed, match=r"die before they do anything \(\d did\): there may be"):
        execute(runs, workers=2, quiet=True)


def workers_of(session: int) -> list[int]:
    """The worker processes that a command has started."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        # it ended meanwhile
        with suppress(OSError):
            is_worker = b"--plan" in (process / "cmdline").read_bytes()
            if is_worker and os.getsid(int(process.name)) == session:
                found.append(int(process.name))
    return found


@pytest.mark.parametrize(
    ("sent", "status", "said"),
    [
        (signal.SIGINT, 130, "stopped; the same command goes on from here"),
        (signal.SIGKILL, -signal.SIGKILL, ""),
    ],
)
def test_workers_end_with_their_command_and_the_same_command_goes_on_from_there(
    command, runs, undisturbed, sent, status, said
):
    # a shell starts what it runs in the background with Ctrl-C ignored, and children inherit that
    process = subprocess.Popen(
        [*command, "2"],
        cwd=REPOSITORY,
        start_new_session=True,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    wait_until(lambda: any(run.n_stored() >= 2 for run in runs))
    assert len(workers_of(process.pid)) == 2
    process.send_signal(sent)
    assert process.communicate(timeout=120)[1].strip() == said
    assert process.returncode == status
    wait_until(lambda: workers_of(process.pid) == [])
    assert 0 < sum(run.n_stored() for run in runs) < 4 * 14
    # they ended in order: no run has died
    assert [run.deaths() for run in runs] == [0] * 4
    execute(runs, workers=1, quiet=True)
    assert rows(runs) == undisturbed


def test_three_processes_at_once_do_every_round_once(command, runs, undisturbed, beginning):
    log = beginning(APPEND, {})
    processes = [subprocess.Popen([*command, "1"], cwd=REPOSITORY) for _ in range(3)]
    assert [process.wait(timeout=240) for process in processes] == [0, 0, 0]
    assert Counter(log.read_text().split()) == {run.run_id: 14 for run in runs}
    assert rows(runs) == undisturbed


def test_a_run_that_another_process_has_is_waited_for_and_taken_over_when_that_one_ends(
    runs, monkeypatch
):
    monkeypatch.setattr("companion.runs.work.WAIT", 0.01)
    done = []
    with runs[0].claim() as is_ours:
        assert is_ours
        thread = threading.Thread(target=lambda: done.append(execute(runs, workers=1, quiet=True)))
        thread.start()
        wait_until(lambda: all(run.is_done() for run in runs[1:]))
        assert runs[0].n_stored() == 0
        assert thread.is_alive()
    thread.join()
    assert done == [None]
    assert runs[0].is_done()


def test_runs_with_the_same_seed_set_fit_are_one_group_whatever_comes_after_it(runs):
    first = runs[0].config
    protocol = replace(first.protocol, budget=5, query_batch_size=3, eval_every=2)
    larger = replace(first.protocol, seed_set_size=first.protocol.seed_set_size + 1)

    def run(config: RunConfig) -> StoredRun:
        return StoredRun(config, runs[0].data)

    same = [
        runs[0],
        run(replace(first, acquisition="entropy")),
        run(replace(first, probe=("label",))),
        run(replace(first, protocol=protocol)),
    ]
    others = [
        run(replace(first, seed=7)),
        run(replace(first, model="mini-bit-m")),
        run(replace(first, recipe=replace(first.recipe, lr=0.1))),
        run(replace(first, protocol=larger)),
    ]
    together = groups([*same, *others])
    assert sorted(map(len, together)) == [1, 1, 1, 1, 4]
    assert max(together, key=len) == same


def test_groups_keep_the_order_that_is_asked_for_or_begin_with_the_longest(runs):
    def seeds(runs: list[StoredRun]) -> list[int]:
        return [group[0].config.seed for group in groups(runs)]

    short = [StoredRun(replace(run.config, seed=7), run.data) for run in runs[:1]]
    assert seeds([*short, *runs]) == [7, 1, 2]
    assert seeds(longest_first([*short, *runs])) == [1, 2, 7]


@pytest.mark.parametrize(
    ("visible", "n_workers", "slots"),
    [
        (None, 2, ["0", "1"]),
        (None, 3, ["0", "1", "0"]),
        ("5,3", 4, ["5", "3", "5", "3"]),
        ("MIG-a,MIG-b", 2, ["MIG-a", "MIG-b"]),
    ],
)
def test_workers_take_the_visible_gpus_in_turn(runs, monkeypatch, visible, n_workers, slots):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    seen = []

    def start(command: list[str], env: dict[str, str], stdin: int, **options):
        """A worker that finds everything done."""
        seen.append(env["CUDA_VISIBLE_DEVICES"])
        return SimpleNamespace(stdin=StringIO(), poll=lambda: 0, returncode=0)

    for run in runs:
        run.fail("tried before")
    monkeypatch.setattr(subprocess, "Popen", start)
    gpus = workers.visible_gpus()
    workers.work_in_processes(runs, n_workers, gpus, 0.0, lambda n: None)
    assert seen == slots


def test_an_unknown_executor_lists_the_known_ones(runs):
    with pytest.raises(CompanionError, match=r"unknown executor 'rai' .*; known: local, ray"):
        execute(runs, executor="rai")


def edit_description(birds: Path, weights: Path) -> str:
    file = birds / "dataset.yaml"
    file.write_text(file.read_text().replace("image_size: 32", "image_size: 16"))
    return CHANGED


def drop_a_row(birds: Path, weights: Path) -> str:
    file = birds / "manifest.csv"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-1]))
    return CHANGED


def replace_image(birds: Path, weights: Path) -> str:
    """One of seed 1's seed set, by one of the same size."""
    file = birds / "images" / "39.png"
    size = file.stat().st_size
    Image.new("RGB", (32, 32), "blue").save(file)
    file.write_bytes(file.read_bytes().ljust(size, b"\0"))
    assert file.stat().st_size == size
    return CHANGED


def remove_image(birds: Path, weights: Path) -> str:
    (birds / "images" / "3.png").unlink()
    return "DataError: toybirds: 1 of 148 image files missing, first "


def replace_weights(birds: Path, weights: Path) -> str:
    """By others of the same shapes, so the same size."""
    size = weights.stat().st_size
    save_file({name: 1 - tensor for name, tensor in load_file(weights).items()}, weights)
    assert weights.stat().st_size == size
    return CHANGED


CHANGES = [edit_description, drop_a_row, replace_image, remove_image, replace_weights]


@pytest.fixture(scope="module")
def mobile(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("weights") / "mobile.safetensors"
    save_file(timm.create_model("mobilenetv2_035").state_dict(), file)
    return file


@pytest.fixture
def given(mobile, tmp_path) -> dict:
    """Two short runs of a network with local weights."""
    weights = tmp_path / "mobile.safetensors"
    weights.write_bytes(mobile.read_bytes())
    return {
        "models": ["timm:mobilenetv2_035"],
        "weights": str(weights),
        "protocol": {"seed_set_size": 8, "budget": 2, "query_batch_size": 2},
        "recipe": {"max_steps": 2},
    }


@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_after_it_was_planned_ends_its_runs_in_one_line_and_no_others(
    birds_folder, birds_copy, given, change
):
    changed = plan(birds_copy, **given)
    others = plan(birds_folder, protocol={"budget": 4})
    assert not any(run.is_done() for run in changed)
    why = change(birds_copy, Path(given["weights"]))
    with pytest.raises(RunsFailed) as raised:
        execute([*changed, *others], workers=1, quiet=True)
    said = f"2 of 4 runs failed, the others are stored: {changed[0]}: {why}"
    assert str(raised.value).startswith(said)
    assert "\n" not in str(raised.value)
    assert [run.n_stored() for run in changed] == [0, 0]
    assert all(run.is_done() for run in others)


@pytest.mark.parametrize("change", [edit_description, remove_image, replace_weights])
def test_a_worker_refuses_runs_that_are_not_what_was_planned(
    birds_folder, birds_copy, given, change
):
    changed = plan(birds_copy, **given)
    others = plan(birds_folder, protocol={"budget": 4})
    content = json.loads(workers.plan_as_json([*changed, *others], since=0.0))
    why = change(birds_copy, Path(given["weights"]))
    assert workers.runs_of_plan(content) == others
    assert all((run.failure() or "").startswith(why) for run in changed)


@pytest.mark.parametrize("change", [c for c in CHANGES if c != remove_image])
def test_a_plan_made_again_in_the_same_process_sees_what_has_changed(
    birds_copy, given, change, tmp_path, monkeypatch
):
    before = do(birds_copy, **given)
    stored = rows(before)
    change(birds_copy, Path(given["weights"]))
    after = do(birds_copy, **given)
    assert {run.run_id for run in before}.isdisjoint(run.run_id for run in after)
    assert rows(before) == stored
    seen = rows(after)
    assert all(new != old for new, old in zip(seen, stored, strict=True))
    # and nothing of what was decoded, tokenised or hashed before has been taken for it
    monkeypatch.setenv("ALPT_HOME", str(tmp_path / "without caches"))
    assert rows(do(birds_copy, **given)) == seen
