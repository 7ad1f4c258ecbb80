"""Fine-tune a network on a labelled set (paper, section 2, Appendix D). No active learning here."""

import math
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from alpt_lib.acquisition import POOL
from alpt_lib.config import Recipe, RunConfig, stream
from alpt_lib.datasets import Dataset
from alpt_lib.errors import ConfigError, TrainingDiverged, TrainingOutOfMemory
from alpt_lib.inputs import Inputs
from alpt_lib.loop import Round
from alpt_lib.models import torch_seed
from alpt_lib.registry import NOT_PRETRAINED
from alpt_lib.scoring import ScoringNetwork, forward_precision, is_out_of_memory


class FineTunedNetwork(ScoringNetwork):
    """The paper's learner: each round fine-tunes all weights of a network from the initial ones.

    Args:
        data: the dataset. config: model, weights, recipe and the seed of what is not pretrained.
    """

    def __init__(self, data: Dataset, config: RunConfig):
        super().__init__(data, config)
        # without pretraining there are no statistics to keep
        is_pretrained = not config.model.endswith(NOT_PRETRAINED)
        self.freezes_batch_norm = self.recipe.freeze_batch_norm and is_pretrained
        self._initial = self.weights()
        self._optimizer: torch.optim.Optimizer | None = None

    def reset(self) -> None:
        """Back to the initial weights (paper, section 2: each step retrains the original model)."""
        self.load(self._initial)

    def weights(self) -> dict[str, Any]:
        """A copy of the weights as they are now, a state dict of the model."""
        return {name: tensor.clone() for name, tensor in self.model.state_dict().items()}

    def load(self, weights: dict[str, Any]) -> None:
        """Take these weights, a state dict of the model."""
        self.end_scoring()
        self.model.load_state_dict(weights)

    def optimizer(self) -> torch.optim.Optimizer:
        """A new one; released code goes on with the momentum of earlier fits."""
        if self._optimizer is not None and self.recipe.fidelity == "released":
            return self._optimizer
        recipe = self.recipe
        weights = [p for p in self.model.parameters() if p.requires_grad]
        settings: dict[str, Any] = {"weight_decay": recipe.weight_decay, "fused": True}
        if recipe.optimizer == "adamw":
            self._optimizer = torch.optim.AdamW(weights, recipe.lr, **settings)
        else:
            self._optimizer = torch.optim.SGD(weights, recipe.lr, recipe.momentum, **settings)
        return self._optimizer

    def fit(self, rows: np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
        """Fine-tune on these pool rows from the model's present weights until the stopping rule.

        Args:
            rows: (n_labelled,) int rows of the pool. rng: batch order, augmentation and dropout.
        Returns:
            n_steps, first_loss, last_loss (mean over the last pass through the labelled set;
            released: of the last micro-batch), stopped_by (the rule, or "max_steps").
        Raises:
            TrainingDiverged: a loss that is not finite. TrainingOutOfMemory: says what to set.
        """
        inputs = self.inputs(POOL, train=True)
        labels = torch.from_numpy(self.data.labels(POOL)).to(self.device)
        with torch_seed(int(rng.integers(2**31))):  # dropout
            return self._fit(rows, labels, inputs, rng)

    def _fit(
        self, rows: np.ndarray, labels: torch.Tensor, inputs: Inputs, rng: np.random.Generator
    ) -> dict[str, Any]:
        recipe = self.recipe
        optimizer = self.optimizer()
        stopping = StoppingRule(self, math.ceil(len(rows) / recipe.train_batch_size))
        self.training_mode()
        for step, batch_rows in enumerate(batches(rows, recipe.train_batch_size, rng)):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(step, recipe)
            optimizer.zero_grad()
            size = recipe.micro_batch_size or len(batch_rows)
            try:
                parts = inputs.micro_batches(batch_rows, size, self.device, rng)
                loss = self._backward(parts, labels, len(batch_rows))
                optimizer.step()
            except (RuntimeError, ValueError) as error:
                raise self._explained(error, size) from error
            if stopping.after(step + 1, loss):
                break
        return stopping.finish(step + 1)

    def _backward(
        self, parts: Iterable[tuple[torch.Tensor, np.ndarray]], labels: torch.Tensor, n: int
    ) -> float:
        """Add the gradient of a batch's mean loss, micro-batch by micro-batch; returns that loss.

        Each micro-batch counts by its share of the `n` examples, so neither changes but for
        rounding, batch norm, which sees one micro-batch at a time, and dropout's draws. Under
        fidelity "released": returns the last one's loss.
        """
        total = torch.zeros(())
        for part, rows in parts:
            # bfloat16 needs no loss scaling
            with forward_precision(self.recipe, self.device):
                logits = self.model(part)
            loss = F.cross_entropy(logits.float(), labels[rows])
            share = len(rows) / n
            (loss * share).backward()
            total = total + loss.detach() * share
        return (loss if self.recipe.fidelity == "released" else total).item()

    def _explained(self, error: RuntimeError | ValueError, size: int) -> Exception:
        if "more than 1 value per channel" in str(error):
            return ConfigError(
                "batch norm cannot train on a single example: choose seed_set_size, "
                "train_batch_size and micro_batch_size so that no part of a batch is one alone "
                f"(it trains on {size} at a time), or set freeze_batch_norm"
            )
        if isinstance(error, ValueError) or not is_out_of_memory(error):
            return error
        return TrainingOutOfMemory(
            f"out of memory on {self.device} in training on {size} examples at a time: set recipe "
            f"micro_batch_size to {max(1, size // 2)} or less, or take a larger device"
        )

    def replay(self, past: Round, rows: np.ndarray) -> None:
        """Released code's momentum comes from all earlier fits: do this one again."""
        if past.fit is not None and self.recipe.fidelity == "released":
            self.reset()
            self.fit(rows, stream(self.config.seed, "training", past.number))

    def training_mode(self) -> None:
        """Dropout and batch statistics on, but for batch norm that the recipe freezes."""
        self.end_scoring()
        self.model.train()
        if self.freezes_batch_norm:
            for module in self.model.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()


def learning_rate(step: int, recipe: Recipe) -> float:
    """Linear warm-up, then divided by 10 at each decay step (BiT-HyperRule, Appendix B).

    Args:
        step: counts from 0.
    """
    warmup = min(1.0, (step + 1) / recipe.warmup_steps) if recipe.warmup_steps else 1.0
    return recipe.lr * warmup * 0.1 ** sum(step >= decay for decay in recipe.decay_steps)


def batches(rows: np.ndarray, size: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Endless full batches, one shuffle after the other; a batch may straddle two shuffles."""
    size = min(size, len(rows))
    queue = np.empty(0, dtype=np.int64)
    while True:
        while len(queue) < size:
            queue = np.concatenate([queue, rng.permutation(rows)])
        yield queue[:size]
        queue = queue[size:]


class StoppingRule:
    """When to stop fine-tuning (paper, section 2 and Appendix D)."""

    def __init__(self, network: FineTunedNetwork, steps_per_pass: int):
        self.network = network
        self.recipe = network.recipe
        # the paper's "training loss", read as its mean over one pass; the released code looks at
        # one micro-batch
        length = 1 if self.recipe.fidelity == "released" else steps_per_pass
        self.recent: deque[float] = deque(maxlen=length)
        self.first = math.nan
        self.accuracies: list[float] = []
        self.best_weights: dict[str, Any] | None = None
        self.reason = "max_steps"

    def after(self, n_steps: int, loss: float) -> bool:
        """Whether to stop after so many steps, the last of which had this loss."""
        if not math.isfinite(loss):
            raise TrainingDiverged(
                f"training loss is {loss} at step {n_steps} (lr {self.recipe.lr}); lower lr or "
                "lengthen warmup_steps"
            )
        self.first = loss if n_steps == 1 else self.first
        self.recent.append(loss)
        if self._is_met(n_steps):
            self.reason = self.recipe.stopping
            return True
        return n_steps >= self.recipe.max_steps

    def _is_met(self, n_steps: int) -> bool:
        if self.recipe.stopping == "loss_ratio":
            is_full = len(self.recent) == self.recent.maxlen
            limit = self.recipe.loss_ratio * self.first
            return is_full and float(np.mean(self.recent)) <= limit
        return self.recipe.stopping == "early_stopping" and self._has_stalled(n_steps)

    def _has_stalled(self, n_steps: int) -> bool:
        """Whether the validation accuracy has not risen for `patience` checks."""
        if n_steps % self.recipe.check_every:
            return False
        split = self.recipe.validation_split
        labels = self.network.data.labels(split)
        correct = self.network.predict_probs(split).argmax(axis=1) == labels
        self.accuracies.append(float(correct.mean()))
        self.network.training_mode()
        checks_since_best = len(self.accuracies) - 1 - int(np.argmax(self.accuracies))
        if checks_since_best == 0:
            self.best_weights = self.network.weights()
        return checks_since_best >= self.recipe.patience

    def finish(self, n_steps: int) -> dict[str, Any]:
        """How the fit went; early stopping leaves the best weights in the model."""
        if self.best_weights is not None:
            self.network.load(self.best_weights)
        return {
            "n_steps": n_steps,
            "first_loss": self.first,
            "last_loss": float(np.mean(self.recent)),
            "stopped_by": self.reason,
        }
