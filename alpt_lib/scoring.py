"""A network looks at a dataset: probabilities, features, accuracies. Knows nothing of training."""

import math
import os
import platform
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch

from alpt_lib.acquisition import POOL
from alpt_lib.config import Recipe, RunConfig, input_size
from alpt_lib.datasets import Dataset
from alpt_lib.errors import CompanionError, ModelError, TrainingDiverged, one_line
from alpt_lib.fast_layers import folded_convolutions
from alpt_lib.files import cache_folder, hashed, made_once, new_array
from alpt_lib.inputs import Inputs, images, on_demand, on_device, room_on_gpu, tokens
from alpt_lib.models import TextClassifier, create_model

# examples; on a CPU the same on every machine, for another batch size gives other roundings
CPU_BATCH = 256
# on a CPU no more pixels a batch than 16 images of 128 px: larger activations are memory fetched
# from the system each time, and MobileNetV2 scores fastest so (benchmarks/scoring.py)
CPU_PIXELS = 16 * 128 * 128
# but not fewer images than R50x1 scores fastest with
CPU_FEWEST = 16
# on a GPU: where the search for a batch size starts and ends
GPU_BATCHES = (32, 8192)
# examples whose features a head reads at once
FEATURES_AT_ONCE = 8192
# so many times the examples a second, or a larger batch is not worth its memory
FASTER = 1.1

# environment variable: "0" lets a GPU take its fastest kernels, whose sums differ from run to run
DETERMINISTIC = "ALPT_DETERMINISTIC"

Batch = torch.Tensor | None
BatchFunction = Callable[[torch.Tensor], torch.Tensor]


class ScoringNetwork:
    """A network with the data it reads.

    Args:
        data: the dataset. config: names the model, its weights, recipe and seed.
    """

    def __init__(self, data: Dataset, config: RunConfig):
        self.data = data
        self.config = config
        self.recipe = config.recipe
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        choose_kernels(self.recipe, self.device)
        model = create_model(config.model, data, config.weights, config.seed)
        self.model = model.to(self.device)
        # examples a scoring batch at most; halved where the device's memory asks for it
        self.largest_batch = GPU_BATCHES[1]
        self._inputs: dict[tuple[str, bool], Inputs] = {}
        self._scoring: ExitStack | None = None

    def inputs(self, split: str, train: bool = False) -> Inputs:
        """The inputs of a split at the recipe's training or evaluation size."""
        is_augmented = train and self.recipe.augment == "crop_flip"
        key = (split, is_augmented)
        if key not in self._inputs:
            self._inputs[key] = self._read_inputs(split, is_augmented)
        return self._inputs[key]

    def prepare(self) -> None:
        """Decode or tokenise every split, for all processes; then look at one example.

        Raises:
            ModelError: a network for images of another size, or that fails otherwise.
        """
        for split in (POOL, *self.data.eval_splits):
            self.inputs(split)
        self.model.eval()
        try:
            with torch.inference_mode():
                self.model(self.inputs(POOL).batch(np.arange(1), self.device))
        except CompanionError:
            raise
        except Exception as error:  # whatever the options in a model's name lead to
            raise ModelError(
                f"{self.config.model} cannot read {self.data.name}: {one_line(error)}"
            ) from error

    def _read_inputs(self, split: str, is_augmented: bool) -> Inputs:
        if isinstance(self.model, TextClassifier):
            model = self.model
            array = tokens(self.data, split, model.tokenize, model.tokens_kind, model.padding)
            return Inputs(array, padding=model.padding)
        resize, crop = input_size(self.recipe, self.data.description.image_size)
        if is_augmented and resize != crop:
            pictures: Any = on_demand(self.data.files(split), resize)
        else:
            pictures = images(self.data, split, crop)
        if self.device.type == "cuda":
            pictures = on_device(pictures, self.device, partial(room_on_gpu, self.device))
        return Inputs(pictures, crop, self.recipe.augment)

    @torch.inference_mode()
    def predict_probs(self, split: str, rows: np.ndarray | None = None) -> np.ndarray:
        """(n, n_classes) float32 probabilities of these rows (None: all) of a split.

        Raises:
            TrainingDiverged: NaN, after the last step of a fit, whose loss nobody looked at.
        """
        probs = self._map(lambda batch: self.model(batch).float().softmax(dim=1), split, rows)
        if np.isnan(probs).any():
            raise TrainingDiverged(
                f"the fitted model gives NaN (lr {self.recipe.lr}); lower lr or lengthen "
                "warmup_steps"
            )
        return probs

    @torch.inference_mode()
    def features(self, split: str, rows: np.ndarray | None = None) -> np.ndarray:
        """(n, n_features) float32 activations before the head (paper, section 6.3)."""
        return self._map(lambda batch: self.model.features(batch).float(), split, rows)

    @torch.inference_mode()
    def probs_of_features(self, features: np.ndarray) -> np.ndarray:
        """(n, n_classes) float32 what the head says to (n, n_features) activations before it."""
        self.start_scoring()
        parts = []
        for start in range(0, max(len(features), 1), FEATURES_AT_ONCE):
            part = np.asarray(features[start : start + FEATURES_AT_ONCE], dtype=np.float32)
            logits = self.model.logits_of_features(torch.from_numpy(part).to(self.device))
            parts.append(logits.float().softmax(dim=1).cpu().numpy())
        return np.concatenate(parts)

    def evaluate(self, number: int) -> list[dict[str, Any]]:
        """All accuracies on all evaluation splits; none before the first label (round -1)."""
        return self.data.evaluate(self.predict_probs) if number >= 0 else []

    def start_scoring(self) -> None:
        """Evaluation mode, weights folded once for as many passes as follow."""
        if self._scoring is None:
            self.model.eval()
            self._scoring = ExitStack()
            with torch.no_grad():
                self._scoring.enter_context(folded_convolutions(self.model))

    def end_scoring(self) -> None:
        """The weights may change from here on."""
        if self._scoring is not None:
            self._scoring.close()
            self._scoring = None

    def _map(self, function: BatchFunction, split: str, rows: np.ndarray | None) -> np.ndarray:
        inputs = self.inputs(split)
        if rows is None:
            rows = np.arange(len(inputs))
        order = inputs.order(rows)
        self.start_scoring()
        size = min(self.largest_batch, self._batch_size(inputs))
        values: list[torch.Tensor] = []
        done = 0
        batch = None
        while done < len(rows):
            chunks = [rows[order[i : i + size]] for i in (done, done + size)]
            value, batch = self._within_memory(function, inputs, chunks, batch)
            if value is None:
                size = self.largest_batch = size // 2
                continue
            values.append(value)
            done += len(chunks[0])
        return torch.cat(values).numpy()[np.argsort(order)]

    def _batch_size(self, inputs: Inputs) -> int:
        """Examples a scoring batch: on a CPU by rule, on a GPU measured."""
        if self.device.type == "cuda":
            return self.fastest_batch(inputs)
        shape = inputs.array.shape
        pixels = math.prod(shape[1:3]) if len(shape) == 4 else 1
        return min(CPU_BATCH, max(CPU_FEWEST, CPU_PIXELS // pixels))

    def fastest_batch(self, inputs: Inputs) -> int:
        """The scoring batch for this device, network and input size: doubled while that pays.

        Measured once and kept in the cache folder, so that later and resumed runs round alike.
        """
        is_gpu = self.device.type == "cuda"
        name = torch.cuda.get_device_name(self.device) if is_gpu else platform.processor()
        what = [name, self.config.model, inputs.array.shape[1:], torch.__version__]
        target = cache_folder() / f"scoring_batch_{hashed(what)}.npy"

        def measure() -> None:
            size, limit = GPU_BATCHES
            rate = self._examples_per_s(inputs, size)
            while size < limit:
                doubled = self._examples_per_s(inputs, 2 * size)
                if doubled <= FASTER * rate:
                    break
                size *= 2
                rate = doubled
            with new_array(target, (1,), np.int32) as array:
                array[0] = size

        return int(made_once(target, measure)[0])

    def _examples_per_s(self, inputs: Inputs, size: int) -> float:
        """Best of three; 0 where the device's memory is too small."""
        rows = np.resize(np.arange(len(inputs)), size)
        times = []
        for _ in range(3):
            started = time.perf_counter()
            try:
                self.model(inputs.batch(rows, self.device)).cpu()
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                return 0.0
            times.append(time.perf_counter() - started)
        return size / min(times)

    def _within_memory(
        self, function: BatchFunction, inputs: Inputs, chunks: list[np.ndarray], batch: Batch
    ) -> tuple[Batch, Batch]:
        """The function of one scoring batch, and the next batch; None if a smaller one may fit.

        Args:
            chunks: the rows of both; the next may be empty. batch: None if it is not read yet.
        """
        chunk, following = chunks
        try:
            value = function(inputs.batch(chunk, self.device) if batch is None else batch)
            # a GPU is at work on this one meanwhile
            upcoming = inputs.batch(following, self.device) if len(following) else None
            return value.cpu(), upcoming
        except RuntimeError as error:
            if len(chunk) == 1 or not is_out_of_memory(error):
                raise
        # out here, where the error no longer holds the activations
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        say_once(
            f"out of memory on {self.device} in scoring: going on with smaller batches; scores "
            "differ by rounding at most"
        )
        return None, None


def choose_kernels(recipe: Recipe, device: torch.device) -> None:
    """On a GPU, of the recipe's precision, and adding up in the same order each time.

    Only so has a run that is done again, or resumed, the same rows; DETERMINISTIC takes it back. A
    CPU adds so anyway. An operation without such a kernel warns.
    """
    torch.backends.cudnn.allow_tf32 = recipe.precision != "fp32"
    if device.type != "cuda":
        return
    is_repeatable = os.environ.get(DETERMINISTIC) != "0"
    if is_repeatable:
        # read by cuBLAS when it starts
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(is_repeatable, warn_only=True)
    # a safeguard against reading memory that nothing was written to, which takes time
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def forward_precision(recipe: Recipe, device: torch.device) -> torch.autocast:
    """bfloat16 for what is not a score, where the recipe wants it and the device is a GPU."""
    is_mixed = recipe.precision == "bf16" and device.type == "cuda"
    return torch.autocast(device.type, torch.bfloat16, enabled=is_mixed)


def is_out_of_memory(error: RuntimeError) -> bool:
    """PyTorch has a class for it on a GPU; on a CPU only words."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


@lru_cache
def say_once(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
