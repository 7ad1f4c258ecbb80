"""Tiny folders of the layout of CUB-200-2011 with its segmentations, and of Places365."""

from pathlib import Path

import numpy as np
from PIL import Image

SPECIES = [
    "001.Black_footed_Albatross",
    "002.Pacific_Loon",
    "003.Blue_Jay",
    "004.House_Wren",
    "005.Western_Meadowlark",
]
# two in three of them in CUB's training split: 36 waterbirds (a meadowlark is one, by its name) and
# 24 landbirds; with 30% in validation 25 and 17
N_PER_SPECIES = 18
SCENES = ["b/bamboo_forest", "f/forest/broadleaf", "o/ocean", "l/lake/natural"]
SCENE_BLUE = {"bamboo_forest": 20, "forest": 60, "ocean": 140, "lake": 200}


def write_cub(root: Path) -> None:
    """Red birds of 24 x 20 px: the left half is bird, a column of it half bird; CUB's lists."""
    cub = root / "CUB_200_2011"
    mask = np.zeros((20, 24), np.uint8)
    mask[:, :12] = 255
    mask[:, 12] = 102
    names = []
    for number, species in enumerate(SPECIES):
        (cub / "images" / species).mkdir(parents=True)
        (root / "segmentations" / species).mkdir(parents=True)
        for i in range(N_PER_SPECIES):
            name = f"{species}/{species[4:]}_{i:04}_{number}"
            Image.new("RGB", (24, 20), (150 + 5 * i, 0, 0)).save(cub / "images" / f"{name}.jpg")
            Image.fromarray(mask).save(root / "segmentations" / f"{name}.png")
            names.append(f"{name}.jpg")
    lists = {
        "images.txt": names,
        "train_test_split.txt": [int(i % 3 > 0) for i in range(len(names))],
        "image_class_labels.txt": [int(name[:3]) for name in names],
    }
    for file, values in lists.items():
        (cub / file).write_text("".join(f"{i + 1} {value}\n" for i, value in enumerate(values)))


def write_places(places: Path, n: int = 40) -> None:
    """Blue scenes of 60 x 30 px, each a little different; the blue tells which kind."""
    for scene in SCENES:
        (places / scene).mkdir(parents=True)
        for i in range(n):
            colour = (0, 4 * i, SCENE_BLUE[scene.split("/")[1]])
            Image.new("RGB", (60, 30), colour).save(places / scene / f"{i:08}.jpg", quality=95)
