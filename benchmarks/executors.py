"""Two worker processes against one, and Ray's tasks against worker processes, on the same runs.

    python benchmarks/executors.py [--quick] [--repeats 2]

All sides start from an empty store and take turns; data are decoded before. Time is that of `execute`, so it holds the start of
worker processes; Ray's start is given alone.
"""

import tempfile
import time
from pathlib import Path

from common import options, os, report, seconds

from alpt_lib import execute, experiments
from alpt_lib.paths import REPOSITORY, home

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"


def plan(quick: bool, **parameters) -> list:
    """Runs of seeds that no notebook uses; budgets are small if `quick`."""
    small = {"protocol": {"budget": 10, "query_batch_size": 5}} if quick else {}
    return [each.config for each in experiments.plan({**experiments.DEFAULTS, "seeds": [101, 102], **parameters, **small})]


def wall(configs: list, workers: int, executor: str, data: Path) -> float:
    """Seconds of all runs in an empty home with the same data."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["ALPT_HOME"] = folder
        (Path(folder) / "data").symlink_to(data)
        return seconds(lambda: execute.execute(configs, workers, quiet=True, executor=executor))


def compare(name: str, configs: list, sides: dict[str, tuple[int, str]], data: Path, repeats: int) -> list[dict]:
    """A row for each side: the least of its times, and how the first one's compares to it."""
    execute._build_once(configs)
    execute._decode_once(configs)
    times = [{side: wall(configs, *how, data) for side, how in sides.items()} for _ in range(repeats)]
    best = {side: min(t[side] for t in times) for side in sides}
    return [{"case": name, "side": side, "seconds": s, "ratio": next(iter(best.values())) / s} for side, s in best.items()]


def start_of_ray() -> float:
    """Seconds that a local cluster takes to start."""
    import ray

    started = time.monotonic()
    ray.init(num_cpus=2, log_to_driver=False, logging_level="error")
    took = time.monotonic() - started
    ray.shutdown()
    return took


if __name__ == "__main__":
    chosen = options(__doc__, repeats=(2, "times that each side is run"))
    os.environ["ALPT_HOME"] = str(REPOSITORY)
    mixed = plan(chosen.quick, datasets=["waterbirds", "treeperson", "iwildcam", "amazon", "digits"])
    long = plan(chosen.quick, datasets=["waterbirds"], acquisitions=["least_confidence"],
                protocol={"budget": 320, "query_batch_size": 5})
    data = home() / "data"
    started = start_of_ray()
    rows = compare(f"{len(mixed)} runs of the mini preset", mixed, {"1 worker": (1, "local"), "2 workers": (2, "local")}, data,
                   chosen.repeats)
    rows += compare("2 runs of a minute", long, {"2 workers": (2, "local"), "Ray, 2 tasks": (2, "ray")}, data, chosen.repeats)
    with_ray = rows[-1]["seconds"] - started
    rows.append({**rows[-1], "side": "Ray, without its start", "seconds": with_ray, "ratio": rows[-2]["seconds"] / with_ray})
    report("executors", rows, store=not chosen.quick)
