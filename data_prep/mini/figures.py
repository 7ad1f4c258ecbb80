"""Birds, animals, persons and what stands in for them: skeletons of capsules, and how to draw them.

A skeleton is a list of parts (role, x0, y0, r0, x1, y1, r1) in the unit square, facing right, y
down.
"""

import numpy as np

from mini.drawing import capsules, hsv, paint

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
    """Parts of a four-legged animal.

    Args:
        neck, tail, ear: offset (dx, dy) from where it grows, and a thickness.
    """
    back = 0.9 - leg - girth
    hx = length + neck[0]
    hy = back + neck[1]
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


# hue, saturation, value of the fur, then the skeleton; from common to rare
ANIMALS = {
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
BODY = [("body", 0, -0.3, 0.22, 0, 0.2, 0.17), ("skin", 0, -0.74, 0.19, 0, -0.7, 0.18)]
# a person in several poses
PERSON = {
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
# what stands in for the person: as large and as colourful, so that only shape tells
BESIDE = {
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


def bird_colours(body: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Plumage, (n, 3) per role: a darker wing, a yellow or red beak, legs and crest like it."""
    n = len(body)
    beak = hsv(rng.uniform(0, 0.14, n), rng.uniform(0.7, 1, n), rng.uniform(0.7, 1, n))
    return {
        "body": body,
        "wing": body * rng.uniform(0.55, 0.8, (n, 1)),
        "beak": beak,
        "leg": beak * 0.8,
        "crest": beak,
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
        parts: (role, x0, y0, r0, x1, y1, r1) each.
        x, y, half, flip: (n,) place, half-size and facing (1 or -1).
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
    mean = images.mean((1, 2))
    shape = (n_options, len(images))
    options = hsv(rng.random(shape), rng.uniform(0.2, 1, shape), rng.uniform(0.15, 1, shape))
    return options[np.linalg.norm(options - mean, axis=-1).argmax(0), np.arange(shape[1])]


def some(values: np.ndarray, *wanted: str) -> np.ndarray:
    """Row numbers at which values is one of those wanted."""
    return np.flatnonzero(np.isin(values, wanted))
