"""Cost of a round against the size of the pool, and of a sweep against the number of its runs: is it linear?

    python benchmarks/scaling.py [--quick] [--threads 1]

Pools are copies of mini Waterbirds' images, scored by the mini model, 2 classes; CPU seconds on one thread.
"""

import resource
from dataclasses import replace
from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from common import RESULTS, best, computing, mini, np, options, report, seconds

from alpt_lib import datasets
from alpt_lib.acquisition import least_confidence_score, select
from alpt_lib.config import Protocol, Recipe, RunConfig, override
from alpt_lib.datasets import POOL
from alpt_lib.inputs import Inputs
from alpt_lib.loop import active_learning
from alpt_lib.training import Learner
from companion.runs.work import _keep_freed_memory


def pools(sizes: list[int]) -> list[dict]:
    """Rows: s to score a pool of n images, to select 20 of it, bytes of its images."""
    data = datasets.read_dataset(mini("waterbirds"))
    learner = Learner(data, "mini-bit-m", Recipe(), None, seed=1)
    images = np.array(learner.inputs(POOL).array)
    rows = []
    for n in sizes:
        learner._inputs[POOL, False] = Inputs(np.resize(images, (n, *images.shape[1:])))
        took = seconds(learner.predict_probs, POOL, clock=computing())
        probs = np.random.default_rng(0).random((n, 2), dtype=np.float32)
        selecting = best(
            2,
            computing(),
            select=lambda p=probs: select(least_confidence_score(p), 20, np.random.default_rng(1)),
        )
        rows.append(
            {
                "what": "pool",
                "n": n,
                "scoring_s": took,
                "select_s": selecting["select"],
                "image_bytes": n * images[0].nbytes,
                "peak_rss_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
            }
        )
    return rows


def sweep(counts: list[int]) -> list[dict]:
    """Rows: s of the first n of the largest count of runs, each 2 rounds of 5 steps."""
    data = datasets.read_dataset(mini("waterbirds"))
    recipe = override(Recipe(), {**data.description.recipe, "max_steps": 5}, "recipe")
    protocol = override(Protocol(), {**data.description.protocol, "budget": 30}, "protocol")
    config = RunConfig(
        str(data.folder), "mini-bit-m", "least_confidence", 1, protocol=protocol, recipe=recipe
    )

    def run(seed: int) -> None:
        learner = Learner(data, config.model, recipe, None, seed)
        list(active_learning(data, learner, replace(config, seed=seed)))

    run(0)
    times = [seconds(partial(run, seed), clock=computing()) for seed in range(1, max(counts) + 1)]
    return [{"what": "runs", "n": n, "run_s": sum(times[:n])} for n in counts]


def plot(table: pd.DataFrame, target: Path) -> None:
    figure, axes = plt.subplots(1, 3, figsize=(9, 3), layout="constrained")
    columns = {"scoring_s": "score the pool", "select_s": "select 20", "run_s": "runs"}
    for ax, (column, title) in zip(axes, columns.items(), strict=True):
        part = table.dropna(subset=column)
        ax.loglog(part["n"], part[column], "o-")
        ax.loglog(
            part["n"],
            part[column].iloc[-1] * part["n"] / part["n"].iloc[-1],
            ":",
            color="0.5",
            label="linear",
        )
        ax.set(
            title=title,
            xlabel="runs" if column == "run_s" else "pool size",
            ylabel="CPU s" if ax is axes[0] else "",
        )
        ax.legend(frameon=False)
    figure.savefig(target, dpi=120)


if __name__ == "__main__":
    chosen = options(__doc__)
    _keep_freed_memory()
    rows = pools([500, 2000] if chosen.quick else [1000, 4000, 16_000, 64_000])
    rows += sweep([1, 2] if chosen.quick else [1, 2, 4, 8, 16])
    report("scaling", rows, store=not chosen.quick)
    if not chosen.quick:
        pd.DataFrame(rows).to_csv(RESULTS / "scaling.csv", index=False)
        plot(pd.DataFrame(rows), Path(__file__).with_name("scaling.png"))
