"""Two worker processes against one, and Ray's tasks against worker processes, on the same runs.

    python benchmarks/executors.py [--quick] [--repeats 1]

All sides start from an empty store and take turns; data are decoded before. Time is that of `execute`, so it holds the start of
worker processes (one worker needs none); the Ray cluster is there before, as clusters are.
"""

import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

from common import options, os, report, seconds

from alpt_lib.files import REPOSITORY, home
from companion.runs import execute, plan
from companion.runs.execute import _build_once, _decode_once, execute
from companion.runs.plan import plan_runs

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"


def plan(quick: bool, **parameters) -> list:
    """Runs of seeds that no notebook uses; budgets are small if `quick`."""
    small = {"protocol": {"budget": 10, "query_batch_size": 5}} if quick else {}
    given = {**parameters.DEFAULTS, "seeds": [101, 102, 103, 104], **parameters, **small}
    return [each.config for each in plan_runs(given)]


def wall(configs: list, workers: int, executor: str, data: Path) -> float:
    """Seconds of all runs in an empty home with the same data."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["ALPT_HOME"] = folder
        (Path(folder) / "data").symlink_to(data)
        return seconds(lambda: execute(configs, workers, quiet=True, executor=executor))


def compare(
    name: str, configs: list, sides: dict[str, tuple[int, str]], data: Path, repeats: int
) -> list[dict]:
    """A row for each side: the least of its times, and how the first one's compares to it."""
    _build_once(configs)
    _decode_once(configs)
    times = [
        {side: wall(configs, *how, data) for side, how in sides.items()} for _ in range(repeats)
    ]
    best = {side: min(t[side] for t in times) for side in sides}
    return [
        {"case": name, "side": side, "seconds": s, "ratio": next(iter(best.values())) / s}
        for side, s in best.items()
    ]


@contextmanager
def cluster():
    """A Ray cluster of one node that is there before, as clusters are; gone afterwards."""
    from ray.cluster_utils import Cluster

    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
    os.environ["RAY_ADDRESS"] = nodes.address
    time.sleep(20)  # its services start in the background
    yield
    nodes.shutdown()


if __name__ == "__main__":
    chosen = options(__doc__, repeats=(1, "times that each side is run"))
    os.environ["ALPT_HOME"] = str(REPOSITORY)
    mixed = plan(
        chosen.quick, datasets=["waterbirds", "treeperson", "iwildcam", "amazon", "digits"]
    )
    long = plan(
        chosen.quick,
        datasets=["waterbirds"],
        acquisitions=["least_confidence"],
        protocol={"budget": 180, "query_batch_size": 5},
    )
    data = home() / "data"
    rows = compare(
        f"{len(mixed)} runs of the mini preset",
        mixed,
        {"1 worker": (1, "local"), "2 workers": (2, "local")},
        data,
        chosen.repeats,
    )
    with cluster():
        rows += compare(
            "4 runs of a minute",
            long,
            {"2 workers": (2, "local"), "Ray, 2 tasks": (2, "ray")},
            data,
            chosen.repeats,
        )
    report("executors", rows, store=not chosen.quick)
