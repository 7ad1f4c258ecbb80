"""Our scoring against the bare forward pass at its best batch size, and what folding weight standardization brings.

    python benchmarks/scoring.py [--quick] [--threads 1]

Times are CPU seconds on one thread (on a GPU, or with more threads, wall time). The bare pass runs the same network on
images (or tokens) that lie ready in memory, no softmax, nothing copied back.
"""

from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch
from common import best, computing, mini, np, options, os, photos, report, tempfile
from timm.layers import StdConv2d
from torch.nn import functional as F

from alpt_lib import datasets, training
from alpt_lib.config import Recipe
from alpt_lib.datasets import POOL
from alpt_lib.execute import _keep_freed_memory
from alpt_lib.training import Learner


@contextmanager
def folded(model: torch.nn.Module):
    """Weight-standardised convolutions as plain ones: their weights are standardised once, not in every batch."""
    convolutions = [module for module in model.modules() if type(module) is StdConv2d]
    for m in convolutions:
        weight = F.batch_norm(m.weight.reshape(1, m.out_channels, -1), None, None, training=True, momentum=0.0, eps=m.eps)
        weight = weight.reshape_as(m.weight).contiguous(memory_format=torch.channels_last)
        m.forward = partial(F.conv2d, weight=weight, bias=m.bias, stride=m.stride, padding=m.padding, dilation=m.dilation,
                            groups=m.groups)
    try:
        yield
    finally:
        for m in convolutions:
            del m.forward


def bare(learner: Learner, batch: torch.Tensor, size: int) -> None:
    with torch.inference_mode():
        for part in batch.split(size):
            learner.model(part)


def ours_folded(learner: Learner, rows: np.ndarray) -> np.ndarray:
    with torch.inference_mode(), folded(learner.model):
        return learner.predict_probs(POOL, rows)


def measure(name: str, folder: Path, model: str, n: int, sizes: list[int], repeats: int) -> dict:
    """One row: images a second of ours, of the bare pass, and of both with folded weights."""
    data = datasets.load(folder)
    learner = Learner(data, model, Recipe(), None, seed=1)
    rows = np.arange(min(n, len(data.rows(POOL))))
    batch = learner.inputs(POOL).batch(rows, learner.device)
    learner.model.eval()
    at = best(max(repeats // 2, 1), computing(), **{str(size): partial(bare, learner, batch, size) for size in sizes})
    size = int(min(at, key=at.get))

    def bare_folded() -> None:
        with torch.inference_mode(), folded(learner.model):
            bare(learner, batch, size)

    t = best(repeats, computing(), bare=lambda: bare(learner, batch, size), ours=lambda: learner.predict_probs(POOL, rows),
             bare_folded=bare_folded, ours_folded=lambda: ours_folded(learner, rows))
    gap = np.abs(learner.predict_probs(POOL, rows) - ours_folded(learner, rows)).max()
    return {"model": name, "n": len(rows), "bare_best_batch": size, **{f"{key}_per_s": len(rows) / s for key, s in t.items()},
            "ours_of_bare": t["bare"] / t["ours"], "folding_speeds_bare": t["bare"] / t["bare_folded"],
            "folding_speeds_ours": t["ours"] / t["ours_folded"], "folding_max_difference": float(gap)}


if __name__ == "__main__":
    chosen = options(__doc__)
    quick = chosen.quick
    _keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["ALPT_HOME"] = folder
        medium, large = photos(128, 2, 128, Path(folder) / "128"), photos(16, 2, 224, Path(folder) / "224")
        repeats = 2 if quick else 4
        table = [
            measure("mini-bit-m", mini("waterbirds"), "mini-bit-m", 960, [32, 64, 128, 256, 512], repeats),
            measure("MobileNetV2 128 px", medium, "timm:mobilenetv2_100?pad_type=same-np", 64 if quick else 128,
                    [8, 16, 32, 64], repeats),
            measure("R50x1 224 px", large, "timm:resnetv2_50x1_bit-np", 8 if quick else 16, [4, 8, 16], 2),
            measure("mini-roberta", mini("amazon"), "mini-roberta-m", 960, [32, 64, 128, 256, 512], repeats),
        ]
        print(f"our batches: {training.SCORING_BATCH} examples, on a CPU at most {training.SCORING_PIXELS} pixels")
        report("scoring", table, store=not quick)
