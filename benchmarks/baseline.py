"""Active learning as research code often writes it: the baseline of the speed claims.

As in the paper's released code (not copied from it), each pass over the labelled set, the pool or an evaluation split
starts a DataLoader's workers anew; every image is opened, decoded, resized and normalised each time; a batch of 32 is 8
backward passes of 4; the pool is scored for the random arm too; evaluation is a pass of its own; each round starts from the
initial model. Its network is timm's, in PyTorch's default memory layout, with PyTorch's default SGD. The order of batches and
the random streams are ours; with `our_network` so are network, memory layout and optimizer, and every acquired index can be
compared.
"""

import warnings
from collections import deque
from collections.abc import Iterator
from copy import deepcopy
from itertools import islice

import numpy as np
import torch
from PIL import Image
from timm.models.resnetv2 import ResNetV2
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from alpt_lib.config import RunConfig
from alpt_lib.datasets import POOL, Dataset
from alpt_lib.loop import Round, evaluate, query, start_pool, stream
from alpt_lib.models import create
from alpt_lib.training import Learner, _batches, learning_rate

warnings.filterwarnings(
    "ignore", "This DataLoader will create", UserWarning
)  # more workers than cores: the released default
MICRO_BATCH = 4  # images a backward pass, as in the released code
SCORING_BATCH = 32
View = tuple[int, int, int, bool]  # row, top and left of the crop in px, whether flipped


class Images(TorchDataset):
    """A split's images, decoded whenever one is asked for: (3, crop, crop) float32, normalised, and the label."""

    def __init__(
        self,
        data: Dataset,
        split: str,
        size: int,
        crop: int,
        shift: torch.Tensor,
        scale: torch.Tensor,
    ):
        self.files = [data.folder / path for path in data.rows(split)["path"]]
        self.labels, self.size, self.crop, self.shift, self.scale = (
            data.labels(split),
            size,
            crop,
            shift[0],
            scale[0],
        )

    def __getitem__(self, view: View) -> tuple[torch.Tensor, int]:
        row, top, left, is_flipped = view
        with Image.open(self.files[row]) as file:
            image = file.convert("RGB")
        if image.size != (self.size, self.size):
            image = image.resize((self.size, self.size), Image.Resampling.BILINEAR)
        image = image.crop((left, top, left + self.crop, top + self.crop))
        if is_flipped:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float()
        return (pixels - self.shift) * self.scale, int(self.labels[row])


class PlainLearner:
    """Fine-tunes and predicts through DataLoaders; has the methods that the loop's `query` and `evaluate` call."""

    def __init__(
        self, data: Dataset, config: RunConfig, num_workers: int = 8, our_network: bool = False
    ):
        self.data, self.recipe, self.num_workers, self.our_network = (
            data,
            config.recipe,
            num_workers,
            our_network,
        )
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.layout = torch.channels_last if our_network else torch.contiguous_format
        initial = create(config.model, data, config.weights, config.seed)
        self.shift, self.scale = initial.shift, initial.scale
        self.initial = initial.network if our_network else as_timm_has_it(initial.network)
        self.size = config.recipe.resize or data.description.image_size
        self.crop = config.recipe.crop or self.size

    def reset(self) -> None:
        self.model = deepcopy(self.initial).to(self.device)

    def loader(self, split: str, size: int, batches: list[list[View]]) -> DataLoader:
        images = Images(self.data, split, size, self.crop, self.shift, self.scale)
        return DataLoader(images, batch_sampler=batches, num_workers=self.num_workers)

    def fit(self, rows: np.ndarray, rng: np.random.Generator) -> int:
        """Train until the stopping rule; returns the number of steps."""
        recipe = self.recipe
        torch.manual_seed(int(rng.integers(2**31)))
        optimizer = self.new_optimizer()
        batch_size = min(recipe.train_batch_size, len(rows))
        recent: deque[float] = deque(maxlen=-(-len(rows) // recipe.train_batch_size))
        first, loss, seen, step = 0.0, 0.0, 0, 0
        self.train_mode()
        for images, labels in self.passes(rows, rng):
            share = len(labels) / batch_size
            micro_loss = F.cross_entropy(self.model(images), labels)
            (micro_loss * share).backward()
            loss, seen = loss + micro_loss.detach() * share, seen + len(labels)
            if seen < batch_size:
                continue
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(step, recipe)
            optimizer.step()
            optimizer.zero_grad()
            recent.append(loss.item())
            first, step, loss, seen = first or recent[0], step + 1, 0.0, 0
            is_low = (
                recipe.stopping == "loss_ratio"
                and len(recent) == recent.maxlen
                and (np.mean(recent) <= recipe.loss_ratio * first)
            )
            if is_low or step >= recipe.max_steps:
                return step

    def new_optimizer(self) -> torch.optim.Optimizer:
        optimizer = Learner.new_optimizer(self)
        for group in optimizer.param_groups if not self.our_network else ():
            group["fused"] = None  # PyTorch's default
        return optimizer

    def train_mode(self) -> None:
        self.model.train()
        for module in self.model.modules():
            if self.recipe.freeze_batch_norm and isinstance(
                module, torch.nn.modules.batchnorm._BatchNorm
            ):
                module.eval()

    def passes(
        self, rows: np.ndarray, rng: np.random.Generator
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Endless micro-batches: pass after pass over the labelled set, each with new workers."""
        views = self.views(rows, rng)
        while True:
            one_pass = list(islice(views, -(-len(rows) // MICRO_BATCH)))
            for images, labels in self.loader(POOL, self.size, one_pass):
                yield images.to(self.device, memory_format=self.layout), labels.to(self.device)

    def views(self, rows: np.ndarray, rng: np.random.Generator) -> Iterator[list[View]]:
        """Endless micro-batches of views, drawn in the order in which ours draws them."""
        spare, n = self.size - self.crop, min(self.recipe.train_batch_size, len(rows))
        for batch in _batches(rows, n, rng):
            crops = self.recipe.augment == "crop_flip" and spare
            tops, lefts = (
                rng.integers(0, spare + 1, (2, n)).tolist() if crops else ([0] * n, [0] * n)
            )
            flips = (rng.random(n) < 0.5).tolist() if self.recipe.augment != "none" else [False] * n
            batch_views = list(zip(batch.tolist(), tops, lefts, flips, strict=True))
            yield from (batch_views[i : i + MICRO_BATCH] for i in range(0, n, MICRO_BATCH))

    @torch.no_grad()
    def predict_probs(self, split: str, rows: np.ndarray | None = None) -> np.ndarray:
        """(n, n_classes) float32."""
        rows = range(len(self.data.rows(split))) if rows is None else rows.tolist()
        views = [(row, 0, 0, False) for row in rows]
        batches = [views[i : i + SCORING_BATCH] for i in range(0, len(views), SCORING_BATCH)]
        self.model.eval()
        probs = [
            self.model(images.to(self.device, memory_format=self.layout)).softmax(dim=1).cpu()
            for images, _ in self.loader(split, self.crop, batches)
        ]
        return torch.cat(probs).numpy()


def as_timm_has_it(network: torch.nn.Module) -> torch.nn.Module:
    """The same weights in timm's own forward pass and PyTorch's default memory layout."""
    if isinstance(network, ResNetV2):
        network.__class__ = ResNetV2
    return network.to(memory_format=torch.contiguous_format)


def plain_active_learning(
    data: Dataset, learner: PlainLearner, config: RunConfig
) -> Iterator[Round]:
    """Train, evaluate, score, acquire; every round, whatever the arm."""
    pool = start_pool(data, config)
    for round_ in range(config.protocol.n_rounds + 1):
        learner.reset()
        n_steps = learner.fit(pool.labelled, stream(config.seed, "training", round_))
        result = Round(
            round_, len(pool.labelled), [], [], evaluate(data, learner), {"n_steps": n_steps}
        )
        if round_ < config.protocol.n_rounds:
            if config.acquisition == "random":
                learner.predict_probs(POOL, pool.unlabelled)  # for nothing, as in the released code
            batch, scores = query(learner, pool, config, round_)
            pool.acquire(batch)
            result.query, result.scores = batch.tolist(), scores.tolist()
        yield result
