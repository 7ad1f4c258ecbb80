"""Frozen features, linear probes and t-SNE: the same numbers whatever the number of threads."""

from dataclasses import replace
from unittest.mock import Mock

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from alpt_lib.config import Protocol, RunConfig
from alpt_lib.datasets import read_dataset
from alpt_lib.loop import active_learning
from alpt_lib.scoring import ScoringNetwork
from companion.runs.probes import (
    Probed,
    balanced_rows,
    initial_features,
    linear_probe,
    neighbour_agreement,
    tsne,
)


def config(folder, **changes):
    return replace(RunConfig(str(folder), "mini-bit-m", "random", seed=1), **changes)


def test_features_are_computed_once_per_model_and_rows(birds_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("ALPT_HOME", str(tmp_path))
    data = read_dataset(birds_folder)
    features = Mock(wraps=ScoringNetwork.features)
    monkeypatch.setattr(ScoringNetwork, "features", lambda *given: features(*given))
    run = config(birds_folder)
    first = initial_features(data, run, np.arange(20))
    for same in (run, replace(run, acquisition="margin", protocol=Protocol(budget=5))):
        assert np.array_equal(initial_features(data, same, np.arange(20)), first)
    assert features.call_count == 1
    assert not np.array_equal(initial_features(data, run, np.arange(1, 21)), first)
    initial_features(data, config(birds_folder, model="mini-bit-m-np"), np.arange(20))
    assert features.call_count == 3


def test_a_map_of_features_does_not_depend_on_the_number_of_threads(
    birds_folder, tmp_path, monkeypatch
):
    noise = np.random.default_rng(0).normal(size=(200, 256)).astype(np.float32)
    results = []
    for threads in (1, 2):
        # else the second time would read what the first kept
        monkeypatch.setenv("ALPT_HOME", str(tmp_path / str(threads)))
        with threadpool_limits(threads):
            data = read_dataset(birds_folder)
            results.append(initial_features(data, config(birds_folder), np.arange(60)))
            results.append(tsne(noise, seed=1, n_iter=20).to_numpy())
            assert torch.get_num_threads() == threads
    assert [result.shape for result in results] == [(60, 256), (200, 2)] * 2
    assert np.array_equal(results[0], results[2])
    assert np.array_equal(results[1], results[3])


def test_a_linear_probe_finds_what_is_linearly_there_and_nothing_else():
    rng = np.random.default_rng(0)
    groups = rng.permutation(np.repeat(["a", "b"], 100)).astype(object)
    noise = rng.normal(size=(200, 5))
    told = noise + 6 * (groups == "a")[:, None]

    def share_right(features: np.ndarray) -> float:
        return linear_probe(features[:100], groups[:100], features[100:], groups[100:]).mean()

    assert share_right(told) > 0.97
    assert 0.3 < share_right(noise) < 0.7


def test_groups_are_balanced_to_the_smallest():
    groups = np.array(["a"] * 7 + ["b"] * 3)
    rows = balanced_rows(groups, 5, np.random.default_rng(0))
    assert sorted(groups[rows]) == ["a"] * 3 + ["b"] * 3
    assert len(set(rows)) == 6


def test_a_probed_learner_is_probed_before_any_label_and_in_evaluated_rounds(birds_folder):
    data = read_dataset(birds_folder)
    protocol = Protocol(seed_set_size=8, budget=12, query_batch_size=4, eval_every=2)
    run = config(birds_folder, probe=("label",), protocol=protocol)
    noise = np.random.default_rng(0).normal(size=(48, 3))
    # its features tell the class, until it is trained
    toy = Mock()
    toy.fit.return_value = {}
    toy.evaluate.side_effect = lambda number: [{"metric": "own", "value": number}]
    toy.features.side_effect = lambda split, rows: (
        noise + 9 * (toy.fit.call_count == 0) * data.labels(split)[rows][:, None]
    )
    rounds = list(active_learning(Probed(toy, data, run), data.pool(), run))
    assert toy.reset.call_count == 1 + toy.fit.call_count == 4
    names = [[row["metric"] for row in r.metrics] for r in rounds]
    values = [[row["value"] for row in r.metrics[:2]] for r in rounds]
    assert [n[:2] for n in names] == [["own", "probe_accuracy"] * bool(v) for v in values]
    assert values[:3:2] == [[-1, 1.0], []]
    assert [v[0] for v in values if v] == [-1, 0, 2, 3]
    assert all(0.2 < v[1] < 0.8 for v in values[1:] if v)
    # balanced over the probed groups, of the first evaluation split
    smallest = np.bincount(data.labels("val")).min()
    assert rounds[0].metrics[1]["n_examples"] == 2 * smallest
    assert {row["split"] for row in rounds[0].metrics[1:]} == {"val"}
    list(active_learning(Probed(toy, data, run), data.pool(), run, rounds[:3]))
    assert [call.args[0] for call in toy.replay.call_args_list] == rounds[:3]


def test_neighbours_agree_inside_a_group_and_not_at_a_mixed_place():
    features = np.array([[0.0], [0.1], [0.2], [10.0], [10.1], [10.2]])
    groups = np.array(["a", "a", "a", "a", "b", "b"])
    agreement = neighbour_agreement(features, groups, n_neighbours=2)
    assert agreement.tolist() == [1, 1, 1, 0, 0.5, 0.5]
