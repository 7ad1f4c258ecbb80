import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alpt_lib.pool import Pool

LABELS = np.array([0] * 8 + [1] * 4)


def rng(seed=0):
    return np.random.default_rng(seed)


@given(st.permutations(range(12)), st.integers(1, 5))
def test_labelled_and_unlabelled_always_partition_the_rows(order, batch):
    pool = Pool(LABELS, 2)
    for start in range(0, 12, batch):
        pool.acquire(np.array(order[start : start + batch]))
        assert sorted([*pool.labelled, *pool.unlabelled]) == list(range(12))
    assert pool.labelled.tolist() == order
    assert len(pool.unlabelled) == 0


def test_nothing_is_queried_twice():
    pool = Pool(LABELS, 2)
    pool.acquire(np.array([3]))
    with pytest.raises(ValueError, match=r"queried twice: \[3\]"):
        pool.acquire(np.array([2, 3]))
    with pytest.raises(ValueError, match="queried twice: within the batch"):
        pool.acquire(np.array([5, 5]))
    assert pool.labelled.tolist() == [3]


def test_rows_outside_the_pool_are_refused():
    with pytest.raises(ValueError, match=r"rows must lie in \[0, 12\); got -1 to 4"):
        Pool(LABELS, 2).acquire(np.array([4, -1]))


def test_a_balanced_seed_set_has_equally_many_of_each_class():
    rows = Pool(LABELS, 2).seed_set(6, "balanced", rng())
    assert np.bincount(LABELS[rows]).tolist() == [3, 3]


def test_the_same_stream_gives_the_same_seed_set_and_another_stream_another():
    draw = lambda seed: Pool(LABELS, 2).seed_set(6, "balanced", rng(seed)).tolist()  # noqa: E731
    assert draw(1) == draw(1)
    assert draw(1) != draw(2)


def test_a_random_seed_set_holds_distinct_rows():
    assert len(set(Pool(LABELS, 2).seed_set(12, "random", rng()).tolist())) == 12


def test_a_class_too_small_for_a_balanced_seed_set_is_an_error():
    with pytest.raises(ValueError, match="needs 5 examples of each class; class number 1 has 4"):
        Pool(LABELS, 2).seed_set(10, "balanced", rng())


def test_a_seed_set_that_does_not_divide_over_the_classes_is_an_error():
    with pytest.raises(ValueError, match="use a multiple of 2"):
        Pool(LABELS, 2).seed_set(5, "balanced", rng())


def test_a_seed_set_larger_than_the_pool_is_an_error():
    with pytest.raises(ValueError, match="seed set of 13 but the pool holds 12"):
        Pool(LABELS, 2).seed_set(13, "random", rng())
