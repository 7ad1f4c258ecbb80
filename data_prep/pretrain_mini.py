"""Pretrain the embedded miniature models; weights, checksums and scores go to alpt_lib/weights.

    python data_prep/pretrain_mini.py --model mini-bit-m

The vision models take about 18 minutes on one core.

mini-bit-m and mini-bit-m-deep learn the broad source task of mini_source.py, mini-bit-s the narrow
one, each from equally many images unless weights.json says otherwise; mini-roberta-m is trained by
pretrain_mini_text.py.
"""

import argparse
import hashlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from mini.mini_source import FACTORS, SourceTask
from safetensors.torch import save as as_safetensors

from alpt_lib.models import build_mini_bit
from alpt_lib.registry import MINI_BIT_LAYERS

WEIGHTS = Path(__file__).parents[1] / "alpt_lib" / "weights"
BATCH = 64
CHUNK = 256  # images drawn at once
LR = 3e-3
WARMUP_STEPS = 200
WEIGHT_DECAY = 0.02
CLIP = 5.0
Save = Callable[[torch.nn.Module, dict], None]


def as_input(images: np.ndarray) -> torch.Tensor:
    """uint8 (n, 32, 32, 3) to float (n, 3, 32, 32) in [-1, 1]; stays channels-last in memory."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1


def factor_losses(
    logits: torch.Tensor, labels: dict[str, torch.Tensor]
) -> tuple[torch.Tensor, dict[str, float]]:
    """Weighted sum of the cross-entropies of all source factors, and the accuracy of each."""
    loss = torch.zeros(())
    accuracy = {}
    parts = logits.split([n_values for n_values, _ in FACTORS.values()], 1)
    for (name, (_, weight)), part in zip(FACTORS.items(), parts, strict=True):
        loss = loss + weight * F.cross_entropy(part, labels[name])
        accuracy[name] = (part.argmax(1) == labels[name]).float().mean().item()
    return loss, accuracy


def stream(
    task: SourceTask, rng: np.random.Generator
) -> Iterator[tuple[torch.Tensor, dict[str, torch.Tensor]]]:
    """Endless (images, labels) batches of the source task; drawn CHUNK at a time: cheaper."""
    while True:
        images, labels = task.batch(CHUNK, rng)
        for start in range(0, CHUNK, BATCH):
            rows = slice(start, start + BATCH)
            values = {
                name: torch.from_numpy(np.asarray(value[rows], np.int64))
                for name, value in labels.items()
            }
            yield as_input(images[rows]), values


def optimizer_for(
    model: torch.nn.Module, n_steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """AdamW, decaying matrices only; linear warm-up, then a cosine to zero."""
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": WEIGHT_DECAY},
        {"params": others, "weight_decay": 0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=LR, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min(1, (step + 1) / WARMUP_STEPS) * 0.5 * (1 + np.cos(np.pi * step / n_steps)),
    )
    return optimizer, schedule


def train(layers: tuple[int, ...], broad: bool, n_images: int, seed: int, save: Save) -> None:
    """Pretrain one network; it is saved now and then and at the end."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    n_outputs = sum(n_values for n_values, _ in FACTORS.values())
    model = build_mini_bit(layers, n_outputs).to(memory_format=torch.channels_last)
    n_steps = n_images // BATCH
    started = time.time()
    recent: list[dict[str, float]] = []
    optimizer, schedule = optimizer_for(model, n_steps)
    batches = stream(SourceTask(broad), np.random.default_rng(seed))
    for step, (images, labels) in zip(range(1, n_steps + 1), batches, strict=False):
        loss, accuracy = factor_losses(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        schedule.step()
        recent = [*recent[-99:], accuracy]
        if step % 200 == 0 or step == n_steps:
            scores = {name: round(float(np.mean([a[name] for a in recent])), 4) for name in FACTORS}
            record = {
                "images_seen": step * BATCH,
                "of_images": n_steps * BATCH,
                "seconds": round(time.time() - started),
                "scores": scores,
            }
            print(
                f"step {step}/{n_steps} {record['seconds']} s loss {loss.item():.3f} {scores}",
                flush=True,
            )
            if step % 1000 == 0 or step == n_steps:
                save(model, record)


def save_backbone(name: str, out_dir: Path, about: dict) -> Save:
    """What writes the weights without the head, and their entry in weights.json."""

    def save(model: torch.nn.Module, record: dict) -> None:
        state = {
            name: tensor.contiguous()
            for name, tensor in model.state_dict().items()
            if not name.startswith("head.fc")
        }
        path = out_dir / f"{name}.safetensors"
        path.write_bytes(as_safetensors(state))
        listing = out_dir / "weights.json"
        entries = json.loads(listing.read_text()) if listing.exists() else {}
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        entries[path.name] = {"sha256": digest, **about, **record}
        listing.write_text(json.dumps(entries, indent=1, sort_keys=True) + "\n")

    return save


def pretrain_vision(name: str, out_dir: Path, n_images: int, seed: int) -> None:
    """Pretrain one of the mini-bit models into out_dir."""
    broad = name != "mini-bit-s"
    # without the head of one output
    n_parameters = sum(p.numel() for p in build_mini_bit(MINI_BIT_LAYERS[name], 1).parameters())
    about = {
        "source": f"mini_source.py, {'broad' if broad else 'narrow'}",
        "seed": seed,
        "n_parameters": n_parameters - 257,
    }
    train(MINI_BIT_LAYERS[name], broad, n_images, seed, save_backbone(name, out_dir, about))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", required=True, choices=[*MINI_BIT_LAYERS, "mini-roberta-m"])
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    images = "number of source images (vision models)"
    parser.add_argument("--images", type=int, default=1_040_000, help=images)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.model == "mini-roberta-m":
        from pretrain_mini_text import pretrain

        pretrain(options.out)
    else:
        pretrain_vision(options.model, options.out, options.images, options.seed)


if __name__ == "__main__":
    main()
