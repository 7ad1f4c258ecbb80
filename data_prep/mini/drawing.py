"""Pictures from formulas: shapes, textures and colours, drawn for a whole batch at once.

Coordinates are the plane [-1, 1] x [-1, 1] with y pointing down. A shape is a signed distance
(negative inside), so that its edge is anti-aliased at any size. Everything here is numpy and
deterministic given the generator.
"""

from collections.abc import Callable
from functools import cache

import matplotlib
import numpy as np
from matplotlib import font_manager
from matplotlib.path import Path
from matplotlib.textpath import TextPath
from scipy.ndimage import distance_transform_edt

SIZE = 32  # pixels per side


@cache
def pixel_grid(size: int = SIZE, extent: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """x and y at the pixel centres of a square of side 2 * extent, each (size, size) float32."""
    line = (((np.arange(size) + 0.5) / size * 2 - 1) * extent).astype(np.float32)
    x, y = np.meshgrid(line, line)
    return x, y


def column(values: np.ndarray | float) -> np.ndarray:
    """(n,) as (n, 1, 1) float32, to broadcast over pixels."""
    return np.asarray(values, np.float32).reshape(-1, 1, 1)


# Shapes


def capsules(
    points: np.ndarray, x: np.ndarray | None = None, y: np.ndarray | None = None
) -> np.ndarray:
    """Signed distance to a union of tapered capsules ("sausages"), (n, size, size).

    Args:
        points: (n, k, 6) of x0, y0, r0, x1, y1, r1: the two ends and the radius at each.
        x, y: coordinates, (size, size) or (n, size, size); the pixel grid by default.
    """
    if x is None or y is None:
        x, y = pixel_grid()
    distance = np.full((len(points), *x.shape[-2:]), 9.0, np.float32)
    for x0, y0, r0, x1, y1, r1 in np.moveaxis(points.astype(np.float32), 0, -1)[..., None, None]:
        dx = x1 - x0
        dy = y1 - y0
        along = np.clip(((x - x0) * dx + (y - y0) * dy) / (dx * dx + dy * dy + 1e-6), 0, 1)
        here = np.hypot(x - x0 - along * dx, y - y0 - along * dy) - (r0 + along * (r1 - r0))
        np.minimum(distance, here, out=distance)
    return distance


def box(left: np.ndarray, right: np.ndarray, top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """Signed distance to axis-parallel rectangles, edges (n,) each, (n, size, size)."""
    x, y = pixel_grid()
    across = np.abs(x - column((left + right) / 2)) - column((right - left) / 2)
    down = np.abs(y - column((top + bottom) / 2)) - column((bottom - top) / 2)
    return np.maximum(across, down)


def fourier_blob(
    amplitude: np.ndarray, phase: np.ndarray, x: np.ndarray, y: np.ndarray
) -> np.ndarray:
    """Signed distance to r(angle) = 0.62 (1 + sum_k a_k cos(k angle + phase_k)), (n, size, size).

    Args:
        amplitude, phase: (n, k) for the frequencies 2, 3, ..., k + 1.
    """
    angle = np.arctan2(y, x)
    radius = 1.0
    slope = 0.0
    for k in range(amplitude.shape[1]):
        turn = (k + 2) * angle + column(phase[:, k])
        radius = radius + column(amplitude[:, k]) * np.cos(turn)
        slope = slope - column(amplitude[:, k]) * (k + 2) * np.sin(turn)
    return 0.62 * (np.hypot(x, y) / 0.62 - radius) / np.sqrt(1 + (slope / radius) ** 2)


def random_outline(
    rng: np.random.Generator, n_frequencies: int = 5
) -> tuple[np.ndarray, np.ndarray]:
    """Amplitudes (summing to 0.6: never a circle) and phases of a blob, each (n_frequencies,)."""
    share = rng.dirichlet(np.full(n_frequencies, 0.8))
    return 0.6 * share, rng.uniform(0, 2 * np.pi, n_frequencies)


def glyph(character: str, font_file: str, resolution: int = 96, extent: float = 1.25) -> np.ndarray:
    """Signed distance to a character drawn to fill [-0.95, 0.95], (resolution, resolution)."""
    font = font_manager.FontProperties(
        fname=f"{matplotlib.get_data_path()}/fonts/ttf/{font_file}.ttf"
    )
    path = TextPath((0, 0), character, size=1, prop=font)
    box = path.get_extents()
    path = Path(
        (path.vertices - (box.p0 + box.p1) / 2) * 1.9 / max(box.width, box.height), path.codes
    )
    x, y = pixel_grid(resolution, extent)
    pixels = np.column_stack([x.ravel(), -y.ravel()])
    outlines = [Path(polygon).contains_points(pixels) for polygon in path.to_polygons()]
    inside = np.logical_xor.reduce(outlines).reshape(
        x.shape
    )  # an outline within an outline is a hole
    pixel = 2 * extent / resolution
    return ((distance_transform_edt(~inside) - distance_transform_edt(inside)) * pixel).astype(
        np.float32
    )


# Colours


def hsv(hue: np.ndarray, saturation: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Colours in [0, 1], (..., 3), from hue (any real, period 1), saturation and value."""
    wheel = np.abs((np.asarray(hue)[..., None] + np.array([0, 2 / 3, 1 / 3])) % 1 * 6 - 3) - 1
    shade = 1 + np.asarray(saturation)[..., None] * (np.clip(wheel, 0, 1) - 1)
    return (shade * np.asarray(value)[..., None]).astype(np.float32)


def mix(tone: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Images (n, size, size, 3) from colour `low` to `high`, (n, 3), as tone goes from 0 to 1."""
    return low[:, None, None] + tone[..., None] * (high - low)[:, None, None]


def paint(images: np.ndarray, distance: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """Paint a shape of a colour, (n, 3) or (n, size, size, 3), over images (n, size, size, 3)."""
    cover = np.clip(0.5 - distance * images.shape[1] / 2, 0, 1)[..., None]
    colour = colour if colour.ndim == 4 else colour[:, None, None]
    return images + cover * (colour - images)


def shading(rng: np.random.Generator, n: int, strength: float = 0.3) -> np.ndarray:
    """Light falling across each image: factors near 1 that vary linearly, (n, size, size, 1)."""
    x, y = pixel_grid()
    slope = column(rng.uniform(0, strength, n)), column(rng.uniform(0, 2 * np.pi, n))
    return (1 + slope[0] * (np.cos(slope[1]) * x + np.sin(slope[1]) * y))[..., None]


def photograph(images: np.ndarray, rng: np.random.Generator, noise: float = 0.03) -> np.ndarray:
    """Images in [0, 1] as a camera returns them, uneven in light and noisy; uint8, same shape."""
    light = rng.uniform(0.8, 1.1, len(images)).astype(np.float32)[:, None, None, None]
    grain = noise * rng.standard_normal(images.shape, dtype=np.float32)
    return (np.clip(images * light + grain, 0, 1) * 255).astype(np.uint8)


# Textures: tone in [0, 1] at every pixel, (n, size, size)


def waves(
    rng: np.random.Generator,
    n: int,
    frequency: np.ndarray | float,
    angle: np.ndarray | float,
    spread: float,
    n_waves: int = 6,
) -> np.ndarray:
    """Smooth noise around 0: waves of about `frequency` that scatter by `spread` around `angle`."""
    x, y = pixel_grid()
    total = np.zeros((n, *x.shape), np.float32)
    for _ in range(n_waves):
        direction = column(angle + spread * rng.uniform(-1, 1, n))
        rate = column(np.pi * frequency * rng.uniform(0.6, 1.4, n))
        phase = column(rng.uniform(0, 2 * np.pi, n))
        total += np.sin(rate * (np.cos(direction) * x + np.sin(direction) * y) + phase)
    return total / np.sqrt(n_waves / 2)


def sharpen(wave: np.ndarray, strength: float = 3.0) -> np.ndarray:
    """A wave in about [-1, 1] to tones in [0, 1] with soft steps between two levels."""
    return np.clip(0.5 + strength * wave / 2, 0, 1)


def _rings(u: np.ndarray, v: np.ndarray, _: Callable[..., np.ndarray]) -> np.ndarray:
    across = u % (4 * np.pi) - 2 * np.pi
    down = v % (4 * np.pi) - 2 * np.pi
    return sharpen(np.sin(np.hypot(across, down / 2)), 4)


def _bricks(u: np.ndarray, v: np.ndarray, _: Callable[..., np.ndarray]) -> np.ndarray:
    shift = np.pi * (np.floor(v / np.pi) % 2)
    joints = np.minimum(np.abs(np.sin(v)), np.abs(np.sin(u / 2 + shift / 2)))
    return sharpen(joints - 0.3, 6)


def _hatching(u: np.ndarray, v: np.ndarray, _: Callable[..., np.ndarray]) -> np.ndarray:
    w = np.cos(np.pi / 3) * u + np.sin(np.pi / 3) * v
    return sharpen(np.maximum(np.sin(u), np.sin(w)) - 0.5, 6)


# tone from the phases u and v across and down, and from smooth noise (scale, spread, n_waves)
PATTERNS: dict[str, Callable[..., np.ndarray]] = {
    "grating": lambda u, v, noise: sharpen(np.sin(u)),
    "checks": lambda u, v, noise: sharpen(np.sin(u) * np.sin(v), 6),
    "dots": lambda u, v, noise: sharpen(np.cos(u) + np.cos(v) - 1, 4),
    "streaks": lambda u, v, noise: sharpen(noise(1.5, 0.25), 1),
    "clouds": lambda u, v, noise: sharpen(np.abs(noise(1, 1.0)) - 0.6, 2),
    "rings": _rings,
    "ramps": lambda u, v, noise: u / (2 * np.pi) % 1,
    "bricks": _bricks,
    "blotches": lambda u, v, noise: sharpen(noise(1, 0.6, 3), 8),
    "hatching": _hatching,
}
TEXTURES = tuple(PATTERNS)


def texture(
    kind: str, frequency: np.ndarray, angle: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Tones of one of the TEXTURES, (n, size, size).

    Args:
        frequency, angle: (n,) periods per image, radians.
    """
    n = len(frequency)
    x, y = pixel_grid()
    turn = column(angle)
    rate = column(np.pi * frequency)
    u = rate * (np.cos(turn) * x + np.sin(turn) * y) + column(rng.uniform(0, 2 * np.pi, n))
    v = rate * (np.cos(turn) * y - np.sin(turn) * x) + column(rng.uniform(0, 2 * np.pi, n))

    def noise(scale: float, spread: float, n_waves: int = 6) -> np.ndarray:
        return waves(rng, n, scale * frequency, angle, spread, n_waves)

    return PATTERNS[kind](u, v, noise)
