"""Worker processes: N started copies of `alpt execute`, the command that a job array starts.

Each does what no other one is doing. All that they share is the store: claims, rounds, failures,
deaths.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import IO, Any

from alpt_lib.config import RunConfig
from alpt_lib.errors import CompanionError, StoreError, one_line
from alpt_lib.files import REPOSITORY
from alpt_lib.progress import QUIET
from companion.runs.plan import Shelf
from companion.runs.store import StoredRun
from companion.runs.work import is_settled, work

LOOK = 0.5  # s between two looks at the workers
PATIENCE = 3  # workers that may die before they claim a run
CHANGED = "its data or weights changed after it was planned: start the same command again"
# threads would fight over the cores; large pages save 1% of a step where glibc can
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}


def cores() -> int:
    """CPU cores that this process may use; a cluster's scheduler may grant fewer than there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def visible_gpus() -> list[str]:
    """The GPUs of this machine as CUDA_VISIBLE_DEVICES names them; none without CUDA."""
    import torch

    if not torch.cuda.is_available():
        return []
    everyone = ",".join(map(str, range(torch.cuda.device_count())))
    return (os.environ.get("CUDA_VISIBLE_DEVICES") or everyone).split(",")


@dataclass
class Worker:
    """A started copy and the GPU that it sees."""

    process: subprocess.Popen
    gpu: str | None


def work_in_processes(
    runs: list[StoredRun], n_workers: int, since: float, report: Callable[[int], None]
) -> None:
    """Finish runs in worker processes; one that dies is replaced while there is something to do.

    Args:
        since, report: as for `work`.
    Raises:
        CompanionError: a worker cannot work at all; says why.
    """
    plan = plan_as_json(runs, since)
    gpus: list[str | None] = [*visible_gpus()] or [None]
    workers = [_start(plan, gpus[i % len(gpus)]) for i in range(n_workers)]
    left = sum(run.lines_left() for run in runs)
    n_replaced = 0
    try:
        while workers:
            time.sleep(LOOK)
            now = sum(run.lines_left() for run in runs)
            report(left - now)
            left = now
            for worker in [w for w in workers if w.process.poll() is not None]:
                workers.remove(worker)
                if _was_killed(worker) and not all(is_settled(run, since) for run in runs):
                    n_replaced += 1
                    _check_deaths(runs, n_replaced, since)
                    workers.append(_start(plan, worker.gpu))
    finally:
        for worker in workers:
            worker.process.terminate()
        for worker in workers:
            worker.process.wait()


def _start(plan: str, gpu: str | None) -> Worker:
    path = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))
    environment = {**ENVIRONMENT, **os.environ, "PYTHONPATH": path, QUIET: "1"}
    if gpu is not None:
        environment["CUDA_VISIBLE_DEVICES"] = gpu
    process = subprocess.Popen(
        [sys.executable, "-m", "companion", "execute", "--plan", "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        # Ctrl-C is the parent's to handle
        process_group=0,
        text=True,
    )
    # it stays open: a worker ends when its parent does
    assert process.stdin is not None
    process.stdin.write(plan + "\n")
    process.stdin.flush()
    return Worker(process, gpu)


def _was_killed(worker: Worker) -> bool:
    """Whether a worker died; one that stopped because it cannot work said why.

    Raises:
        CompanionError: what it said.
    """
    if worker.process.returncode > 0:
        said = worker.process.stdout.read() if worker.process.stdout else ""
        words = said.strip().splitlines()
        raise CompanionError((words or ["a worker process stopped without a word"])[-1])
    return worker.process.returncode < 0


def _check_deaths(runs: list[StoredRun], n_dead: int, since: float) -> None:
    """Deaths at a run are counted in its folder; others may happen a few times."""
    at_runs = sum(run.deaths(since) for run in runs)
    given_up = 2 * sum(run.failure(since) is not None for run in runs)
    if n_dead > at_runs + given_up + PATIENCE:
        raise CompanionError(
            f"worker processes die before they do anything ({n_dead} did): there may be too "
            "little memory; --workers 1 takes the least"
        )


def plan_as_json(runs: list[StoredRun], since: float) -> str:
    """The runs of a plan in one line: what `alpt execute --plan -` reads."""
    planned = [{"config": run.config.to_dict(), "run_id": run.run_id} for run in runs]
    return json.dumps({"since": since, "runs": planned})


def runs_of_plan(content: dict[str, Any]) -> list[StoredRun]:
    """The runs that are as they were planned; the others fail, and say why."""
    shelf = Shelf()
    runs = []
    for planned in content["runs"]:
        run = shelf.run(RunConfig.from_dict(planned["config"]))
        if run.run_id == planned["run_id"]:
            runs.append(run)
            continue
        run.run_id = planned["run_id"]
        run.fail(CHANGED)
    return runs


def work_from_stdin() -> int:
    """Be a worker: do the runs of the plan on standard input; end when the parent does.

    Returns:
        exit status; with 1, the last line of standard output says why.
    """
    plan = sys.stdin.readline()
    threading.Thread(target=_end_with, args=(sys.stdin,), daemon=True).start()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    said = sys.stdout
    with redirect_stdout(sys.stderr):
        try:
            content = json.loads(plan)
            work(runs_of_plan(content), content["since"])
            return 0
        except StoreError as error:
            print(f"stopped, what is stored is whole: {one_line(error)}", file=said, flush=True)
        except Exception as error:  # whatever it is, the parent says it
            print(one_line(error), file=said, flush=True)
    return 1


def _end_with(parent: IO[str]) -> None:
    """Wait until the parent closes its end, or is gone."""
    parent.read()
    os._exit(1)
