"""Fine-tuning settings by model, for data that have none of their own; a start, to be changed."""

import re
from typing import Any

# BiT-HyperRule for sets under 20,000 examples, as in the paper's released code; images under
# 96 x 96 px are resized to 160 and cropped to 128
BIT_HYPERRULE: dict[str, Any] = {
    "optimizer": "sgd",
    "lr": 0.003,
    "momentum": 0.9,
    "weight_decay": 0.0,
    "warmup_steps": 100,
    "decay_steps": [200, 300, 400],
    "max_steps": 500,
    "train_batch_size": 32,
    "micro_batch_size": 4,
    "augment": "crop_flip",
    "resize": 512,
    "crop": 480,
}
ADAMW: dict[str, Any] = {"optimizer": "adamw", "weight_decay": 0.01, "train_batch_size": 32}
# ours: the paper's settings for RoBERTa-Large could not be had; WILDS' recipe for Amazon has the
# same optimizer and rate
ROBERTA_RECIPE = {**ADAMW, "lr": 1e-5, "warmup_steps": 50, "max_steps": 500, "micro_batch_size": 8}
# ours, for any other network of timm; batches are too small for new batch-norm statistics
ANY_TIMM = {**ADAMW, "lr": 1e-4, "warmup_steps": 10, "max_steps": 200, "freeze_batch_norm": True}
# the embedded models have the settings of the embedded data; no augmentation, for a flip would
# spoil letters or digits
EMBEDDED: dict[str, dict[str, Any]] = {
    "bit": {"optimizer": "sgd", "lr": 0.03, "warmup_steps": 10, "max_steps": 100},
    "roberta": {**ADAMW, "lr": 0.001, "warmup_steps": 10, "max_steps": 80},
}


def recipe_for(model: str, image_size: int) -> dict[str, Any]:
    """Fine-tuning settings for a model, as keywords of `Recipe`.

    Args:
        model: a role such as "bit-m", one of the embedded ("mini-bit-m"), "timm:..." or "hf:...".
        image_size: px; BiT's settings depend on it.
    """
    if model.startswith("hf:"):
        return ROBERTA_RECIPE
    if re.match(r"timm:resnetv2_\d+x\d+_bit", model):
        is_small = image_size < 96
        return {**BIT_HYPERRULE, **({"resize": 160, "crop": 128} if is_small else {})}
    if model.startswith("timm:"):
        return ANY_TIMM
    return EMBEDDED[model.removeprefix("mini-").split("-")[0]]
