"""TODO: what this room holds."""

import multiprocessing
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from multiprocessing import connection, resource_tracker

from alpt_lib.config import RunConfig
from companion.runs import store
from companion.runs.work import CRASHES, Failure, _next, run_group


def _failures(
    groups: list[list[RunConfig]], workers: int, executor: str, report: Callable[[int], None]
) -> Iterator[Failure]:
    """Work through the groups; `report` is told of fits done."""
    if executor == "ray":
        from companion.runs.on_ray import in_tasks

        return in_tasks(groups, report)
    gpus = _visible_gpus() or [None]
    workers = min(workers or (len(gpus) if gpus[0] else _cores()), len(groups))
    if workers == 1:
        return _in_this_process(groups, report)
    return _in_processes(groups, [gpus[i % len(gpus)] for i in range(workers)], report)


def _cores() -> int:
    """CPU cores that this process may use; a cluster's scheduler may grant fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _visible_gpus() -> list[str]:
    """The GPUs of this machine as CUDA_VISIBLE_DEVICES names them; none without CUDA."""
    import torch

    if not torch.cuda.is_available():
        return []
    return (
        os.environ.get("CUDA_VISIBLE_DEVICES")
        or ",".join(map(str, range(torch.cuda.device_count())))
    ).split(",")


def _in_this_process(
    groups: list[list[RunConfig]], report: Callable[[int], None]
) -> Iterator[Failure]:
    while groups:
        yield from run_group(_next(groups), report)


def _in_processes(
    groups: list[list[RunConfig]], gpus: list[str | None], report: Callable[[int], None]
) -> Iterator[Failure]:
    """One worker process for each of `gpus`. One that dies is replaced, and its group goes on from the last stored round."""
    for library in (
        "OMP",
        "OPENBLAS",
    ):  # read when a worker imports numpy; its threads would fight over the cores
        os.environ.setdefault(f"{library}_NUM_THREADS", "1")
    os.environ.setdefault(
        "GLIBC_TUNABLES", "glibc.malloc.hugetlb=1"
    )  # large pages where glibc can: 1% of a step
    workers, at_work, deaths = dict(map(_start_worker, gpus)), {}, Counter()
    try:
        while groups or at_work:
            for link in [link for link in workers if link not in at_work][: len(groups)]:
                at_work[link] = _next(groups)
                with suppress(OSError):  # it died while idle, which shows below
                    link.send(at_work[link])
            for link in connection.wait(list(at_work)):
                try:
                    message = link.recv()
                except (EOFError, OSError):  # killed, or out of memory
                    left = [c for c in at_work.pop(link) if not store.is_done(c)]
                    workers.update([_start_worker(workers.pop(link)[1])])
                    deaths.update(left[:1])
                    if left and deaths[left[0]] == CRASHES:
                        yield (
                            left.pop(0),
                            f"its worker process died {CRASHES} times (killed, or out of memory)",
                        )
                    groups[:0] = [left] if left else []
                    continue
                if isinstance(message, int | Counter):
                    report(message)
                else:
                    del at_work[link]
                    yield from message
    finally:
        for process, _ in workers.values():
            process.terminate()
            process.join()


def _start_worker(
    gpu: str | None,
) -> tuple[connection.Connection, tuple[multiprocessing.Process, str | None]]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, gpu), daemon=True)
    resource_tracker.ensure_running()  # else `start` does it, and that unblocks the signal
    mask = signal.pthread_sigmask(
        signal.SIG_BLOCK, {signal.SIGINT}
    )  # inherited: Ctrl-C is the parent's to handle
    process.start()
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    theirs.close()
    return ours, (process, gpu)


def _work(link: connection.Connection, gpu: str | None) -> None:
    """A worker process: one group after the other, until the parent is gone."""
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu

    def report(n: int | Counter) -> None:
        try:
            link.send(n)
        except OSError:  # nobody waits for the rest of this group
            os._exit(1)

    with suppress(EOFError, ConnectionError):
        while True:
            link.send(run_group(link.recv(), report))
