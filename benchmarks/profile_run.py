"""Where the time of a run goes: imports, decoding, building the model, steps, scoring, evaluation, storing.

    python benchmarks/profile_run.py [--quick] [--threads 1]

One cold run of mini Waterbirds (imports of a fresh process, images not decoded yet), least confidence, as `execute` does it.
"""

import subprocess
import sys
import time
from pathlib import Path

from common import mini, options, report, seconds

from alpt_lib import datasets
from alpt_lib.config import Protocol, Recipe, RunConfig, override
from benchmarks import profiling
from companion.runs.execute import _decode_once
from companion.runs.work import _run_group

IMPORTS = "import alpt_lib.execute, alpt_lib.training, timm.models.resnetv2"


def profile(config: RunConfig) -> dict[str, float]:
    """Seconds by part of one run; the rest is what no part claims (resuming, storing)."""
    started = time.perf_counter()
    with profiling.clocks() as spent:
        _decode_once([config])  # before the run, as `execute` does: no part holds another
        failures = _run_group([config], lambda n: None)
    if failures:
        raise RuntimeError(failures[0])
    return {
        **spent,
        "the rest, storing included": time.perf_counter() - started - sum(spent.values()),
    }


if __name__ == "__main__":
    chosen = options(__doc__)
    folder: Path = mini("waterbirds")
    described = datasets._read_description(folder)
    changes = {"max_steps": 5} if chosen.quick else {}
    run = RunConfig(
        str(folder),
        "mini-bit-m",
        "least_confidence",
        1,
        protocol=override(Protocol(), described.protocol, "protocol"),
        recipe=override(Recipe(), {**described.recipe, **changes}, "recipe"),
    )
    spent = {"imports": seconds(subprocess.run, [sys.executable, "-c", IMPORTS]), **profile(run)}
    whole = sum(spent.values())
    report(
        "profile",
        [{"part": part, "seconds": s, "share": s / whole} for part, s in spent.items()],
        store=not chosen.quick,
    )
