"""What holds of stored rounds whatever they are, of refused protocols, and of shared seed sets."""

import os
import tempfile
from dataclasses import asdict
from unittest.mock import Mock, patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alpt_lib.config import Protocol, Recipe, RunConfig
from alpt_lib.datasets import read_dataset
from alpt_lib.errors import ConfigError
from alpt_lib.loop import Round
from alpt_lib.training import FineTunedNetwork
from companion.runs.plan import check_protocol
from companion.runs.store import StoredRun
from companion.runs.work import do_group

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
    st.lists(st.tuples(st.integers(0, 99), numbers | st.none()), max_size=3),
    st.lists(metric, max_size=2),
    st.none() | st.dictionaries(st.text(), numbers, max_size=2),
)


def bits(rounds: list[Round]) -> list[str]:
    """Two floats have the same hexadecimal form exactly if they are the same number or both NaN."""

    def exact(value):
        if isinstance(value, float):
            return value.hex()
        if isinstance(value, dict):
            return {k: exact(v) for k, v in value.items()}
        return [exact(v) for v in value] if isinstance(value, list) else value

    return [repr(exact(asdict(r))) for r in rounds]


def stored(folder, acquisition="random", fidelity="paper", **protocol) -> StoredRun:
    recipe = Recipe(lr=0.03, warmup_steps=2, max_steps=4, fidelity=fidelity)
    protocol = Protocol(**{"seed_set_size": 8, "budget": 8, "query_batch_size": 4, **protocol})
    run = RunConfig(str(folder), "mini-bit-m-np", acquisition, 1, protocol=protocol, recipe=recipe)
    return StoredRun(run, read_dataset(folder))


@pytest.fixture(scope="module")
def run(birds_folder):
    return stored(birds_folder)


@settings(derandomize=True, max_examples=60, deadline=None)
@given(st.lists(contents, max_size=4), st.data())
def test_rounds_torn_anywhere_read_back_a_prefix_bit_for_bit(run, contents, data):
    rounds = []
    for i, (asked, metrics, fit) in enumerate(contents):
        rows = [row for row, _ in asked]
        rounds.append(Round(i - 1, i + 9, rows, [score for _, score in asked], metrics, fit))
    with tempfile.TemporaryDirectory() as home, patch.dict(os.environ, ALPT_HOME=home):
        file = run.folder / "rounds.jsonl"

        def write(some: list[Round]) -> bytes:
            with run.writing() as append:
                for now in some:
                    append(now)
            return file.read_bytes() if file.exists() else b""

        whole = write(rounds)
        assert bits(run.rounds()) == bits(rounds)
        kept = data.draw(st.integers(0, len(whole)))
        junk = data.draw(st.binary(max_size=5))
        # if only the line end is gone, the round is there
        lacks_end = whole[kept : kept + 1] == b"\n"
        file.write_bytes(whole[:kept] + (b"" if lacks_end else junk))
        n_whole = whole[:kept].count(b"\n") + lacks_end
        assert bits(run.rounds()) == bits(rounds[:n_whole])
        assert write(rounds[n_whole:]) == whole


@pytest.mark.parametrize(
    ("protocol", "said"),
    [
        (
            {"budget": 93},
            r"asked for 101 labels \(seed set 8 \+ budget 93\) but the pool holds 100",
        ),
        ({"seed_set_size": 9}, r"a class-balanced seed set of 9 cannot be split over 2 classes"),
        ({"pool_subsample": 3}, r"pool_subsample 3 is smaller than query_batch_size 4"),
    ],
)
def test_a_protocol_that_the_pool_cannot_serve_is_refused_before_training(
    birds_folder, protocol, said
):
    run = stored(birds_folder, **protocol)
    with pytest.raises(ConfigError, match=said):
        check_protocol(run.data, run.config)


@pytest.mark.parametrize(("fidelity", "n_fits"), [("paper", 6 - 1), ("released", 6)])
def test_an_arm_is_the_same_beside_another_as_alone_and_shares_its_seed_set_fit_unless_released(
    birds_folder, monkeypatch, tmp_path, fidelity, n_fits
):
    fits = Mock(wraps=FineTunedNetwork.fit)
    monkeypatch.setattr(FineTunedNetwork, "fit", lambda *given: fits(*given))
    arms = [stored(birds_folder, name, fidelity) for name in ("random", "least_confidence")]
    do_group(arms, 0.0, lambda n: None)
    assert fits.call_count == n_fits
    beside = arms[1].rounds()
    assert len(beside) == 4
    monkeypatch.setenv("ALPT_HOME", str(tmp_path))
    do_group(arms[1:], 0.0, lambda n: None)
    assert arms[1].rounds() == beside
