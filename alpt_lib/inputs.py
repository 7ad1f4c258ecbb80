"""What networks read: images decoded and texts tokenised once, kept in arrays on the disk."""

import json
import math
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from alpt_lib.datasets import Dataset
from alpt_lib.errors import DataError
from alpt_lib.files import cache_folder, made_once, new_array, write_whole
from alpt_lib.pictures import decode
from alpt_lib.progress import SLOW, Progress

# tokenised at once: a tokenizer's own results are Python objects, far larger than the token ids
TEXTS_AT_ONCE = 10_000
# share of a GPU's memory that images leave to weights, activations, and other processes
RESERVED = 0.5
# of a device, the stream that copies to it
_copy_stream = lru_cache(torch.cuda.Stream)


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
        progress = Progress(len(files), f"decode {data.name} {split}", "image", delay=SLOW)
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            for done, _ in enumerate(threads.map(read, range(len(files))), 1):
                progress.add(1)
                data.working("reading the pictures", done, len(files))
        progress.close()
        if reasons:
            data.unreadable_images(split, reasons)
            write_whole(refused, json.dumps(reasons))


def tokens(
    data: Dataset, split: str, tokenize: Callable[[list[str]], np.ndarray], kind: str, padding: int
) -> np.ndarray:
    """(n, longest) int32, memory-mapped: tokenised once, then shared by every process.

    Args:
        tokenize: texts to (n, longest) token ids. kind: hash of what it does.
        padding: token id that fills shorter texts.
    """
    target = cache_folder() / f"{data.name}_{data.fingerprint}_{split}_{kind}.npy"

    def tokenise_all() -> None:
        texts = data.rows(split)["text"].tolist()
        progress = Progress(len(texts), f"tokenise {data.name} {split}", "text", delay=SLOW)
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


class Kept:
    """(n, size, size, 3) uint8 images, indexed by an array of rows; what was read once stays.

    Args:
        read: int rows to their images, an array or a tensor. shape: of all images.
        room: bytes that further images may take; what is beyond is read again each time.
    """

    def __init__(self, read: Callable[[np.ndarray], Any], shape: tuple, room: Callable[[], int]):
        self.shape = shape
        self._read = read
        self._room = room
        self._images: dict[int, Any] = {}

    def __getitem__(self, rows: Any) -> Any:
        new = [row for row in dict.fromkeys(rows.tolist()) if row not in self._images]
        read = dict(zip(new, self._read(np.array(new)), strict=True)) if new else {}
        if new:
            n_kept = self._room() // math.prod(self.shape[1:])
            self._images.update(islice(read.items(), max(0, n_kept)))
        chosen = [read[row] if row in read else self._images[row] for row in rows.tolist()]
        return torch.stack(chosen) if isinstance(chosen[0], torch.Tensor) else np.stack(chosen)


def on_demand(files: list[Path], size: int) -> Kept:
    """Images that are decoded when they are asked for: fine-tuning reads few of a large pool."""

    def read(rows: np.ndarray) -> np.ndarray:
        return np.stack([decode(files[row], size) for row in rows])

    return Kept(read, (len(files), size, size, 3), lambda: sys.maxsize)


def on_device(array: Any, device: torch.device, room: Callable[[], int]) -> Kept:
    """Images that stay on a device once they were copied to it, while there is room."""
    return Kept(lambda rows: to_device(array[rows], device), array.shape, room)


def room_on_gpu(device: torch.device) -> int:
    """Bytes of a GPU that images may still take: half of it is left to all else, see RESERVED."""
    free, total = torch.cuda.mem_get_info(device)
    # what PyTorch has taken and does not use is free, too
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return spare(free + unused, total)


def spare(free: int, total: int) -> int:
    """Bytes that images may take of so many free ones; below 0 where too few are left already."""
    return int(free - RESERVED * total)


def to_device(array: np.ndarray, device: torch.device) -> torch.Tensor:
    """An array as a tensor on a device; a GPU goes on computing while it is copied."""
    tensor = torch.from_numpy(np.asarray(array))
    if device.type != "cuda":
        return tensor.to(device, non_blocking=True)
    copying = _copy_stream(device)
    with torch.cuda.stream(copying):
        # PyTorch holds the pinned memory until its copy is done
        copy = tensor.pin_memory().to(device, non_blocking=True)
    computing = torch.cuda.current_stream(device)
    computing.wait_stream(copying)
    copy.record_stream(computing)
    return copy


@dataclass(eq=False)
class Inputs:
    """The inputs of one split, ready to be batched.

    Args:
        array: (n, size, size, 3) uint8 images or (n, n_tokens) int token ids.
        crop: px. augment: see `Recipe`. padding: token id after a text's end; None for images.
    """

    array: np.ndarray | Kept
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
        chunk = self.array[rows]
        if self.padding is not None:
            # no longer than the longest text of this batch
            chunk = chunk[:, : self.lengths[rows].max()].astype(np.int64)
        batch = chunk if isinstance(chunk, torch.Tensor) else to_device(chunk, device)
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
