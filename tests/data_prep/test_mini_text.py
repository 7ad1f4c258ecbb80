"""The Amazon miniature: its reviews, its source corpus, the text model pretrained on that."""

import csv
import hashlib
import random
import re
from collections import Counter

import mini_text
import pytest
import yaml
from mini.anecdotes import source_corpus
from mini.remarks import ASPECTS, FEELING_WORDS, LEXICON, phrase_of, remark_of, tokens
from mini.words import CATEGORIES, NEGATIONS, TURNCOATS

from alpt_lib.files import WEIGHTS

ROBERTA = WEIGHTS / "mini-roberta-m"


@pytest.fixture(scope="module")
def rows():
    return mini_text.target_reviews(seed=0)


def of_split(rows, split):
    return [row for row in rows if row["split"] == split]


def test_pool_and_evaluation_have_the_promised_counts_and_no_common_reviewer(rows):
    pool, val = of_split(rows, "pool"), of_split(rows, "val")
    assert (len(pool), len(val)) == (1500, 600)
    assert set(Counter(row["reviewer"] for row in val).values()) == {15}
    assert not {row["reviewer"] for row in pool} & {row["reviewer"] for row in val}


def test_most_reviews_give_five_stars_and_every_star_can_fill_a_balanced_seed_set(rows):
    stars = Counter(row["label"] for row in of_split(rows, "pool"))
    assert set(stars) == set(mini_text.STARS)
    assert 0.5 < stars["5"] / 1500 < 0.65
    assert min(stars.values()) >= 40


def test_categories_have_a_long_tail(rows):
    categories = Counter(row["category"] for row in of_split(rows, "pool"))
    sizes = [categories[name] for name in CATEGORIES]
    assert sizes[0] > 0.3 * 1500
    assert 20 < min(sizes) < 0.05 * 1500


def test_the_same_seed_writes_the_same_bytes_and_another_seed_does_not(tmp_path):
    manifests = [
        (mini_text.write(tmp_path / name, seed) / "manifest.csv").read_bytes()
        for name, seed in (("a", 3), ("b", 3), ("c", 4))
    ]
    assert manifests[0] == manifests[1] != manifests[2]


def test_a_complete_folder_is_left_alone_and_another_seed_replaces_it(tmp_path, capsys):
    mini_text.main(["--out", str(tmp_path), "--seed", "3"])
    before = (tmp_path / "amazon" / "manifest.csv").stat().st_mtime_ns
    mini_text.main(["--out", str(tmp_path), "--seed", "3"])
    assert (tmp_path / "amazon" / "manifest.csv").stat().st_mtime_ns == before
    assert "is complete" in capsys.readouterr().out
    mini_text.main(["--out", str(tmp_path), "--seed", "4"])
    described = yaml.safe_load((tmp_path / "amazon" / "dataset.yaml").read_text())
    assert described["generator"]["seed"] == 4
    assert [path.name for path in tmp_path.iterdir()] == ["amazon"]


def test_the_manifest_keeps_the_contract(tmp_path):
    with open(mini_text.write(tmp_path, 3) / "manifest.csv", newline="") as f:
        rows = list(csv.DictReader(f))
    described = yaml.safe_load((tmp_path / "amazon" / "dataset.yaml").read_text())
    assert {"text", "label", "split", "reviewer", "category"} <= set(rows[0])
    assert {row["label"] for row in rows} == set(described["classes"])


def test_stars_follow_from_the_mean_value_and_are_never_at_odds_with_the_remarks(rows):
    remarks = ([2, 2], [1, 1], [2, -2], [-1], [-2, -2, -1], [0, 0, 1], [2, 1], [-1, -2])
    assert [mini_text.stars_of(values) for values in remarks] == list("54321351")
    for row in rows:
        values = [int(value) for value in row["remark_values"].split()]
        assert abs(int(row["label"]) - 3 - sum(values) / len(values)) <= 0.5


def value_of_word(category, word):
    values = LEXICON[category].items()
    return next(v for v, kinds in values for words in kinds.values() if word in words)


def test_negation_flips_the_polarity_of_the_word_it_governs():
    rng, seen = random.Random(0), 0
    for _ in range(3000):
        value = rng.choice((-1, 1))
        phrase = phrase_of(rng, "books", value)
        negation = next((n for n in NEGATIONS if phrase.startswith(n + " ")), None)
        if negation:
            assert value_of_word("books", phrase.removeprefix(negation + " ")) * value < 0
            seen += 1
    assert seen > 500


def test_turncoats_praise_one_product_and_damn_another():
    assert value_of_word("books", "unpredictable") == 1
    assert value_of_word("bicycles", "unpredictable") == -1
    for good, bad in TURNCOATS.values():
        assert not set(good.split()) & set(bad.split())
        assert set(good.split()) | set(bad.split()) <= set(CATEGORIES)


def test_a_word_has_one_value_within_a_category():
    for kinds_of in LEXICON.values():
        words = [w for kinds in kinds_of.values() for ws in kinds.values() for w in ws]
        assert len(words) == len(set(words))


def test_the_source_corpus_knows_no_stars_no_reviews_and_no_reviewers(rows):
    corpus = list(source_corpus(seed=0, n=20_000))
    assert not re.search(r"\d|\bstars?\b|\breview|\brating", " ".join(corpus).lower())
    assert not set(corpus) & {row["text"] for row in rows}


def test_feelings_occur_in_the_source_only(rows):
    feelings = {word for words in FEELING_WORDS.values() for word in words}
    assert not any(feelings & set(tokens(row["text"])) for row in rows)
    assert any(feelings & set(tokens(text)) for text in source_corpus(0, 10))


def test_the_tokenizer_knows_every_word_and_keeps_every_review_whole(rows):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(ROBERTA)
    texts = [row["text"] for row in rows] + list(source_corpus(0, 500))
    encoded = tokenizer(texts)["input_ids"]
    assert not any(tokenizer.unk_token_id in ids for ids in encoded)
    assert max(map(len, encoded)) <= mini_text.description(0)["max_tokens"]
    assert tokenizer.convert_ids_to_tokens(encoded[0])[1:-1] == tokens(texts[0])
    assert tokenizer.convert_ids_to_tokens(encoded[0])[:: len(encoded[0]) - 1] == ["<s>", "</s>"]


def test_the_shipped_weights_load_and_have_the_hash_of_their_card():
    import torch
    from transformers import AutoModelForSequenceClassification

    digest = hashlib.sha256((ROBERTA / "model.safetensors").read_bytes()).hexdigest()
    assert digest in (ROBERTA / "README.md").read_text()
    model, info = AutoModelForSequenceClassification.from_pretrained(
        ROBERTA, num_labels=5, dtype=torch.float32, output_loading_info=True
    )
    assert {name.split(".")[0] for name in info["missing_keys"]} == {"classifier"}
    assert all(p.dtype == torch.float32 for p in model.parameters())


def test_pretrained_features_tell_the_value_of_a_remark_better_than_random_ones():
    """A linear probe on <s> of single remarks: 5 values, so chance is 0.2."""
    assert probe(pretrained=True) > probe(pretrained=False) + 0.3


def probe(pretrained: bool, n_train: int = 300, n: int = 600) -> float:
    import torch
    from sklearn.linear_model import LogisticRegression
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    rng = random.Random(7)
    values = [rng.choice((-2, -1, 0, 1, 2)) for _ in range(n)]
    texts = [remark_of(rng, "kitchen", v, rng.choice(ASPECTS["kitchen"])) + "." for v in values]
    torch.manual_seed(0)
    model = (
        AutoModel.from_pretrained(ROBERTA, add_pooling_layer=False, dtype=torch.float32)
        if pretrained
        else AutoModel.from_config(
            AutoConfig.from_pretrained(ROBERTA), add_pooling_layer=False, dtype=torch.float32
        )
    )
    encoded = AutoTokenizer.from_pretrained(ROBERTA)(
        texts, padding=True, return_tensors="pt", return_token_type_ids=False
    )
    with torch.no_grad():
        features = model.eval()(**encoded).last_hidden_state[:, 0].numpy()
    fitted = LogisticRegression(max_iter=2000).fit(features[:n_train], values[:n_train])
    return fitted.score(features[n_train:], values[n_train:])
