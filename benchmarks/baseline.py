"""Active learning as research code often writes it: the baseline of the speed claims.

As in the paper's released code (not copied from it), each pass over the labelled set, the pool or
an evaluation split starts a DataLoader's workers anew; every image is opened, decoded, resized and
normalised each time; a batch of 32 is 8 backward passes of 4; the pool is scored for the random arm
too; evaluation is a pass of its own; each round starts from the initial model. Its network is
timm's, in PyTorch's default memory layout, with PyTorch's default SGD. The order of batches and the
random streams are ours; with `our_network` so are network, memory layout and optimizer, and every
acquired index can be compared.
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

from alpt_lib.acquisition import POOL
from alpt_lib.config import RunConfig, input_size, stream
from alpt_lib.datasets import Dataset
from alpt_lib.loop import Round, ask
from alpt_lib.training import FineTunedNetwork, batches, learning_rate

# more workers than cores: the released default
warnings.filterwarnings("ignore", "This DataLoader will create", UserWarning)
MICRO_BATCH = 4  # images a backward pass, as in the released code
SCORING_BATCH = 32
View = tuple[int, int, int, bool]  # row, top and left of the crop in px, whether flipped


class Images(TorchDataset):
    """A split's images, decoded whenever one is asked for, and their labels.

    An image is (3, crop, crop) float32, normalised.
    """

    def __init__(self, learner: "PlainLearner", split: str, size: int):
        self.files = learner.data.files(split)
        self.labels = learner.data.labels(split)
        self.size = size
        self.crop = learner.crop
        self.shift = learner.shift[0]
        self.scale = learner.scale[0]

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


class PlainLearner(FineTunedNetwork):
    """Fine-tunes and predicts through DataLoaders, on normalised images."""

    def __init__(
        self, data: Dataset, config: RunConfig, num_workers: int = 8, our_network: bool = False
    ):
        super().__init__(data, config)
        self.num_workers = num_workers
        self.our_network = our_network
        self.layout = torch.channels_last if our_network else torch.contiguous_format
        self.shift = self.model.shift.cpu()
        self.scale = self.model.scale.cpu()
        network = self.model.network
        self.initial = network if our_network else as_timm_has_it(network)
        self.size, self.crop = input_size(config.recipe, data.description.image_size)

    def reset(self) -> None:
        self.model = deepcopy(self.initial).to(self.device)

    def loader(self, split: str, size: int, views: list[list[View]]) -> DataLoader:
        images = Images(self, split, size)
        return DataLoader(images, batch_sampler=views, num_workers=self.num_workers)

    def optimizer(self) -> torch.optim.Optimizer:
        optimizer = super().optimizer()
        for group in optimizer.param_groups:
            # PyTorch's default is None
            group["fused"] = True if self.our_network else None
        return optimizer

    def fit(self, rows: np.ndarray, rng: np.random.Generator) -> dict[str, int]:
        """Train until the stopping rule."""
        recipe = self.recipe
        torch.manual_seed(int(rng.integers(2**31)))
        optimizer = self.optimizer()
        recent: deque[float] = deque(maxlen=-(-len(rows) // recipe.train_batch_size))
        losses: list[float] = []
        self.training_mode()
        for loss in self.accumulated_losses(rows, rng):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(len(losses), recipe)
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss)
            recent.append(loss)
            is_full = len(recent) == recent.maxlen
            is_low = is_full and np.mean(recent) <= recipe.loss_ratio * losses[0]
            if (recipe.stopping == "loss_ratio" and is_low) or len(losses) >= recipe.max_steps:
                break
        return {"n_steps": len(losses)}

    def accumulated_losses(self, rows: np.ndarray, rng: np.random.Generator) -> Iterator[float]:
        """The mean loss of batch after batch, its gradient added up over micro-batches."""
        batch_size = min(self.recipe.train_batch_size, len(rows))
        loss = torch.zeros(())
        seen = 0
        for images, labels in self.passes(rows, rng):
            share = len(labels) / batch_size
            micro_loss = F.cross_entropy(self.model(images), labels)
            (micro_loss * share).backward()
            loss = loss + micro_loss.detach().cpu() * share
            seen += len(labels)
            if seen == batch_size:
                yield loss.item()
                loss = torch.zeros(())
                seen = 0

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
        spare = self.size - self.crop
        n = min(self.recipe.train_batch_size, len(rows))
        for batch in batches(rows, n, rng):
            places = np.zeros((2, n), dtype=int)
            is_flipped = np.zeros(n, dtype=bool)
            if self.recipe.augment == "crop_flip" and spare:
                places = rng.integers(0, spare + 1, (2, n))
            if self.recipe.augment != "none":
                is_flipped = rng.random(n) < 0.5
            columns = (batch.tolist(), *places.tolist(), is_flipped.tolist())
            of_batch = list(zip(*columns, strict=True))
            for start in range(0, n, MICRO_BATCH):
                yield of_batch[start : start + MICRO_BATCH]

    @torch.no_grad()
    def predict_probs(self, split: str, rows: np.ndarray | None = None) -> np.ndarray:
        """(n, n_classes) float32."""
        n = len(self.data.rows(split))
        views = [(int(row), 0, 0, False) for row in (range(n) if rows is None else rows)]
        parts = [views[i : i + SCORING_BATCH] for i in range(0, len(views), SCORING_BATCH)]
        self.model.eval()
        probs = []
        for images, _ in self.loader(split, self.crop, parts):
            logits = self.model(images.to(self.device, memory_format=self.layout))
            probs.append(logits.softmax(dim=1).cpu())
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
    pool = data.pool()
    last = config.protocol.n_rounds
    for number in range(-1, last + 1):
        now = Round(number, len(pool))
        if number >= 0:
            learner.reset()
            now.fit = learner.fit(pool.labelled, stream(config.seed, "training", number))
            now.metrics = learner.evaluate(number)
            if config.acquisition == "random" and number < last:
                # for nothing, as in the released code
                learner.predict_probs(POOL, pool.unlabelled)
        if number < last:
            now.asked, now.scores = ask(learner, pool, config, number)
            pool.acquire(np.array(now.asked))
        yield now
