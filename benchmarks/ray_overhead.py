"""Overhead of Ray tasks against local worker processes, on the same runs with two cores each.

    python benchmarks/ray_overhead.py [--budget 320] [--repeats 2]

Both sides start from an empty store in turns. Time is from the first worker's start to the last stored round, so it holds the
start of worker processes on one side and of Ray itself on the other; the start of Ray is also given alone.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

from alpt_lib import execute, experiments
from alpt_lib.paths import home

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"


def seconds(plan: list, executor: str, data: Path) -> float:
    """Wall time of all runs in an empty home with the same data."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["ALPT_HOME"] = folder
        (Path(folder) / "data").symlink_to(data)
        started = time.monotonic()
        execute.execute(plan, workers=2, quiet=True, executor=executor)
        return time.monotonic() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--budget", type=int, default=320, help="labels a run acquires, 5 a round")
    parser.add_argument("--repeats", type=int, default=2)
    options = parser.parse_args()
    plan = [planned.config for planned in experiments.plan({
        **experiments.DEFAULTS, "datasets": ["waterbirds"], "seeds": [101, 102], "acquisitions": ["least_confidence"],
        "protocol": {"budget": options.budget, "query_batch_size": 5}})]
    data = home() / "data"
    execute._build_once(plan)  # imports and decoded images are no part of either side
    execute._decode_once(plan)

    import ray

    started = time.monotonic()
    ray.init(num_cpus=2, log_to_driver=False, logging_level="error")
    start = time.monotonic() - started
    ray.shutdown()
    times = {"local": [], "ray": []}
    for _ in range(options.repeats):
        for executor, of_executor in times.items():
            of_executor.append(seconds(plan, executor, data))
    local, with_ray = (min(values) for values in times.values())
    print(f"2 runs on 2 cores: local {local:.1f} s, Ray {with_ray:.1f} s of which its start {start:.1f} s; overhead "
          f"{with_ray / local - 1:+.1%} with the start, {(with_ray - start) / local - 1:+.1%} without")


if __name__ == "__main__":
    main()
