"""Finish runs: in this process, in worker processes, or as tasks of a Ray cluster."""

import time

from alpt_lib.acquisition import POOL
from alpt_lib.config import input_size
from alpt_lib.errors import CompanionError, StoreError, one_line, unknown
from alpt_lib.progress import Progress
from companion.runs.plan import check_protocol
from companion.runs.store import StoredRun
from companion.runs.work import groups, work
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
) -> None:
    """Finish every run: stored ones are reused, interrupted ones go on from their last round.

    Args:
        workers: processes; 0 takes one per visible GPU, without GPUs one per core. Ray takes what
            its cluster has.
        executor: "local", or "ray" for the tasks of a Ray cluster.
        forgives: a person asks, so runs that killed their processes before are tried again; a job
            array leaves them given up.
    Raises:
        RunsFailed: after all others have finished; names each run that failed and why.
    """
    check_executor(executor)
    todo = missing(runs)
    if not todo:
        return
    started = time.time()
    since = started if forgives else 0.0
    build_models(todo)
    fill_caches(todo)
    left = sum(run.lines_left() for run in todo)
    progress = Progress(left, f"{len(todo)} runs", "round", quiet)
    try:
        _work_on(todo, workers, since, executor, progress)
    except StoreError as error:
        why = one_line(error)
        raise RunsFailed(f"stopped, what is stored is whole: {why}") from error
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
    n_workers = min(workers or len(visible_gpus()) or cores(), len(groups(todo)))
    if n_workers == 1:
        work(todo, since, progress.add)
    else:
        work_in_processes(todo, n_workers, since, progress.add)


def _in_words(failed: list[StoredRun], n_runs: int) -> str:
    lines = [f"{run}: {run.failure() or 'not finished'}" for run in failed]
    more = f"; and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
    named = "; ".join(lines[:SHOWN])
    return f"{len(failed)} of {n_runs} runs failed, the others are stored: {named}{more}"


def build_models(runs: list[StoredRun]) -> None:
    """Build each model once before anything runs: weights that do not fit are said once.

    Raises:
        ModelError: weights that are missing or do not fit.
    """
    from alpt_lib.scoring import ScoringNetwork

    kinds = {(run.config.dataset, run.config.model, run.config.weights): run for run in runs}
    for run in kinds.values():
        network = ScoringNetwork(run.data, run.config)
        if run.data.is_text:
            for split in (POOL, *run.data.eval_splits):
                network.inputs(split)


def fill_caches(runs: list[StoredRun]) -> None:
    """Decode the images before workers start, so that no two decode the same ones."""
    from alpt_lib.inputs import images

    for run in {_image_kind(run): run for run in runs if not run.data.is_text}.values():
        _, crop = input_size(run.config.recipe, run.data.description.image_size)
        for split in (POOL, *run.data.eval_splits):
            images(run.data, split, crop)


def _image_kind(run: StoredRun) -> tuple[str, int, int]:
    return run.config.dataset, *input_size(run.config.recipe, run.data.description.image_size)
