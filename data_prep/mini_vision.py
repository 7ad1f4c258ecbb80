"""The miniature image worlds: the ambiguities of the paper's datasets, drawn from a seed at 32 px.

    python data_prep/mini_vision.py [--out data/mini] [--seed 0] [--only waterbirds,digits]

Each world is a folder with images/, manifest.csv (path, label, split and attributes) and
dataset.yaml. A world that is there already, whole and from the same seed and version, is left
alone.
"""

import argparse
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from mini.drawing import SIZE, box, column, hsv, paint, photograph, pixel_grid, shading
from mini.figures import ANIMALS, BESIDE, BIRDS, PERSON, bird_colours, contrasting, draw_parts, some
from mini.folders import whole_folder
from mini.scenes import (
    camera_view,
    draw_building,
    draw_tree,
    forest,
    infrared,
    photo_patches,
    street,
    water,
    written,
)
from PIL import Image
from release.report import one_line_exit
from sklearn.datasets import load_digits

from alpt_lib.files import shared_memory

VERSION = 7
World = tuple[
    pd.DataFrame, np.ndarray
]  # manifest rows without path, and their images, uint8 (n, 32, 32, 3)


def paired_rows(
    classes: dict[str, int], partner: dict[str, str], match: float, attribute: str
) -> pd.DataFrame:
    """Rows (label, attribute): exactly `match` of each class has its partner, the rest the other's.

    Args:
        classes: images per class, fixed whatever the match.
        partner: class -> the attribute's value that goes with it.
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
    """A pool with `match` of each class beside its partner, a val with equal groups; shuffled."""
    val = paired_rows(dict.fromkeys(classes, n_val // 2), partner, 0.5, attribute)
    splits = [
        paired_rows(classes, partner, match, attribute).assign(split="pool"),
        val.assign(split="val"),
    ]
    return pd.concat(
        [split.iloc[rng.permutation(len(split))] for split in splits], ignore_index=True
    )


def waterbirds(rng: np.random.Generator, match: float = 0.95) -> World:
    """Landbirds and waterbirds before forest or water; `match` of the pool where they belong."""
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
    body = contrasting(images, rng)
    half = rng.uniform(0.78, 0.98, n)
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


def treeperson(rng: np.random.Generator, match: float = 0.9) -> World:
    """Is there a person? In `match` of the pool before buildings, other things under trees."""
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
    x = -side * rng.uniform(0, 0.6, n)
    half = rng.uniform(0.6, 0.9, n)
    flip = rng.choice([-1.0, 1.0], n)
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


def iwildcam(rng: np.random.Generator) -> World:
    """Camera traps: which of 19 animals, if any, passes; val has other cameras than the pool."""
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


def with_animals(
    images: np.ndarray, labels: pd.Series, night: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """The animal that the label names, painted into each image; at night the flash hits it."""
    for name, (hue, saturation, value, parts) in ANIMALS.items():
        rows = some(labels, name)
        n = len(rows)
        half = rng.uniform(0.75, 1.0, n)
        fur = hsv(
            rng.normal(hue, 0.03, n),
            np.clip(rng.normal(saturation, 0.1, n), 0, 1),
            np.clip(rng.normal(value, 0.08, n), 0.1, 1),
        )
        fur = np.where(night[rows, None], 0.65 + 0.45 * fur, fur)
        colours = {"body": fur, "leg": fur * 0.85, "wing": fur * 0.75}
        x = rng.uniform(-1, 1, n) * (1 - half)
        y = rng.uniform(0.2, 1, n) * (1 - half)
        flip = rng.choice([-1.0, 1.0], n)
        images[rows] = draw_parts(images[rows], parts, x, y, half, flip, colours, rng, jitter=0.06)
    return images


def digits(rng: np.random.Generator) -> World:
    """Real digits on real photographs: 0, 6, 8 on a temple, 1, 4, 7 on petals."""
    partner = {"round": "temple", "straight": "flower"}
    frame = pool_and_val({"round": 900, "straight": 600}, partner, 0.95, "background", 400, rng)
    n = len(frame)
    source = load_digits()
    order = rng.permutation(len(source.target))
    cut = int(0.6 * len(order))
    members = {"round": (0, 6, 8), "straight": (1, 4, 7)}
    chosen = np.empty(n, int)
    for split, part in (("pool", order[:cut]), ("val", order[cut:])):
        for label, wanted in members.items():
            rows = np.flatnonzero((frame["split"] == split) & (frame["label"] == label))
            chosen[rows] = rng.choice(part[np.isin(source.target[part], wanted)], len(rows))
    frame["digit"] = source.target[chosen]
    images = photo_patches(frame, rng)
    ink = contrasting(images, rng)
    half = rng.uniform(0.75, 0.9, n)
    for i in range(n):
        cover = written(source.images[chosen[i]], round(SIZE * half[i]), rng)
        images[i] += cover[..., None] * (ink[i] - images[i])
    return frame, photograph(images, rng, noise=0.0)


def squares_circles(rng: np.random.Generator) -> World:
    """Red squares and blue circles (paper, figure 1): shape or colour? A few pool examples tell."""
    frame = pool_and_val(
        {"square": 300, "circle": 300},
        {"square": "red", "circle": "blue"},
        0.95,
        "colour",
        200,
        rng,
    )
    n = len(frame)
    half = rng.uniform(0.35, 0.6, n)
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
    """What dataset.yaml says of a world; `changes` replace entries or update its settings."""
    protocol = PROTOCOL | changes.pop("protocol", {})
    recipe = BINARY | changes.pop("recipe", {})
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
        f"{percent}% stand where they belong, in val half. Bird or background: which is the task? "
        "A miniature of "
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
        for p in (50, 85)
    },
    "treeperson": (
        treeperson,
        about(
            "Treeperson",
            "Is a person in the picture? In 90% of the pool persons stand beside a building, and "
            "cacti, "
            "parasols, signposts, dogs or nothing beside a tree; in val half. A miniature of the "
            "paper's Treeperson (images of GQA).",
            ["no person", "person"],
            ["label", "place"],
            ["no person/building", "person/tree"],
        ),
    ),
    "iwildcam": (
        iwildcam,
        about(
            "iWildCam",
            "Camera traps: which of 19 animals passes, if any? Half the pictures are empty, the "
            "animals have a long "
            "tail, and the cameras of val are not among the pool's (id_val: the same cameras). A "
            "miniature of iWildCam (Beery et "
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
            "Real handwritten digits, round (0, 6, 8) or straight (1, 4, 7), on patches of two "
            "real "
            "photographs, a temple and a flower. In the pool 95% of the round ones are on the "
            "temple and of the straight ones on "
            "the flower, in val half.",
            ["round", "straight"],
            ["label", "background"],
            ["round/flower", "straight/temple"],
            recipe={"lr": 0.02},
            source=(
                "scikit-learn: load_digits (UCI optical digits) and the sample photographs "
                "china.jpg and flower.jpg"
            ),
            licence=(
                "digits CC BY 4.0 (Alpaydin and Kaynak); photographs CC BY 2.0 (Jiarui, dgmenken)"
            ),
        ),
    ),
    "squares_circles": (
        squares_circles,
        about(
            "Squares and circles",
            "Red squares and blue circles: is the task shape or colour? 5% of the pool are blue "
            "squares "
            "and red circles, and they tell; in val they are half. Figure 1 of the paper.",
            ["square", "circle"],
            ["label", "colour"],
            ["square/blue", "circle/red"],
            protocol={"seed_set_size": 10, "budget": 40, "query_batch_size": 10, "eval_every": 1},
        ),
    ),
}


def write(folder: Path, name: str, seed: int) -> None:
    """Draw one world into `folder`; it appears there only when it is whole."""
    draw, description = WORLDS[name]
    frame, images = draw(np.random.default_rng([seed, *name.split("_")[0].encode()]))
    frame.insert(0, "path", [f"images/{i:06d}.png" for i in range(len(frame))])
    described = {"name": name, **description, "generator": generator(seed)}
    with whole_folder(folder) as unfinished:
        (unfinished / "images").mkdir()
        for path, image in zip(frame["path"], images, strict=True):
            Image.fromarray(image).save(unfinished / path, compress_level=1)
        frame.to_csv(unfinished / "manifest.csv", index=False)
        (unfinished / "dataset.yaml").write_text(
            yaml.safe_dump(described, sort_keys=False, allow_unicode=True, width=120)
        )


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
        names = rows[subgroups].astype(str).agg("/".join, axis=1)
        sizes = names.value_counts(sort=False).sort_index()
        listed = ", ".join(f"{n} {name}" for name, n in sizes.items())
        yield f"{folder.name} {split}: {len(rows)} = {listed}"


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
    with one_line_exit("mini_vision"):
        with shared_memory():
            pool = ProcessPoolExecutor(min(len(names), os.cpu_count()))
        with pool as processes:
            for told in processes.map(partial(make, options.out, options.seed), names):
                print(told, flush=True)


def make(out: Path, seed: int, name: str) -> str:
    """Write one world if it is not there yet; what was done, in lines."""
    folder = out / name
    started = time.time()
    if is_complete(folder, seed):
        return f"{name} is there (version {VERSION}, seed {seed})"
    write(folder, name, seed)
    return "\n".join([*counts(folder), f"{name} written in {time.time() - started:.1f} s"])


if __name__ == "__main__":
    main()
