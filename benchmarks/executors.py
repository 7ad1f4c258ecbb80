"""Two worker processes against one, and Ray's tasks against worker processes, on the same runs.

    python benchmarks/executors.py [--quick] [--repeats 1]

All sides start from an empty store and take turns; data are decoded before. Time is that of
`execute`, so it holds the start of worker processes (one worker needs none); the Ray cluster is
there before, as clusters are.
"""

import os
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

from common import options, report, seconds

from alpt_lib.files import REPOSITORY, home
from companion.runs.execute import execute, prepare
from companion.runs.parameters import DEFAULTS
from companion.runs.plan import plan_runs, prepare_datasets
from companion.runs.store import StoredRun

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
SEEDS = [101, 102, 103, 104, 105, 106, 107, 108]  # of no notebook
Sides = dict[str, tuple[int, str]]  # workers, executor


def plan(is_quick: bool, **changes) -> list[StoredRun]:
    """Runs of the mini preset; their budgets are small if quick."""
    small = {"protocol": {"budget": 10, "query_batch_size": 5}} if is_quick else {}
    given = {**DEFAULTS, "seeds": SEEDS, **changes, **small}
    prepare_datasets(given)
    return [each.run for each in plan_runs(given)]


def wall(runs: list[StoredRun], workers: int, executor: str, data: Path) -> float:
    """Seconds of all runs in an empty home with the same data."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["ALPT_HOME"] = folder
        (Path(folder) / "data").symlink_to(data)
        return seconds(lambda: execute(runs, workers, quiet=True, executor=executor))


def compare(name: str, runs: list[StoredRun], sides: Sides, data: Path, repeats: int) -> list[dict]:
    """A row for each side: the least of its times, and how the first one's compares to it."""
    os.environ["ALPT_HOME"] = str(data.parent)
    prepare(runs)
    least = dict.fromkeys(sides, float("inf"))
    for _ in range(repeats):
        for side, how in sides.items():
            least[side] = min(least[side], wall(runs, *how, data))
    first = next(iter(least.values()))
    return [
        {"case": name, "side": side, "seconds": s, "ratio": first / s} for side, s in least.items()
    ]


@contextmanager
def cluster():
    """A Ray cluster of one node that is there before, as clusters are; gone afterwards."""
    from ray.cluster_utils import Cluster

    # a busy machine takes long to start a node
    os.environ["RAY_raylet_start_wait_time_s"] = "120"  # noqa: SIM112
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
    os.environ["RAY_ADDRESS"] = nodes.address
    # its services start in the background
    time.sleep(20)
    yield
    nodes.shutdown()


if __name__ == "__main__":
    chosen = options(__doc__, repeats=(1, "times that each side is run"))
    os.environ["ALPT_HOME"] = str(REPOSITORY)
    data = home() / "data"
    names = ["waterbirds", "treeperson", "iwildcam", "amazon", "digits"]
    mixed = plan(chosen.quick, datasets=names)
    long = plan(
        chosen.quick,
        datasets=["waterbirds"],
        seeds=SEEDS[:4],
        acquisitions=["least_confidence"],
        protocol={"budget": 180, "query_batch_size": 5},
    )
    local: Sides = {"1 worker": (1, "local"), "2 workers": (2, "local")}
    with_ray: Sides = {"2 workers": (2, "local"), "Ray, 2 tasks": (2, "ray")}
    title = f"{len(mixed)} runs of the mini preset"
    rows = compare(title, mixed, local, data, chosen.repeats)
    with cluster():
        rows += compare("4 runs of a minute", long, with_ray, data, chosen.repeats)
    report("executors", rows, is_stored=not chosen.quick)
