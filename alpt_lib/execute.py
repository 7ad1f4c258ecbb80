"""Run many configs: worker processes, each run resumed from its stored rounds; progress and time left."""

import multiprocessing
import os
import queue as queues
import sys
import time
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from alpt_lib import datasets, results
from alpt_lib.config import CompanionError, RunConfig
from alpt_lib.loop import Round, active_learning, check


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


def execute(configs: list[RunConfig], workers: int = 0, quiet: bool = False) -> None:
    """Finish every config: stored ones are reused, interrupted ones go on from their last round.

    Args:
        workers: processes; 0 takes one per core.
    Raises:
        RunsFailed: after all others have finished; names each run that failed and why.
    """
    todo = missing(configs)
    if not todo:
        return
    groups = _groups(todo)
    workers = min(workers or os.cpu_count() or 1, len(groups))
    _build_once(todo)
    _decode_once(todo)
    progress = Progress(sum(_fits_left(c) for c in todo), len(todo), quiet)
    failures = _in_this_process(groups, progress) if workers == 1 else _in_processes(groups, workers, progress)
    progress.close()
    if failures:
        raise RunsFailed(f"{len(failures)} of {len(todo)} runs failed, the others are stored: " + "; ".join(failures[:5]))


def _groups(configs: list[RunConfig]) -> list[list[RunConfig]]:
    """Arms that share a seed-set fit stay together; the longest first, so that the workers finish together."""
    groups: dict[RunConfig, list[RunConfig]] = {}
    for config in configs:
        groups.setdefault(replace(config, acquisition="random"), []).append(config)
    return sorted(groups.values(), key=lambda group: -sum(_fits_left(c) * c.recipe.max_steps for c in group))


def _fits_left(config: RunConfig) -> int:
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
            if crop and crop != size:
                data.images(datasets.POOL, size)


def _build_once(configs: list[RunConfig]) -> None:
    """Build each model once before anything runs, so that weights that are missing or do not fit are said once."""
    from alpt_lib.models import create

    for folder, model, weights in dict.fromkeys((c.dataset, c.model, c.weights) for c in configs):
        create(model, datasets.load(Path(folder)), weights, seed=0)


def run_group(group: list[RunConfig], report: Callable[[int], None]) -> list[str]:
    """Finish the runs of one group in this process; returns one line per run that failed."""
    import torch

    torch.set_num_threads(1)  # the same sums, so the same tables, whatever the number of workers
    shared: dict = {}
    failures = []
    for config in group:
        try:
            _run(config, shared, report)
        except Exception as error:  # one failed run must not end the sweep; its reason is reported
            failures.append(f"{Path(config.dataset).name} {config.model} {config.acquisition} seed {config.seed}: "
                            f"{type(error).__name__}: {' '.join(str(error).split())}")
    return failures


def _run(config: RunConfig, shared: dict, report: Callable[[int], None]) -> None:
    data = datasets.load(Path(config.dataset))
    with results.writing(config) as append:
        done = results.read(config)
        learner = _learner(replace(config, acquisition="random", probe=()))
        observe = _probe(data, learner, config) if config.probe else None
        if observe and not done:
            learner.reset()
            append(Round(results.BEFORE, 0, [], [], observe(results.BEFORE)))
        history = [r.query for r in _played(done)]
        if len(history) > config.protocol.n_rounds:
            return  # another process finished it meanwhile
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


def _in_this_process(groups: list[list[RunConfig]], progress: "Progress") -> list[str]:
    return [failure for group in groups for failure in run_group(group, progress.add)]


def _in_processes(groups: list[list[RunConfig]], workers: int, progress: "Progress") -> list[str]:
    for library in ("OMP", "OPENBLAS"):  # read when a worker imports numpy; its threads would fight over the cores
        os.environ.setdefault(f"{library}_NUM_THREADS", "1")
    context = multiprocessing.get_context("spawn")
    reports = context.Queue()
    with ProcessPoolExecutor(workers, context, _start_worker, (reports,)) as executor:
        futures = [executor.submit(_work, group) for group in groups]
        try:
            while wait(futures, timeout=0.2, return_when=FIRST_EXCEPTION).not_done:
                _drain(reports, progress)
        except KeyboardInterrupt:
            executor.shutdown(wait=False, cancel_futures=True)
            for process in list(executor._processes.values()):
                process.terminate()
            raise
        _drain(reports, progress)
        return [failure for future in futures for failure in _outcome(future)]


def _outcome(future) -> list[str]:
    try:
        return future.result()
    except BrokenProcessPool:
        return ["a worker process died (killed, or out of memory); start the same command again, finished rounds are kept"]


def _drain(reports, progress: "Progress") -> None:
    while True:
        try:
            progress.add(reports.get_nowait())
        except queues.Empty:
            return


_worker: dict = {}


def _start_worker(reports) -> None:
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    _worker.update(reports=reports)


def _work(group: list[RunConfig]) -> list[str]:
    return run_group(group, _worker["reports"].put)


class Progress:
    """One progress line with the time left: a bar in terminals and notebooks, a plain line now and then elsewhere."""

    def __init__(self, total: int, n_runs: int, quiet: bool = False, every: float = 15.0):
        self.total, self.done, self.started, self.every, self.quiet = total, 0, time.monotonic(), every, quiet
        self.printed = self.started
        self.label = f"{n_runs} runs"
        live = not quiet and (sys.stderr.isatty() or "ipykernel" in sys.modules)
        self.bar = tqdm(total=total, desc=self.label, unit="fit", dynamic_ncols=True) if live else None
        if not live and not quiet:
            print(f"{self.label}: {total} fits to do", flush=True)

    def add(self, n: int) -> None:
        self.done += n
        if self.bar is not None:
            self.bar.update(n)
        elif not self.quiet and time.monotonic() - self.printed > self.every:
            self.printed = time.monotonic()
            left = (self.printed - self.started) / self.done * (self.total - self.done)
            print(f"{self.label}: {self.done} of {self.total} fits, about {left / 60:.1f} min left", flush=True)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
        elif not self.quiet:
            print(f"{self.label}: done in {(time.monotonic() - self.started) / 60:.1f} min", flush=True)
