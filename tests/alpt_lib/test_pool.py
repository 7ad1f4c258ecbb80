import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alpt_lib.pool import Pool

LABELS = np.array([0] * 8 + [1] * 4)


def seed_set(size, how, seed=0):
    return Pool(LABELS, 2).seed_set(size, how, np.random.default_rng(seed))


@given(st.permutations(range(12)), st.integers(1, 5))
def test_labelled_and_unlabelled_always_partition_the_rows(order, batch):
    pool = Pool(LABELS, 2)
    for start in range(0, 12, batch):
        pool.acquire(np.array(order[start : start + batch]))
        assert sorted([*pool.labelled, *pool.unlabelled]) == list(range(12))
        assert len(pool) == len(pool.labelled)
    assert pool.labelled.tolist() == order
    assert len(pool.unlabelled) == 0


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([2, 3], r"queried twice: \[3\]"),
        ([5, 5], "queried twice: within the batch"),
        ([4, -1], r"rows must lie in \[0, 12\); got -1 to 4"),
    ],
)
def test_rows_that_cannot_be_bought_are_refused_and_change_nothing(rows, said):
    pool = Pool(LABELS, 2)
    pool.acquire(np.array([3]))
    with pytest.raises(ValueError, match=said):
        pool.acquire(np.array(rows))
    assert pool.labelled.tolist() == [3]


def test_candidates_are_what_is_not_labelled_or_a_random_part_of_it():
    pool = Pool(LABELS, 2)
    pool.acquire(np.array([3, 0]))
    left = [1, 2, *range(4, 12)]
    assert pool.candidates(0, np.random.default_rng(0)).tolist() == left
    parts = [pool.candidates(5, np.random.default_rng(seed)).tolist() for seed in range(9)]
    assert all(part == sorted(set(part) & set(left)) and len(part) == 5 for part in parts)
    assert len(set(map(tuple, parts))) > 5


def test_a_balanced_seed_set_has_equally_many_of_each_class():
    assert np.bincount(LABELS[seed_set(6, "balanced")]).tolist() == [3, 3]


@pytest.mark.parametrize("how", ["balanced", "random"])
def test_the_same_stream_gives_the_same_seed_set_and_another_stream_another(how):
    first, again, other = (seed_set(6, how, seed).tolist() for seed in (1, 1, 2))
    assert first == again != other


def test_a_random_seed_set_holds_distinct_rows():
    assert len(set(seed_set(12, "random").tolist())) == 12


@pytest.mark.parametrize(
    ("size", "how", "said"),
    [
        (10, "balanced", "needs 5 examples of each class; class number 1 has 4"),
        (5, "balanced", "use a multiple of 2"),
        (13, "random", "seed set of 13 but the pool holds 12"),
    ],
)
def test_a_seed_set_that_the_pool_does_not_hold_is_an_error(size, how, said):
    with pytest.raises(ValueError, match=said):
        seed_set(size, how)
