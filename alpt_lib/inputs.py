"""TODO: what this room holds."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from alpt_lib.datasets import Dataset
from alpt_lib.errors import DataError
from alpt_lib.files import new_array
from alpt_lib.progress import Progress

TEXTS_AT_ONCE = (
    10_000  # tokenised: a tokenizer's own results are Python objects, far larger than the token ids
)


class OnDemand:
    """(n, size, size, 3) uint8, indexed by an array of rows; what was read once is kept in memory."""

    def __init__(self, files: list[Path], size: int):
        self.files, self.size = files, size
        self._read: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        for row in rows:
            if row not in self._read:
                self._read[row] = read_image(self.files[row], self.size)
        return np.stack([self._read[row] for row in rows])


def read_image(file: Path, size: int) -> np.ndarray:
    with Image.open(file) as image:
        image = image.convert("RGB")
        if image.size != (size, size):
            image = image.resize((size, size), Image.Resampling.BILINEAR)
        return np.asarray(image)


def _decode(data: Dataset, split: str, size: int, target: Path) -> None:
    paths, what, broken = data.rows(split)["path"].tolist(), f"{data.name} {split}", []

    def read(i: int) -> None:
        try:
            array[i] = read_image(data.folder / paths[i], size)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            broken.append(paths[i])

    with (
        new_array(target, (len(paths), size, size, 3), np.uint8) as array,
        ThreadPoolExecutor(os.cpu_count()) as threads,
    ):
        progress = Progress(len(paths), f"decode {what}", "image", quiet=len(paths) < 3000)
        for _ in threads.map(read, range(len(paths))):
            progress.add(1)
        progress.close()
        if broken:
            raise DataError(
                f"{what}: {len(broken)} image(s) cannot be read (truncated or no image): "
                f"{', '.join(sorted(broken)[:5])}; replace or drop them from the manifest"
            )


class Inputs:
    """The inputs of one split, ready to be batched: (n, size, size, 3) uint8 images or (n, n_tokens) int token ids."""

    def __init__(
        self, array: np.ndarray, crop: int = 0, augment: str = "none", padding: int | None = None
    ):
        self.array, self.crop, self.augment, self.padding = array, crop, augment, padding

    def __len__(self) -> int:
        return len(self.array)

    @cached_property
    def lengths(self) -> np.ndarray:
        """(n,) tokens of each text, without the padding after it."""
        return self.array.shape[1] - (self.array[:, ::-1] != self.padding).argmax(axis=1)

    def order(self, rows: np.ndarray) -> np.ndarray:
        """Positions in `rows`: the longest texts first, so that a batch holds little padding; images as they are."""
        return (
            np.arange(len(rows))
            if self.padding is None
            else np.argsort(-self.lengths[rows], kind="stable")
        )

    def batch(
        self, rows: np.ndarray, device: torch.device, rng: np.random.Generator | None = None
    ) -> torch.Tensor:
        """One batch on the device; randomly cropped and flipped if an rng is given and the recipe augments."""
        chunk = np.array(self.array[rows])
        if self.padding is not None:  # text: no longer than the longest of this batch
            chunk = chunk[:, : self.lengths[rows].max()].astype(np.int64)
        batch = torch.from_numpy(chunk).to(device, non_blocking=True)
        return (
            batch
            if rng is None or self.augment == "none"
            else _augment(batch, self.crop, self.augment, rng)
        )

    def micro_batches(
        self, rows: np.ndarray, size: int, device: torch.device, rng: np.random.Generator
    ) -> Iterator[tuple[torch.Tensor, np.ndarray]]:
        """A training batch in parts of `size`, each with its rows; texts no longer than the longest of their part."""
        if self.padding is None:
            yield from zip(
                self.batch(rows, device, rng).split(size),
                np.split(rows, range(size, len(rows), size)),
                strict=True,
            )
            return
        rows = rows[self.order(rows)]
        for part in np.split(rows, range(size, len(rows), size)):
            yield self.batch(part, device), part


def _augment(images: torch.Tensor, crop: int, how: str, rng: np.random.Generator) -> torch.Tensor:
    """Cropped and flipped where they are, on the device; what is drawn does not depend on the device."""
    n, size = images.shape[:2]
    if how == "crop_flip" and crop < size:
        tops, lefts = rng.integers(0, size - crop + 1, (2, n))
        images = torch.stack(
            [im[t : t + crop, u : u + crop] for im, t, u in zip(images, tops, lefts, strict=True)]
        )
    is_flipped = torch.from_numpy(rng.random(n) < 0.5).to(images.device)
    return torch.where(is_flipped[:, None, None, None], images.flip(2), images)
