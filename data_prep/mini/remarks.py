"""Remarks about a product, each worth -2 to 2: what reviews and anecdotes are made of."""

import random
import re
from typing import Any

from mini.words import (
    ANECDOTES,
    CATEGORIES,
    DAYS,
    DOWNTONERS,
    ELSEWHERE,
    FEELINGS,
    FILLERS,
    GENERAL,
    INTENSIFIERS,
    NEGATIONS,
    PEOPLE,
    PLACES,
    REMARKS,
    TURNCOATS,
)


def split_words(lists: dict[Any, str]) -> dict[Any, list[str]]:
    return {key: words.split() for key, words in lists.items()}


def lexicon(category: str) -> dict[int, dict[str, list[str]]]:
    """Adjectives that may describe a product: value -> kind (general, own, turncoat) -> words."""
    words = {value: {"general": general} for value, general in split_words(GENERAL).items()}
    if category in CATEGORIES:
        for value, text in zip((2, 1, -1, -2), CATEGORIES[category][1], strict=True):
            words[value]["own"] = text.split()
    for sign, place in ((1, 0), (-1, 1)):
        turncoats = [word for word, where in TURNCOATS.items() if category in where[place].split()]
        if turncoats:
            words[sign]["turncoat"] = turncoats
    return words


LEXICON = {category: lexicon(category) for category in [*CATEGORIES, *ELSEWHERE]}
ASPECTS = {category: parts[0].split() for category, parts in CATEGORIES.items()} | split_words(
    ELSEWHERE
)
FEELING_WORDS = split_words(FEELINGS)
KIND_WEIGHTS = {"general": 0.4, "own": 0.35, "turncoat": 0.25}
TURNCOAT_WEIGHTS = (
    0.1,
    0.2,
)  # in reviews of the most common product, and how much more for each rarer one
ADJECTIVES = sorted(
    {
        w
        for lists in LEXICON.values()
        for kinds in lists.values()
        for ws in kinds.values()
        for w in ws
    }
)


def negate(value: int) -> int:
    """Value of "not X" for an X of `value`: "not superb" and "not good" are both -1."""
    return (value < 0) - (value > 0)


def kind_weights(category: str) -> dict[str, float]:
    """Mix of adjectives in reviews: the rarer the product, the more turncoats (source.

    The same mix everywhere).
    """
    rank = list(CATEGORIES).index(category)
    return KIND_WEIGHTS | {"turncoat": TURNCOAT_WEIGHTS[0] + rank * TURNCOAT_WEIGHTS[1]}


def adjective(rng: random.Random, category: str, value: int, taste=None) -> str:
    """An adjective of `value`.

    With a reviewer's `taste` (word -> weight) from the mix of the reviews.
    """
    kinds = LEXICON[category][value]
    weights = kind_weights(category) if taste else KIND_WEIGHTS
    kind = rng.choices(list(kinds), [weights[k] for k in kinds])[0]
    words = kinds[kind]
    return rng.choices(words, [taste[word] for word in words])[0] if taste else rng.choice(words)


def phrase_of(rng: random.Random, category: str, value: int, taste=None) -> str:
    """An adjective phrase worth `value`, composed about half of the time ("not dull", "very tasty",
    "slightly dim").
    """
    if abs(value) == 2 and rng.random() < 0.4:
        return f"{rng.choice(INTENSIFIERS)} {adjective(rng, category, value // 2, taste)}"
    if abs(value) == 1 and rng.random() < 0.4:
        opposite = -value * rng.choice((1, 1, 2))
        assert negate(opposite) == value
        return f"{rng.choice(NEGATIONS)} {adjective(rng, category, opposite, taste)}"
    if value == 0 and rng.random() < 0.6:
        return f"{rng.choice(DOWNTONERS)} {adjective(rng, category, rng.choice((1, -1)), taste)}"
    return adjective(rng, category, value, taste)


def remark_of(
    rng: random.Random, category: str, value: int, aspect: str, taste=None, opening: bool = False
) -> str:
    """A clause worth `value` about one aspect.

    Only an opening clause may lack its verb ("very tasty soup").
    """
    plural = aspect.endswith("s") and aspect != "compass"
    template = rng.choice(REMARKS if opening else REMARKS[:-1])
    return template.format(
        aspect=aspect,
        phrase=phrase_of(rng, category, value, taste),
        be=rng.choice(("are", "were") if plural else ("is", "was")),
        seem="seem" if plural else "seems",
    )


def fill(rng, template):
    return template.format(
        person=rng.choice(PEOPLE),
        day=rng.choice(DAYS).capitalize(),
        place=re.sub(r"^(?!the)(\w)", lambda m: m[0].upper(), rng.choice(PLACES)),
    )


def as_text(sentences):
    """Sentences with a capital, a full stop and a capital I."""
    sentences = [part for s in sentences for part in s.split(". ")]
    return re.sub(r"\bi\b", "I", " ".join(s[0].upper() + s[1:] + "." for s in sentences))


def template_words() -> list[str]:
    """Tokens of the sentence patterns, which are the frequent ones."""
    templates = [re.sub(r"{\w+}", " ", t) for t in (*FILLERS, *REMARKS, *ANECDOTES)]
    return sorted(
        {token for t in templates for token in tokens(t)}
        | set(".,:")
        | {"is", "was", "are", "were", "seem", "seems", "but"}
    )


def vocabulary() -> list[str]:
    """Every token of source and target, sorted.

    The words of the lists and of the templates, and the punctuation.
    """
    lists = [
        ADJECTIVES,
        *ASPECTS.values(),
        *FEELING_WORDS.values(),
        NEGATIONS,
        INTENSIFIERS,
        DOWNTONERS,
        PEOPLE,
        DAYS,
        PLACES,
    ]
    return sorted(
        {token for texts in lists for text in texts for token in tokens(text)}
        | set(template_words())
    )


def tokens(text: str) -> list[str]:
    """Lower-case words (hyphens kept) and punctuation marks."""
    return re.findall(r"[\w-]+|[.,:]", text.lower())
