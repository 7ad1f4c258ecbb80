"""Frozen features, linear probes and t-SNE: the same numbers however many threads the process has."""

from dataclasses import replace

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from alpt_lib import training
from alpt_lib.config import Protocol, RunConfig
from alpt_lib.probes import balanced_rows, initial_features, linear_probe, tsne


def test_features_are_computed_once_per_model_and_rows(birds_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("ALPT_HOME", str(tmp_path))
    config, computed, features = (
        RunConfig(str(birds_folder), "mini-bit-m", "random", seed=1),
        [],
        training.Learner.features,
    )
    monkeypatch.setattr(
        training.Learner, "features", lambda *given: computed.append(given) or features(*given)
    )
    first = initial_features(config, np.arange(20))
    for same in (config, replace(config, acquisition="margin", protocol=Protocol(budget=5))):
        assert np.array_equal(initial_features(same, np.arange(20)), first)
    assert len(computed) == 1
    assert not np.array_equal(initial_features(config, np.arange(1, 21)), first)
    initial_features(replace(config, model="mini-bit-m-np"), np.arange(20))
    assert len(computed) == 3


def test_a_map_of_features_does_not_depend_on_the_number_of_threads(
    birds_folder, tmp_path, monkeypatch
):
    noise = np.random.default_rng(0).normal(size=(200, 256)).astype(np.float32)
    found = []
    for threads in (1, 2):
        monkeypatch.setenv(
            "ALPT_HOME", str(tmp_path / str(threads))
        )  # else the second time would read what the first kept
        with threadpool_limits(threads):
            features = initial_features(
                RunConfig(str(birds_folder), "mini-bit-m", "random", seed=1), np.arange(60)
            )
            found.append((features, tsne(noise, seed=1, n_iter=20)))
            assert torch.get_num_threads() == threads
    assert found[0][0].shape == (60, 256)
    assert np.array_equal(found[0][0], found[1][0])
    assert found[0][1].equals(found[1][1])


def test_a_linear_probe_finds_what_is_linearly_there_and_nothing_else():
    rng = np.random.default_rng(0)
    groups = rng.permutation(np.repeat(["a", "b"], 100)).astype(object)
    noise = rng.normal(size=(200, 5))
    told = noise + 6 * (groups == "a")[:, None]
    halves = slice(0, 100), slice(100, 200)
    assert (
        linear_probe(told[halves[0]], groups[halves[0]], told[halves[1]], groups[halves[1]]).mean()
        > 0.97
    )
    assert (
        0.3
        < linear_probe(
            noise[halves[0]], groups[halves[0]], noise[halves[1]], groups[halves[1]]
        ).mean()
        < 0.7
    )


def test_groups_are_balanced_to_the_smallest():
    groups = np.array(["a"] * 7 + ["b"] * 3)
    rows = balanced_rows(groups, 5, np.random.default_rng(0))
    assert sorted(groups[rows]) == ["a"] * 3 + ["b"] * 3
    assert len(set(rows)) == 6
