"""Backgrounds of the miniature worlds, as (n, 32, 32, 3) in [0, 1] unless said otherwise."""

import numpy as np
import pandas as pd
from PIL import Image
from scipy.ndimage import zoom
from sklearn.datasets import load_sample_image

from mini.drawing import (
    SIZE,
    box,
    capsules,
    column,
    hsv,
    mix,
    paint,
    pixel_grid,
    shading,
    sharpen,
    texture,
    waves,
)


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


def street(in_park: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Sky above ground, (n, 32, 32, 3): mostly grass in a park, mostly pavement in a street."""
    n = len(in_park)
    _, y = pixel_grid()
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
    n = len(x)
    width = rng.uniform(0.06, 0.11, n)
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
    n = len(x)
    top = rng.uniform(-0.95, -0.5, n)
    half = rng.uniform(0.38, 0.52, n)
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


def camera_view(n: int, rng: np.random.Generator) -> np.ndarray:
    """What one camera sees, n times.

    Its own ground, trunks and light, the same in each picture up to the weather.
    """
    _, y = pixel_grid()
    fixed = np.random.default_rng(rng.integers(2**32))
    kind = fixed.choice(["streaks", "clouds", "blotches", "grating"])
    horizon = fixed.uniform(-0.6, 0.1)
    # wind moves the grass
    tone = texture(kind, np.full(n, fixed.uniform(2, 6)), np.full(n, fixed.uniform(0, 3)), rng)
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


def infrared(images: np.ndarray) -> np.ndarray:
    """A picture taken at night: grey, a little green, darker towards the corners."""
    x, y = pixel_grid()
    flash = (0.85 - 0.25 * (x**2 + y**2))[None, :, :, None]
    return images.mean(-1, keepdims=True) * flash * np.array([0.85, 1.0, 0.88], np.float32)


def photo_patches(frame: pd.DataFrame, rng: np.random.Generator) -> np.ndarray:
    """Squares of 40-100 px cut from the two photographs, shrunk to 32 px.

    Left half for the pool, right half for val.
    """
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


def written(digit: np.ndarray, side: int, rng: np.random.Generator) -> np.ndarray:
    """An 8 x 8 digit as coverage in [0, 1], enlarged to `side` pixels at a random place in (32,
    32).
    """
    canvas = np.zeros((SIZE, SIZE), np.float32)
    top, left = rng.integers(0, SIZE - side + 1, 2)
    canvas[top : top + side, left : left + side] = np.clip(
        3 * zoom(digit / 16, side / 8, order=1) - 1, 0, 1
    )
    return canvas
