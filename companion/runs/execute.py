"""Finish runs: in this process, in worker processes, or as tasks of a Ray cluster."""

import time

from alpt_lib.config import input_size
from alpt_lib.errors import CompanionError, ConfigError, StoreError, one_line, unknown
from alpt_lib.learners import create_learner
from alpt_lib.progress import Progress
from companion.runs.plan import as_planned, check_protocol
from companion.runs.store import StoredRun
from companion.runs.work import groups, longest_first, work
from companion.runs.workers import cores, visible_gpus, work_in_processes

EXECUTORS = ("local", "ray")
SHOWN = 5  # failed runs that are named


class RunsFailed(CompanionError):
    """Some runs ended with an error; the others are stored."""


def missing(runs: list[StoredRun]) -> list[StoredRun]:
    """The runs that are not finished in the store, each once.

    Raises:
        ConfigError: what cannot be run, before anything is.
    """
    todo = [run for run in dict.fromkeys(runs) if not run.is_done()]
    for run in todo:
        check_protocol(run.data, run.config)
    return todo


def check_executor(name: str) -> None:
    """Raises CompanionError for an executor that there is not."""
    if name not in EXECUTORS:
        raise CompanionError(unknown("executor", name, EXECUTORS))


def execute(
    runs: list[StoredRun],
    workers: int = 0,
    quiet: bool = False,
    executor: str = "local",
    forgives: bool = True,
    in_order: bool = False,
) -> None:
    """Finish every run: stored ones are reused, interrupted ones go on from their last round.

    Args:
        workers: processes; 0 takes one per visible GPU, without GPUs one per core. Ray takes what
            its cluster has.
        executor: "local", or "ray" for the tasks of a Ray cluster.
        forgives: a person asks, so runs that killed their processes before are tried again; a job
            array leaves them given up.
        in_order: as they are given; otherwise the longest first, so that workers finish together.
    Raises:
        ConfigError: what was asked for cannot be done here; nothing ran.
        RunsFailed: after all others have finished; names each run that failed and why.
    """
    check_executor(executor)
    todo = missing(runs)
    if not todo:
        return
    started = time.time()
    since = started if forgives else 0.0
    ready = as_planned(todo if in_order else longest_first(todo))
    prepare(ready)
    left = sum(run.work_left() for run in ready)
    progress = Progress(left, f"{len(ready)} runs", "", quiet)
    try:
        _work_on(ready, workers, since, executor, progress)
    except StoreError as error:
        why = one_line(error)
        raise RunsFailed(f"stopped, what is stored is whole: {why}") from error
    except ConfigError:
        raise
    except CompanionError as error:
        raise RunsFailed(str(error)) from error
    progress.close()
    failed = [run for run in todo if not run.is_done()]
    if failed:
        raise RunsFailed(_in_words(failed, len(todo)))


def _work_on(
    todo: list[StoredRun], workers: int, since: float, executor: str, progress: Progress
) -> None:
    if executor == "ray":
        from companion.runs.on_ray import work_in_tasks

        work_in_tasks(todo, since, progress.add)
        return
    # heads need no GPU, and to ask for one takes seconds
    needs_gpu = any(run.config.recipe.backbone != "frozen" for run in todo)
    gpus = visible_gpus() if needs_gpu else []
    n_workers = min(workers or len(gpus) or cores(), len(groups(todo)))
    if n_workers <= 1:
        work(todo, since, progress.add)
    else:
        work_in_processes(todo, n_workers, gpus, since, progress.add)


def _in_words(failed: list[StoredRun], n_runs: int) -> str:
    lines = [f"{run}: {run.failure() or 'not finished'}" for run in failed]
    more = f"; and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
    named = "; ".join(lines[:SHOWN])
    return f"{len(failed)} of {n_runs} runs failed, the others are stored: {named}{more}"


def prepare(runs: list[StoredRun]) -> None:
    """Build each model once before anything runs: weights that do not fit are said once.

    What all processes read from the cache is made on the way: arrays of images, tokens, features.

    Raises:
        ModelError: weights that are missing or do not fit. DataError: images that cannot be read.
    """
    kinds = {}
    for run in runs:
        c = run.config
        size = input_size(c.recipe, run.data.description.image_size)
        kinds[c.dataset, c.model, c.weights, c.recipe.backbone, size] = run
    for run in kinds.values():
        create_learner(run.data, run.config).prepare()
