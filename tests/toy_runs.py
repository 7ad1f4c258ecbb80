"""Runs on toy datasets: planned, done, killed; and the bytes that they leave in the store."""

import multiprocessing
import os
import signal
import threading
from functools import partial, reduce
from importlib import import_module
from itertools import count
from pathlib import Path

from companion.runs.execute import execute
from companion.runs.plan import plan_runs
from companion.runs.store import StoredRun

# each with its own way to lose what an earlier round left behind
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
    # and batch norm
    "dropout": {
        "protocol": {"seed_set_size": 8, "budget": 2, "query_batch_size": 1},
        "models": ["timm:mobilenetv2_035?drop_rate=0.5-np"],
    },
    # a head's rounds are not synced one by one
    "frozen": {
        "protocol": {"seed_set_size": 8, "budget": 16, "query_batch_size": 2},
        "recipe": {"backbone": "frozen"},
    },
}
# where a run spends its time -> a function that is called meanwhile
PHASES = {
    "decoding": ("alpt_lib.inputs", "decode"),
    "training": ("alpt_lib.training", "learning_rate"),
    "scoring": ("alpt_lib.scoring", "ScoringNetwork.predict_probs"),
    "writing": ("os", "fsync"),
    # the same of a head
    "training a head": ("alpt_lib.heads", "LinearHead.fit"),
    "scoring by a head": ("alpt_lib.heads", "LinearHead.predict_probs"),
    "writing unsynced": ("os", "write"),
}


def plan(folder: Path, **changes) -> list[StoredRun]:
    """The runs of a toy dataset: both arms of a seed, unless changed."""
    given = {"datasets": [str(folder)], "models": ["bit-m-np"], **changes}
    return [each.run for each in plan_runs(given)]


def do(folder: Path, **changes) -> list[StoredRun]:
    """The same, done in this process."""
    runs = plan(folder, **changes)
    execute(runs, workers=1, quiet=True)
    return runs


def rows(runs: list[StoredRun]) -> list[bytes]:
    """What is stored of each run."""
    files = [run.folder / "rounds.jsonl" for run in runs]
    return [file.read_bytes() if file.exists() else b"" for file in files]


def rows_of(home: Path) -> dict[str, bytes]:
    """What a home folder's store holds."""
    return {file.parent.name: file.read_bytes() for file in home.glob("runs/*/rounds.jsonl")}


def new_home(folder: Path, cache: Path) -> Path:
    """A home folder that shares its caches."""
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "cache").symlink_to(cache)
    return folder


def start(home: Path, dataset: Path, setting: str, *moment, workers: int = 1):
    """Both arms of a seed for each worker, in a process that forks from one with torch.

    Args:
        moment: phase, n and s: it kills itself that long after the n-th call of the phase.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["companion.runs.execute", "companion.runs.probes", "timm"])
    process = context.Process(target=_sweep, args=(home, dataset, setting, workers, moment))
    process.start()
    return process


def in_a_process(*args) -> int:
    """The exit status of such a process."""
    process = start(*args)
    process.join()
    return process.exitcode


def _sweep(home: Path, dataset: Path, setting: str, workers: int, moment: tuple) -> None:
    os.environ.update(ALPT_HOME=str(home), HF_HUB_OFFLINE="1")
    if moment:
        _kill_at(*moment)
    seeds = list(range(1, workers + 1))
    execute(plan(dataset, **SETTINGS[setting], seeds=seeds), workers, quiet=True)


def _kill_at(phase: str, nth: int, delay: float) -> None:
    module, name = PHASES[phase]
    *holder, attribute = name.split(".")
    owner = reduce(getattr, holder, import_module(module))
    function = getattr(owner, attribute)
    calls = count()

    def watched(*args, **kwargs):
        # caches are written too, or not, depending on what ran before
        is_one = module != "os" or "/runs/" in os.readlink(f"/proc/self/fd/{args[0]}")
        if is_one and next(calls) == nth:
            kill = partial(os.kill, os.getpid(), signal.SIGKILL)
            threading.Timer(delay, kill).start() if delay else kill()
        return function(*args, **kwargs)

    setattr(owner, attribute, watched)
