"""Run many configs: worker processes or Ray tasks, each run resumed from its stored rounds; progress and time left.

Any number of processes, here or on other machines with the same home folder, may execute the same plan at once:
`python -m alpt_lib.execute --preset mini` does what no other one is doing, until nothing is left.
"""

import sys
import time
from contextlib import closing
from pathlib import Path

from alpt_lib import datasets
from alpt_lib.config import RunConfig
from alpt_lib.errors import CompanionError, unknown
from alpt_lib.progress import Progress
from companion.runs import store
from companion.runs.plan import check_protocol
from companion.runs.work import _groups, _is_free, fits_left
from companion.runs.workers import _failures

EXECUTORS = ("local", "ray")

WAIT = 1.0  # s between two looks at runs that other processes are doing


class RunsFailed(CompanionError):
    """Some runs ended with an error; the others are stored."""


def missing(configs: list[RunConfig]) -> list[RunConfig]:
    """The configs that are not finished in the store, each once.

    Raises:
        ConfigError, DataError, ModelError: what cannot be run, before anything is.
    """
    todo = [c for c in dict.fromkeys(configs) if not store.is_done(c)]
    for config in todo:
        check_protocol(datasets.read_dataset(Path(config.dataset)), config)
    return todo


def check_executor(name: str) -> None:
    """Raises CompanionError for an executor that there is not."""
    if name not in EXECUTORS:
        raise CompanionError(unknown("executor", name, EXECUTORS))


def execute(
    configs: list[RunConfig], workers: int = 0, quiet: bool = False, executor: str = "local"
) -> None:
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
                    if why.startswith(
                        store.StoreError.__name__
                    ):  # a full disk: the other runs could not be stored either
                        raise RunsFailed(f"stopped, what is stored is whole: {why}")
        else:  # other processes are at all of them; should one of these die, the run goes on here
            time.sleep(WAIT)
        todo = [c for c in todo if c not in failed and not store.is_done(c)]
        progress.add(
            total - sum(map(fits_left, [*todo, *failed])) - progress.done
        )  # what other processes did
    progress.close()
    if failed:
        lines = [
            f"{Path(c.dataset).name} {c.model} {c.acquisition} seed {c.seed}: {why}"
            for c, why in failed.items()
        ]
        raise RunsFailed(
            f"{len(failed)} of {n_runs} runs failed, the others are stored: {'; '.join(lines[:5])}"
            + (f"; and {len(lines) - 5} more" if len(lines) > 5 else "")
        )


def _decode_once(configs: list[RunConfig]) -> None:
    """Fill the image caches before the workers start, so that no two decode the same images."""
    for folder, size, crop in {(c.dataset, c.recipe.resize, c.recipe.crop) for c in configs}:
        data = datasets.read_dataset(Path(folder))
        if data.description.modality == "image":
            size = size or data.description.image_size
            for split in [datasets.POOL, *data.eval_splits]:
                data.images(split, crop or size)


def _build_once(configs: list[RunConfig]) -> None:
    """Build each model once before anything runs, so that weights that are missing or do not fit are said once.

    Text models fill the caches of tokens, as `_decode_once` does those of images.
    """
    from alpt_lib.models import TextClassifier, create

    for folder, name, weights in dict.fromkeys((c.dataset, c.model, c.weights) for c in configs):
        data = datasets.read_dataset(Path(folder))
        model = create(name, data, weights, seed=0)
        if isinstance(model, TextClassifier):
            for split in [datasets.POOL, *data.eval_splits]:
                model.tokens(data, split)


if __name__ == "__main__":
    from companion.cli import main

    sys.exit(main(["execute", *sys.argv[1:]]))
