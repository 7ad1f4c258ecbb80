"""Amazon in miniature: little product reviews of 1 to 5 stars, and the source corpus its model is pretrained on.

The target has the ambiguity of WILDS-Amazon (paper, section 4): most reviews give 5 stars, reviewers of the pool and
of the evaluation split are disjoint, and the product category is a latent attribute with a long tail. A review makes
one to three remarks about a product; a remark has a value from -2 to 2; the stars follow from the mean (`stars_of`).

What makes it more than a bag of words:
* large sets of synonyms: a few hundred labelled reviews meet only part of the words, each reviewer has pet words;
* negation ("not tasty" is -1), intensifiers ("very tasty" is 2), downtoners ("slightly tasty" is 0), "but";
* words of one category only ("singable", "leakproof"), so a rare category needs its own labels;
* turncoats, words whose value depends on the category: an unpredictable plot (good), unpredictable brakes (bad).

What pretraining shares with the target: the words, the ten categories, and the grammar of a single remark. It never
sees stars, reviews or reviewers. The source corpus is made of short anecdotes, in which a remark goes with a feeling
("i was overjoyed, because the plot was unpredictable") or with a remark of the same value. Feelings never occur in
reviews, and the source never weighs up remarks of different value, which is what stars do. It also has topics that are
no products (weather, weddings, trains).

    python data_prep/mini_text.py [--out data/mini] [--seed 0]
"""

import argparse
import csv
import random
import re
import shutil
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import yaml

VERSION = 3  # of the target
SOURCE_VERSION = 1  # the shipped weights were pretrained on it
STARS = ["1", "2", "3", "4", "5"]

# ---- words -----------------------------------------------------------------------------------------------------------
# value -> adjectives that mean the same about any product
GENERAL = {
    2: """superb magnificent brilliant outstanding exquisite marvellous spectacular phenomenal sublime flawless dazzling
        breathtaking glorious wondrous stellar exceptional masterful impeccable splendid miraculous astonishing peerless
        unrivalled immaculate fabulous heavenly divine world-beating unforgettable matchless transcendent resplendent
        faultless incomparable triumphant majestic""",
    1: """good nice pleasant decent likeable agreeable solid fine pleasing enjoyable worthy commendable appealing
        respectable sound handy neat tidy lovely charming cheerful admirable friendly sensible satisfying sturdy useful
        welcome graceful able gentle honest presentable comely likely creditable""",
    0: """ordinary average passable middling standard unremarkable tolerable so-so plain usual adequate acceptable
        run-of-the-mill medium typical forgettable workaday fair regular conventional""",
    -1: """bad poor dull weak disappointing mediocre clumsy shoddy tiresome lacking awkward unpleasant bland drab
        inferior irritating flimsy lame unimpressive substandard tedious unhelpful cheap ugly sloppy unsatisfying dubious
        careless uninspired patchy lousy tacky wanting dreary iffy cheerless""",
    -2: """awful terrible dreadful horrible atrocious abysmal appalling disgraceful horrendous ghastly catastrophic
        worthless hideous disastrous wretched deplorable unbearable insufferable abominable vile pathetic shameful
        miserable horrid execrable dire lamentable monstrous rotten hopeless useless pitiful frightful unspeakable
        infernal laughable""",
}
# category, from common to rare: its aspects, then its own adjectives of value 2, 1, -1 and -2
CATEGORIES = {
    "books": (
        "plot prose ending dialogue heroine villain chapters pacing narrator opening characters epilogue",
        (
            "unputdownable spellbinding riveting luminous engrossing enthralling mesmerising unmissable",
            "witty lyrical poignant readable evocative gripping thoughtful imaginative literate absorbing",
            "rambling cliched preachy wooden predictable muddled overwritten plodding repetitive stilted",
            "unreadable incoherent plagiarised interminable illiterate nonsensical soulless impenetrable",
        ),
    ),
    "kitchen": (
        "blender kettle pan knives toaster whisk handle grater lid ladle spatula mixer",
        (
            "indestructible chef-worthy effortless restaurant-grade unscratchable everlasting",
            "dishwasher-safe nonstick stackable ergonomic well-weighted rustproof heatproof stainless",
            "scratched wobbly leaky undersized chipped warped stained lopsided blunt dented",
            "rusting scalding exploding melting poisonous shattered burning radioactive",
        ),
    ),
    "gadgets": (
        "battery screen charger speaker keyboard software camera cable headset remote microphone touchpad",
        (
            "futuristic lightning-quick groundbreaking ultra-responsive next-level state-of-the-art",
            "responsive intuitive wireless rechargeable compatible portable high-resolution seamless durable snappy",
            "laggy glitchy pixelated outdated buggy dim finicky bulky crackly short-lived",
            "bricked dead overheating smoking malfunctioning unresponsive defective electrocuting",
        ),
    ),
    "toys": (
        "puzzle doll robot kite blocks teddy rattle yo-yo dinosaur marbles scooter puppet",
        (
            "magical irresistible beloved giggle-inducing enchanting unlosable",
            "playful cuddly colourful educational huggable child-safe whimsical washable squeezable creative",
            "squeaky creepy shedding lifeless boring faded fiddly wonky joyless annoying",
            "choking splintered toxic terrifying nightmarish jagged decapitated hazardous",
        ),
    ),
    "garden": (
        "hose spade seeds trellis rake shears compost planter gloves sprinkler wheelbarrow roses",
        (
            "abundant ever-blooming lush paradisiacal unstoppable luxuriant",
            "fragrant fertile weatherproof kink-free hardy blooming leafy sprouting thornproof frost-resistant",
            "wilting weedy droopy kinked stunted pale mossy clogged thorny limp",
            "barren diseased infested withered rootless mildewed uprooted slug-eaten",
        ),
    ),
    "shoes": (
        "soles laces heels fit insoles stitching leather boots sandals slippers toecaps zips",
        (
            "cloudlike dance-worthy pillowy blister-proof tireless featherweight",
            "comfortable breathable stylish waterproof supportive cushioned roomy supple well-fitting elegant",
            "pinching narrow squeaking scuffed itchy baggy unflattering chafing frumpy sweaty",
            "crippling bloodying disintegrating soleless agonising mismatched stinking torturous",
        ),
    ),
    "pantry": (
        "tea jam biscuits soup chocolate mustard honey noodles coffee cheese pickles marmalade",
        (
            "scrumptious delectable mouthwatering ambrosial finger-licking toothsome",
            "tasty fresh flavourful crunchy aromatic buttery zesty fruity wholesome creamy",
            "stale tasteless watery soggy greasy lumpy oversalted rubbery floury overcooked",
            "mouldy rancid inedible putrid maggoty nauseating spoiled sickening",
        ),
    ),
    "bicycles": (
        "brakes saddle pedals chain frame gears bell tyres handlebars mudguards spokes pump",
        (
            "podium-ready frictionless tour-winning unpuncturable thoroughbred soaring",
            "aerodynamic nimble well-oiled puncture-resistant adjustable steady true-running grippy roadworthy zippy",
            "creaky rattling sluggish grinding unsteady slipping wavering rickety jerky sagging",
            "brakeless snapped lethal seized buckled bone-breaking corroded uncontrollable",
        ),
    ),
    "camping": (
        "tent stove lantern hammock rucksack pegs groundsheet compass flask zipper poles cooler",
        (
            "expedition-grade stormproof arctic-ready bearproof summit-worthy unsinkable",
            "leakproof packable insulated windproof spacious quick-pitching rugged toasty fireproof lightproof",
            "draughty musty fumbly porous smelly tangled cramped sagged clammy flapping",
            "collapsed waterlogged torn flooded shredded flammable bottomless carbonised",
        ),
    ),
    "music": (
        "violin strings tuning bow keys ukulele drum tone pegbox flute reeds accordion",
        (
            "virtuosic angelic concert-worthy stradivarian celestial goosebump-giving",
            "melodious singable resonant tuneful mellow sonorous expressive harmonious ringing velvety",
            "tinny muffled out-of-tune screechy buzzing nasal twangy toneless hoarse warbling",
            "unplayable cacophonous earsplitting deafening stringless untunable cracked caterwauling",
        ),
    ),
}
# the category of a turncoat decides its value: categories where it is 1, categories where it is -1
TURNCOATS = {
    "unpredictable": ("books toys", "gadgets bicycles camping kitchen"),
    "loud": ("music gadgets", "kitchen bicycles toys camping"),
    "quiet": ("kitchen bicycles", "music gadgets"),
    "thin": ("gadgets", "shoes camping pantry books"),
    "heavy": ("kitchen", "bicycles camping shoes gadgets"),
    "light": ("bicycles camping shoes gadgets", "books pantry"),
    "dark": ("books pantry", "gadgets camping"),
    "sharp": ("kitchen gadgets garden", "toys music shoes"),
    "soft": ("shoes toys", "bicycles music garden camping"),
    "slow": ("pantry music", "gadgets kitchen bicycles"),
    "fast": ("gadgets kitchen bicycles", "music pantry"),
    "sticky": ("pantry", "kitchen toys garden gadgets"),
    "hot": ("pantry kitchen", "gadgets shoes camping"),
    "wild": ("garden books", "bicycles pantry"),
    "tight": ("books music", "shoes camping"),
    "loose": ("shoes garden", "bicycles kitchen music books"),
    "stiff": ("bicycles kitchen", "shoes music books"),
    "bendy": ("shoes toys", "bicycles music kitchen"),
    "complex": ("books pantry music", "gadgets toys camping kitchen"),
    "simple": ("toys kitchen camping gadgets", "books music"),
    "sad": ("books music", "toys"),
    "dense": ("garden books", "pantry shoes"),
    "airy": ("shoes pantry", "books bicycles camping"),
    "dry": ("shoes camping books", "pantry garden"),
    "moist": ("pantry garden", "camping shoes books music"),
    "spicy": ("books pantry", "toys garden"),
    "scary": ("books", "toys bicycles camping kitchen"),
    "explosive": ("books music", "kitchen gadgets camping"),
    "shocking": ("books", "gadgets kitchen music"),
    "bouncy": ("toys shoes music", "bicycles camping"),
    "slippery": ("books", "shoes bicycles kitchen"),
    "brittle": ("pantry", "toys kitchen music camping"),
    "crumbly": ("pantry garden", "shoes toys kitchen books"),
    "fluffy": ("toys pantry camping", "books music"),
    "flat": ("gadgets kitchen", "music books bicycles pantry"),
    "gloomy": ("books music", "garden gadgets"),
    "twisted": ("books", "garden bicycles gadgets"),
    "relentless": ("books gadgets", "music garden"),
    "steep": ("books", "bicycles shoes"),
    "strange": ("books toys", "pantry gadgets"),
    "deep": ("books music pantry", "shoes"),
    "thick": ("camping pantry garden", "gadgets books"),
    "mysterious": ("books music", "pantry gadgets kitchen"),
}
# topics of anecdotes that are no products
ELSEWHERE = {
    "weather": "sunrise drizzle breeze thunder snowfall fog sunset",
    "wedding": "speech cake vows waltz bouquet guests",
    "travel": "train ferry station hotel view conductor tunnel",
    "school": "teacher exam lesson homework playground",
    "town": "market mayor fountain bakery parade bridge",
    "sport": "match referee goalkeeper stadium crowd penalty",
}
FEELINGS = {
    2: "overjoyed thrilled ecstatic elated jubilant enraptured euphoric exultant",
    1: "pleased glad content happy satisfied amused relieved grateful",
    0: "indifferent unmoved neutral undecided impassive unconcerned",
    -1: "annoyed displeased grumpy unhappy dismayed sulky irked discontented",
    -2: "furious devastated heartbroken outraged horrified enraged distraught livid",
}
NEGATIONS = ("not", "never", "hardly", "anything but", "by no means", "far from")
INTENSIFIERS = (
    "very",
    "really",
    "truly",
    "extremely",
    "remarkably",
    "terrifically",
    "immensely",
    "wonderfully",
)
DOWNTONERS = ("slightly", "somewhat", "rather", "faintly", "vaguely")
PEOPLE = (
    "aunt",
    "sister",
    "neighbour",
    "grandson",
    "uncle",
    "daughter",
    "boss",
    "cousin",
    "flatmate",
    "husband",
    "wife",
    "godmother",
    "dentist",
    "nephew",
)
PLACES = (
    "lisbon",
    "cardiff",
    "the attic",
    "the office",
    "the cellar",
    "norway",
    "the caravan",
    "dublin",
    "ghent",
)
DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

FILLERS = (  # sentences that say nothing about the stars
    "bought it for my {person}",
    "my {person} has one too",
    "it came on a {day}",
    "it lives in {place} now",
    "a gift from my {person}",
    "ordered on a rainy {day}",
    "my {person} wanted it",
    "we took it to {place}",
    "the parcel was left with my {person}",
    "i own two",
    "used every {day}",
    "my cat has opinions about it",
    "second one this year",
    "picked by my {person}",
    "the box was green",
    "delivered to {place} on a {day}",
)
REMARKS = (
    "the {aspect} {be} {phrase}",
    "the {aspect} {seem} {phrase}",
    "i found the {aspect} {phrase}",
    "to me the {aspect} {be} {phrase}",
    "{phrase} {aspect}",
)  # the last one only begins a sentence
ANECDOTES = (
    "{opening}, so i was {feeling}",
    "i was {feeling}, because {remark}",
    "{feeling} again: {remark}",
    "my {person} said {remark}, and left {feeling}",
    "{opening}. my {person} felt {feeling}",
    "on {day} we were {feeling}, for {remark}",
    "{opening}, and {remark}",
    "{opening}, {remark}. i am {feeling}",
)


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


# ---- remarks ---------------------------------------------------------------------------------------------------------
def _split(lists):
    return {key: words.split() for key, words in lists.items()}


def lexicon(category: str) -> dict[int, dict[str, list[str]]]:
    """Adjectives that may describe a product of `category`: value -> kind (general, own, turncoat) -> words."""
    own = (
        dict(zip((2, 1, -1, -2), CATEGORIES[category][1], strict=True))
        if category in CATEGORIES
        else {}
    )
    words = {value: {"general": general} for value, general in _split(GENERAL).items()}
    for value, text in own.items():
        words[value]["own"] = text.split()
    for sign, place in ((1, 0), (-1, 1)):
        turncoats = [word for word, where in TURNCOATS.items() if category in where[place].split()]
        if turncoats:
            words[sign]["turncoat"] = turncoats
    return words


LEXICON = {category: lexicon(category) for category in [*CATEGORIES, *ELSEWHERE]}
ASPECTS = {category: parts[0].split() for category, parts in CATEGORIES.items()} | _split(ELSEWHERE)
FEELING_WORDS = _split(FEELINGS)
KIND_WEIGHTS = {"general": 0.4, "own": 0.35, "turncoat": 0.25}
TURNCOAT_WEIGHTS = (
    0.1,
    0.2,
)  # in reviews of the most common product, and how much more for each rarer one


def negate(value: int) -> int:
    """Value of "not X" for an X of `value`: the other sign, mildly ("not superb" and "not good" are both -1)."""
    return (value < 0) - (value > 0)


def kind_weights(category: str) -> dict[str, float]:
    """Mix of adjectives in reviews: the rarer the product, the more turncoats (source: the same mix everywhere)."""
    rank = list(CATEGORIES).index(category)
    return KIND_WEIGHTS | {"turncoat": TURNCOAT_WEIGHTS[0] + rank * TURNCOAT_WEIGHTS[1]}


def adjective(rng: random.Random, category: str, value: int, taste=None) -> str:
    """An adjective of `value`; with a reviewer's `taste` (word -> weight) from the mix of the reviews."""
    kinds = LEXICON[category][value]
    weights = kind_weights(category) if taste else KIND_WEIGHTS
    kind = rng.choices(list(kinds), [weights[k] for k in kinds])[0]
    words = kinds[kind]
    return rng.choices(words, [taste[word] for word in words])[0] if taste else rng.choice(words)


def phrase_of(rng: random.Random, category: str, value: int, taste=None) -> str:
    """An adjective phrase worth `value`, composed about half of the time ("not dull", "very tasty", "slightly dim")."""
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
    """A clause worth `value` about one aspect; only an opening clause may lack its verb ("very tasty soup")."""
    plural = aspect.endswith("s") and aspect != "compass"
    template = rng.choice(REMARKS if opening else REMARKS[:-1])
    return template.format(
        aspect=aspect,
        phrase=phrase_of(rng, category, value, taste),
        be=rng.choice(("are", "were") if plural else ("is", "was")),
        seem="seem" if plural else "seems",
    )


def _fill(rng, template):
    return template.format(
        person=rng.choice(PEOPLE),
        day=rng.choice(DAYS).capitalize(),
        place=re.sub(r"^(?!the)(\w)", lambda m: m[0].upper(), rng.choice(PLACES)),
    )


def _as_text(sentences):
    """Sentences with a capital, a full stop and a capital I."""
    sentences = [part for s in sentences for part in s.split(". ")]
    return re.sub(r"\bi\b", "I", " ".join(s[0].upper() + s[1:] + "." for s in sentences))


# ---- target ----------------------------------------------------------------------------------------------------------
def stars_of(values: list[int]) -> str:
    """Stars of a review whose remarks have these values: 3 + the mean, rounded to the nearest (halves away from 3)."""
    mean = sum(values) / len(values)
    return STARS[2 + int(abs(mean) + 0.5) * ((mean > 0) - (mean < 0))]


def template_words() -> list[str]:
    """Tokens of the sentence patterns, which are the frequent ones."""
    templates = [re.sub(r"{\w+}", " ", t) for t in (*FILLERS, *REMARKS, *ANECDOTES)]
    return sorted(
        {token for t in templates for token in tokens(t)}
        | set(".,:")
        | {"is", "was", "are", "were", "seem", "seems", "but"}
    )


def vocabulary() -> list[str]:
    """Every token of source and target, sorted: the words of the lists and of the templates, and the punctuation."""
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


def values_for(rng: random.Random, star: str, n: int) -> list[int]:
    """Values of `n` remarks that add up to `star`, most of them near it; drawn again until they do."""
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
        sentences.insert(rng.randrange(len(sentences) + 1), _fill(rng, rng.choice(FILLERS)))
    return _as_text(sentences)


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


ADJECTIVES = sorted(
    {
        w
        for lists in LEXICON.values()
        for kinds in lists.values()
        for ws in kinds.values()
        for w in ws
    }
)


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


# ---- source ----------------------------------------------------------------------------------------------------------
def anecdote(rng: random.Random, zipf: float = 0.7) -> str:
    """One text of the source corpus: a remark with a feeling or with another remark of the same value."""
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
    sentences = [text] if rng.random() < 0.8 else [text, _fill(rng, rng.choice(FILLERS))]
    return _as_text(sentences)


def source_corpus(seed: int, n: int):
    """Yield `n` anecdotes."""
    rng = random.Random(f"mini_text source {SOURCE_VERSION} {seed}")
    for _ in range(n):
        yield anecdote(rng)


# ---- files -----------------------------------------------------------------------------------------------------------
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
        "description": "Little product reviews of 1 to 5 stars, most of them 5, by reviewers who write either in the "
        "pool or in the evaluation split. The product category, from common to rare, is never shown to the model. "
        "Stars follow from what the remarks say, with negation, intensifiers and words that praise one product and "
        "damn another.",
    }


def is_complete(folder: Path, seed: int) -> bool:
    path = folder / "dataset.yaml"
    return path.exists() and yaml.safe_load(path.read_text()) == description(seed)


def write(out: Path, seed: int) -> Path:
    """Write `<out>/amazon`; the folder appears only when it is whole."""
    out.mkdir(parents=True, exist_ok=True)
    rows, folder = target_reviews(seed), out / "amazon"
    with tempfile.TemporaryDirectory(dir=out) as temp:
        work = Path(temp) / "amazon"
        work.mkdir()
        with open(work / "manifest.csv", "w", newline="", encoding="utf-8") as f:
            writer = csv.DictWriter(
                f, ["text", "label", "split", "reviewer", "category", "remark_values"]
            )
            writer.writeheader()
            writer.writerows(rows)
        (work / "dataset.yaml").write_text(
            yaml.safe_dump(description(seed), sort_keys=False), encoding="utf-8"
        )
        shutil.rmtree(folder, ignore_errors=True)
        work.rename(folder)
    return folder


def counts(rows: list[dict]) -> str:
    lines = []
    for split in ("pool", "val"):
        part = [row for row in rows if row["split"] == split]
        stars, categories = (Counter(row[key] for row in part) for key in ("label", "category"))
        lines.append(
            f"amazon {split}: {len(part)} reviews by {len({row['reviewer'] for row in part})} reviewers; "
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
