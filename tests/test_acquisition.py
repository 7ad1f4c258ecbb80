import numpy as np
import pytest

from alpt_lib import acquisition
from alpt_lib.acquisition import (
    ACQUISITION_FUNCTIONS,
    entropy_score,
    least_confidence_score,
    margin_score,
    select,
)

UNCERTAINTY = [name for name in ACQUISITION_FUNCTIONS if name != "random"]
PROBS = np.array([[0.9, 0.1, 0.0], [0.4, 0.35, 0.25], [1.0, 0.0, 0.0], [0.5, 0.5, 0.0]])


def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize("name", ACQUISITION_FUNCTIONS)
def test_scores_are_one_finite_number_per_example_even_with_exact_zeros(name):
    scores = ACQUISITION_FUNCTIONS[name](PROBS, rng())
    assert scores.shape == (4,)
    assert np.isfinite(scores).all()


@pytest.mark.parametrize("name", UNCERTAINTY)
def test_a_certain_prediction_is_asked_last(name):
    assert ACQUISITION_FUNCTIONS[name](PROBS, rng()).argmin() == 2


@pytest.mark.parametrize("name", UNCERTAINTY)
def test_scores_move_with_their_rows(name):
    order = np.array([2, 0, 3, 1])
    score = ACQUISITION_FUNCTIONS[name]
    np.testing.assert_array_equal(score(PROBS[order], rng()), score(PROBS, rng())[order])


def test_random_scores_ignore_the_probabilities():
    score = ACQUISITION_FUNCTIONS["random"]
    np.testing.assert_array_equal(score(PROBS, rng()), score(PROBS[::-1], rng()))


def test_least_confidence_is_minus_the_largest_probability():
    np.testing.assert_allclose(least_confidence_score(PROBS), [-0.9, -0.4, -1.0, -0.5])


def test_margin_asks_first_about_the_closest_call():
    np.testing.assert_allclose(margin_score(PROBS), [-0.8, -0.05, -1.0, 0.0])


def test_entropy_of_a_coin_is_ln_2():
    np.testing.assert_allclose(entropy_score(np.array([[0.5, 0.5], [1.0, 0.0]])), [np.log(2), 0.0])


def test_margin_needs_two_classes():
    with pytest.raises(ValueError, match=r"at least 2 classes; got probs of shape \(3, 1\)"):
        margin_score(np.ones((3, 1)))


def test_binary_uncertainty_functions_rank_alike():
    p = np.random.default_rng(1).random(50)
    probs = np.stack([p, 1 - p], axis=1)
    orders = [np.argsort(ACQUISITION_FUNCTIONS[name](probs, rng())) for name in UNCERTAINTY]
    np.testing.assert_array_equal(orders[0], orders[1])
    np.testing.assert_array_equal(orders[0], orders[2])


def test_select_takes_the_highest_best_first():
    np.testing.assert_array_equal(select(np.array([0.1, 0.9, 0.5]), 2, rng()), [1, 2])


def test_ties_are_broken_at_random_not_by_position():
    firsts = {int(select(np.zeros(10), 1, np.random.default_rng(seed))[0]) for seed in range(40)}
    assert len(firsts) > 5


def test_without_an_rng_ties_are_broken_by_position():
    np.testing.assert_array_equal(
        select(np.array([0.0, 1.0, 0.0, 1.0, 1.0]), 4, None), [1, 3, 4, 0]
    )


def test_select_names_the_first_nan():
    with pytest.raises(ValueError, match="1 of 3 scores are NaN, first at row 2"):
        select(np.array([0.0, 1.0, np.nan]), 1, rng())


def test_select_refuses_more_than_remain():
    with pytest.raises(ValueError, match="asked for 4 examples but 3 remain"):
        select(np.zeros(3), 4, rng())


@pytest.mark.parametrize("n", [0, 1, 7, 50])
@pytest.mark.parametrize("levels", [1, 3, 1000])
def test_select_finds_what_sorting_everything_finds(n, levels):
    scores = np.random.default_rng(levels).integers(0, levels, 50).astype(np.float32)
    ties = np.random.default_rng(2).permutation(50)
    expected = sorted(range(50), key=lambda i: (-scores[i], ties[i]))[:n]
    assert select(scores, n, np.random.default_rng(2)).tolist() == expected


def test_scores_are_the_same_whatever_the_size_of_a_chunk(monkeypatch):
    probs = np.random.default_rng(0).dirichlet(np.ones(5), 50).astype(np.float32)
    ordered = np.sort(probs, axis=1)
    for chunk in (7, 50, 1000):
        monkeypatch.setattr(acquisition, "CHUNK", chunk)
        assert (acquisition.margin_score(probs) == ordered[:, -2] - ordered[:, -1]).all()
        assert acquisition.entropy_score(probs) == pytest.approx(
            [-sum(p * np.log(p) for p in row) for row in probs], rel=1e-5
        )
