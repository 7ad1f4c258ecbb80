"""TODO: what this room holds."""

import ctypes
import fcntl
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from alpt_lib import datasets
from alpt_lib.config import Protocol, RunConfig
from alpt_lib.loop import Round, active_learning
from alpt_lib.probes import probe_observer
from companion.runs import store

CRASHES = 2  # so often may a worker process die at a run before that run is given up

Failure = tuple[RunConfig, str]  # a run that failed, and why in one line


@contextmanager
def _claim(config: RunConfig) -> Iterator[bool]:
    """Claim a run for this process; yields whether no other one has it, on any machine that shares the folder.

    The claim is a lock that the system releases when its owner dies, however it dies.
    """
    target, file = store.folder(config), None
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
    if not store.folder(config).exists():
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
    return sorted(
        groups.values(), key=lambda group: -sum(fits_left(c) * c.recipe.max_steps for c in group)
    )


def _before_queries(config: RunConfig) -> RunConfig:
    """What decides the seed-set fit and its accuracies, the rest at its defaults."""
    seed_set = Protocol(
        seed_set_size=config.protocol.seed_set_size, seed_set=config.protocol.seed_set
    )
    return replace(config, acquisition="random", probe=(), protocol=seed_set)


def fits_left(config: RunConfig) -> int:
    return config.protocol.n_rounds + 1 - len(_played(store.read(config)))


def _played(rounds: list[Round]) -> list[Round]:
    return [r for r in rounds if r.round != store.BEFORE]


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
    report(
        spent
        + Counter({"the rest of the runs": time.perf_counter() - started - sum(spent.values())})
    )
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
                if is_ours and not store.is_done(config):
                    _run(config, shared, report)
            except (
                Exception
            ) as error:  # one failed run must not end the sweep; its reason is reported
                failures.append((config, f"{type(error).__name__}: {' '.join(str(error).split())}"))
    return failures


def _keep_freed_memory() -> None:
    """Let glibc reuse the memory of activations; it would return and fetch it anew each step (10-25% of a step here)."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):  # glibc only
        libc.mallopt(-3, 32 << 20)  # M_MMAP_THRESHOLD, its largest value
        libc.mallopt(-1, 1 << 30)  # M_TRIM_THRESHOLD


def _run(config: RunConfig, shared: dict, report: Callable[[int], None]) -> None:
    data = datasets.read_dataset(Path(config.dataset))
    with store.writing(config) as append:
        done = store.read(config)
        learner = _learner(_before_queries(config))
        observe = probe_observer(data, learner, config) if config.probe else None
        if observe and not done:
            learner.reset()
            append(Round(store.BEFORE, 0, [], [], observe(store.BEFORE)))
        history = [r.query for r in _played(done)]
        for round_ in active_learning(
            data, learner, config, history=history, shared=shared, observe=observe
        ):
            append(round_)
            report(1)


@lru_cache(maxsize=1)
def _learner(config: RunConfig):
    from alpt_lib.training import Learner

    data = datasets.read_dataset(Path(config.dataset))
    return Learner(data, config.model, config.recipe, config.weights, config.seed)
