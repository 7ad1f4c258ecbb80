"""Where the time of a run goes: imports, decoding, building the model, steps, scoring, evaluation.

    python benchmarks/profile_run.py [--quick] [--threads 1]

One cold run of mini Waterbirds (imports of a fresh process, images not decoded yet), least
confidence, as `execute` does it, under Python's profiler, which adds a few percent. For a profile
of everything, workers included: `py-spy record --subprocesses -- alpt execute ...`.
"""

import cProfile
import pstats
import subprocess
import sys
import time
from pathlib import Path

from common import mini, options, report, seconds

from companion.runs.execute import execute
from companion.runs.plan import plan_runs

IMPORTS = "import alpt_lib.training, companion.runs.execute, timm.models.resnetv2"
# what is measured: a function, by module and name; no part holds another
PARTS = {
    "read the dataset, twice": ("datasets.py", "read_dataset"),
    "hash the images": ("files.py", "hash_files"),
    "decode images": ("inputs.py", "images"),
    "build the model, twice": ("models.py", "create_model"),
    "training steps": ("training.py", "fit"),
    "evaluate": ("scoring.py", "evaluate"),
    "score the pool, select": ("loop.py", "ask"),
}


def profile(**changes) -> dict[str, float]:
    """Seconds by part of one run; the rest is what no part claims (planning, storing)."""
    given = {"models": ["bit-m"], "acquisitions": ["least_confidence"], "seeds": [1], **changes}
    profiler = cProfile.Profile()
    started = time.perf_counter()
    with profiler:
        execute([each.run for each in plan_runs(given)], workers=1, quiet=True)
    whole = time.perf_counter() - started
    spent = dict.fromkeys(PARTS, 0.0)
    for (file, _, name), (_, _, _, cumulative, _) in pstats.Stats(profiler).stats.items():
        for part, place in PARTS.items():
            if (Path(file).name, name) == place:
                spent[part] += cumulative
    return {**spent, "the rest, storing included": whole - sum(spent.values())}


if __name__ == "__main__":
    chosen = options(__doc__)
    folder = mini("waterbirds")
    recipe = {"max_steps": 5} if chosen.quick else {}
    spent = {"imports": seconds(subprocess.run, [sys.executable, "-c", IMPORTS])}
    spent |= profile(datasets=[str(folder)], recipe=recipe)
    whole = sum(spent.values())
    rows = [{"part": part, "seconds": s, "share": s / whole} for part, s in spent.items()]
    report("profile", rows, is_stored=not chosen.quick)
