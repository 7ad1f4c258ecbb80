"""Our scoring against the bare forward pass at its best batch size, and what folding brings.

    python benchmarks/scoring.py [--quick] [--threads 1]

Folding is that of weight standardization. Times are CPU seconds on one thread (on a GPU, or with
more threads, wall time). The bare pass runs the same network on images (or tokens) that lie ready
in memory, no softmax, nothing copied back.
"""

import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import torch
from common import best, computing, mini, options, os, photos, report

from alpt_lib import scoring
from alpt_lib.acquisition import POOL
from alpt_lib.config import RunConfig
from alpt_lib.datasets import read_dataset
from alpt_lib.fast_layers import folded_convolutions, keep_freed_memory
from alpt_lib.scoring import ScoringNetwork


def bare(network: ScoringNetwork, batch: torch.Tensor, size: int) -> None:
    with torch.inference_mode():
        for part in batch.split(size):
            network.model(part)


def measure(name: str, folder: Path, model: str, n: int, sizes: list[int], repeats: int) -> dict:
    """One row: examples a second of ours, which folds, and of the bare pass, folded or not."""
    data = read_dataset(folder)
    network = ScoringNetwork(data, RunConfig(str(folder), model, "random", 1))
    rows = np.arange(min(n, len(data.rows(POOL))))
    batch = network.inputs(POOL).batch(rows, network.device)
    network.model.eval()
    passes = {str(size): partial(bare, network, batch, size) for size in sizes}
    by_size = best(max(repeats // 2, 1), computing(), **passes)
    size = int(min(by_size, key=by_size.get))

    def bare_folded() -> None:
        with torch.inference_mode(), folded_convolutions(network.model):
            bare(network, batch, size)

    def ours() -> None:
        network.predict_probs(POOL, rows)
        # else the weights stay folded
        network.end_scoring()

    least = best(
        repeats,
        computing(),
        bare=lambda: bare(network, batch, size),
        bare_folded=bare_folded,
        ours=ours,
    )
    return {
        "model": name,
        "n": len(rows),
        "bare_best_batch": size,
        **{f"{key}_per_s": len(rows) / s for key, s in least.items()},
        "ours_of_bare": least["bare"] / least["ours"],
        "folding_speeds_bare": least["bare"] / least["bare_folded"],
    }


def measure_all(folder: Path, is_quick: bool) -> list[dict]:
    medium = photos(128, 2, 128, folder / "128")
    large = photos(16, 2, 224, folder / "224")
    repeats = 2 if is_quick else 4
    few = 64 if is_quick else 128
    lite = "timm:tf_efficientnet_lite0-np"
    bit = "timm:resnetv2_50x1_bit-np"
    sizes = [32, 64, 128, 256, 512]
    birds = mini("waterbirds")
    return [
        measure("mini-bit-m", birds, "mini-bit-m", 960, sizes, repeats),
        measure("Lite0 128 px", medium, lite, few, [8, 16, 32, 64], repeats),
        measure("R50x1 224 px", large, bit, few // 8, [4, 8, 16], 2),
        measure("mini-roberta", mini("amazon"), "mini-roberta-m", 960, sizes, repeats),
    ]


if __name__ == "__main__":
    chosen = options(__doc__)
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["ALPT_HOME"] = folder
        table = measure_all(Path(folder), chosen.quick)
    limits = f"{scoring.CPU_BATCH} examples, on a CPU at most {scoring.CPU_PIXELS} pixels"
    print(f"our batches: {limits}")
    report("scoring", table, is_stored=not chosen.quick)
