"""The source corpus of the miniature RoBERTa: anecdotes without stars, reviews or reviewers."""

import random
from collections.abc import Iterator

from mini.remarks import ASPECTS, FEELING_WORDS, as_text, fill, remark_of
from mini.words import ANECDOTES, CATEGORIES, DAYS, ELSEWHERE, FILLERS, PEOPLE

SOURCE_VERSION = 1  # the shipped weights were pretrained on it


def anecdote(rng: random.Random, zipf: float = 0.7) -> str:
    """One text of the source corpus: a remark with a feeling or with another of the same value."""
    products = list(CATEGORIES)
    if rng.random() < 0.8:
        category = rng.choices(products, [(k + 1) ** -zipf for k in range(len(products))])[0]
    else:
        category = rng.choice(list(ELSEWHERE))
    value = rng.choice((-2, -1, 0, 1, 2))
    opening, remark = (
        remark_of(rng, category, value, aspect, opening=k == 0)
        for k, aspect in enumerate(rng.sample(ASPECTS[category], 2))
    )
    text = rng.choice(ANECDOTES).format(
        opening=opening,
        remark=remark,
        feeling=rng.choice(FEELING_WORDS[value]),
        person=rng.choice(PEOPLE),
        day=rng.choice(DAYS).capitalize(),
    )
    sentences = [text] if rng.random() < 0.8 else [text, fill(rng, rng.choice(FILLERS))]
    return as_text(sentences)


def source_corpus(seed: int, n: int) -> Iterator[str]:
    """Yield `n` anecdotes."""
    rng = random.Random(f"mini_text source {SOURCE_VERSION} {seed}")
    for _ in range(n):
        yield anecdote(rng)
