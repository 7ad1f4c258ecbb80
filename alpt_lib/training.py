"""Fine-tune one model on one labelled set; predict probabilities. Knows nothing of active learning."""

import copy
import math
import platform
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from alpt_lib import files
from alpt_lib.config import Recipe
from alpt_lib.datasets import Dataset
from alpt_lib.errors import TrainingDiverged, TrainingOutOfMemory
from alpt_lib.fast_layers import folded
from alpt_lib.files import cache_folder, made_once, new_array
from alpt_lib.inputs import Inputs
from alpt_lib.models import ImageClassifier, TextClassifier, create

SCORING_BATCH = (
    256  # on a CPU the same on every machine, for another batch size gives other roundings
)

SCORING_BATCHES = 32, 8192  # on a GPU: where the search starts and ends

FASTER = 1.1  # so many times the examples a second, or a larger batch is not worth its memory

# on a CPU: no more pixels a batch than 16 images of 128 px; larger activations are memory fetched anew from the system each
# time, and MobileNetV2 scores fastest in batches of 16 (benchmarks/scoring.py)
SCORING_PIXELS = 16 * 128 * 128

SCORING_FEWEST = 16  # but not fewer images than R50x1 scores fastest with


@dataclass(frozen=True)
class FitLog:
    """How one fine-tuning went."""

    n_steps: int
    first_loss: float
    last_loss: float  # mean over the last pass through the labelled set (released: of the last micro-batch)
    stopped_by: str  # the stopping rule, or "max_steps"


class Learner:
    """A model with its initial weights, and the data it reads.

    Args:
        data: the dataset. name: concrete model name. recipe: how to fine-tune.
        weights: local weights, or None. seed: initialises what is not pretrained.
    """

    def __init__(self, data: Dataset, name: str, recipe: Recipe, weights: str | None, seed: int):
        self.data, self.recipe, self.name = data, recipe, name
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        torch.backends.cudnn.allow_tf32 = (
            False  # PyTorch's default rounds convolutions; scores and the released code are fp32
        )
        self.model: ImageClassifier | TextClassifier = create(name, data, weights, seed).to(
            self.device
        )
        self.freeze_batch_norm = recipe.freeze_batch_norm and not name.endswith(
            "-np"
        )  # nothing pretrained to keep otherwise
        self._initial = copy.deepcopy(self.model.state_dict())
        self._inputs: dict[tuple[str, bool], Inputs] = {}
        self.scoring_limit = SCORING_BATCHES[
            1
        ]  # examples; halved where the device's memory asks for it
        self._is_scoring = False

    def reset(self) -> None:
        """Back to the initial weights (paper, section 2: the original model is retrained at each step)."""
        self.model.load_state_dict(self._initial)

    def inputs(self, split: str, train: bool = False) -> Inputs:
        """The inputs of a split at the recipe's training or evaluation size."""
        augmented = train and self.recipe.augment == "crop_flip"
        if (split, augmented) not in self._inputs:
            self._inputs[split, augmented] = self._load(split, augmented)
        return self._inputs[split, augmented]

    def _load(self, split: str, augmented: bool) -> Inputs:
        if isinstance(self.model, TextClassifier):
            return Inputs(
                self.model.tokens(self.data, split), padding=self.model.tokenizer.pad_token_id
            )
        resize = self.recipe.resize or self.data.description.image_size
        crop = self.recipe.crop or resize
        if augmented and resize != crop:
            return Inputs(self.data.images_on_demand(split, resize), crop, self.recipe.augment)
        return Inputs(self.data.images(split, crop), crop, self.recipe.augment)

    def new_optimizer(self) -> torch.optim.Optimizer:
        """An optimizer of the model's parameters, without momentum yet."""
        parameters, recipe = [p for p in self.model.parameters() if p.requires_grad], self.recipe
        if recipe.optimizer == "adamw":
            return torch.optim.AdamW(
                parameters, lr=recipe.lr, weight_decay=recipe.weight_decay, fused=True
            )
        return torch.optim.SGD(
            parameters,
            lr=recipe.lr,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
            fused=True,
        )

    def fit(
        self,
        rows: np.ndarray,
        rng: np.random.Generator,
        optimizer: torch.optim.Optimizer | None = None,
    ) -> FitLog:
        """Fine-tune on these pool rows from the model's present weights until the stopping rule.

        Args:
            rows: (n_labelled,) int rows of the pool. rng: batch order, augmentation and dropout.
            optimizer: goes on with the momentum of earlier fits (released code); None takes a new one.
        Raises:
            TrainingDiverged: a loss that is not finite. TrainingOutOfMemory: the message says what to set.
        """
        recipe, inputs = self.recipe, self.inputs("pool", train=True)
        labels = torch.from_numpy(self.data.labels("pool")).to(self.device)
        torch.manual_seed(int(rng.integers(2**31)))  # dropout
        optimizer = optimizer or self.new_optimizer()
        stopping = _StoppingRule(self, math.ceil(len(rows) / recipe.train_batch_size))
        self._train_mode()
        for step, batch_rows in enumerate(_batches(rows, recipe.train_batch_size, rng)):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(step, recipe)
            optimizer.zero_grad()
            size = recipe.micro_batch_size or len(batch_rows)
            try:
                loss = self._backward(
                    inputs.micro_batches(batch_rows, size, self.device, rng),
                    labels,
                    len(batch_rows),
                )
                optimizer.step()
            except RuntimeError as error:
                if not _is_out_of_memory(error):
                    raise
                raise TrainingOutOfMemory(
                    f"out of memory on {self.device} in training on {size} examples at a time: set recipe "
                    f"micro_batch_size to {max(1, size // 2)} or less, or take a larger device"
                ) from error
            if stopping.after(step + 1, loss):
                break
        return stopping.finish(step + 1)

    def _backward(
        self, parts: Iterable[tuple[torch.Tensor, np.ndarray]], labels: torch.Tensor, n: int
    ) -> float:
        """Add the gradient of a batch's mean loss, micro-batch by micro-batch; returns that loss.

        Each micro-batch counts by its share of the `n` examples, so neither changes but for rounding, for batch norm, which
        sees one micro-batch at a time, and for dropout's draws. Under fidelity "released": returns the last one's loss.
        """
        total = 0.0
        for part, rows in parts:
            is_mixed = (
                self.recipe.mixed_precision and self.device.type == "cuda"
            )  # bfloat16 needs no loss scaling
            with torch.autocast(self.device.type, torch.bfloat16, enabled=is_mixed):
                logits = self.model(part)
            loss, share = F.cross_entropy(logits.float(), labels[rows]), len(rows) / n
            (loss * share).backward()
            total += loss.detach() * share
        return (loss if self.recipe.fidelity == "released" else total).item()

    @torch.inference_mode()
    def predict_probs(self, split: str, rows: np.ndarray | None = None) -> np.ndarray:
        """(n, n_classes) float32 probabilities of the given rows (default: all) of a split, softmax in fp32."""
        probs = self._map(lambda batch: self.model(batch).float().softmax(dim=1), split, rows)
        if np.isnan(probs).any():  # the last step of a fit came after its loss was looked at
            raise TrainingDiverged(
                f"the fitted model gives NaN (lr {self.recipe.lr}); lower lr or lengthen warmup_steps"
            )
        return probs

    @torch.inference_mode()
    def features(self, split: str, rows: np.ndarray | None = None) -> np.ndarray:
        """(n, n_features) float32 activations before the head."""
        return self._map(lambda batch: self.model.features(batch).float(), split, rows)

    @contextmanager
    def scoring(self) -> Iterator[None]:
        """One pass over as many splits as are asked for within: evaluation mode, weights folded once."""
        if self._is_scoring:
            yield
            return
        self.model.eval()
        self._is_scoring = True
        try:
            with torch.no_grad(), folded(self.model):
                yield
        finally:
            self._is_scoring = False

    def _map(self, function, split: str, rows: np.ndarray | None) -> np.ndarray:
        inputs = self.inputs(split)
        rows = np.arange(len(inputs)) if rows is None else rows
        order = inputs.order(rows)
        values: list[torch.Tensor] = []
        done = 0
        with self.scoring():
            size = min(self.scoring_limit, self._scoring_batch(inputs))
            while done < len(rows):
                chunk = rows[order[done : done + size]]
                value = self._within_memory(function, inputs, chunk)
                if value is None:
                    size = self.scoring_limit = size // 2
                    continue
                values.append(value)
                done += len(chunk)
        return torch.cat(values).numpy()[np.argsort(order)]

    def _scoring_batch(self, inputs: Inputs) -> int:
        """Examples a scoring batch: on a CPU by rule, on a GPU measured."""
        if self.device.type == "cuda":
            return self.fastest_batch(inputs)
        pixels = math.prod(inputs.array.shape[1:3]) if inputs.array.ndim == 4 else 1
        return min(SCORING_BATCH, max(SCORING_FEWEST, SCORING_PIXELS // pixels))

    def fastest_batch(self, inputs: Inputs) -> int:
        """The scoring batch for this device, network and input size: doubled as long as that pays and memory allows.

        Measured once and kept in the cache folder, so that later runs, and resumed ones, round alike.
        """
        device = (
            torch.cuda.get_device_name(self.device)
            if self.device.type == "cuda"
            else platform.processor()
        )
        what = {
            "device": device,
            "model": self.name,
            "input": inputs.array.shape[1:],
            "torch": torch.__version__,
        }
        target = cache_folder() / f"scoring_batch_{files.hashed(what)}.npy"

        def measure() -> None:
            size, limit = SCORING_BATCHES
            rate = self._examples_per_s(inputs, size)
            while (
                size < limit and (doubled := self._examples_per_s(inputs, 2 * size)) > FASTER * rate
            ):
                size, rate = 2 * size, doubled
            with new_array(target, (1,), np.int32) as array:
                array[0] = size

        return int(made_once(target, measure)[0])

    def _examples_per_s(self, inputs: Inputs, size: int) -> float:
        """Best of three; 0 where the device's memory is too small."""
        rows, times = np.resize(np.arange(len(inputs)), size), []
        for _ in range(3):
            started = time.perf_counter()
            try:
                self.model(inputs.batch(rows, self.device)).cpu()
            except RuntimeError as error:
                if not _is_out_of_memory(error):
                    raise
                return 0.0
            times.append(time.perf_counter() - started)
        return size / min(times)

    def _within_memory(self, function, inputs: Inputs, chunk: np.ndarray) -> torch.Tensor | None:
        """The function of one scoring batch; None if the device's memory is too small for it and a smaller one may fit."""
        try:
            return function(inputs.batch(chunk, self.device)).cpu()
        except RuntimeError as error:
            if len(chunk) == 1 or not _is_out_of_memory(error):
                raise
        if self.device.type == "cuda":  # out here, where the error no longer holds the activations
            torch.cuda.empty_cache()
        _say_once(
            f"out of memory on {self.device} in scoring: going on with smaller batches; scores differ by rounding at most"
        )
        return None

    def _train_mode(self) -> None:
        self.model.train()
        if self.freeze_batch_norm:
            for module in self.model.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()


def _is_out_of_memory(error: RuntimeError) -> bool:
    """PyTorch has a class for it on a GPU; on a CPU only words."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


@lru_cache
def _say_once(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def learning_rate(step: int, recipe: Recipe) -> float:
    """Linear warm-up, then divided by 10 at each decay step (BiT-HyperRule, Appendix B). `step` counts from 0."""
    warmup = min(1.0, (step + 1) / recipe.warmup_steps) if recipe.warmup_steps else 1.0
    return recipe.lr * warmup * 0.1 ** sum(step >= d for d in recipe.decay_steps)


def _batches(rows: np.ndarray, size: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Endless full batches: one shuffle after the other, a batch may straddle two (small sets: all rows)."""
    size, queue = min(size, len(rows)), np.empty(0, dtype=np.int64)
    while True:
        while len(queue) < size:
            queue = np.concatenate([queue, rng.permutation(rows)])
        yield queue[:size]
        queue = queue[size:]


class _StoppingRule:
    """When to stop fine-tuning (paper, section 2 and Appendix D)."""

    def __init__(self, learner: Learner, steps_per_epoch: int):
        self.learner, self.recipe = learner, learner.recipe
        # the paper's "training loss", read as its mean over one pass; the released code looks at one micro-batch
        self.recent: deque[float] = deque(
            maxlen=1 if self.recipe.fidelity == "released" else steps_per_epoch
        )
        self.first = self.best = math.nan
        self.best_weights, self.checks_since_best, self.reason = None, 0, "max_steps"

    def after(self, n_steps: int, loss: float) -> bool:
        """Whether to stop after this many steps, the last of which had this loss."""
        if not math.isfinite(loss):
            raise TrainingDiverged(
                f"training loss is {loss} at step {n_steps} (lr {self.recipe.lr}); "
                "lower lr or lengthen warmup_steps"
            )
        self.first = loss if n_steps == 1 else self.first
        self.recent.append(loss)
        done = {
            "loss_ratio": self._loss_ratio,
            "early_stopping": self._early_stopping,
            "fixed_steps": lambda n: False,
        }
        if done[self.recipe.stopping](n_steps):
            self.reason = self.recipe.stopping
            return True
        return n_steps >= self.recipe.max_steps

    def _loss_ratio(self, n_steps: int) -> bool:
        return (
            len(self.recent) == self.recent.maxlen
            and np.mean(self.recent) <= self.recipe.loss_ratio * self.first
        )

    def _early_stopping(self, n_steps: int) -> bool:
        if n_steps % self.recipe.check_every:
            return False
        split = self.recipe.validation_split
        labels = self.learner.data.labels(split)
        accuracy = float((self.learner.predict_probs(split).argmax(axis=1) == labels).mean())
        self.learner._train_mode()
        if not accuracy <= self.best:
            self.best, self.checks_since_best = accuracy, 0
            self.best_weights = copy.deepcopy(self.learner.model.state_dict())
        else:
            self.checks_since_best += 1
        return self.checks_since_best >= self.recipe.patience

    def finish(self, n_steps: int) -> FitLog:
        if self.best_weights is not None:
            self.learner.model.load_state_dict(self.best_weights)
        return FitLog(n_steps, self.first, float(np.mean(self.recent)), self.reason)
