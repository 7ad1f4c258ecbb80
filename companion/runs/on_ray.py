"""Run groups as tasks of a Ray cluster: several machines, fractions of GPUs, machines that vanish.

Every node needs this library in its environment and the same home folder (ALPT_HOME) at the same path: the store, the data
and the claims on runs are there. `ray.init` finds the cluster as it always does: RAY_ADDRESS, else the one of this machine,
else it starts one here.
"""

import os
from collections.abc import Callable, Iterator

from alpt_lib.config import RunConfig
from alpt_lib.errors import CompanionError, ConfigError
from alpt_lib.files import home
from companion.runs import store
from companion.runs.work import CRASHES, Failure, fits_left, run_group

GPUS_PER_RUN = "ALPT_GPUS_PER_RUN"  # e.g. 0.25: four runs at a time share a GPU; default: 1 on a cluster with GPUs, else 0


def in_tasks(groups: list[list[RunConfig]], report: Callable[[int], None]) -> Iterator[Failure]:
    """One task a group; a task whose node or process is lost starts again elsewhere, from its last stored round.

    Raises:
        CompanionError: Ray is not installed, or its cluster has no GPU that was asked for.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise CompanionError(
            "--executor ray needs Ray, which is not installed: pip install -e '.[ray]'"
        ) from error
    is_mine = not ray.is_initialized()
    if is_mine:
        ray.init(log_to_driver=False, logging_level="error")
    try:
        task = ray.remote(num_cpus=1, num_gpus=_gpus_per_run(ray), max_retries=CRASHES - 1)(_work)
        running = {
            task.remote(str(home()), group): (group, sum(map(fits_left, group))) for group in groups
        }
        while running:
            (ready,), _ = ray.wait(list(running))
            group, n_fits = running.pop(ready)
            try:
                yield from ray.get(ready)
            except ray.exceptions.RayError as error:
                why = f"its Ray task was lost {CRASHES} times: {type(error).__name__}"
                yield from ((config, why) for config in group if not store.is_done(config))
            report(n_fits - sum(map(fits_left, group)))
    finally:
        if is_mine:
            ray.shutdown()


def _work(home_folder: str, group: list[RunConfig]) -> list[Failure]:
    os.environ["ALPT_HOME"] = (
        home_folder  # a runtime_env would have Ray start processes of its own for it: 5 s
    )
    return run_group(group, lambda _: None)


def _gpus_per_run(ray) -> float:
    available = ray.cluster_resources().get("GPU", 0)
    text = os.environ.get(GPUS_PER_RUN, "1" if available else "0")
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= max(available, 0):
        raise ConfigError(
            f"{GPUS_PER_RUN} takes a number from 0 to the cluster's {available:g} GPUs; got {text!r}"
        )
    return share
