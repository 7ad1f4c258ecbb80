"""What every acquisition function in the tables promises, on pools of every unpleasant kind."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import softmax

import companion.acquisition  # noqa: F401  fills the tables
from alpt_lib import loop
from alpt_lib.acquisition import (
    ACQUISITION_FUNCTIONS,
    BATCH_FUNCTIONS,
    CHEATING,
    Answers,
    Candidates,
    acquisition_names,
    choose,
)
from alpt_lib.config import Recipe, RunConfig
from alpt_lib.datasets import read_dataset
from alpt_lib.errors import CompanionError
from alpt_lib.learners import create_learner
from companion.acquisition import CHOOSERS, SCORERS

every_function = pytest.mark.parametrize("name", acquisition_names())
N_POOL = 40
LABELLED = np.array([5, 2, 30, 31])


class LinearHead:
    """A learner of known features, whose head is a softmax of three linear functions."""

    def __init__(self, features: np.ndarray, slope: float = 2.0):
        self.all_features = features
        self.weights = slope * np.random.default_rng(8).normal(size=(features.shape[1], 3))

    def features(self, split, rows):
        assert split == "pool"
        return self.all_features[rows]

    def probs_of_features(self, features):
        return softmax(features @ self.weights, axis=1)

    def predict_probs(self, split, rows):
        return self.probs_of_features(self.features(split, rows))


def ordinary(n: int = N_POOL) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(n, 5))


POOLS = {
    "ordinary": LinearHead(ordinary()),
    "float32": LinearHead(ordinary().astype(np.float32)),
    "one feature": LinearHead(ordinary()[:, :1]),
    "zero features": LinearHead(np.zeros((N_POOL, 5))),
    "repeated features": LinearHead(np.repeat(ordinary()[:, :1], 5, axis=1)),
    "duplicates": LinearHead(np.repeat(ordinary(4), 10, axis=0)),
    "duplicates of one": LinearHead(np.tile(ordinary(1), (N_POOL, 1))),
    "huge features": LinearHead(1e4 * ordinary(), slope=0.0),
    "ties": LinearHead(ordinary(), slope=0.0),
    "certain": LinearHead(ordinary(), slope=1e2),
}


def candidates(learner, rows=None, labelled=LABELLED, labels=None) -> Candidates:
    """All but the labelled rows may be asked for; the answers go with the first feature."""
    n_pool = len(learner.all_features)
    rows = np.setdiff1d(np.arange(n_pool), labelled) if rows is None else rows
    labels = np.array([0, 1, 2, 0])[: len(labelled)] if labels is None else labels
    truth = (learner.all_features[:, 0] > 0).astype(int)
    answers = Answers(truth, np.char.add(truth.astype(str), (truth * 7 % 2).astype(str)))
    return Candidates(learner, rows, labelled, labels, answers)


def ask(name, learner, n, seed=0, **how) -> list[int]:
    rows, scores = choose(name, candidates(learner, **how), n, np.random.default_rng(seed), "paper")
    assert rows.shape == scores.shape
    assert np.issubdtype(rows.dtype, np.integer)
    assert np.isnan(scores).all() if name in BATCH_FUNCTIONS else np.isfinite(scores).all()
    return rows.tolist()


@every_function
@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("fidelity", ["paper", "released"])
def test_it_asks_for_so_many_distinct_candidates_or_for_all_that_are_left(name, pool, fidelity):
    open_to = candidates(POOLS[pool])
    for n in (0, 1, 7, 36, 50):
        rows, _ = choose(name, open_to, n, np.random.default_rng(0), fidelity)
        assert len(set(rows.tolist()) & set(open_to.rows.tolist())) == len(rows) == min(n, 36)


@every_function
@pytest.mark.parametrize(
    "labelled",
    [np.arange(2), np.arange(38), np.arange(39), np.empty(0, dtype=int)],
    ids=lambda rows: f"{len(rows)} labelled",
)
def test_it_works_with_one_class_left_few_candidates_or_no_label(name, labelled):
    one_class = np.full(len(labelled), 2)
    for n in (1, 2, 5):
        rows = ask(name, POOLS["ordinary"], n, labelled=labelled, labels=one_class)
        assert len(set(rows) - set(labelled.tolist())) == min(n, 40 - len(labelled))


@every_function
@pytest.mark.parametrize("pool", ["ordinary", "duplicates"])
def test_the_same_seed_asks_the_same_and_changes_nothing_it_was_given(name, pool):
    learner = POOLS[pool]
    before = learner.all_features.copy()
    first = ask(name, learner, 7, seed=3)
    shuffled = np.random.default_rng(2).permutation(np.setdiff1d(np.arange(N_POOL), LABELLED))
    assert ask(name, learner, 7, seed=3) == ask(name, learner, 7, seed=3, rows=shuffled) == first
    assert (learner.all_features == before).all()


@every_function
def test_where_an_example_stands_in_the_pool_does_not_decide(name):
    """Exactly so where nothing is drawn; else each example is asked for as often, over 200 seeds.

    The difference of two such shares has a standard deviation of 0.05 at most.
    """
    n_pool = 16
    order = np.random.default_rng(4).permutation(n_pool)
    home = LinearHead(ordinary(n_pool))
    moved = LinearHead(ordinary(n_pool)[order])
    labelled = np.array([3, 9, 12])
    elsewhere = np.argsort(order)[labelled]

    def asked(seed: int) -> tuple[list[int], list[int]]:
        here = ask(name, home, 4, seed, labelled=labelled)
        return here, order[ask(name, moved, 4, seed, labelled=elsewhere)].tolist()

    if len({tuple(asked(seed)[0]) for seed in range(4)}) == 1:
        here, there = asked(0)
        assert here == there
        return
    pairs = [asked(seed) for seed in range(200)]
    shares = [
        np.bincount(np.ravel(side), minlength=n_pool) / 200 for side in zip(*pairs, strict=True)
    ]
    assert abs(shares[0] - shares[1]).max() < 4 * 0.05


def test_the_companion_adds_to_the_papers_functions():
    assert list(ACQUISITION_FUNCTIONS)[:4] == ["random", "least_confidence", "entropy", "margin"]
    assert set(SCORERS) <= set(ACQUISITION_FUNCTIONS)
    assert set(CHOOSERS) <= set(BATCH_FUNCTIONS)


@every_function
def test_its_docstring_says_what_it_is_and_where_it_is_from(name):
    words = {**ACQUISITION_FUNCTIONS, **BATCH_FUNCTIONS}[name].__doc__
    assert "paper" in words or any(str(year) in words for year in range(1990, 2026))
    assert words.startswith("CHEATS.") == (name in CHEATING) == name.startswith("cheating")


@pytest.mark.parametrize("name", sorted(set(acquisition_names()) - CHEATING))
def test_only_the_controls_get_to_see_answers(name):
    class NoAnswers(Candidates):
        @property
        def answers(self):
            raise AssertionError("it looked")

    given = candidates(POOLS["ordinary"])
    blind = NoAnswers(given.learner, given.rows, given.labelled, given.labels)
    assert len(choose(name, blind, 3, np.random.default_rng(0), "paper")[0]) == 3


@pytest.mark.parametrize("name", sorted(CHEATING))
def test_a_control_without_answers_says_so(name):
    given = candidates(POOLS["ordinary"])
    honest = Candidates(given.learner, given.rows, given.labelled, given.labels)
    with pytest.raises(CompanionError, match="asked for answers that nobody has given"):
        choose(name, honest, 3, np.random.default_rng(0), "paper")


@pytest.mark.parametrize("kind", ["images", "texts", "frozen"])
def test_every_function_works_with_every_learner(kind, birds_folder, reviews_folder):
    folder = reviews_folder if kind == "texts" else birds_folder
    model = "mini-roberta-m-np" if kind == "texts" else "mini-bit-m-np"
    recipe = Recipe(max_steps=2, backbone="frozen" if kind == "frozen" else "fine-tuned")
    config = RunConfig(str(folder), model, "random", 1, recipe=recipe)
    data = read_dataset(folder)
    learner = create_learner(data, config)
    pool = data.pool()
    pool.acquire(pool.seed_set(8, "random", np.random.default_rng(0)))
    learner.fit(pool.labelled, np.random.default_rng(0))
    for name in acquisition_names():
        asked, _ = loop.ask(learner, pool, replace(config, acquisition=name), 0)
        assert len(set(asked) & set(pool.unlabelled.tolist())) == 5, name
