"""Cost of a round against the size of the pool, and of a sweep against its runs: is it linear?

    python benchmarks/scaling.py [--quick] [--threads 1]

Pools are copies of mini Waterbirds' images, scored by the mini model, 2 classes; CPU seconds on one
thread.
"""

import resource
from dataclasses import replace
from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from common import RESULTS, best, computing, mini, options, report, seconds, settings

from alpt_lib.acquisition import POOL, Candidates, choose
from alpt_lib.config import RunConfig
from alpt_lib.datasets import read_dataset
from alpt_lib.fast_layers import keep_freed_memory
from alpt_lib.inputs import Inputs
from alpt_lib.loop import active_learning
from alpt_lib.scoring import ScoringNetwork
from alpt_lib.training import FineTunedNetwork


class Copies(ScoringNetwork):
    """Reads copies of the pool's images."""

    copies: Inputs

    def inputs(self, split: str, train: bool = False) -> Inputs:
        return self.copies


class Known:
    """A learner whose probabilities are there."""

    def __init__(self, probs: np.ndarray):
        self.predict_probs = lambda split, rows: probs[rows]


def pools(sizes: list[int]) -> list[dict]:
    """Rows: s to score a pool of n images, to select 20 of it, bytes of its images."""
    folder = mini("waterbirds")
    data = read_dataset(folder)
    network = Copies(data, RunConfig(str(folder), "mini-bit-m", "random", 1))
    images = np.array(ScoringNetwork.inputs(network, POOL).array)
    none = np.empty(0, dtype=int)
    rows = []
    for n in sizes:
        network.copies = Inputs(np.resize(images, (n, *images.shape[1:])))
        took = seconds(network.predict_probs, POOL, clock=computing())
        known = Known(np.random.default_rng(0).random((n, 2), dtype=np.float32))
        candidates = Candidates(known, np.arange(n), none, none)
        rng = np.random.default_rng(1)
        select = partial(choose, "least_confidence", candidates, 20, rng, "paper")
        selecting = best(2, computing(), select=select)
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
    data = read_dataset(mini("waterbirds"))
    parts = settings(data.description, recipe={"max_steps": 5}, protocol={"budget": 30})
    config = RunConfig(str(data.folder), "mini-bit-m", "least_confidence", 0, **parts)

    def run(seed: int) -> None:
        own = replace(config, seed=seed)
        list(active_learning(FineTunedNetwork(data, own), data.pool(), own))

    # the first call of everything
    run(0)
    times = [seconds(partial(run, seed), clock=computing()) for seed in range(1, max(counts) + 1)]
    return [{"what": "runs", "n": n, "run_s": sum(times[:n])} for n in counts]


def plot(table: pd.DataFrame, target: Path) -> None:
    figure, axes = plt.subplots(1, 3, figsize=(9, 3), layout="constrained")
    columns = {"scoring_s": "score the pool", "select_s": "select 20", "run_s": "runs"}
    for ax, (column, title) in zip(axes, columns.items(), strict=True):
        part = table.dropna(subset=column)
        line = part[column].iloc[-1] * part["n"] / part["n"].iloc[-1]
        ax.loglog(part["n"], part[column], "o-")
        ax.loglog(part["n"], line, ":", color="0.5", label="linear")
        ax.set(title=title, xlabel="runs" if column == "run_s" else "pool size")
        ax.legend(frameon=False)
    axes[0].set(ylabel="CPU s")
    figure.savefig(target, dpi=120)


if __name__ == "__main__":
    chosen = options(__doc__)
    keep_freed_memory()
    rows = pools([500, 2000] if chosen.quick else [1000, 4000, 16_000, 64_000])
    rows += sweep([1, 2] if chosen.quick else [1, 2, 4, 8, 16])
    report("scaling", rows, is_stored=not chosen.quick)
    if not chosen.quick:
        pd.DataFrame(rows).to_csv(RESULTS / "scaling.csv", index=False)
        plot(pd.DataFrame(rows), Path(__file__).with_name("scaling.png"))
