"""What every acquisition function promises, and what each computes, worked by hand."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from alpt_lib import acquisition
from alpt_lib.acquisition import ACQUISITION_FUNCTIONS, BATCH_FUNCTIONS, Candidates, choose, select
from alpt_lib.errors import CompanionError

PROBS = np.array([[0.9, 0.1, 0.0], [0.4, 0.35, 0.25], [1.0, 0.0, 0.0], [0.5, 0.5, 0.0]])
UNCERTAINTY = ["least_confidence", "entropy", "margin"]
LABELLED = np.array([5, 2])


def furthest(candidates: Candidates, n: int, rng: np.random.Generator) -> np.ndarray:
    """A toy that chooses a batch: what is least like anything labelled."""
    gaps = np.abs(candidates.features[:, None] - candidates.labelled_features).sum(axis=2)
    return np.argsort(-gaps.min(axis=1), kind="stable")[:n]


EVERY_FUNCTION = ["random", *UNCERTAINTY, "furthest"]


@pytest.fixture(autouse=True)
def _with_a_toy(monkeypatch):
    monkeypatch.setitem(BATCH_FUNCTIONS, "furthest", furthest)


class Known:
    """A learner whose probabilities are known, and are its features too."""

    def __init__(self, probs: np.ndarray):
        self.probs = probs

    def predict_probs(self, split: str, rows: np.ndarray) -> np.ndarray:
        assert split == "pool"
        return self.probs[rows]

    features = predict_probs


def rng(seed=0):
    return np.random.default_rng(seed)


def score(name, probs):
    candidates = Candidates(Known(np.array(probs)), np.arange(len(probs)), LABELLED, LABELLED)
    return ACQUISITION_FUNCTIONS[name](candidates, rng())


def pool(rows=None) -> Candidates:
    """50 pool rows, of which all but two may be asked for; some predictions are certain."""
    probs = np.concatenate([rng().dirichlet(np.ones(3), 48), np.eye(3)[:2]])
    unlabelled = np.setdiff1d(np.arange(50), LABELLED)
    return Candidates(Known(probs), unlabelled if rows is None else rows, LABELLED, LABELLED % 2)


@pytest.mark.parametrize("fidelity", ["paper", "released"])
@pytest.mark.parametrize("name", EVERY_FUNCTION)
@pytest.mark.parametrize("n", [0, 7, 48])
def test_every_function_asks_for_distinct_candidates_the_highest_score_first(name, n, fidelity):
    rows, scores = choose(name, pool(), n, rng(), fidelity)
    assert len(set(rows) & set(pool().rows)) == len(rows) == n
    if name in BATCH_FUNCTIONS:
        assert np.isnan(scores).all()
    else:
        every = ACQUISITION_FUNCTIONS[name](pool(), rng())
        assert every.shape == (48,)
        assert np.isfinite(every).all()
        score_of = dict(zip(pool().rows, every, strict=True))
        assert [score_of[row] for row in rows] == scores.tolist() == sorted(every)[::-1][:n]


def test_random_never_looks_at_the_model():
    blind = Candidates(object(), pool().rows, LABELLED, LABELLED)
    rows, _ = choose("random", blind, 7, rng(), "paper")
    assert rows.tolist() == choose("random", pool(), 7, rng(), "paper")[0].tolist()
    with pytest.raises(AttributeError, match="predict_probs"):
        choose("margin", blind, 7, rng(), "paper")


@pytest.mark.parametrize("name", UNCERTAINTY)
def test_a_certain_prediction_is_asked_last_and_binary_ones_rank_alike(name):
    assert score(name, PROBS).argmin() == 2
    p = rng(1).random(50)
    order = np.argsort(-abs(p - 0.5)).tolist()
    assert np.argsort(score(name, np.stack([p, 1 - p], axis=1))).tolist() == order


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("least_confidence", [-0.9, -0.4, -1.0, -0.5]),
        ("margin", [-0.8, -0.05, -1.0, 0.0]),
        ("entropy", [0.325083, 1.080528, 0.0, np.log(2)]),
    ],
)
def test_scores_worked_by_hand_also_of_exact_zeros(name, expected):
    assert score(name, PROBS) == pytest.approx(expected, abs=1e-6)


def test_margin_needs_two_classes():
    with pytest.raises(ValueError, match=r"at least 2 classes; got probs of shape \(3, 1\)"):
        score("margin", np.ones((3, 1)))


@pytest.mark.parametrize("chunk", [7, 50, 1000])
def test_scores_are_the_same_whatever_the_size_of_a_chunk(chunk, monkeypatch):
    monkeypatch.setattr(acquisition, "CHUNK", chunk)
    probs = rng().dirichlet(np.ones(5), 50).astype(np.float32)
    ordered = np.sort(probs, axis=1)
    assert (score("margin", probs) == ordered[:, -2] - ordered[:, -1]).all()
    by_hand = [-sum(p * np.log(p) for p in row) for row in probs]
    assert score("entropy", probs) == pytest.approx(by_hand, rel=1e-5)


def test_nan_scores_name_the_acquisition_function_and_the_pool_row():
    candidates = pool()
    candidates.learner.probs[[9, 30]] = np.nan
    with pytest.raises(CompanionError, match="entropy gave 2 NaN scores, first for pool row 9"):
        choose("entropy", candidates, 7, rng(), "paper")


def test_without_an_rng_ties_are_broken_by_position():
    assert select(np.array([0.0, 1.0, 0.0, 1.0, 1.0]), 4, None).tolist() == [1, 3, 4, 0]


def test_each_of_several_equal_scores_is_selected_equally_often():
    """4,000 draws of 2 of the 5 equal ones: each 1,600 times, with a standard deviation of 31.

    One draw in 10,000 is 4 of them off.
    """
    draws = rng()
    scores = np.array([9.0, 1, 1, 1, 1, 1, 0])
    times = Counter(int(i) for _ in range(4000) for i in select(scores, 3, draws))
    assert times[0] == 4000
    assert times[6] == 0
    assert all(abs(times[i] - 1600) < 4 * 31 for i in range(1, 6))


def test_select_refuses_what_it_cannot_rank_or_does_not_have():
    with pytest.raises(ValueError, match="1 of 3 scores are NaN, first at row 2"):
        select(np.array([0.0, 1.0, np.nan]), 1, rng())
    with pytest.raises(ValueError, match="asked for 4 examples but 3 remain"):
        select(np.zeros(3), 4, rng())


numbers = st.floats(-1, 1, width=32) | st.sampled_from([0.0, 0.25, math.inf, -math.inf])


@settings(derandomize=True, max_examples=100, deadline=None)
@given(arrays(np.float32, st.integers(1, 40), elements=numbers), st.data())
def test_select_finds_what_sorting_everything_finds(scores, data):
    n = data.draw(st.integers(0, len(scores)))
    ties = rng(2).permutation(len(scores))
    expected = sorted(range(len(scores)), key=lambda i: (-scores[i], ties[i]))[:n]
    assert select(scores, n, rng(2)).tolist() == expected
