"""Run many configs: worker processes or Ray tasks, each run resumed from its stored rounds; progress and time left.

Any number of processes, here or on other machines with the same home folder, may execute the same plan at once:
`python -m alpt_lib.execute --preset mini` does what no other one is doing, until nothing is left.
"""

import ctypes
import fcntl
import multiprocessing
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from functools import lru_cache
from multiprocessing import connection, resource_tracker
from pathlib import Path

import numpy as np

from alpt_lib import datasets, profiling, results
from alpt_lib.config import CompanionError, Protocol, RunConfig, unknown
from alpt_lib.loop import Round, active_learning, check
from alpt_lib.progress import Progress

EXECUTORS = ("local", "ray")
CRASHES = 2  # so often may a worker process die at a run before that run is given up
WAIT = 1.0  # s between two looks at runs that other processes are doing
Failure = tuple[RunConfig, str]  # a run that failed, and why in one line


class RunsFailed(CompanionError):
    """Some runs ended with an error; the others are stored."""


def missing(configs: list[RunConfig]) -> list[RunConfig]:
    """The configs that are not finished in the store, each once.

    Raises:
        ConfigError, DataError, ModelError: what cannot be run, before anything is.
    """
    todo = [c for c in dict.fromkeys(configs) if not results.is_done(c)]
    for config in todo:
        check(datasets.load(Path(config.dataset)), config)
    return todo


def check_executor(name: str) -> None:
    """Raises CompanionError for an executor that there is not."""
    if name not in EXECUTORS:
        raise CompanionError(unknown("executor", name, EXECUTORS))


def execute(configs: list[RunConfig], workers: int = 0, quiet: bool = False, executor: str = "local") -> None:
    """Finish every config: stored ones are reused, interrupted ones go on from their last round.

    Args:
        workers: processes; 0 takes one per visible GPU, without GPUs one per core. Ray takes what its cluster has.
        executor: "local", or "ray" for the tasks of a Ray cluster.
    Raises:
        RunsFailed: after all others have finished; names each run that failed and why.
    """
    check_executor(executor)
    todo = missing(configs)
    if not todo:
        return
    _build_once(todo)
    _decode_once(todo)
    total, n_runs = sum(map(fits_left, todo)), len(todo)
    progress, failed = Progress(total, f"{n_runs} runs", "fit", quiet), {}
    while todo:
        if any(map(_is_free, todo)):
            with closing(_failures(_groups(todo), workers, executor, progress.add)) as failures:
                for config, why in failures:
                    failed[config] = why
                    if why.startswith(results.StoreError.__name__):  # a full disk: the other runs could not be stored either
                        raise RunsFailed(f"stopped, what is stored is whole: {why}")
        else:  # other processes are at all of them; should one of these die, the run goes on here
            time.sleep(WAIT)
        todo = [c for c in todo if c not in failed and not results.is_done(c)]
        progress.add(total - sum(map(fits_left, [*todo, *failed])) - progress.done)  # what other processes did
    progress.close()
    if failed:
        lines = [f"{Path(c.dataset).name} {c.model} {c.acquisition} seed {c.seed}: {why}" for c, why in failed.items()]
        raise RunsFailed(f"{len(failed)} of {n_runs} runs failed, the others are stored: {'; '.join(lines[:5])}"
                         + (f"; and {len(lines) - 5} more" if len(lines) > 5 else ""))


def _failures(groups: list[list[RunConfig]], workers: int, executor: str, report: Callable[[int], None]) -> Iterator[Failure]:
    """Work through the groups; `report` is told of fits done."""
    if executor == "ray":
        from alpt_lib.ray_executor import in_tasks

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
    return (os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(torch.cuda.device_count())))).split(",")


@contextmanager
def _claim(config: RunConfig) -> Iterator[bool]:
    """Claim a run for this process; yields whether no other one has it, on any machine that shares the folder.

    The claim is a lock that the system releases when its owner dies, however it dies.
    """
    target, file = results.folder(config), None
    try:
        target.mkdir(parents=True, exist_ok=True)
        file = open(target / "claim", "w")  # noqa: SIM115 (closed below)
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        is_ours = True
    except OSError as error:  # anything but another's claim: `results.writing` says what is wrong with this store
        is_ours = not isinstance(error, BlockingIOError)
    try:
        yield is_ours
    finally:
        if file:
            file.close()


def _is_free(config: RunConfig) -> bool:
    if not results.folder(config).exists():
        return True
    with _claim(config) as is_ours:
        return is_ours


def _next(groups: list[list[RunConfig]]) -> list[RunConfig]:
    """Take out the first group that no other process is at, lest both fit its seed set; the first if there is none."""
    return groups.pop(next((i for i, group in enumerate(groups) if all(map(_is_free, group))), 0))


def _groups(configs: list[RunConfig]) -> list[list[RunConfig]]:
    """Runs that share a seed-set fit stay together; the longest first, so that the workers finish together."""
    groups: dict[RunConfig, list[RunConfig]] = {}
    for config in configs:
        groups.setdefault(_before_queries(config), []).append(config)
    return sorted(groups.values(), key=lambda group: -sum(fits_left(c) * c.recipe.max_steps for c in group))


def _before_queries(config: RunConfig) -> RunConfig:
    """What decides the seed-set fit and its accuracies, the rest at its defaults."""
    seed_set = Protocol(seed_set_size=config.protocol.seed_set_size, seed_set=config.protocol.seed_set)
    return replace(config, acquisition="random", probe=(), protocol=seed_set)


def fits_left(config: RunConfig) -> int:
    return config.protocol.n_rounds + 1 - len(_played(results.read(config)))


def _played(rounds: list[Round]) -> list[Round]:
    return [r for r in rounds if r.round != results.BEFORE]


def _decode_once(configs: list[RunConfig]) -> None:
    """Fill the image caches before the workers start, so that no two decode the same images."""
    for folder, size, crop in {(c.dataset, c.recipe.resize, c.recipe.crop) for c in configs}:
        data = datasets.load(Path(folder))
        if data.description.modality == "image":
            size = size or data.description.image_size
            for split in [datasets.POOL, *data.eval_splits]:
                data.images(split, crop or size)


def _build_once(configs: list[RunConfig]) -> None:
    """Build each model once before anything runs, so that weights that are missing or do not fit are said once.

    Text models fill the caches of tokens, as `_decode_once` does those of images.
    """
    from alpt_lib.networks import TextClassifier, create

    for folder, name, weights in dict.fromkeys((c.dataset, c.model, c.weights) for c in configs):
        data = datasets.load(Path(folder))
        model = create(name, data, weights, seed=0)
        if isinstance(model, TextClassifier):
            for split in [datasets.POOL, *data.eval_splits]:
                model.tokens(data, split)


def run_group(group: list[RunConfig], report: Callable[[int | Counter], None]) -> list[Failure]:
    """Finish the runs of one group in this process, but for those that another process is doing.

    Args:
        report: told of fits done, and where time is measured, of the seconds of each part.
    Returns:
        each run that failed, and why in one line.
    """
    if profiling.WANTED not in os.environ:
        return _run_group(group, report)
    started = time.perf_counter()
    with profiling.clocks() as spent:
        failures = _run_group(group, report)
    report(spent + Counter({"the rest of the runs": time.perf_counter() - started - sum(spent.values())}))
    return failures


def _run_group(group: list[RunConfig], report: Callable[[int], None]) -> list[Failure]:
    import torch

    torch.set_num_threads(1)  # the same sums, so the same tables, whatever the number of workers
    _keep_freed_memory()
    shared: dict = {}
    failures = []
    for config in group:
        with _claim(config) as is_ours:
            try:
                if is_ours and not results.is_done(config):
                    _run(config, shared, report)
            except Exception as error:  # one failed run must not end the sweep; its reason is reported
                failures.append((config, f"{type(error).__name__}: {' '.join(str(error).split())}"))
    return failures


def _keep_freed_memory() -> None:
    """Let glibc reuse the memory of activations; it would return and fetch it anew each step (10-25% of a step here)."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):  # glibc only
        libc.mallopt(-3, 32 << 20)  # M_MMAP_THRESHOLD, its largest value
        libc.mallopt(-1, 1 << 30)  # M_TRIM_THRESHOLD


def _run(config: RunConfig, shared: dict, report: Callable[[int], None]) -> None:
    data = datasets.load(Path(config.dataset))
    with results.writing(config) as append:
        done = results.read(config)
        learner = _learner(_before_queries(config))
        observe = _probe(data, learner, config) if config.probe else None
        if observe and not done:
            learner.reset()
            append(Round(results.BEFORE, 0, [], [], observe(results.BEFORE)))
        history = [r.query for r in _played(done)]
        for round_ in active_learning(data, learner, config, history=history, shared=shared, observe=observe):
            append(round_)
            report(1)


@lru_cache(maxsize=1)
def _learner(config: RunConfig):
    from alpt_lib.training import Learner

    data = datasets.load(Path(config.dataset))
    return Learner(data, config.model, config.recipe, config.weights, config.seed)


def _probe(data: datasets.Dataset, learner, config: RunConfig):
    """Rows of linear-probe accuracies: half of a split balanced over the probed groups trains, half tests, both ways."""
    from alpt_lib.metrics import accuracy_rows
    from alpt_lib.representations import balanced_rows, linear_probe

    split = data.eval_splits[0]
    frame = data.rows(split)
    groups = frame[list(config.probe)].astype(str).agg("/".join, axis=1).to_numpy(dtype=object)
    rows = np.random.default_rng([config.seed, 5]).permutation(balanced_rows(groups, 200, np.random.default_rng(config.seed)))
    halves = rows[::2], rows[1::2]

    def observe(round_: int) -> list[dict]:
        features = learner.features(split)
        correct = np.zeros(len(frame), dtype=bool)
        for train, test in (halves, halves[::-1]):
            correct[test] = linear_probe(features[train], groups[train], features[test], groups[test])
        table = accuracy_rows(correct[rows], frame.iloc[rows].reset_index(drop=True), subgroup=groups[rows], minority=[],
                              train_weights=data.pool_shares)
        return table.assign(split=split, metric="probe_" + table["metric"]).to_dict("records")

    return observe


def _in_this_process(groups: list[list[RunConfig]], report: Callable[[int], None]) -> Iterator[Failure]:
    while groups:
        yield from run_group(_next(groups), report)


def _in_processes(groups: list[list[RunConfig]], gpus: list[str | None], report: Callable[[int], None]) -> Iterator[Failure]:
    """One worker process for each of `gpus`. One that dies is replaced, and its group goes on from the last stored round."""
    for library in ("OMP", "OPENBLAS"):  # read when a worker imports numpy; its threads would fight over the cores
        os.environ.setdefault(f"{library}_NUM_THREADS", "1")
    os.environ.setdefault("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")  # large pages where glibc can: 1% of a step
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
                    left = [c for c in at_work.pop(link) if not results.is_done(c)]
                    workers.update([_start_worker(workers.pop(link)[1])])
                    deaths.update(left[:1])
                    if left and deaths[left[0]] == CRASHES:
                        yield left.pop(0), f"its worker process died {CRASHES} times (killed, or out of memory)"
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


def _start_worker(gpu: str | None) -> tuple[connection.Connection, tuple[multiprocessing.Process, str | None]]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, gpu), daemon=True)
    resource_tracker.ensure_running()  # else `start` does it, and that unblocks the signal
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # inherited: Ctrl-C is the parent's to handle
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


if __name__ == "__main__":
    from companion.command_line import main

    sys.exit(main(["execute", *sys.argv[1:]]))
