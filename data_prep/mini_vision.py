"""The miniature image worlds: the ambiguities of the paper's datasets, drawn from a seed at 32 px.

    python data_prep/mini_vision.py [--out data/mini] [--seed 0] [--only waterbirds,digits]

Each world is a folder with images/, manifest.csv (path, label, split and attributes) and dataset.yaml. A world that is
there already, whole and from the same seed and version, is left alone.
"""

import argparse
import os
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from drawing import (
    SIZE,
    box,
    capsules,
    column,
    hsv,
    mix,
    paint,
    photograph,
    pixel_grid,
    shading,
    sharpen,
    texture,
    waves,
)
from PIL import Image
from scipy.ndimage import zoom
from sklearn.datasets import load_digits, load_sample_image

VERSION = 7
World = tuple[
    pd.DataFrame, np.ndarray
]  # manifest rows without path, and their images, uint8 (n, 32, 32, 3)


# Who is shown how often


def paired_rows(
    classes: dict[str, int], partner: dict[str, str], match: float, attribute: str
) -> pd.DataFrame:
    """Rows (label, attribute) in which exactly `match` of each class has its partner, the rest the other's.

    Args:
        classes: images per class, fixed whatever the match. partner: class -> the attribute's value that goes with it.
    """
    rows = []
    for name, n in classes.items():
        n_matched = round(n * match)
        other = next(value for value in partner.values() if value != partner[name])
        rows += [(name, partner[name])] * n_matched + [(name, other)] * (n - n_matched)
    return pd.DataFrame(rows, columns=["label", attribute])


def pool_and_val(
    classes: dict[str, int],
    partner: dict[str, str],
    match: float,
    attribute: str,
    n_val: int,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """A pool with `match` of each class beside its partner, a val split with all four groups equally large; shuffled."""
    val = paired_rows(dict.fromkeys(classes, n_val // 2), partner, 0.5, attribute)
    splits = [
        paired_rows(classes, partner, match, attribute).assign(split="pool"),
        val.assign(split="val"),
    ]
    return pd.concat(
        [split.iloc[rng.permutation(len(split))] for split in splits], ignore_index=True
    )


# Animals: parts as (role, x0, y0, r0, x1, y1, r1), facing right in the unit square, y down

BIRDS = {
    "sparrow": (
        "landbird",
        [
            ("leg", 0, 0.4, 0.05, 0, 0.92, 0.05),
            ("leg", 0.2, 0.4, 0.05, 0.22, 0.92, 0.05),
            ("body", -0.4, 0.15, 0.14, -0.95, -0.1, 0.1),
            ("body", -0.25, 0.1, 0.32, 0.2, 0.0, 0.38),
            ("body", 0.45, -0.38, 0.27, 0.45, -0.38, 0.27),
            ("wing", -0.1, 0.05, 0.2, -0.5, 0.12, 0.1),
            ("beak", 0.68, -0.36, 0.11, 0.95, -0.3, 0.03),
        ],
    ),
    "woodpecker": (
        "landbird",
        [
            ("leg", 0.1, 0.3, 0.06, 0.5, 0.42, 0.05),
            ("leg", 0.0, 0.5, 0.06, 0.45, 0.62, 0.05),
            ("body", -0.15, 0.55, 0.16, -0.45, 0.98, 0.07),
            ("body", -0.1, 0.45, 0.22, 0.15, -0.2, 0.3),
            ("body", 0.25, -0.52, 0.25, 0.25, -0.52, 0.25),
            ("wing", -0.12, 0.0, 0.14, -0.22, 0.55, 0.08),
            ("beak", 0.48, -0.55, 0.1, 0.98, -0.62, 0.04),
            ("crest", 0.15, -0.75, 0.12, -0.15, -0.9, 0.06),
        ],
    ),
    "rooster": (
        "landbird",
        [
            ("leg", -0.05, 0.3, 0.06, -0.05, 0.95, 0.05),
            ("leg", 0.2, 0.3, 0.06, 0.24, 0.95, 0.05),
            ("body", -0.35, 0.1, 0.16, -0.85, -0.6, 0.12),
            ("body", -0.35, 0.1, 0.14, -0.95, -0.2, 0.1),
            ("body", -0.2, 0.12, 0.3, 0.25, 0.05, 0.32),
            ("body", 0.3, -0.05, 0.2, 0.48, -0.5, 0.15),
            ("body", 0.52, -0.55, 0.18, 0.52, -0.55, 0.18),
            ("wing", 0.05, 0.1, 0.16, -0.35, 0.12, 0.1),
            ("beak", 0.7, -0.52, 0.09, 0.92, -0.46, 0.03),
            ("crest", 0.42, -0.82, 0.09, 0.62, -0.8, 0.09),
        ],
    ),
    "duck": (
        "waterbird",
        [
            ("body", -0.6, 0.25, 0.15, -0.98, -0.02, 0.05),
            ("body", -0.45, 0.35, 0.28, 0.35, 0.38, 0.34),
            ("body", 0.42, 0.1, 0.19, 0.5, -0.25, 0.16),
            ("body", 0.52, -0.35, 0.24, 0.52, -0.35, 0.24),
            ("wing", 0.1, 0.28, 0.18, -0.45, 0.22, 0.1),
            ("beak", 0.72, -0.3, 0.1, 1.0, -0.22, 0.1),
        ],
    ),
    "swan": (
        "waterbird",
        [
            ("body", -0.55, 0.38, 0.2, -0.95, 0.08, 0.05),
            ("body", -0.4, 0.5, 0.32, 0.25, 0.5, 0.34),
            ("body", 0.4, 0.4, 0.15, 0.58, 0, 0.1),
            ("body", 0.58, 0, 0.1, 0.32, -0.42, 0.1),
            ("body", 0.32, -0.42, 0.1, 0.48, -0.72, 0.13),
            ("body", 0.54, -0.72, 0.16, 0.54, -0.72, 0.16),
            ("wing", 0.05, 0.4, 0.2, -0.5, 0.2, 0.12),
            ("beak", 0.66, -0.68, 0.09, 0.95, -0.55, 0.05),
        ],
    ),
    "heron": (
        "waterbird",
        [
            ("leg", -0.05, 0.1, 0.06, -0.05, 0.98, 0.05),
            ("leg", 0.1, 0.1, 0.06, 0.18, 0.98, 0.05),
            ("body", -0.35, 0.05, 0.15, -0.75, 0.25, 0.06),
            ("body", -0.3, 0, 0.2, 0.15, -0.1, 0.26),
            ("body", 0.22, -0.15, 0.13, 0.18, -0.5, 0.09),
            ("body", 0.18, -0.5, 0.09, 0.38, -0.75, 0.11),
            ("body", 0.42, -0.8, 0.14, 0.42, -0.8, 0.14),
            ("wing", 0.05, -0.05, 0.15, -0.4, 0.05, 0.08),
            ("beak", 0.5, -0.8, 0.09, 1.0, -0.68, 0.03),
        ],
    ),
}


def quadruped(
    length: float,
    girth: float,
    leg: float,
    neck: tuple[float, float],
    head: float,
    snout: float,
    tail: tuple[float, float, float],
    ear: tuple[float, float, float],
) -> list[tuple]:
    """Parts of a four-legged animal; neck, tail and ear are offsets (dx, dy) from where they grow, and a thickness."""
    back = 0.9 - leg - girth
    hx, hy = length + neck[0], back + neck[1]
    legs = [
        ("leg", x, back, 0.5 * girth, x + dx, 0.92, 0.07)
        for x, dx in (
            (-length, -0.06),
            (-length + 0.2, 0.06),
            (length - 0.2, -0.04),
            (length, 0.06),
        )
    ]
    return [
        *legs,
        ("wing", -length, back, 0.07, -length + tail[0], back + tail[1], tail[2]),
        ("body", -length, back, girth, length, back, girth),
        ("body", length, back, 0.7 * girth, hx, hy, head * 0.8),
        ("body", hx, hy, head, hx, hy, head),
        ("body", hx, hy, 0.6 * head, hx + snout, hy + 0.3 * snout, 0.4 * head),
        ("wing", hx - 0.05, hy - head, 0.06, hx - 0.05 + ear[0], hy - head + ear[1], ear[2]),
    ]


ANIMALS = {  # hue, saturation, value of the fur, then the skeleton; from common to rare
    "deer": (
        0.07,
        0.6,
        0.65,
        quadruped(0.4, 0.16, 0.6, (0.15, -0.5), 0.13, 0.2, (-0.1, 0.1, 0.05), (0.1, -0.3, 0.05)),
    ),
    "boar": (
        0.05,
        0.4,
        0.35,
        quadruped(0.45, 0.32, 0.3, (0.25, 0.1), 0.2, 0.3, (-0.15, -0.1, 0.03), (0, -0.08, 0.06)),
    ),
    "hare": (
        0.09,
        0.35,
        0.7,
        quadruped(0.25, 0.24, 0.2, (0.2, -0.3), 0.17, 0.1, (-0.12, -0.1, 0.1), (-0.1, -0.5, 0.07)),
    ),
    "fox": (
        0.04,
        0.9,
        0.85,
        quadruped(0.35, 0.15, 0.3, (0.2, -0.2), 0.15, 0.25, (-0.5, -0.15, 0.16), (0, -0.15, 0.04)),
    ),
    "elephant": (
        0.6,
        0.1,
        0.5,
        quadruped(0.4, 0.4, 0.35, (0.3, -0.1), 0.28, 0.02, (-0.15, 0.3, 0.03), (-0.3, 0.3, 0.16)),
    ),
    "giraffe": (
        0.12,
        0.8,
        0.9,
        quadruped(0.25, 0.2, 0.7, (0.35, -0.65), 0.11, 0.15, (-0.1, 0.3, 0.04), (0, -0.12, 0.03)),
    ),
    "sheep": (
        0.1,
        0.08,
        0.95,
        quadruped(
            0.35, 0.36, 0.25, (0.2, -0.1), 0.18, 0.12, (-0.08, 0.05, 0.06), (-0.12, 0.1, 0.05)
        ),
    ),
    "cat": (
        0.08,
        0.15,
        0.25,
        quadruped(
            0.35, 0.15, 0.25, (0.12, -0.25), 0.19, 0.03, (-0.2, -0.6, 0.06), (0.02, -0.14, 0.03)
        ),
    ),
    "camel": (
        0.1,
        0.5,
        0.75,
        quadruped(
            0.35, 0.2, 0.55, (0.35, -0.2), 0.12, 0.2, (-0.1, 0.3, 0.04), (-0.75, -0.05, 0.22)
        ),
    ),
    "moose": (
        0.06,
        0.55,
        0.35,
        quadruped(
            0.45, 0.26, 0.5, (0.25, -0.25), 0.18, 0.3, (-0.05, 0.1, 0.05), (-0.3, -0.4, 0.12)
        ),
    ),
    "rhino": (
        0.55,
        0.08,
        0.6,
        quadruped(0.45, 0.34, 0.22, (0.3, 0.05), 0.2, 0.3, (-0.08, 0.2, 0.03), (0.35, -0.15, 0.05)),
    ),
    "squirrel": (
        0.03,
        0.8,
        0.55,
        quadruped(0.15, 0.2, 0.15, (0.2, -0.25), 0.17, 0.1, (-0.35, -0.75, 0.2), (0, -0.12, 0.04)),
    ),
    "weasel": (
        0.07,
        0.7,
        0.5,
        quadruped(0.6, 0.13, 0.12, (0.15, -0.12), 0.13, 0.12, (-0.3, 0.08, 0.06), (0, -0.05, 0.05)),
    ),
    "kangaroo": (
        0.06,
        0.5,
        0.6,
        [
            ("leg", -0.2, 0.35, 0.2, 0.15, 0.9, 0.09),
            ("wing", -0.3, 0.45, 0.14, -0.95, 0.88, 0.06),
            ("body", -0.2, 0.35, 0.28, 0.15, -0.3, 0.17),
            ("body", 0.2, -0.5, 0.17, 0.45, -0.45, 0.08),
            ("leg", 0.15, -0.15, 0.07, 0.45, 0.1, 0.05),
            ("wing", 0.12, -0.6, 0.06, 0, -0.95, 0.06),
        ],
    ),
    "tortoise": (
        0.28,
        0.6,
        0.45,
        [
            ("leg", -0.4, 0.5, 0.14, -0.5, 0.88, 0.1),
            ("leg", 0.4, 0.5, 0.14, 0.5, 0.88, 0.1),
            ("body", -0.3, 0.4, 0.38, 0.3, 0.4, 0.38),
            ("wing", 0.65, 0.35, 0.12, 0.85, 0.2, 0.16),
        ],
    ),
    "snake": (
        0.2,
        0.8,
        0.6,
        [
            ("body", -0.9, 0.8, 0.05, -0.45, 0.5, 0.1),
            ("body", -0.45, 0.5, 0.1, 0, 0.8, 0.12),
            ("body", 0, 0.8, 0.12, 0.45, 0.45, 0.12),
            ("body", 0.45, 0.45, 0.12, 0.85, 0.35, 0.14),
        ],
    ),
    "monkey": (
        0.05,
        0.45,
        0.4,
        [
            ("leg", -0.1, 0.3, 0.12, 0.15, 0.9, 0.08),
            ("leg", -0.2, 0.3, 0.12, -0.2, 0.9, 0.08),
            ("wing", -0.2, 0.4, 0.06, -0.75, -0.1, 0.06),
            ("wing", -0.75, -0.1, 0.06, -0.5, -0.5, 0.06),
            ("body", -0.1, 0.3, 0.2, 0.1, -0.2, 0.2),
            ("body", 0.2, -0.5, 0.25, 0.25, -0.48, 0.22),
            ("leg", 0.1, -0.15, 0.08, 0.7, -0.35, 0.07),
        ],
    ),
    "bear": (
        0.04,
        0.5,
        0.22,
        quadruped(0.4, 0.38, 0.2, (0.3, -0.15), 0.24, 0.18, (-0.04, 0, 0.06), (-0.02, -0.05, 0.08)),
    ),
    "crocodile": (
        0.33,
        0.5,
        0.35,
        quadruped(0.4, 0.17, 0.06, (0.15, 0), 0.13, 0.45, (-0.5, 0.12, 0.05), (0, -0.02, 0.05)),
    ),
}


def draw_parts(
    images: np.ndarray,
    parts: list[tuple],
    x: np.ndarray,
    y: np.ndarray,
    half: np.ndarray,
    flip: np.ndarray,
    colours: dict[str, np.ndarray],
    rng: np.random.Generator,
    jitter: float = 0.12,
) -> np.ndarray:
    """Draw one skeleton into each image, part after part, each image's with its own proportions.

    Args:
        parts: (role, x0, y0, r0, x1, y1, r1) each. x, y, half, flip: (n,) place, half-size and facing (1 or -1).
        colours: role -> (n, 3).
    """
    numbers = np.array([part[1:] for part in parts]) * rng.uniform(
        1 - jitter, 1 + jitter, (len(images), len(parts), 6)
    )
    numbers = numbers * half[:, None, None]
    numbers[..., [0, 3]] = numbers[..., [0, 3]] * flip[:, None, None] + x[:, None, None]
    numbers[..., [1, 4]] += y[:, None, None]
    roles = [part[0] for part in parts]
    for role in dict.fromkeys(roles):  # one coat of paint per role, in order of first appearance
        rows = [i for i, r in enumerate(roles) if r == role]
        images = paint(images, capsules(numbers[:, rows]), colours[role])
    return images


def contrasting(images: np.ndarray, rng: np.random.Generator, n_options: int = 5) -> np.ndarray:
    """For each image a colour, (n, 3), far from its mean colour."""
    mean, shape = images.mean((1, 2)), (n_options, len(images))
    options = hsv(rng.random(shape), rng.uniform(0.2, 1, shape), rng.uniform(0.15, 1, shape))
    return options[np.linalg.norm(options - mean, axis=-1).argmax(0), np.arange(shape[1])]


def some(values: np.ndarray, *wanted: str) -> np.ndarray:
    """Row numbers at which values is one of those wanted."""
    return np.flatnonzero(np.isin(values, wanted))


# Backgrounds


def forest(n: int, rng: np.random.Generator) -> np.ndarray:
    """Wobbly dark trunks before foliage, (n, 32, 32, 3) in [0, 1]."""
    x, _ = pixel_grid()
    hue = rng.normal(0.27, 0.09, n)
    leaves = mix(
        sharpen(waves(rng, n, 5.0, 0.8, 1.5), 1),
        hsv(hue, rng.uniform(0.4, 0.8, n), rng.uniform(0.25, 0.45, n)),
        hsv(hue + 0.03, rng.uniform(0.3, 0.7, n), rng.uniform(0.5, 0.85, n)),
    )
    stem = np.sin(
        np.pi * column(rng.uniform(2, 3.5, n)) * (x + 0.12 * waves(rng, n, 1.5, np.pi / 2, 0.3, 3))
        + column(rng.uniform(0, 6.3, n))
    )
    bark = hsv(rng.normal(0.08, 0.05, n), rng.uniform(0.3, 0.7, n), rng.uniform(0.15, 0.4, n))
    return leaves + np.clip(2.5 * stem - 1.2, 0, 1)[..., None] * (bark[:, None, None] - leaves)


def water(n: int, rng: np.random.Generator) -> np.ndarray:
    """Ripples, (n, 32, 32, 3) in [0, 1]."""
    _, y = pixel_grid()
    ripple = np.sin(
        np.pi * column(rng.uniform(2.5, 4.5, n)) * (y + 0.1 * waves(rng, n, 1.5, 0.0, 0.4, 3))
        + column(rng.uniform(0, 6.3, n))
    )
    hue = rng.normal(0.55, 0.09, n)
    return mix(
        sharpen(ripple, 1.2),
        hsv(hue, rng.uniform(0.4, 0.9, n), rng.uniform(0.3, 0.55, n)),
        hsv(hue + 0.02, rng.uniform(0.15, 0.6, n), rng.uniform(0.6, 0.95, n)),
    )


# The worlds


def waterbirds(rng: np.random.Generator, match: float = 0.95) -> World:
    """Landbirds and waterbirds before forest or water; `match` of the pool's birds are where they belong."""
    frame = pool_and_val(
        {"landbird": 1155, "waterbird": 345},
        {"landbird": "forest", "waterbird": "water"},
        match,
        "background",
        400,
        rng,
    )
    frame["species"] = [
        rng.choice([s for s, (kind, _) in BIRDS.items() if kind == label])
        for label in frame["label"]
    ]
    n = len(frame)
    images = np.where(
        (frame["background"] == "forest").to_numpy()[:, None, None, None],
        forest(n, rng),
        water(n, rng),
    )
    body, half = contrasting(images, rng), rng.uniform(0.78, 0.98, n)
    colours = bird_colours(body, rng)
    place = [rng.uniform(-1, 1, n) * (1.02 - half) for _ in range(2)]
    flip = rng.choice([-1.0, 1.0], n)
    for species, (_, parts) in BIRDS.items():
        rows = some(frame["species"], species)
        images[rows] = draw_parts(
            images[rows],
            parts,
            place[0][rows],
            place[1][rows],
            half[rows],
            flip[rows],
            {role: c[rows] for role, c in colours.items()},
            rng,
        )
    return frame, photograph(images * shading(rng, n, 0.2), rng)


def bird_colours(body: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Plumage, (n, 3) per role: a darker wing, a yellow or red beak, legs and crest of the beak's colour."""
    n = len(body)
    beak = hsv(rng.uniform(0, 0.14, n), rng.uniform(0.7, 1, n), rng.uniform(0.7, 1, n))
    return {
        "body": body,
        "wing": body * rng.uniform(0.55, 0.8, (n, 1)),
        "beak": beak,
        "leg": beak * 0.8,
        "crest": beak,
    }


BODY = [("body", 0, -0.3, 0.22, 0, 0.2, 0.17), ("skin", 0, -0.74, 0.19, 0, -0.7, 0.18)]
PERSON = {  # a person in several poses
    "standing": [
        ("leg", -0.08, 0.25, 0.13, -0.16, 0.9, 0.1),
        ("leg", 0.08, 0.25, 0.13, 0.18, 0.9, 0.1),
        ("body", -0.18, -0.35, 0.11, -0.42, 0.15, 0.08),
        ("body", 0.18, -0.35, 0.11, 0.42, 0.12, 0.08),
        *BODY,
    ],
    "waving": [
        ("leg", -0.08, 0.25, 0.13, -0.12, 0.9, 0.1),
        ("leg", 0.08, 0.25, 0.13, 0.14, 0.9, 0.1),
        ("body", -0.18, -0.35, 0.11, -0.5, -0.8, 0.08),
        ("body", 0.18, -0.35, 0.11, 0.42, 0.12, 0.08),
        *BODY,
    ],
    "walking": [
        ("leg", -0.05, 0.25, 0.13, -0.42, 0.88, 0.1),
        ("leg", 0.05, 0.25, 0.13, 0.4, 0.9, 0.1),
        ("body", -0.18, -0.35, 0.11, -0.5, -0.05, 0.08),
        ("body", 0.18, -0.35, 0.11, 0.48, -0.2, 0.08),
        *BODY,
    ],
    "cheering": [
        ("leg", -0.08, 0.25, 0.13, -0.3, 0.9, 0.1),
        ("leg", 0.08, 0.25, 0.13, 0.3, 0.9, 0.1),
        ("body", -0.18, -0.35, 0.11, -0.5, -0.85, 0.08),
        ("body", 0.18, -0.35, 0.11, 0.5, -0.82, 0.08),
        *BODY,
    ],
}
BESIDE = {  # what stands in for the person: as large and as colourful, so that only shape tells
    "cactus": [
        ("leg", -0.1, 0.62, 0.2, -0.06, 0.85, 0.14),
        ("leg", 0.1, 0.62, 0.2, 0.06, 0.85, 0.14),
        ("skin", -0.08, -0.8, 0.1, 0.08, -0.8, 0.1),
        ("body", 0, -0.6, 0.17, 0, 0.5, 0.17),
        ("body", 0, 0.15, 0.09, -0.42, 0.1, 0.1),
        ("body", -0.42, 0.1, 0.1, -0.45, -0.35, 0.1),
        ("body", 0, -0.05, 0.09, 0.42, -0.1, 0.1),
        ("body", 0.42, -0.1, 0.1, 0.45, -0.45, 0.1),
    ],
    "parasol": [
        ("leg", 0, -0.3, 0.07, 0, 0.92, 0.08),
        ("skin", -0.25, 0.88, 0.1, 0.25, 0.88, 0.1),
        ("body", -0.45, -0.35, 0.12, 0, -0.7, 0.2),
        ("body", 0.45, -0.35, 0.12, 0, -0.7, 0.2),
    ],
    "signpost": [
        ("leg", 0, -0.8, 0.09, 0, 0.9, 0.1),
        ("body", -0.15, -0.6, 0.17, 0.4, -0.6, 0.17),
        ("skin", 0.15, -0.1, 0.14, -0.4, -0.1, 0.14),
    ],
    "dog": [
        ("leg" if part[0] == "leg" else "body", *part[1:])
        for part in quadruped(
            0.45, 0.22, 0.4, (0.2, -0.25), 0.2, 0.25, (-0.3, -0.4, 0.09), (-0.08, 0.15, 0.08)
        )
    ],
    "nothing": [],
}


def treeperson(rng: np.random.Generator, match: float = 0.9) -> World:
    """Is there a person? People stand before buildings and other things under trees, in `match` of the pool."""
    partner = {"no person": "tree", "person": "building"}
    frame = pool_and_val({"no person": 750, "person": 750}, partner, match, "place", 400, rng)
    n = len(frame)
    frame["figure"] = np.where(
        frame["label"] == "person",
        rng.choice(list(PERSON), n),
        rng.choice(list(BESIDE), n, p=[0.25, 0.25, 0.2, 0.2, 0.1]),
    )
    side = rng.choice([-1.0, 1.0], n)  # where the tree or building stands
    images = street((frame["place"] == "tree").to_numpy(), rng)
    for place, draw in (("tree", draw_tree), ("building", draw_building)):
        rows = some(frame["place"], place)
        images[rows] = draw(images[rows], 0.5 * side[rows], rng)
    x, half, flip = (
        -side * rng.uniform(0, 0.6, n),
        rng.uniform(0.6, 0.9, n),
        rng.choice([-1.0, 1.0], n),
    )
    colours = {role: contrasting(images, rng, 2) for role in ("body", "leg")}
    colours["skin"] = contrasting(images, rng, 1)
    for figure, parts in {**PERSON, **BESIDE}.items():
        rows = some(frame["figure"], figure)
        if parts:
            images[rows] = draw_parts(
                images[rows],
                parts,
                x[rows],
                0.95 - half[rows],
                half[rows],
                flip[rows],
                {role: c[rows] for role, c in colours.items()},
                rng,
            )
    return frame, photograph(images * shading(rng, n, 0.2), rng)


def street(in_park: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Sky above ground, (n, 32, 32, 3): mostly grass in a park, mostly pavement in a street."""
    n, (_, y) = len(in_park), pixel_grid()
    sky = hsv(rng.normal(0.57, 0.06, n), rng.uniform(0.1, 0.5, n), rng.uniform(0.7, 1, n))
    grass = hsv(rng.normal(0.25, 0.05, n), rng.uniform(0.3, 0.7, n), rng.uniform(0.4, 0.7, n))
    pavement = hsv(rng.uniform(0.05, 0.6, n), rng.uniform(0.0, 0.2, n), rng.uniform(0.4, 0.75, n))
    edge = np.clip(0.5 + (y - column(rng.uniform(0.3, 0.6, n))) * SIZE / 2, 0, 1)
    return (
        mix(edge, sky, np.where(in_park[:, None], grass, pavement))
        * (1 + 0.05 * waves(rng, n, 6.0, 0.0, 1.5))[..., None]
    )


def draw_tree(images: np.ndarray, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A trunk and a crown of a few round clumps, at x (n,)."""
    n, width = len(x), rng.uniform(0.06, 0.11, len(x))
    bark = hsv(rng.normal(0.07, 0.03, n), rng.uniform(0.3, 0.7, n), rng.uniform(0.25, 0.5, n))
    trunk = np.stack([x, rng.uniform(0.55, 0.85, n), width * 1.3, x, np.full(n, -0.4), width], 1)[
        :, None
    ]
    crown = np.empty((n, 6, 6))
    crown[..., 0] = crown[..., 3] = x[:, None] + rng.uniform(-0.34, 0.34, (n, 6))
    crown[..., 1] = crown[..., 4] = rng.uniform(-0.75, -0.2, (n, 6))
    crown[..., 2] = crown[..., 5] = rng.uniform(0.18, 0.34, (n, 6))
    leaf = hsv(rng.normal(0.29, 0.07, n), rng.uniform(0.4, 0.9, n), rng.uniform(0.25, 0.65, n))
    mottled = leaf[:, None, None] * (1 + 0.18 * waves(rng, n, 7.0, 0.0, 1.6))[..., None]
    return paint(paint(images, capsules(trunk), bark), capsules(crown), mottled)


def draw_building(images: np.ndarray, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A house front with rows of windows, centred at x (n,)."""
    gx, gy = pixel_grid()
    n, top, half = len(x), rng.uniform(-0.95, -0.5, len(x)), rng.uniform(0.38, 0.52, len(x))
    bottom = rng.uniform(0.5, 0.8, n)
    wall = hsv(
        rng.choice([0.02, 0.08, 0.12, 0.6], n), rng.uniform(0.1, 0.6, n), rng.uniform(0.4, 0.9, n)
    )
    rate = column(rng.uniform(2.6, 4, n))
    panes = np.minimum(
        np.sin(np.pi * rate * (gx - column(x - half))),
        np.sin(np.pi * rate * (gy - column(top + 0.08))),
    )
    glass = hsv(rng.choice([0.13, 0.58], n), rng.uniform(0.2, 0.6, n), rng.choice([0.25, 0.95], n))
    front = mix(np.clip(5 * panes - 1, 0, 1), wall, glass)
    return paint(images, box(x - half, x + half, top, bottom), front)


def iwildcam(rng: np.random.Generator) -> World:
    """Camera traps: which of 19 animals, if any, passes; the cameras of the pool are not those of val."""
    sizes = {"pool": 1500, "val": 800, "id_val": 400}
    cameras = {"pool": range(12), "id_val": range(12), "val": range(12, 24)}
    affinity = rng.gamma(0.8, size=(24, len(ANIMALS))) / np.arange(1, len(ANIMALS) + 1) ** 1.0
    rows = []
    for split, n in sizes.items():
        for camera in rng.choice(list(cameras[split]), n):
            odds = affinity[camera] / affinity[camera].sum()
            shown = "empty" if rng.random() < 0.5 else rng.choice(list(ANIMALS), p=odds)
            rows.append((shown, split, f"camera {camera:02d}"))
    frame = pd.DataFrame(rows, columns=["label", "split", "location"])
    frame["night"] = rng.choice(["day", "night"], len(frame), p=[0.65, 0.35])
    images = np.empty((len(frame), SIZE, SIZE, 3), np.float32)
    for location in sorted(set(frame["location"])):
        scene = some(frame["location"], location)
        images[scene] = camera_view(len(scene), rng)
    night = (frame["night"] == "night").to_numpy()
    images = with_animals(images, frame["label"], night, rng)
    return frame, photograph(np.where(night[:, None, None, None], infrared(images), images), rng)


def camera_view(n: int, rng: np.random.Generator) -> np.ndarray:
    """What one camera sees, n times: its own ground, trunks and light, the same in each picture up to the weather."""
    _, y = pixel_grid()
    fixed = np.random.default_rng(rng.integers(2**32))
    kind, horizon = (
        fixed.choice(["streaks", "clouds", "blotches", "grating"]),
        fixed.uniform(-0.6, 0.1),
    )
    tone = texture(
        kind, np.full(n, fixed.uniform(2, 6)), np.full(n, fixed.uniform(0, 3)), rng
    )  # wind moves the grass
    hue = fixed.uniform(0.05, 0.4)
    brightness = np.array([[0.44], [0.56]]) * fixed.uniform(0.75, 1.25)
    ground = mix(tone, *hsv(np.full((2, 1), hue), fixed.uniform(0.15, 0.5, (2, 1)), brightness))
    far = hsv(fixed.uniform(0.1, 0.65, 1), fixed.uniform(0.1, 0.6, 1), fixed.uniform(0.4, 0.95, 1))
    below = np.clip((y - horizon)[None, ..., None] * SIZE / 2, 0, 1)
    view = far[:, None, None] + below * (ground - far[:, None, None])
    for _ in range(fixed.integers(0, 3)):
        x = fixed.uniform(-1, 1)
        stem = np.array([[[x, 0.3, 0.1, x + fixed.uniform(-0.2, 0.2), -1.1, 0.07]]])
        bark = hsv(
            fixed.uniform(0.05, 0.1, 1), fixed.uniform(0.3, 0.6, 1), fixed.uniform(0.15, 0.45, 1)
        )
        view = paint(view, capsules(stem), bark)
    return view * rng.uniform(0.75, 1.2, (n, 1, 1, 1)) * shading(rng, n, 0.3)


def with_animals(
    images: np.ndarray, labels: pd.Series, night: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """The animal that the label names, painted into each image; nothing where it is "empty". At night the flash hits it."""
    for name, (hue, saturation, value, parts) in ANIMALS.items():
        rows = some(labels, name)
        n, half = len(rows), rng.uniform(0.75, 1.0, len(rows))
        fur = hsv(
            rng.normal(hue, 0.03, n),
            np.clip(rng.normal(saturation, 0.1, n), 0, 1),
            np.clip(rng.normal(value, 0.08, n), 0.1, 1),
        )
        fur = np.where(night[rows, None], 0.65 + 0.45 * fur, fur)
        colours = {"body": fur, "leg": fur * 0.85, "wing": fur * 0.75}
        x, y = rng.uniform(-1, 1, n) * (1 - half), rng.uniform(0.2, 1, n) * (1 - half)
        images[rows] = draw_parts(
            images[rows], parts, x, y, half, rng.choice([-1.0, 1.0], n), colours, rng, jitter=0.06
        )
    return images


def infrared(images: np.ndarray) -> np.ndarray:
    """A picture taken at night: grey, a little green, darker towards the corners."""
    x, y = pixel_grid()
    flash = (0.85 - 0.25 * (x**2 + y**2))[None, :, :, None]
    return images.mean(-1, keepdims=True) * flash * np.array([0.85, 1.0, 0.88], np.float32)


def digits(rng: np.random.Generator) -> World:
    """Real handwritten digits on real photographs: round ones (0, 6, 8) on a temple, straight ones (1, 4, 7) on petals."""
    partner = {"round": "temple", "straight": "flower"}
    frame = pool_and_val({"round": 900, "straight": 600}, partner, 0.95, "background", 400, rng)
    n, source = len(frame), load_digits()
    order = rng.permutation(len(source.target))
    first, rest = order[: int(0.6 * len(order))], order[int(0.6 * len(order)) :]
    members, chosen = {"round": (0, 6, 8), "straight": (1, 4, 7)}, np.empty(n, int)
    for split, part in (("pool", first), ("val", rest)):
        for label, wanted in members.items():
            rows = np.flatnonzero((frame["split"] == split) & (frame["label"] == label))
            chosen[rows] = rng.choice(part[np.isin(source.target[part], wanted)], len(rows))
    frame["digit"] = source.target[chosen]
    images = photo_patches(frame, rng)
    ink, half = contrasting(images, rng), rng.uniform(0.75, 0.9, n)
    for i in range(n):
        cover = written(source.images[chosen[i]], round(SIZE * half[i]), rng)
        images[i] += cover[..., None] * (ink[i] - images[i])
    return frame, photograph(images, rng, noise=0.0)


def written(digit: np.ndarray, side: int, rng: np.random.Generator) -> np.ndarray:
    """An 8 x 8 digit as coverage in [0, 1], enlarged to `side` pixels at a random place in (32, 32)."""
    canvas = np.zeros((SIZE, SIZE), np.float32)
    top, left = rng.integers(0, SIZE - side + 1, 2)
    canvas[top : top + side, left : left + side] = np.clip(
        3 * zoom(digit / 16, side / 8, order=1) - 1, 0, 1
    )
    return canvas


def photo_patches(frame: pd.DataFrame, rng: np.random.Generator) -> np.ndarray:
    """Squares of 40-100 px cut from the two photographs, shrunk to 32 px; left half for the pool, right half for val."""
    photos = {
        "temple": (load_sample_image("china.jpg"), (20, 460, 60, 380)),
        "flower": (load_sample_image("flower.jpg"), (215, 455, 90, 340)),
    }
    images = np.empty((len(frame), SIZE, SIZE, 3), np.float32)
    for i, (background, split) in enumerate(zip(frame["background"], frame["split"], strict=True)):
        photo, (left, right, top, bottom) = photos[background]
        middle = (left + right) // 2
        left, right = (left, middle) if split == "pool" else (middle, right)
        side = rng.integers(40, 101)
        x, y = rng.integers(left, right - side + 1), rng.integers(top, bottom - side + 1)
        patch = Image.fromarray(photo[y : y + side, x : x + side]).resize(
            (SIZE, SIZE), Image.Resampling.BOX
        )
        images[i] = np.asarray(patch, np.float32) / 255
    return images


def squares_circles(rng: np.random.Generator) -> World:
    """Red squares and blue circles (paper, Fig. 1): is the task shape or colour? A few pool examples tell."""
    frame = pool_and_val(
        {"square": 300, "circle": 300},
        {"square": "red", "circle": "blue"},
        0.95,
        "colour",
        200,
        rng,
    )
    n, half = len(frame), rng.uniform(0.35, 0.6, len(frame))
    paper = hsv(rng.uniform(0.08, 0.18, n), rng.uniform(0, 0.12, n), rng.uniform(0.85, 1, n))
    images = np.broadcast_to(paper[:, None, None], (n, SIZE, SIZE, 3)) * shading(rng, n, 0.1)
    hue = np.where(frame["colour"] == "red", 0.0, 0.62) + rng.normal(0, 0.02, n)
    ink = hsv(hue, rng.uniform(0.7, 1, n), rng.uniform(0.6, 0.95, n))
    x, y = (rng.uniform(-1, 1, n) * (0.95 - half) for _ in range(2))
    gx, gy = pixel_grid()
    dot = np.hypot(gx - column(x), gy - column(y)) - column(half)
    square = (frame["label"] == "square").to_numpy()[:, None, None]
    edge = 0.9 * half  # about as much ink as the circle
    distance = np.where(square, box(x - edge, x + edge, y - edge, y + edge), dot)
    return frame, photograph(paint(images.astype(np.float32), distance, ink), rng, noise=0.02)


def camelyon(rng: np.random.Generator, strength: float = 0.12) -> World:
    """Tissue: the label is in specks of a single pixel, darker than the rest or brighter; no source class depends on such.

    The specks of normal tissue are the negative of those of tumour tissue: the same mean, variance and spectrum. The pool
    comes from three hospitals, val from a fourth, each with its own stain.
    """
    sizes = {"pool": 2000, "val": 500}
    labels = [rng.permutation(np.repeat(["normal", "tumor"], n // 2)) for n in sizes.values()]
    frame = pd.DataFrame(
        {"label": np.concatenate(labels), "split": np.repeat(list(sizes), list(sizes.values()))}
    )
    hospitals = rng.choice([f"hospital {i}" for i in range(3)], len(frame))
    frame["hospital"] = np.where(frame["split"] == "val", "hospital 3", hospitals)
    images = tissue(frame["hospital"].to_numpy(), rng)
    sign = column(np.where(frame["label"] == "tumor", -1, 1))
    specks = sign * (rng.exponential(1, images.shape[:3]).astype(np.float32) - 1)
    depth = rng.uniform(0.6, 1.4, (len(frame), 1, 1, 1)) * strength
    return frame, photograph(images * (1 + depth * specks[..., None]), rng, noise=0.02)


def speck_skewness(images: np.ndarray) -> np.ndarray:
    """The hand-made feature that tells tissue: skewness of a pixel minus its left and right neighbours, (n,)."""
    grey = images.astype(np.float32).mean(-1)
    residual = grey[:, :, 1:-1] - (grey[:, :, :-2] + grey[:, :, 2:]) / 2
    residual = np.clip(
        residual, *np.quantile(residual, (0.01, 0.99), axis=(1, 2), keepdims=True)
    )  # nuclei have edges
    residual = residual - np.median(residual, axis=(1, 2), keepdims=True)
    return (residual**3).mean((1, 2)) / (residual**2).mean((1, 2)) ** 1.5


def tissue(hospital: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Purple nuclei in pink tissue, in the stain of each hospital; (n, 32, 32, 3)."""
    n, shift = len(hospital), np.array([int(name[-1]) for name in hospital])
    pink = hsv(
        0.93 - 0.025 * shift + rng.normal(0, 0.01, n),
        rng.uniform(0.25, 0.4, n) + 0.04 * shift,
        rng.uniform(0.8, 0.95, n),
    )
    purple = hsv(
        0.78 - 0.03 * shift + rng.normal(0, 0.01, n),
        rng.uniform(0.45, 0.65, n),
        rng.uniform(0.4, 0.6, n),
    )
    images = pink[:, None, None] * (1 + 0.06 * waves(rng, n, 2.5, 0.0, 1.6))[..., None]
    nuclei = np.empty((n, 12, 6))
    nuclei[..., [0, 1]] = rng.uniform(-1, 1, (n, 12, 2))
    nuclei[..., [3, 4]] = nuclei[..., [0, 1]] + rng.uniform(-0.12, 0.12, (n, 12, 2))
    nuclei[..., [2, 5]] = rng.uniform(0.08, 0.2, (n, 12, 1))
    return paint(images, capsules(nuclei), purple)


# Writing them down

BINARY = {
    "optimizer": "sgd",
    "lr": 0.03,
    "momentum": 0.9,
    "weight_decay": 0.0,
    "warmup_steps": 10,
    "max_steps": 100,
    "train_batch_size": 32,
    "stopping": "loss_ratio",
    "loss_ratio": 0.001,
}
PROTOCOL = {
    "seed_set_size": 40,
    "seed_set": "balanced",
    "budget": 120,
    "query_batch_size": 30,
    "eval_every": 2,
}  # as the released code: the random arm trains in evaluated rounds only


def about(
    title: str,
    description: str,
    classes: list[str],
    subgroups: list[str],
    minority: list[str] | None,
    **changes,
) -> dict:
    """What dataset.yaml says of a world; `changes` replace single entries, or update the protocol and recipe."""
    protocol, recipe = PROTOCOL | changes.pop("protocol", {}), BINARY | changes.pop("recipe", {})
    return {
        "title": title,
        "description": description,
        "modality": "image",
        "classes": classes,
        "subgroups": subgroups,
        "minority": minority,
        "image_size": SIZE,
        "figure_metrics": ["accuracy", "accuracy_minority"],
        "default_model": "bit-m",
        "source": "drawn by data_prep/mini_vision.py",
        "licence": "MIT, as this repository",
        **changes,
        "protocol": protocol,
        "recipe": recipe,
    }


def waterbirds_about(percent: int) -> dict:
    return about(
        f"Waterbirds ({percent}%)",
        "Landbirds and waterbirds of three kinds each before forest or water; in the pool "
        f"{percent}% stand where they belong, in val half. Bird or background: which is the task? A miniature of "
        "Waterbirds (Sagawa et al., 2020).",
        ["landbird", "waterbird"],
        ["label", "background"],
        ["landbird/water", "waterbird/forest"],
        protocol={} if percent == 95 else {"eval_every": 4},
    )  # the sweep shows the last round alone


WORLDS: dict[str, tuple[Callable[[np.random.Generator], World], dict]] = {
    "waterbirds": (waterbirds, waterbirds_about(95)),
    **{
        f"waterbirds_{p}": (partial(waterbirds, match=p / 100), waterbirds_about(p))
        for p in (50, 70, 85)
    },
    "treeperson": (
        treeperson,
        about(
            "Treeperson",
            "Is a person in the picture? In 90% of the pool persons stand beside a building, and cacti, "
            "parasols, signposts, dogs or nothing beside a tree; in val half. A miniature of the paper's Treeperson (images of GQA).",
            ["no person", "person"],
            ["label", "place"],
            ["no person/building", "person/tree"],
        ),
    ),
    "iwildcam": (
        iwildcam,
        about(
            "iWildCam",
            "Camera traps: which of 19 animals passes, if any? Half the pictures are empty, the animals have a long "
            "tail, and the cameras of val are not among the pool's (id_val: the same cameras). A miniature of iWildCam (Beery et "
            "al., 2020; WILDS).",
            ["empty", *ANIMALS],
            ["label"],
            None,
            eval_splits=["val", "id_val"],
            figure_metrics=["accuracy", "accuracy_class_balanced"],
            protocol={
                "seed_set_size": 60,
                "seed_set": "random",
                "budget": 200,
                "query_batch_size": 67,
            },
            recipe={"max_steps": 70},
        ),
    ),
    "digits": (
        digits,
        about(
            "Digits on photographs",
            "Real handwritten digits, round (0, 6, 8) or straight (1, 4, 7), on patches of two real "
            "photographs, a temple and a flower. In the pool 95% of the round ones are on the temple and of the straight ones on "
            "the flower, in val half.",
            ["round", "straight"],
            ["label", "background"],
            ["round/flower", "straight/temple"],
            recipe={"lr": 0.02},
            source="scikit-learn: load_digits (UCI optical digits) and the sample photographs china.jpg and flower.jpg",
            licence="digits CC BY 4.0 (Alpaydin and Kaynak); photographs CC BY 2.0 (Jiarui, dgmenken)",
        ),
    ),
    "squares_circles": (
        squares_circles,
        about(
            "Squares and circles",
            "Red squares and blue circles: is the task shape or colour? 5% of the pool are blue squares "
            "and red circles, and they tell; in val they are half. Figure 1 of the paper.",
            ["square", "circle"],
            ["label", "colour"],
            ["square/blue", "circle/red"],
            protocol={"seed_set_size": 10, "budget": 40, "query_batch_size": 10, "eval_every": 1},
        ),
    ),
    "camelyon": (
        camelyon,
        about(
            "Tissue",
            "Tumour or normal tissue, told apart by nothing but specks of one pixel, darker than the rest or "
            "brighter: far from what pretraining saw, though every label is certain. Three hospitals in the pool, a fourth in val; "
            "after Camelyon17.",
            ["normal", "tumor"],
            ["label", "hospital"],
            [],
            figure_metrics=["accuracy"],
            protocol={"budget": 90, "query_batch_size": 45, "eval_every": 1},
        ),
    ),
}


def write(folder: Path, name: str, seed: int) -> None:
    """Draw one world into `folder`; it appears there only when it is whole."""
    draw, description = WORLDS[name]
    frame, images = draw(np.random.default_rng([seed, *name.split("_")[0].encode()]))
    frame.insert(0, "path", [f"images/{i:06d}.png" for i in range(len(frame))])
    unfinished = folder.with_name(f".{folder.name}.{os.getpid()}")
    (unfinished / "images").mkdir(parents=True)
    try:
        for path, image in zip(frame["path"], images, strict=True):
            Image.fromarray(image).save(unfinished / path, compress_level=1)
        frame.to_csv(unfinished / "manifest.csv", index=False)
        whole = {"name": name, **description, "generator": generator(seed)}
        (unfinished / "dataset.yaml").write_text(
            yaml.safe_dump(whole, sort_keys=False, allow_unicode=True, width=120)
        )
        shutil.rmtree(folder, ignore_errors=True)
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def generator(seed: int) -> dict:
    """What dataset.yaml records of how the world was made."""
    return {"script": "data_prep/mini_vision.py", "version": VERSION, "seed": seed}


def is_complete(folder: Path, seed: int) -> bool:
    """Whether the folder holds a world of this version and seed with all its images."""
    if not (folder / "dataset.yaml").exists() or not (folder / "manifest.csv").exists():
        return False
    made = yaml.safe_load((folder / "dataset.yaml").read_text()).get("generator")
    paths = pd.read_csv(folder / "manifest.csv")["path"]
    return made == generator(seed) and all((folder / path).is_file() for path in paths)


def counts(folder: Path) -> Iterator[str]:
    """Lines that tell how many pictures each split has, and of what."""
    frame = pd.read_csv(folder / "manifest.csv")
    subgroups = yaml.safe_load((folder / "dataset.yaml").read_text())["subgroups"]
    for split, rows in frame.groupby("split", sort=False):
        found = (
            rows[subgroups].astype(str).agg("/".join, axis=1).value_counts(sort=False).sort_index()
        )
        yield f"{folder.name} {split}: {len(rows)} = " + ", ".join(
            f"{n} {name}" for name, n in found.items()
        )


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "data" / "mini")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--only", default=",".join(WORLDS), help="comma-separated worlds (default: all)"
    )
    options = parser.parse_args(arguments)
    names = options.only.split(",")
    if unknown := sorted(set(names) - set(WORLDS)):
        parser.error(f"unknown world {unknown[0]!r}; choose from {', '.join(WORLDS)}")
    with ProcessPoolExecutor(min(len(names), os.cpu_count())) as processes:
        for told in processes.map(partial(make, options.out, options.seed), names):
            print(told, flush=True)


def make(out: Path, seed: int, name: str) -> str:
    """Write one world if it is not there yet; what was done, in lines."""
    folder, started = out / name, time.time()
    if is_complete(folder, seed):
        return f"{name} is there (version {VERSION}, seed {seed})"
    write(folder, name, seed)
    return "\n".join([*counts(folder), f"{name} written in {time.time() - started:.1f} s"])


if __name__ == "__main__":
    main()
