from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alpt_lib.pool import Pool

LABELS = np.array([0] * 8 + [1] * 4)


def seed_set(size, how, seed=0):
    return Pool(LABELS, 2).seed_set(size, how, np.random.default_rng(seed))


@settings(derandomize=True, max_examples=60, deadline=None)
@given(st.data())
def test_a_pool_takes_rows_that_are_new_and_refuses_all_others_unchanged(data):
    n = data.draw(st.integers(1, 15))
    pool = Pool(np.zeros(n, dtype=int), 1)
    bought = []
    for batch in data.draw(st.lists(st.lists(st.integers(-2, n + 1), max_size=4), max_size=8)):
        if set(batch) <= set(range(n)) - set(bought) and len(set(batch)) == len(batch):
            pool.acquire(np.array(batch))
            bought += batch
        else:
            with pytest.raises(ValueError, match=r"rows must lie in|rows queried twice"):
                pool.acquire(np.array(batch))
        assert pool.labelled.tolist() == bought
        assert pool.unlabelled.tolist() == sorted(set(range(n)) - set(bought))
        assert len(pool) == len(bought)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([2, 3], r"queried twice: \[3\]"),
        ([5, 5], "queried twice: within the batch"),
        ([4, -1], r"rows must lie in \[0, 12\); got -1 to 4"),
    ],
)
def test_a_refusal_says_which_rows_and_why(rows, said):
    pool = Pool(LABELS, 2)
    pool.acquire(np.array([3]))
    with pytest.raises(ValueError, match=said):
        pool.acquire(np.array(rows))


def test_a_row_of_which_the_oracle_cannot_tell_is_paid_and_teaches_nothing():
    pool = Pool(np.array([0, -1, 1, -1, 0, 1]), 2)
    pool.acquire(np.array([3, 5, 1]))
    assert len(pool) == 3
    assert pool.labelled.tolist() == [5]
    assert pool.unlabelled.tolist() == [0, 2, 4]
    for how in ("balanced", "random"):
        assert set(pool.seed_set(4, how, np.random.default_rng(0))) == {0, 2, 4, 5}
    with pytest.raises(ValueError, match="seed set of 6 but the pool holds 4"):
        pool.seed_set(6, "random", np.random.default_rng(0))


def test_candidates_are_what_is_not_labelled_or_a_random_part_of_it():
    pool = Pool(LABELS, 2)
    pool.acquire(np.array([3, 0]))
    left = [1, 2, *range(4, 12)]
    assert pool.candidates(0, np.random.default_rng(0)).tolist() == left
    parts = [pool.candidates(5, np.random.default_rng(seed)).tolist() for seed in range(9)]
    assert all(part == sorted(set(part) & set(left)) and len(part) == 5 for part in parts)
    assert len(set(map(tuple, parts))) > 5


@settings(derandomize=True, max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 3), min_size=4, max_size=60),
    st.integers(1, 6),
    st.integers(0, 2**32 - 1),
)
def test_a_balanced_seed_set_has_distinct_rows_and_equal_classes_or_is_refused(
    labels, per_class, seed
):
    pool = Pool(np.array(labels), 4)
    counts = Counter(labels)
    if all(counts[c] >= per_class for c in range(4)):
        rows = pool.seed_set(4 * per_class, "balanced", np.random.default_rng(seed))
        assert len(set(rows.tolist())) == 4 * per_class
        assert Counter(labels[row] for row in rows) == dict.fromkeys(range(4), per_class)
    else:
        with pytest.raises(ValueError, match=r"class|pool"):
            pool.seed_set(4 * per_class, "balanced", np.random.default_rng(seed))


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
