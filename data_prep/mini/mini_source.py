"""The source task of the miniature vision models: an endless stream of procedural pictures.

A picture shows an object of one of 200 classes (60 Fourier blobs, 60 glyphs in 7 fonts, 80
creatures made of capsules) in any colour on one of 60 textures, sometimes with a second, smaller
object. The network names all factors at once. No class of a target world is among them: no digits
or their look-alikes, no two-legged birds, no persons, no trees, no squares or circles. The narrow
source (for "S") keeps 12 blobs, 12 glyphs and 12 textures, and no creatures.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from mini.drawing import (
    TEXTURES,
    capsules,
    column,
    fourier_blob,
    glyph,
    hsv,
    mix,
    paint,
    photograph,
    pixel_grid,
    random_outline,
    shading,
    texture,
)

GLYPHS = "ACEFGHJKLMNPRTUVWXYadefghkmnrtyαβγδλμπψωΓΔΛΞΣΨΩ&@#%?!+§€÷<∞£"
FONTS = (
    "DejaVuSans",
    "DejaVuSans-Bold",
    "DejaVuSans-Oblique",
    "DejaVuSansMono",
    "DejaVuSerif",
    "STIXGeneral",
    "STIXGeneralBol",
)
FREQUENCIES, ANGLES = (2.5, 5.0), (0.2, 1.25, 2.3)  # periods per image, radians
EXTENT, RESOLUTION, VARIANTS = 1.25, 48, 7  # of the distance fields kept in memory
FACTORS = {  # name: (number of values, weight of its loss)
    "object": (200, 1.0),
    "second": (201, 0.3),
    "texture": (60, 0.6),
    "hue_low": (8, 0.2),
    "hue_high": (8, 0.1),
    "hue_object": (8, 0.3),
    "position": (9, 0.3),
    "size": (3, 0.2),
}


def creature(kind: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Skeleton of a random creature facing right: body and accent.

    Returns:
        (k, 6) each, capsules as in `drawing.capsules`.
    """
    body, accent = KINDS[kind](rng.uniform)
    return np.array(body), np.array(accent)


def _quadruped(u: Callable[..., float]) -> tuple[list, list]:
    length = u(0.35, 0.55)
    girth = u(0.1, 0.28)
    leg = u(0.25, 0.6)
    back = u(-0.3, 0.0)
    head_x = length + u(0.1, 0.3)
    head_y = back - u(-0.05, 0.55)
    head = u(0.1, 0.2)
    paw = back + girth + leg
    legs = [
        [x, back, 0.5 * girth, x + u(-0.1, 0.1), paw, u(0.04, 0.09)]
        for x in (-length, 0.1 - length + u(0, 0.15), length - 0.1 - u(0, 0.15), length)
    ]
    body = [
        [-length, back, girth, length, back, girth * u(0.7, 1.2)],
        [length, back, 0.7 * girth, head_x, head_y, head],
        [head_x, head_y, head, head_x + u(0.05, 0.3), head_y + u(0, 0.12), u(0.04, 0.1)],
        [-length, back, 0.06, -length - u(0.1, 0.4), back + u(-0.5, 0.3), u(0.03, 0.12)],
        *legs,
    ]
    ear = head_y - head
    accent = [head_x, ear, 0.05, head_x + u(-0.12, 0.1), ear - u(0.05, 0.35), u(0.03, 0.09)]
    return body, [accent]


def _fish(u: Callable[..., float]) -> tuple[list, list]:
    length = u(0.4, 0.65)
    girth = u(0.14, 0.4)
    nose = u(0.04, 0.2)
    tail = u(0.15, 0.5)
    body = [
        [-length, 0, u(0.03, 0.1), 0.1, 0, girth],
        [0.1, 0, girth, length, u(-0.1, 0.1), nose],
        [-length, 0, 0.06, -length - 0.25, -tail, u(0.03, 0.1)],
        [-length, 0, 0.06, -length - 0.25, tail, 0.06],
    ]
    accent = [
        [u(-0.3, 0), -girth, 0.08, u(-0.5, 0.2), -girth - u(0.1, 0.35), 0.04],
        [u(-0.2, 0.3), girth, 0.07, u(-0.4, 0.2), girth + u(0.02, 0.3), 0.04],
    ]
    return body, accent


def _insect(u: Callable[..., float]) -> tuple[list, list]:
    head = u(0.1, 0.2)
    thorax = u(0.1, 0.24)
    belly = u(0.12, 0.32)
    reach = u(0.35, 0.7)
    spread = u(-0.2, 0.35)
    body = [
        [0.5, 0, head, 0.5, 0, head],
        [0.15, 0, thorax, 0.25, 0, thorax],
        [-0.6, 0, belly * u(0.4, 1), -0.2, 0, belly],
    ]
    body += [
        [0.2, 0, 0.04, 0.2 + (i - 1) * (0.25 + spread), side * reach, 0.035]
        for i in range(3)
        for side in (-1, 1)
    ]
    accent = [
        [0.55, side * 0.05, 0.03, 0.75 + u(0, 0.2), side * u(0.1, 0.5), 0.03] for side in (-1, 1)
    ]
    if u() < 0.5:
        accent += [
            [0.1, side * 0.1, 0.06, -0.3, side * u(0.4, 0.7), u(0.08, 0.22)] for side in (-1, 1)
        ]
    return body, accent


KINDS = {"quadruped": _quadruped, "fish": _fish, "insect": _insect}


def jitter(points: np.ndarray, rng: np.random.Generator, amount: float = 0.1) -> np.ndarray:
    """Individuals of a species: (VARIANTS, k, 6), each number off by up to `amount` of itself."""
    return points * rng.uniform(1 - amount, 1 + amount, (VARIANTS, *points.shape))


def normalised(distance: np.ndarray, x: np.ndarray, y: np.ndarray) -> float:
    """The factor by which shapes given by distances (..., size, size) must shrink to fit into the
    unit square.
    """
    inside = distance < 0
    return max(
        np.abs(x[None].repeat(len(inside), 0)[inside]).max(),
        np.abs(y[None].repeat(len(inside), 0)[inside]).max(),
    )


def object_bank(
    n_blobs: int, n_glyphs: int, n_creatures: int, rng: np.random.Generator
) -> tuple[np.ndarray, list[str]]:
    """Distance fields (classes, VARIANTS, 2, RESOLUTION, RESOLUTION), channels body and accent, and
    class names.
    """
    x, y = pixel_grid(RESOLUTION, EXTENT)
    nothing = np.full((VARIANTS, RESOLUTION, RESOLUTION), 9.0, np.float32)
    fields = []
    names = []
    for i in range(n_blobs):
        amplitude, phase = random_outline(rng)
        blob = fourier_blob(
            amplitude * rng.uniform(0.85, 1.15, (VARIANTS, 5)),
            phase[None].repeat(VARIANTS, 0),
            x,
            y,
        )
        fields.append((blob, nothing))
        names.append(f"blob {i}")
    for character in GLYPHS[:n_glyphs]:
        letters = [glyph(character, font, 2 * RESOLUTION, EXTENT) for font in FONTS]
        halves = np.stack(letters).reshape(VARIANTS, RESOLUTION, 2, RESOLUTION, 2).mean((2, 4))
        fields.append((halves, nothing))
        names.append(f"glyph {character}")
    for i in range(n_creatures):
        kind = list(KINDS)[i % 3]
        body, accent = (jitter(part, rng) for part in creature(kind, rng))
        grow = normalised(np.minimum(capsules(body, x, y), capsules(accent, x, y)), x, y)
        fields.append(
            (capsules(body, x * grow, y * grow) / grow, capsules(accent, x * grow, y * grow) / grow)
        )
        names.append(f"{kind} {i // 3}")
    return np.stack([np.stack(pair, 1) for pair in fields]).astype(np.float32), names


def stamp(
    fields: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    half: np.ndarray,
    turn: np.ndarray,
    flip: np.ndarray,
) -> np.ndarray:
    """Distances (n, 2, size, size) of shapes with fields (n, 2, r, r) put at x, y with half-size
    `half`, turned.
    """
    gx, gy = pixel_grid()
    u = (gx - column(x)) / column(half * EXTENT)
    v = (gy - column(y)) / column(half * EXTENT)
    c = column(np.cos(turn))
    s = column(np.sin(turn))
    grid = np.stack([column(flip) * (c * u + s * v), c * v - s * u], -1).astype(np.float32)
    looked_up = F.grid_sample(
        torch.from_numpy(fields), torch.from_numpy(grid), padding_mode="border", align_corners=False
    )
    outside = (np.abs(grid) > 1).any(-1)[:, None]
    return np.where(outside, 9.0, looked_up.numpy() * column(half)[:, None])


@dataclass
class SourceTask:
    """Stream of (images, labels). Broad for the models "M", narrow for "S"."""

    broad: bool = True

    def __post_init__(self) -> None:
        counts = (60, 60, 80) if self.broad else (12, 12, 0)
        self.bank, self.objects = object_bank(*counts, np.random.default_rng(7))
        self.textures = [(k, f, a) for k in TEXTURES for f in FREQUENCIES for a in ANGLES]
        if not self.broad:
            self.textures = self.textures[::5]

    def batch(self, n: int, rng: np.random.Generator) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """n pictures, uint8 (n, 32, 32, 3), and for each of the FACTORS the value in each picture,
        (n,) int64.
        """
        labels = {
            "object": rng.integers(len(self.bank), size=n),
            "texture": rng.integers(len(self.textures), size=n),
        }
        images, colours = self._background(labels, rng)
        second = rng.integers(len(self.bank), size=n)
        shown = rng.random(n) < 0.3
        labels["second"] = np.where(shown, second, FACTORS["second"][0] - 1)
        half = rng.uniform(0.37, 0.9, n)
        x, y = (rng.uniform(-1, 1, n) * np.maximum(0.12, 1 - half) for _ in range(2))
        # the second object stands where there is room
        angle = np.arctan2(-y, -x) + rng.uniform(-0.6, 0.6, n)
        images = self._object(
            images,
            second,
            x + 0.9 * np.cos(angle),
            y + 0.9 * np.sin(angle),
            np.where(shown, 0.3, 0.01),
            self._contrasting(colours, rng)[0],
            rng,
        )
        colour, labels["hue_object"] = self._contrasting(colours, rng)
        images = self._object(images, labels["object"], x, y, half, colour, rng)
        labels["position"] = np.digitize(x, (-0.2, 0.2)) + 3 * np.digitize(y, (-0.2, 0.2))
        labels["size"] = np.digitize(half, (0.55, 0.72))
        return photograph(images * shading(rng, n), rng), labels

    def _background(self, labels: dict, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        n = len(labels["texture"])
        hues = rng.random((2, n))
        labels["hue_low"], labels["hue_high"] = (hues * 8).astype(int)
        colours = hsv(
            hues,
            rng.uniform(0.15, 0.9, (2, n)),
            np.stack([rng.uniform(0.1, 0.6, n), rng.uniform(0.4, 1, n)]),
        )
        tones = np.empty((n, *pixel_grid()[0].shape), np.float32)
        for kind in TEXTURES:
            rows = np.flatnonzero([self.textures[t][0] == kind for t in labels["texture"]])
            if len(rows):
                frequency, angle = np.array(
                    [self.textures[t][1:] for t in labels["texture"][rows]]
                ).T
                tones[rows] = texture(
                    kind,
                    frequency * rng.uniform(0.85, 1.18, len(rows)),
                    angle + rng.uniform(-0.2, 0.2, len(rows)),
                    rng,
                )
        return mix(tones, *colours), colours

    def _contrasting(
        self, colours: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Colours (n, 3) far from both background colours (2, n, 3), and their hue bins (n,)."""
        shape = (4, colours.shape[1])
        hue = rng.random(shape)
        options = hsv(hue, rng.uniform(0.3, 1, shape), rng.uniform(0.15, 1, shape))
        gap = np.linalg.norm(options[:, None] - colours[None], axis=-1).min(1)
        best = gap.argmax(0), np.arange(shape[1])
        return options[best], (hue[best] * 8).astype(int)

    def _object(
        self,
        images: np.ndarray,
        classes: np.ndarray,
        x: np.ndarray,
        y: np.ndarray,
        half: np.ndarray,
        colour: np.ndarray,
        rng: np.random.Generator,
    ) -> np.ndarray:
        n = len(images)
        creatures = np.array([name.split()[0] in KINDS for name in self.objects])[classes]
        flip = np.where(creatures & (rng.random(n) < 0.5), -1.0, 1.0)
        fields = self.bank[classes, rng.integers(VARIANTS, size=n)]
        body, accent = np.moveaxis(
            stamp(fields, x, y, half, rng.uniform(-0.25, 0.25, n), flip), 1, 0
        )
        images = paint(images, body, colour)
        tint = colour * rng.uniform(0.5, 1.0, (n, 1)).astype(np.float32)
        return paint(images, accent, tint)
