"""What holds of the pool, of selection and of the store whatever they are given."""

import math
import tempfile
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from alpt_lib.acquisition import select
from alpt_lib.loop import Round
from alpt_lib.pool import Pool
from companion.runs import store

repeatable = settings(derandomize=True, max_examples=60, deadline=None)


@repeatable
@given(st.data())
def test_a_pool_takes_rows_that_are_new_and_refuses_all_others_unchanged(data):
    n = data.draw(st.integers(1, 15))
    pool, bought = Pool(np.zeros(n, dtype=int), 1), []
    for batch in data.draw(st.lists(st.lists(st.integers(-2, n + 1), max_size=4), max_size=8)):
        if set(batch) <= set(range(n)) - set(bought) and len(set(batch)) == len(batch):
            pool.acquire(np.array(batch))
            bought += batch
        else:
            with pytest.raises(ValueError, match=r"rows must lie in|rows queried twice"):
                pool.acquire(np.array(batch))
        assert pool.labelled.tolist() == bought
        assert pool.unlabelled.tolist() == sorted(set(range(n)) - set(bought))


@repeatable
@given(
    st.lists(st.integers(0, 3), min_size=4, max_size=60),
    st.integers(1, 6),
    st.integers(0, 2**32 - 1),
)
def test_a_balanced_seed_set_has_distinct_rows_and_equal_classes_or_is_refused(
    labels, per_class, seed
):
    pool, counts = Pool(np.array(labels), 4), Counter(labels)
    if all(counts[c] >= per_class for c in range(4)):
        rows = pool.seed_set(4 * per_class, "balanced", np.random.default_rng(seed))
        assert len(set(rows.tolist())) == 4 * per_class
        assert Counter(labels[row] for row in rows) == dict.fromkeys(range(4), per_class)
    else:
        with pytest.raises(ValueError, match=r"class|pool"):
            pool.seed_set(4 * per_class, "balanced", np.random.default_rng(seed))


scores = arrays.arrays(
    np.float32,
    st.integers(1, 40),
    elements=st.sampled_from([-1.0, -0.5, 0.0, 0.25, math.inf, -math.inf]),
)


@repeatable
@given(scores, st.data())
def test_what_is_selected_has_the_highest_scores_in_falling_order(values, data):
    n = data.draw(st.integers(0, len(values)))
    chosen = select(values, n, np.random.default_rng(data.draw(st.integers(0, 99))))
    assert values[chosen].tolist() == sorted(values.tolist(), reverse=True)[:n]
    assert len(set(chosen.tolist())) == n


@repeatable
@given(
    st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=40, unique=True),
    st.randoms(use_true_random=False),
)
def test_without_ties_the_order_of_the_pool_does_not_matter(values, random):
    shuffled = random.sample(range(len(values)), len(values))
    values, n = np.array(values), len(values) // 2
    moved = select(values[shuffled], n, np.random.default_rng(1))
    assert [shuffled[i] for i in moved] == select(values, n, np.random.default_rng(2)).tolist()


def test_each_of_several_equal_scores_is_selected_equally_often():
    """4,000 draws of 2 of the 5 equal ones: each 1,600 times, with a standard deviation of 31; one draw in 10,000 is 4 off."""
    values, rng = np.array([9.0, 1, 1, 1, 1, 1, 0]), np.random.default_rng(0)
    times = Counter(int(i) for _ in range(4000) for i in select(values, 3, rng))
    assert times[0] == 4000
    assert times[6] == 0
    assert all(abs(times[i] - 1600) < 4 * 31 for i in range(1, 6))


numbers = st.floats(width=64) | st.floats(width=32)
metric = st.fixed_dictionaries(
    {
        "metric": st.text(),
        "split": st.just("val"),
        "subgroup": st.text(),
        "value": numbers,
        "n_examples": st.integers(0, 2**40),
    }
)
contents = st.tuples(
    st.lists(st.integers(0, 10**8), max_size=3),
    st.lists(numbers, max_size=3),
    st.lists(metric, max_size=2),
    st.none() | st.dictionaries(st.text(), numbers, max_size=2),
)


@st.composite
def runs(draw):
    first = draw(st.sampled_from([store.BEFORE, 0]))
    return [
        Round(i, i + 9, *content)
        for i, content in enumerate(draw(st.lists(contents, max_size=4)), first)
    ]


def bits(rounds: list[Round]) -> list[str]:
    """Two floats have the same hexadecimal form exactly if they are the same number (or both NaN)."""

    def exact(value):
        if isinstance(value, float):
            return value.hex()
        if isinstance(value, dict):
            return {k: exact(v) for k, v in value.items()}
        return [exact(v) for v in value] if isinstance(value, list) else value

    return [repr(exact(asdict(r))) for r in rounds]


@repeatable
@given(runs(), st.data())
def test_a_file_of_rounds_torn_anywhere_reads_back_a_prefix_bit_for_bit(rounds, data):
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rounds.jsonl"
        for r in rounds:
            store.add(file, r)
        whole = file.read_bytes() if file.exists() else b""
        assert bits(store.read_rounds(file)) == bits(rounds)
        kept, junk = data.draw(st.integers(0, len(whole))), data.draw(st.binary(max_size=5))
        torn = whole[:kept]
        n_whole_lines = torn.count(b"\n") + (
            whole[kept : kept + 1] == b"\n"
        )  # only the line end is gone: the round is there
        file.write_bytes(torn + (b"" if whole[kept : kept + 1] == b"\n" else junk))
        assert bits(store.read_rounds(file)) == bits(rounds[:n_whole_lines])
        store.mend(file)
        for r in rounds[n_whole_lines:]:
            store.add(file, r)
        assert file.read_bytes() == whole
