"""Runs killed by SIGKILL and started again: the rows are those of a run that was never killed, to the last byte."""

import multiprocessing
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial, reduce
from importlib import import_module
from itertools import count
from pathlib import Path

import pytest

from companion.report import study

SETTINGS = {
    "paper": {
        "protocol": {"seed_set_size": 8, "budget": 6, "query_batch_size": 2},
        "recipe": {"augment": "flip"},
        "probe": ["label"],
    },
    "released": {
        "protocol": {"seed_set_size": 8, "budget": 6, "query_batch_size": 2, "eval_every": 2},
        "recipe": {"fidelity": "released", "micro_batch_size": 4},
    },
    "dropout": {
        "protocol": {"seed_set_size": 8, "budget": 2, "query_batch_size": 1},
        "models": ["timm:mobilenetv2_035?drop_rate=0.5-np"],
    },  # and batch norm
}
PHASES = {  # where a run spends its time -> the function that does it
    "decoding": ("alpt_lib.datasets", "_read_image"),
    "training": ("alpt_lib.training", "Learner._backward"),
    "scoring": ("alpt_lib.training", "Learner._map"),
    "writing": ("os", "fsync"),
}


def sweep(
    home: Path,
    dataset: Path,
    setting: str,
    phase: str | None = None,
    nth: int = 0,
    delay: float = 0.0,
) -> None:
    """Both arms of a seed in this process; killed `delay` seconds after the n-th call of a phase has begun."""
    os.environ.update(ALPT_HOME=str(home), HF_HUB_OFFLINE="1")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)

    if phase:
        kill_in(*PHASES[phase], nth, delay)
    study.run(
        "01_accuracy_curves",
        {"datasets": [str(dataset)], "models": ["bit-m-np"], "workers": 1, **SETTINGS[setting]},
    )


def kill_in(module: str, name: str, nth: int, delay: float) -> None:
    """SIGKILL this process `delay` seconds after the n-th call (from 0) of a function has begun."""
    *holder, attribute = name.split(".")
    owner = reduce(getattr, holder, import_module(module))
    function, calls = getattr(owner, attribute), count()

    def watched(*args):
        if next(calls) == nth:
            kill = partial(os.kill, os.getpid(), signal.SIGKILL)
            threading.Timer(delay, kill).start() if delay else kill()
        return function(*args)

    setattr(owner, attribute, watched)


def in_a_process(*args) -> int:
    """Exit status of `sweep` in a fresh process; all come from one server that has imported torch, to save seconds."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["alpt_lib.experiments", "alpt_lib.training", "alpt_lib.representations", "timm"]
    )
    process = context.Process(target=sweep, args=args)
    process.start()
    process.join()
    return process.exitcode


def stored(home: Path) -> dict[str, bytes]:
    return {file.parent.name: file.read_bytes() for file in home.glob("runs/*/rounds.jsonl")}


def new_home(folder: Path, decoded: Path) -> Path:
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "cache").symlink_to(decoded)
    return folder


@pytest.fixture(scope="module")
def never_killed(tmp_path_factory, birds_folder, decoded):
    """What each setting stores if it is left alone, made when first asked for."""
    made: dict[str, dict[str, bytes]] = {}

    def rows(setting: str) -> dict[str, bytes]:
        if setting not in made:
            home = new_home(tmp_path_factory.mktemp("whole") / setting, decoded)
            assert in_a_process(home, birds_folder, setting) == 0
            made[setting] = stored(home)
        return made[setting]

    return rows


@pytest.mark.parametrize(
    ("setting", "phase", "nth", "delay"),
    [
        ("paper", "training", 3, 0.0),  # in the seed-set fit that both arms share
        ("paper", "training", 30, 0.002),
        ("paper", "scoring", 14, 0.001),
        ("paper", "writing", 0, 0.0),  # config.json is half there
        ("paper", "writing", 4, 0.0),  # a round is written and not yet flushed to the disk
        ("released", "training", 40, 0.001),  # the momentum of earlier fits has to be made again
        ("dropout", "scoring", 3, 0.0),
    ],
)
def test_a_run_killed_at_any_moment_ends_with_the_rows_of_one_never_killed(
    birds_folder, tmp_path, decoded, never_killed, setting, phase, nth, delay
):
    home = new_home(tmp_path / "killed", decoded)
    assert in_a_process(home, birds_folder, setting, phase, nth, delay) == -signal.SIGKILL
    assert stored(home) != never_killed(setting)
    assert in_a_process(home, birds_folder, setting) == 0
    assert stored(home) == never_killed(setting)
    assert list(home.glob("runs/*/*.partial")) == []


def test_a_run_killed_while_it_decodes_images_leaves_no_half_cache(
    birds_folder, tmp_path, never_killed
):
    home = new_home(tmp_path / "killed", tmp_path)
    assert in_a_process(home, birds_folder, "paper", "decoding", 60) == -signal.SIGKILL
    assert in_a_process(home, birds_folder, "paper") == 0
    assert stored(home) == never_killed("paper")


def test_two_sweeps_at_once_do_every_round_once(birds_folder, tmp_path, decoded, never_killed):
    home = new_home(tmp_path / "both", decoded)
    with ThreadPoolExecutor() as threads:
        assert list(threads.map(lambda _: in_a_process(home, birds_folder, "paper"), range(2))) == [
            0,
            0,
        ]
    assert stored(home) == never_killed("paper")
