"""Amazon in miniature: little product reviews of 1 to 5 stars.

The source corpus that its model is pretrained on is made of the same words (mini/anecdotes.py).

The target has the ambiguity of WILDS-Amazon (paper, section 4): most reviews give 5 stars,
reviewers of the pool and of the evaluation split are disjoint, and the product category is a latent
attribute with a long tail. A review makes one to three remarks about a product; a remark has a
value from -2 to 2; the stars follow from the mean (`stars_of`).

What makes it more than a bag of words:
* large sets of synonyms: a few hundred labelled reviews meet only part of the words, each reviewer
  has pet words;
* negation ("not tasty" is -1), intensifiers ("very tasty" is 2), downtoners ("slightly tasty" is
  0), "but";
* words of one category only ("singable", "leakproof"), so a rare category needs its own labels;
* turncoats, words whose value depends on the category: an unpredictable plot (good), unpredictable
  brakes (bad).

What pretraining shares with the target: the words, the ten categories, and the grammar of a single
remark. It never sees stars, reviews or reviewers. The source corpus is made of short anecdotes, in
which a remark goes with a feeling ("i was overjoyed, because the plot was unpredictable") or with a
remark of the same value. Feelings never occur in reviews, and the source never weighs up remarks of
different value, which is what stars do. It also has topics that are no products (weather, weddings,
trains).

    python data_prep/mini_text.py [--out data/mini] [--seed 0]
"""

import argparse
import csv
import random
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import yaml
from mini.folders import whole_folder
from mini.remarks import ADJECTIVES, ASPECTS, as_text, fill, remark_of
from mini.words import CATEGORIES, FILLERS

VERSION = 3  # of the target
STARS = ["1", "2", "3", "4", "5"]


@dataclass(frozen=True)
class World:
    """Shape of the target set. Probabilities are ours; the real set's mix is roughly as skewed."""

    n_pool_reviewers: int = 75
    reviews_per_pool_reviewer: int = 20
    n_val_reviewers: int = 40
    reviews_per_val_reviewer: int = 15
    star_mix: tuple[float, ...] = (0.07, 0.07, 0.10, 0.19, 0.57)
    zipf: float = 1.2  # category k has weight k ** -zipf
    taste: float = 0.3  # gamma shape of a reviewer's liking for a word: small means few pet words
    n_remarks: tuple[float, ...] = (0.1, 0.6, 0.3)  # 1, 2, 3
    filler: float = 0.5


def stars_of(values: list[int]) -> str:
    """Stars of a review whose remarks have these values.

    3 + the mean, rounded to the nearest (halves away from 3).
    """
    mean = sum(values) / len(values)
    return STARS[2 + int(abs(mean) + 0.5) * ((mean > 0) - (mean < 0))]


def values_for(rng: random.Random, star: str, n: int) -> list[int]:
    """Values of `n` remarks that add up to `star`, most of them near it; drawn until they do."""
    while True:
        values = [int(star) - 3 + rng.choice((-1, 0, 0, 0, 0, 1)) for _ in range(n)]
        if all(abs(v) <= 2 for v in values) and stars_of(values) == star:
            return values


def review_text(rng: random.Random, category: str, values: list[int], taste, filler: float) -> str:
    aspects = rng.sample(ASPECTS[category], len(values))
    remarks = [
        remark_of(rng, category, value, aspect, taste, opening=k != 1)
        for k, (value, aspect) in enumerate(zip(values, aspects, strict=True))
    ]
    sentence = remarks[0]
    if len(remarks) > 1:
        link = ", but " if values[0] * values[1] < 0 else rng.choice((" and ", ", and ", ", "))
        sentence += link + remarks[1]
    sentences = [sentence, *remarks[2:]]
    if rng.random() < filler:
        sentences.insert(rng.randrange(len(sentences) + 1), fill(rng, rng.choice(FILLERS)))
    return as_text(sentences)


def _jitter(rng, weights, concentration):
    return [rng.gammavariate(concentration * w / max(weights), 1) + 1e-9 for w in weights]


@dataclass(frozen=True)
class Reviewer:
    """Star and category habits, pet words and verbosity of one reviewer."""

    name: str
    stars: list[float]
    categories: list[float]
    taste: dict[str, float]
    filler: float


def make_reviewer(rng: random.Random, name: str, world: World) -> Reviewer:
    categories = [(k + 1) ** -world.zipf for k in range(len(CATEGORIES))]
    return Reviewer(
        name,
        stars=_jitter(rng, world.star_mix, 8),
        categories=_jitter(rng, categories, 2),
        taste={word: rng.gammavariate(world.taste, 1) + 1e-6 for word in ADJECTIVES},
        filler=min(1.0, 2 * world.filler * rng.random()),
    )


def write_review(rng: random.Random, reviewer: Reviewer, world: World) -> dict:
    category = rng.choices(list(CATEGORIES), reviewer.categories)[0]
    star = rng.choices(STARS, reviewer.stars)[0]
    values = values_for(rng, star, rng.choices((1, 2, 3), world.n_remarks)[0])
    text = review_text(rng, category, values, reviewer.taste, reviewer.filler)
    return {
        "text": text,
        "label": star,
        "reviewer": reviewer.name,
        "category": category,
        "remark_values": " ".join(map(str, values)),
    }


def target_reviews(seed: int, world: World = World()) -> list[dict]:
    """All rows of the manifest; the same seed gives the same rows."""
    rows = []
    for split, n_reviewers, n_reviews in (
        ("pool", world.n_pool_reviewers, world.reviews_per_pool_reviewer),
        ("val", world.n_val_reviewers, world.reviews_per_val_reviewer),
    ):
        for k in range(n_reviewers):
            rng = random.Random(f"mini_text {VERSION} {seed} {split} {k}")
            reviewer = make_reviewer(rng, f"{split}-{k:03d}", world)
            rows += [
                write_review(rng, reviewer, world) | {"split": split} for _ in range(n_reviews)
            ]
    return rows


def description(seed: int) -> dict:
    return {
        "name": "amazon",
        "title": "Amazon",
        "modality": "text",
        "classes": STARS,
        "subgroups": ["label"],
        "minority": ["1", "2", "3"],
        "latent": ["category"],
        "percentile_over": "reviewer",
        "figure_metrics": ["accuracy_reviewer_mean", "accuracy_reviewer_p10"],
        "max_tokens": 36,
        "default_model": "roberta-m",
        "protocol": {
            "seed_set_size": 60,
            "seed_set": "balanced",
            "budget": 200,
            "query_batch_size": 50,
            "eval_every": 2,
        },
        "recipe": {
            "optimizer": "adamw",
            "lr": 0.001,
            "weight_decay": 0.01,
            "warmup_steps": 10,
            "max_steps": 60,
            "train_batch_size": 32,
            "stopping": "loss_ratio",
            "loss_ratio": 0.001,
        },
        "generator": {"script": "data_prep/mini_text.py", "version": VERSION, "seed": seed},
        "description": (
            "Little product reviews of 1 to 5 stars, most of them 5, by reviewers who write either "
            "in the pool or in the evaluation split. The product category, from common to rare, is "
            "never shown to the model. Stars follow from what the remarks say, with negation, "
            "intensifiers and words that praise one product and damn another."
        ),
    }


def is_complete(folder: Path, seed: int) -> bool:
    path = folder / "dataset.yaml"
    return path.exists() and yaml.safe_load(path.read_text()) == description(seed)


def write(out: Path, seed: int) -> Path:
    """Write `<out>/amazon`; the folder appears only when it is whole."""
    columns = ["text", "label", "split", "reviewer", "category", "remark_values"]
    described = yaml.safe_dump(description(seed), sort_keys=False)
    with whole_folder(out / "amazon") as folder:
        with open(folder / "manifest.csv", "w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, columns)
            writer.writeheader()
            writer.writerows(target_reviews(seed))
        (folder / "dataset.yaml").write_text(described, encoding="utf-8")
    return out / "amazon"


def counts(rows: list[dict]) -> str:
    lines = []
    for split in ("pool", "val"):
        part = [row for row in rows if row["split"] == split]
        stars, categories = (Counter(row[key] for row in part) for key in ("label", "category"))
        lines.append(
            f"amazon {split}: {len(part)} reviews by {len({row['reviewer'] for row in part})} "
            "reviewers; "
            f"stars {' '.join(f'{s}:{stars[s]}' for s in STARS)}; "
            f"{' '.join(f'{c}:{categories[c]}' for c in CATEGORIES)}"
        )
    return "\n".join(lines)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("data/mini"))
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    if is_complete(args.out / "amazon", args.seed):
        print(f"{args.out / 'amazon'} is complete (version {VERSION}, seed {args.seed})")
        return
    folder = write(args.out, args.seed)
    with open(folder / "manifest.csv", newline="", encoding="utf-8") as f:
        print(counts(list(csv.DictReader(f))))


if __name__ == "__main__":
    main()
