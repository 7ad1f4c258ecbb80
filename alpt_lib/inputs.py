"""What networks read: images decoded and texts tokenised once, kept in arrays on the disk."""

import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from alpt_lib.datasets import Dataset
from alpt_lib.errors import DataError
from alpt_lib.files import cache_folder, made_once, new_array, write_whole
from alpt_lib.pictures import decode
from alpt_lib.progress import Progress

# tokenised at once: a tokenizer's own results are Python objects, far larger than the token ids
TEXTS_AT_ONCE = 10_000


def images(data: Dataset, split: str, size: int) -> np.ndarray:
    """(n, size, size, 3) uint8, memory-mapped: decoded once, then shared by every process.

    Images that cannot be read are the dataset's to judge; where it accepts them, they are black.

    Raises:
        DataError: unreadable images, named with the reason.
    """
    target = cache_folder() / f"{data.name}_{data.fingerprint}_{split}_{size}.npy"
    refused = target.with_suffix(".unreadable.json")
    array = made_once(target, lambda: _decode_all(data, split, size, target, refused))
    if refused.exists():
        reasons = json.loads(refused.read_text(encoding="utf-8"))
        data.unreadable_images(split, {int(row): why for row, why in reasons.items()})
    return array


def _decode_all(data: Dataset, split: str, size: int, target: Path, refused: Path) -> None:
    files = data.files(split)
    reasons: dict[int, str] = {}

    def read(row: int) -> None:
        try:
            array[row] = decode(files[row], size)
        except DataError as error:
            array[row] = 0
            reasons[row] = str(error)

    with new_array(target, (len(files), size, size, 3), np.uint8) as array:
        label = f"decode {data.name} {split}"
        progress = Progress(len(files), label, "image", quiet=len(files) < 3000)
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            for done, _ in enumerate(threads.map(read, range(len(files))), 1):
                progress.add(1)
                data.working("reading the pictures", done, len(files))
        progress.close()
        if reasons:
            data.unreadable_images(split, reasons)
            write_whole(refused, json.dumps(reasons))


def tokens(
    data: Dataset,
    split: str,
    tokenize: Callable[[list[str]], np.ndarray],
    kind: str,
    padding: int,
) -> np.ndarray:
    """(n, longest) int32, memory-mapped: tokenised once, then shared by every process.

    Args:
        tokenize: texts to (n, longest) token ids. kind: hash of what it does.
        padding: token id that fills shorter texts.
    """
    target = cache_folder() / f"{data.name}_{data.fingerprint}_{split}_{kind}.npy"

    def tokenise_all() -> None:
        texts = data.rows(split)["text"].tolist()
        label = f"tokenise {data.name} {split}"
        progress = Progress(len(texts), label, "text", quiet=len(texts) <= TEXTS_AT_ONCE)
        parts = []
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            parts.append(tokenize(texts[start : start + TEXTS_AT_ONCE]).astype(np.int32))
            progress.add(len(parts[-1]))
        progress.close()
        longest = max(part.shape[1] for part in parts)
        with new_array(target, (len(texts), longest), np.int32) as array:
            array[:] = padding
            for i, part in enumerate(parts):
                array[i * TEXTS_AT_ONCE :][: len(part), : part.shape[1]] = part

    return made_once(target, tokenise_all)


class OnDemand:
    """(n, size, size, 3) uint8, indexed by an array of rows; what was read once stays in memory.

    Fine-tuning reads a few hundred images of a large pool.
    """

    def __init__(self, files: list[Path], size: int):
        self.files = files
        self.size = size
        self.shape = (len(files), size, size, 3)
        self._read: dict[int, np.ndarray] = {}

    def __getitem__(self, rows: Any) -> np.ndarray:
        for row in rows:
            if row not in self._read:
                self._read[row] = decode(self.files[row], self.size)
        return np.stack([self._read[row] for row in rows])


@dataclass(eq=False)
class Inputs:
    """The inputs of one split, ready to be batched.

    Args:
        array: (n, size, size, 3) uint8 images or (n, n_tokens) int token ids.
        crop: px. augment: see `Recipe`. padding: token id after a text's end; None for images.
    """

    array: np.ndarray | OnDemand
    crop: int = 0
    augment: str = "none"
    padding: int | None = None

    def __len__(self) -> int:
        return self.array.shape[0]

    @cached_property
    def lengths(self) -> np.ndarray:
        """(n,) tokens of each text, without the padding after it."""
        is_token = self.array[:, ::-1] != self.padding
        return self.array.shape[1] - is_token.argmax(axis=1)

    def order(self, rows: np.ndarray) -> np.ndarray:
        """Positions in `rows`: the longest texts first, so that a batch holds little padding."""
        if self.padding is None:
            return np.arange(len(rows))
        return np.argsort(-self.lengths[rows], kind="stable")

    def batch(
        self, rows: np.ndarray, device: torch.device, rng: np.random.Generator | None = None
    ) -> torch.Tensor:
        """One batch on the device; cropped and flipped at random if there is an rng."""
        chunk = np.array(self.array[rows])
        if self.padding is not None:
            # no longer than the longest text of this batch
            chunk = chunk[:, : self.lengths[rows].max()].astype(np.int64)
        batch = torch.from_numpy(chunk).to(device, non_blocking=True)
        if rng is None or self.augment == "none":
            return batch
        return _augmented(batch, self.crop, self.augment, rng)

    def micro_batches(
        self, rows: np.ndarray, size: int, device: torch.device, rng: np.random.Generator
    ) -> Iterator[tuple[torch.Tensor, np.ndarray]]:
        """A training batch in parts of `size`, each with its rows.

        Texts are no longer than the longest of their part.
        """
        cuts = range(size, len(rows), size)
        if self.padding is None:
            parts = self.batch(rows, device, rng).split(size)
            yield from zip(parts, np.split(rows, cuts), strict=True)
            return
        for part in np.split(rows[self.order(rows)], cuts):
            yield self.batch(part, device), part


def _augmented(images: torch.Tensor, crop: int, how: str, rng: np.random.Generator) -> torch.Tensor:
    """Cropped and flipped on the device; what is drawn does not depend on the device."""
    n, size = images.shape[:2]
    if how == "crop_flip" and crop < size:
        tops, lefts = rng.integers(0, size - crop + 1, (2, n))
        places = zip(images, tops, lefts, strict=True)
        images = torch.stack([im[t : t + crop, u : u + crop] for im, t, u in places])
    is_flipped = torch.from_numpy(rng.random(n) < 0.5).to(images.device)
    return torch.where(is_flipped[:, None, None, None], images.flip(2), images)
