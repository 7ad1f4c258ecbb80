"""Sweeps over several processes: workers that are killed, Ctrl-C, and processes that share a store."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

from alpt_lib.config import RunConfig
from alpt_lib.errors import CompanionError
from alpt_lib.files import REPOSITORY
from benchmarks import profiling
from companion import notebook_text
from companion.runs import execute, plan, store
from companion.runs.execute import RunsFailed, execute
from companion.runs.parameters import DEFAULTS, check_parameters
from companion.runs.plan import plan_runs
from companion.runs.work import _claim, _groups, _next

NOTEBOOK = "01_accuracy_curves"


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


@pytest.fixture(scope="module")
def plan(changes) -> list[RunConfig]:
    given = notebook_text.overrides([NOTEBOOK], "smoke", changes)[NOTEBOOK]
    return [planned.config for planned in plan_runs({**DEFAULTS, **given})]


@pytest.fixture(scope="module")
def undisturbed(plan, tmp_path_factory) -> list[bytes]:
    """What one process stores that nothing disturbs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALPT_HOME", str(tmp_path_factory.mktemp("undisturbed")))
        execute(plan, workers=1, quiet=True)
        return stored(plan)


def stored(plan: list[RunConfig]) -> list[bytes]:
    return [rounds_file(config).read_bytes() for config in plan]


def rounds_file(config: RunConfig) -> Path:
    return store.folder(config) / "rounds.jsonl"


def n_rounds(config: RunConfig) -> int:
    return rounds_file(config).read_bytes().count(b"\n") if rounds_file(config).exists() else 0


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.005)


def owner(config: RunConfig) -> int | None:
    """The worker process of ours that has the run's claim open."""
    claim = str(store.folder(config) / "claim")
    for process in multiprocessing.active_children():
        with suppress(OSError):  # a file closed meanwhile, or the process gone
            if any(
                os.path.realpath(file) == claim
                for file in Path(f"/proc/{process.pid}/fd").iterdir()
            ):
                return process.pid
    return None


@contextmanager
def killer(config: RunConfig, after: int, times: int):
    """SIGKILL the worker that does this run once `after` rounds are stored, and that many workers in all."""
    killed: set[int] = set()

    def kill() -> None:
        while len(killed) < times:
            wait_until(lambda: n_rounds(config) >= after and owner(config) not in {None, *killed})
            pid = owner(config)
            if pid is not None:
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    yield
    thread.join()
    assert len(killed) == times


def test_a_killed_worker_costs_a_round_and_a_run_that_kills_two_is_given_up(plan, undisturbed):
    killed, resumed = plan[0], plan[3]
    with (
        killer(killed, after=1, times=2),
        killer(resumed, after=3, times=1),
        pytest.raises(RunsFailed) as raised,
    ):
        execute(plan, workers=2, quiet=True)
    assert str(raised.value) == (
        "1 of 4 runs failed, the others are stored: toybirds mini-bit-m-np least_confidence seed 1: its "
        "worker process died 2 times (killed, or out of memory)"
    )
    assert not store.is_done(killed)
    assert stored(plan[1:]) == undisturbed[1:]
    assert not multiprocessing.active_children()


def workers_of(group: int) -> list[int]:
    """The worker processes of a process group."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended meanwhile
            if (
                b"spawn_main" in (process / "cmdline").read_bytes()
                and os.getpgid(int(process.name)) == group
            ):
                found.append(int(process.name))
    return found


def test_ctrl_c_stops_all_processes_in_one_line_and_the_same_plan_goes_on_from_there(
    changes, plan, undisturbed
):
    command = [
        sys.executable,
        "-m",
        "alpt_lib",
        "run",
        "--preset",
        "smoke",
        "--only",
        NOTEBOOK,
        "--workers",
        "2",
        "--set",
        yaml.safe_dump(changes),
    ]
    # a shell starts what it runs in the background with Ctrl-C ignored, and children inherit that
    process = subprocess.Popen(
        command,
        cwd=REPOSITORY,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    wait_until(lambda: any(n_rounds(config) >= 2 for config in plan))
    assert len(workers_of(process.pid)) == 2
    os.killpg(process.pid, signal.SIGINT)
    assert (
        process.communicate(timeout=60)[1].strip() == "stopped; the same command goes on from here"
    )
    assert process.returncode == 130
    assert workers_of(process.pid) == []
    assert 0 < sum(map(n_rounds, plan)) < 4 * 13
    again = subprocess.run(
        [sys.executable, "-m", "alpt_lib.execute", *command[4:]],
        cwd=REPOSITORY,
        stdout=subprocess.DEVNULL,
    )
    assert again.returncode == 0
    assert stored(plan) == undisturbed


COUNTED = """
import sys
from alpt_lib import execute
from companion.command_line import main
work = execute._run
def counted(config, *args):
    with open(sys.argv[1], "a") as log:
        log.write(execute.results.run_id(config) + "\\n")
    work(config, *args)
execute._run = counted
sys.exit(main(sys.argv[2:]))
"""


def test_three_processes_at_once_do_every_run_once(changes, plan, undisturbed, tmp_path):
    arguments = [
        "--preset",
        "smoke",
        "--only",
        NOTEBOOK,
        "--workers",
        "1",
        "--set",
        yaml.safe_dump(changes),
    ]
    command = [sys.executable, "-c", COUNTED, str(tmp_path / "log"), "execute", *arguments]
    processes = [
        subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL) for _ in range(3)
    ]
    assert [process.wait(timeout=120) for process in processes] == [0, 0, 0]
    assert sorted((tmp_path / "log").read_text().split()) == sorted(map(store.run_id, plan))
    assert stored(plan) == undisturbed


def test_a_run_that_another_process_has_is_waited_for_and_taken_over_when_that_one_ends(
    plan, monkeypatch
):
    monkeypatch.setattr(execute, "WAIT", 0.01)
    done = []
    with _claim(plan[0]) as is_ours:
        assert is_ours
        thread = threading.Thread(target=lambda: done.append(execute(plan, workers=1, quiet=True)))
        thread.start()
        wait_until(lambda: all(map(store.is_done, plan[1:])))
        assert n_rounds(plan[0]) == 0
        assert thread.is_alive()
    thread.join()
    assert done == [None]
    assert store.is_done(plan[0])


def test_runs_with_the_same_seed_set_fit_are_one_group_whatever_comes_after_it(plan):
    first, *_ = plan
    same = [
        first,
        replace(first, acquisition="entropy"),
        replace(first, probe=("label",)),
        replace(
            first, protocol=replace(first.protocol, budget=5, query_batch_size=3, eval_every=2)
        ),
    ]
    others = [
        replace(first, seed=7),
        replace(first, model="mini-bit-m"),
        replace(first, recipe=replace(first.recipe, lr=0.1)),
        replace(
            first, protocol=replace(first.protocol, seed_set_size=first.protocol.seed_set_size + 1)
        ),
    ]
    groups = _groups([*same, *others])
    assert sorted(map(len, groups)) == [1, 1, 1, 1, 4]
    assert max(groups, key=len) == same


def test_groups_that_another_process_is_at_come_last(plan):
    groups = [plan[:2], plan[2:]]
    with _claim(plan[1]):
        assert [_next(groups), _next(groups)] == [plan[2:], plan[:2]]


@pytest.mark.parametrize(
    ("visible", "workers", "slots"),
    [
        (None, 0, ["0", "1"]),
        (None, 3, ["0", "1", "0"]),
        ("5,3", 4, ["5", "3", "5", "3"]),
        ("MIG-a,MIG-b", 2, ["MIG-a", "MIG-b"]),
    ],
)
def test_workers_take_the_visible_gpus_in_turn(plan, monkeypatch, visible, workers, slots):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr(execute, "_in_processes", lambda groups, gpus, report: gpus)
    assert workers._failures([[config] for config in plan], workers, "local", print) == slots


def test_an_unknown_executor_lists_the_known_ones(plan):
    with pytest.raises(CompanionError, match=r"unknown executor 'rai' .*; known: local, ray"):
        execute(plan, executor="rai")


def test_a_profile_shows_the_share_of_each_part_summed_over_workers(
    birds_folder, home, monkeypatch, capsys
):
    monkeypatch.setenv(profiling.WANTED, "1")
    parameters = {"datasets": [str(birds_folder)], "seeds": [1, 2], "recipe": {"max_steps": 2}}
    execute([p.config for p in plan_runs(check_parameters(parameters))], workers=2)
    lines = [line for line in capsys.readouterr().out.splitlines() if "%" in line]
    shares = {line[:24].strip(): float(line.split()[-1].rstrip("%")) for line in lines}
    assert {
        "training steps",
        "evaluate",
        "score pools, select",
        "build models",
        "the rest of the runs",
    } <= set(shares)
    assert sum(shares.values()) == pytest.approx(100, abs=0.5)
