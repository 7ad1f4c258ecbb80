"""A network looks at a dataset: probabilities, features, accuracies, within the device's memory."""

import os
import time
from unittest.mock import MagicMock

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from alpt_lib import scoring
from alpt_lib.config import Recipe, RunConfig
from alpt_lib.datasets import read_dataset
from alpt_lib.errors import TrainingDiverged
from alpt_lib.scoring import ScoringNetwork

NO_MEMORY = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")


def network(folder, model="mini-bit-m-np") -> ScoringNetwork:
    config = RunConfig(str(folder), model, "random", seed=1, recipe=Recipe(lr=0.03))
    return ScoringNetwork(read_dataset(folder), config)


@pytest.fixture
def birds(birds_folder):
    return network(birds_folder)


def test_probabilities_are_softmax_and_follow_the_rows_asked_for(birds):
    every = birds.predict_probs("val")
    assert every.shape == (48, 2)
    assert np.allclose(every.sum(axis=1), 1)
    assert np.allclose(birds.predict_probs("val", np.array([7, 3])), every[[7, 3]], atol=1e-6)


def test_scoring_in_small_batches_changes_nothing(birds, monkeypatch):
    every = birds.predict_probs("val")
    monkeypatch.setattr(scoring, "CPU_BATCH", 5)
    assert np.allclose(birds.predict_probs("val"), every, atol=1e-6)


def test_a_batch_is_read_while_the_one_before_it_is_at_work_and_none_twice(birds, monkeypatch):
    monkeypatch.setattr(scoring, "CPU_BATCH", 16)
    inputs = birds.inputs("pool")
    stored = inputs.array
    happened = []

    def read(rows):
        happened.append(("read", rows.tolist()))
        return torch.from_numpy(stored[rows])

    inputs.array = MagicMock(shape=stored.shape)
    inputs.array.__getitem__.side_effect = read
    birds.model.register_forward_pre_hook(lambda _, given: happened.append(("at work", given)))
    rows = np.arange(99, 60, -1)
    birds.predict_probs("pool", rows)
    assert [what for what, _ in happened] == ["read", *["at work", "read"] * 2, "at work"]
    parts = [part for what, part in happened if what == "read"]
    assert parts == [rows[:16].tolist(), rows[16:32].tolist(), rows[32:].tolist()]


def test_texts_are_scored_by_length_and_come_back_in_their_order(reviews_folder, monkeypatch):
    reader = network(reviews_folder, "mini-roberta-m-np")
    inputs = reader.inputs("val")
    rng = np.random.default_rng(0)
    inputs.array = rng.integers(5, 200, (30, 12))
    inputs.array[np.arange(12) >= rng.integers(2, 13, (30, 1))] = inputs.padding
    expected = reader.predict_probs("val")
    one_by_one = [reader.predict_probs("val", np.array([row]))[0] for row in range(30)]
    assert np.allclose(one_by_one, expected, atol=1e-6)
    widths = []
    reader.model.register_forward_hook(lambda _, given, logits: widths.append(given[0].shape[1]))
    monkeypatch.setattr(scoring, "CPU_BATCH", 7)
    assert np.allclose(reader.predict_probs("val"), expected, atol=1e-6)
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] < 5
    rows = np.array([7, 3, 29, 11])
    assert np.allclose(reader.predict_probs("val", rows), expected[rows], atol=1e-6)
    assert len({tuple(p) for p in expected.round(5)}) > 20


def test_features_are_what_the_head_reads(birds):
    head = birds.model.network.get_classifier()
    features = torch.from_numpy(birds.features("val"))[:, :, None, None]
    with torch.no_grad():
        probs = head(features).flatten(1).softmax(dim=1).numpy()
    assert np.allclose(probs, birds.predict_probs("val"), atol=1e-5)
    said = birds.probs_of_features(birds.features("val"))
    assert np.allclose(said, birds.predict_probs("val"), atol=1e-5)


def test_evaluation_agrees_with_a_count_by_hand(birds):
    assert birds.evaluate(-1) == []
    rows = birds.evaluate(0)
    value_of = {(row["split"], row["metric"], row["subgroup"]): row["value"] for row in rows}
    right = birds.predict_probs("val").argmax(axis=1) == birds.data.labels("val")
    assert value_of["val", "accuracy", "all"] == right.mean()
    of_group = birds.data.subgroup("val") == "tall/green"
    assert value_of["val", "accuracy", "tall/green"] == right[of_group].mean()
    is_minority = np.isin(birds.data.subgroup("val"), birds.data.minority)
    by_group = pd.Series(right[is_minority]).groupby(birds.data.subgroup("val")[is_minority])
    assert value_of["val", "accuracy_minority", "all"] == pytest.approx(by_group.mean().mean())


def test_weights_that_are_broken_stop_where_they_are_used(birds):
    with torch.no_grad():
        birds.model.network.get_classifier().weight.fill_(torch.inf)
    said = r"the fitted model gives NaN \(lr 0.03\); lower lr or lengthen warmup_steps"
    with pytest.raises(TrainingDiverged, match=said):
        birds.predict_probs("val")


class SmallMemory(nn.Module):
    """A model that takes so many examples at a time, and so many seconds for each, by its clock."""

    def __init__(self, model, limit, error=NO_MEMORY, seconds=lambda n: 1e-3):
        super().__init__()
        self.model = model
        self.limit = limit
        self.error = error
        self.seconds = seconds
        self.clock = 0.0
        self.sizes = []

    def forward(self, batch):
        self.sizes.append(len(batch))
        self.clock += len(batch) * self.seconds(len(batch))
        if len(batch) > self.limit:
            # without an error of its own, what PyTorch raises on a CPU
            raise self.error or torch.empty(1 << 60)
        return self.model(batch)


@pytest.mark.parametrize("error", [NO_MEMORY, None])
def test_scoring_goes_on_in_halved_batches_when_memory_is_short_and_says_so_once(
    birds, capsys, error
):
    scoring.say_once.cache_clear()
    every = birds.predict_probs("pool")
    birds.model = SmallMemory(birds.model, 11, error)
    for _ in range(2):
        assert np.allclose(birds.predict_probs("pool"), every, atol=1e-6)
    # from 256, of which the pool has 100
    assert birds.model.sizes == [100, 100, 64, 32, 16, *[8] * 12, 4, *[8] * 12, 4]
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "out of memory on cpu in scoring: going on with smaller batches" in said


@pytest.mark.parametrize(("limit", "error"), [(0, NO_MEMORY), (9, RuntimeError("shapes differ"))])
def test_scoring_that_fails_with_one_example_or_for_another_reason_fails(birds, limit, error):
    birds.model = SmallMemory(birds.model, limit, error)
    with pytest.raises(type(error), match=str(error)):
        birds.predict_probs("pool")


@pytest.mark.parametrize(
    ("limit", "seconds", "fastest", "tried"),
    [
        # twice the examples a second for each doubling, until memory is short
        (128, lambda n: 1 / n, 128, [32, 64, 128, 256]),
        # 3% faster is not worth twice the memory
        (1000, lambda n: 1 / (100 + n / 10), 32, [32, 64]),
        (1000, lambda n: 1 / min(n, 128), 128, [32, 64, 128, 256]),
        (8, lambda n: 1, 32, [32, 64]),
    ],
)
def test_on_a_gpu_the_scoring_batch_is_doubled_while_that_pays_and_measured_once(
    birds, home, monkeypatch, limit, seconds, fastest, tried
):
    # a cache of its own
    (home / "data" / "cache").unlink()
    birds.model = SmallMemory(birds.model, limit, seconds=seconds)
    inputs = birds.inputs("val")
    monkeypatch.setattr(time, "perf_counter", lambda: birds.model.clock)
    assert birds.fastest_batch(inputs) == fastest
    assert list(dict.fromkeys(birds.model.sizes)) == tried
    birds.model.sizes.clear()
    assert birds.fastest_batch(inputs) == fastest
    assert birds.model.sizes == []
    birds.model.error = RuntimeError("another fault")
    birds.model.limit = 0
    birds.config = RunConfig("folder", "another", "random", seed=1)
    with pytest.raises(RuntimeError, match="another fault"):
        birds.fastest_batch(inputs)


@pytest.mark.parametrize(("said", "is_repeatable"), [(None, True), ("1", True), ("0", False)])
def test_a_gpu_takes_kernels_that_repeat_unless_told_otherwise(monkeypatch, said, is_repeatable):
    workspace = "CUBLAS_WORKSPACE_CONFIG"
    for name in (workspace, scoring.DETERMINISTIC):
        # set first, so that it is as before in the end
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    if said is not None:
        monkeypatch.setenv(scoring.DETERMINISTIC, said)
    try:
        scoring.choose_kernels(Recipe(), torch.device("cuda"))
        assert torch.are_deterministic_algorithms_enabled() == is_repeatable
        assert (workspace in os.environ) == is_repeatable
    finally:
        torch.use_deterministic_algorithms(False)
