"""Our scoring against the bare forward pass at its best batch size, and what folding weight standardization brings.

    python benchmarks/scoring.py [--quick] [--threads 1]

Times are CPU seconds on one thread (on a GPU, or with more threads, wall time). The bare pass runs the same network on
images (or tokens) that lie ready in memory, no softmax, nothing copied back.
"""

from functools import partial
from pathlib import Path

import torch
from common import best, computing, mini, np, options, os, photos, report, tempfile

from alpt_lib import datasets, training
from alpt_lib.config import Recipe
from alpt_lib.datasets import POOL
from alpt_lib.fast_layers import folded
from alpt_lib.training import Learner
from companion.runs.work import _keep_freed_memory


def bare(learner: Learner, batch: torch.Tensor, size: int) -> None:
    with torch.inference_mode():
        for part in batch.split(size):
            learner.model(part)


def measure(name: str, folder: Path, model: str, n: int, sizes: list[int], repeats: int) -> dict:
    """One row: images a second of ours, which folds, and of the bare pass as it is and with folded weights."""
    data = datasets.read_dataset(folder)
    learner = Learner(data, model, Recipe(), None, seed=1)
    rows = np.arange(min(n, len(data.rows(POOL))))
    batch = learner.inputs(POOL).batch(rows, learner.device)
    learner.model.eval()
    at = best(
        max(repeats // 2, 1),
        computing(),
        **{str(size): partial(bare, learner, batch, size) for size in sizes},
    )
    size = int(min(at, key=at.get))

    def bare_folded() -> None:
        with torch.inference_mode(), folded(learner.model):
            bare(learner, batch, size)

    t = best(
        repeats,
        computing(),
        bare=lambda: bare(learner, batch, size),
        bare_folded=bare_folded,
        ours=lambda: learner.predict_probs(POOL, rows),
    )
    return {
        "model": name,
        "n": len(rows),
        "bare_best_batch": size,
        **{f"{key}_per_s": len(rows) / s for key, s in t.items()},
        "ours_of_bare": t["bare"] / t["ours"],
        "folding_speeds_bare": t["bare"] / t["bare_folded"],
    }


if __name__ == "__main__":
    chosen = options(__doc__)
    quick = chosen.quick
    _keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["ALPT_HOME"] = folder
        medium, large = (
            photos(128, 2, 128, Path(folder) / "128"),
            photos(16, 2, 224, Path(folder) / "224"),
        )
        repeats = 2 if quick else 4
        table = [
            measure(
                "mini-bit-m",
                mini("waterbirds"),
                "mini-bit-m",
                960,
                [32, 64, 128, 256, 512],
                repeats,
            ),
            measure(
                "MobileNetV2 128 px",
                medium,
                "timm:mobilenetv2_100?pad_type=same-np",
                64 if quick else 128,
                [8, 16, 32, 64],
                repeats,
            ),
            measure(
                "R50x1 224 px",
                large,
                "timm:resnetv2_50x1_bit-np",
                8 if quick else 16,
                [4, 8, 16],
                2,
            ),
            measure(
                "mini-roberta",
                mini("amazon"),
                "mini-roberta-m",
                960,
                [32, 64, 128, 256, 512],
                repeats,
            ),
        ]
        print(
            f"our batches: {training.SCORING_BATCH} examples, on a CPU at most {training.SCORING_PIXELS} pixels"
        )
        report("scoring", table, store=not quick)
