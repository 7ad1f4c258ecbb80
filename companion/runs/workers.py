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
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass
from typing import IO, Any

from alpt_lib.config import RunConfig
from alpt_lib.errors import CompanionError, StoreError, one_line
from alpt_lib.files import REPOSITORY
from alpt_lib.progress import QUIET
from companion.runs.plan import as_planned
from companion.runs.store import StoredRun
from companion.runs.work import WorkLeft, is_settled, work

LOOK = 1.0  # s between two looks at the workers
GRACE = 10.0  # s for a worker to end in order once its parent is gone
PATIENCE = 3  # workers that may die, one after the other, before they begin a run
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
    runs: list[StoredRun],
    n_workers: int,
    gpus: list[str],
    since: float,
    report: Callable[[int], None],
) -> None:
    """Finish runs in worker processes; one that dies is replaced while there is something to do.

    Args:
        gpus: what the workers see, one each in turn. since, report: as for `work`.
    Raises:
        CompanionError: workers cannot work at all; says why.
    """
    plan = plan_as_json(runs, since)
    seen: list[str | None] = [*gpus] or [None]
    workers = [_start(plan, seen[i % len(seen)]) for i in range(n_workers)]
    work_left = WorkLeft(runs)
    n_in_vain = 0
    before = _traces(runs)
    try:
        while workers:
            time.sleep(LOOK)
            report(work_left.done_since())
            for worker in [w for w in workers if w.process.poll() is not None]:
                workers.remove(worker)
                if not _was_killed(worker) or all(is_settled(run, since) for run in runs):
                    continue
                after = _traces(runs)
                n_in_vain = n_in_vain + 1 if after == before else 0
                before = after
                if n_in_vain <= PATIENCE:
                    workers.append(_start(plan, worker.gpu))
    finally:
        for worker in workers:
            worker.process.terminate()
        for worker in workers:
            worker.process.wait()
    if not all(is_settled(run, since) for run in runs):
        raise CompanionError(
            f"worker processes die before they do anything ({n_in_vain} did): there may be too "
            "little memory; --workers 1 takes the least"
        )


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
    # one that died already is replaced when its parent looks
    with suppress(BrokenPipeError):
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


def _traces(runs: list[StoredRun]) -> list[tuple[int, int]]:
    """What workers leave in the store, whatever they do."""
    return [(run.n_stored(), run.deaths()) for run in runs]


def plan_as_json(runs: list[StoredRun], since: float) -> str:
    """The runs of a plan in one line: what `alpt execute --plan -` reads."""
    planned = [{"config": run.config.to_dict(), "run_id": run.run_id} for run in runs]
    return json.dumps({"since": since, "runs": planned})


def runs_of_plan(content: dict[str, Any]) -> list[StoredRun]:
    """The runs that are still as they were planned; the others fail, and say why."""
    runs = []
    for planned in content["runs"]:
        run = StoredRun(RunConfig.from_dict(planned["config"]), None)
        run.run_id = planned["run_id"]
        runs.append(run)
    return as_planned(runs)


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
    """Wait until the parent closes its end, or is gone; end in order, then in any case."""
    parent.read()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    os._exit(1)
