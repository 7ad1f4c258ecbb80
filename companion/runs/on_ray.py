"""Run groups as tasks of a Ray cluster: several machines, fractions of GPUs, machines that vanish.

Every node needs this library in its environment and the same home folder (ALPT_HOME) at the same
path: the store, the data and the claims on runs are there. `ray.init` finds the cluster as it
always does: RAY_ADDRESS, else the one of this machine, else it starts one here.
"""

import json
import logging
import os
from collections.abc import Callable
from typing import Any

from alpt_lib.errors import CompanionError, ConfigError
from alpt_lib.files import home
from companion.runs.store import StoredRun
from companion.runs.work import CRASHES, WorkLeft, groups, work
from companion.runs.workers import plan_as_json, runs_of_plan

# e.g. 0.25: four runs at a time share a GPU; default: 1 on a cluster with GPUs, else 0
GPUS_PER_RUN = "ALPT_GPUS_PER_RUN"
ANSWER = 10.0  # s; a cluster that does not answer by then is not there


def work_in_tasks(runs: list[StoredRun], since: float, report: Callable[[int], None]) -> None:
    """One task a group; one whose node or process is lost starts again elsewhere, where it was.

    Raises:
        CompanionError: Ray is not installed, its cluster does not answer, or has no GPU that was
            asked for.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import grpc
        import ray
    except ImportError as error:
        raise CompanionError(
            "--executor ray needs Ray, which is not installed: pip install -e '.[ray]'"
        ) from error
    is_mine = not ray.is_initialized()
    if is_mine:
        _check_address(grpc)
        ray.init(log_to_driver=False, logging_level=logging.ERROR)
    try:
        share = _gpus_per_run(ray)
        task = ray.remote(num_cpus=1, num_gpus=share, max_retries=CRASHES - 1)(_work_on)
        running = {
            task.remote(str(home()), plan_as_json(group, since)): group for group in groups(runs)
        }
        work_left = WorkLeft(runs)
        while running:
            (ready,), _ = ray.wait(list(running))
            group = running.pop(ready)
            _collect(ray, ready, group)
            report(work_left.done_since())
    finally:
        if is_mine:
            ray.shutdown()


def _collect(ray: Any, ready: Any, group: list[StoredRun]) -> None:
    """The task is over: a lost one fails its runs, an error of the store ends everything."""
    try:
        ray.get(ready)
    except ray.exceptions.RayTaskError as error:
        raise error.as_instanceof_cause() from None
    except ray.exceptions.RayError as error:
        for run in group:
            if not run.is_done():
                run.fail(f"its Ray task was lost {CRASHES} times: {type(error).__name__}")


def _work_on(home_folder: str, plan: str) -> None:
    # a runtime_env would have Ray start processes of its own for it: 5 s
    os.environ["ALPT_HOME"] = home_folder
    content = json.loads(plan)
    work(runs_of_plan(content), content["since"])


def _check_address(grpc: Any) -> None:
    """Ray itself waits for minutes where nothing, or something else, answers."""
    address = os.environ.get("RAY_ADDRESS", "")
    host_and_port = address.removeprefix("ray://")
    if ":" not in host_and_port or os.environ.get("RAY_USE_TLS") == "1":
        return
    with grpc.insecure_channel(host_and_port) as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=ANSWER)
        except grpc.FutureTimeoutError as error:
            raise ConfigError(
                f"no Ray cluster answers at RAY_ADDRESS={address} within {ANSWER:g} s; start one "
                "there, or unset RAY_ADDRESS to use this machine"
            ) from error


def _gpus_per_run(ray: Any) -> float:
    available = ray.cluster_resources().get("GPU", 0)
    text = os.environ.get(GPUS_PER_RUN, "1" if available else "0")
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= max(available, 0):
        raise ConfigError(
            f"{GPUS_PER_RUN} takes a number from 0 to the cluster's {available:g} GPUs; got "
            f"{text!r}"
        )
    return share
