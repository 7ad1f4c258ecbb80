"""The baseline of the speed claims does the same work as ours; each benchmark works when quick."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from baseline import MICRO_BATCH, PlainLearner, plain_active_learning

from alpt_lib.config import Protocol, Recipe, RunConfig
from alpt_lib.datasets import read_dataset
from alpt_lib.files import REPOSITORY
from alpt_lib.loop import active_learning
from alpt_lib.training import FineTunedNetwork

RECIPE = Recipe(
    lr=0.03, warmup_steps=2, max_steps=4, train_batch_size=8, micro_batch_size=MICRO_BATCH
)
SCRIPTS = (
    "choosing",
    "executors",
    "frozen",
    "kill_50",
    "loading",
    "clicks",
    "loop_speed",
    "profile_run",
    "scaling",
    "scoring",
    "selection",
)


def run_config(folder, acquisition: str, recipe: Recipe) -> RunConfig:
    # labelled sets that 4 and 8 do not divide
    protocol = Protocol(seed_set_size=10, budget=9, query_batch_size=3)
    return RunConfig(
        str(folder), "mini-bit-m", acquisition, seed=3, protocol=protocol, recipe=recipe
    )


@pytest.mark.parametrize(
    ("acquisition", "recipe"),
    [
        ("least_confidence", RECIPE),
        ("random", RECIPE),
        ("margin", replace(RECIPE, augment="crop_flip", resize=32, crop=28)),
        ("entropy", replace(RECIPE, loss_ratio=0.5, max_steps=30)),
    ],
)
def test_every_index_that_the_plain_loop_acquires_ours_acquires_too(
    birds_folder, acquisition, recipe
):
    config = run_config(birds_folder, acquisition, recipe)
    data = read_dataset(birds_folder)
    learner = PlainLearner(data, config, num_workers=0, our_network=True)
    plain = list(plain_active_learning(data, learner, config))
    ours = list(active_learning(FineTunedNetwork(data, config), data.pool(), config))
    assert [r.asked for r in plain] == [r.asked for r in ours]
    assert [r.scores for r in plain] == [r.scores for r in ours]
    values = [[m["value"] for r in rounds for m in r.metrics] for rounds in (plain, ours)]
    assert values[0] == pytest.approx(values[1], nan_ok=True)
    fits = [[r.fit and r.fit["n_steps"] for r in rounds] for rounds in (plain, ours)]
    assert fits[0] == fits[1]
    assert sum(len(r.asked) for r in ours) == 10 + 9


def test_loader_workers_change_nothing_of_what_the_plain_loop_acquires(birds_folder):
    recipe = replace(RECIPE, max_steps=2, augment="flip")
    config = run_config(birds_folder, "least_confidence", recipe)
    data = read_dataset(birds_folder)
    alone, helped = [
        list(plain_active_learning(data, PlainLearner(data, config, n), config)) for n in (0, 2)
    ]
    assert [r.asked for r in alone] == [r.asked for r in helped]
    assert [r.scores for r in alone] == [r.scores for r in helped]


def test_the_plain_loop_in_timm_s_own_network_comes_to_the_same_probabilities(birds_folder):
    config = run_config(birds_folder, "least_confidence", RECIPE)
    data = read_dataset(birds_folder)
    fitted = []
    for our_network in (False, True):
        learner = PlainLearner(data, config, 0, our_network)
        learner.reset()
        learner.fit(np.arange(20), np.random.default_rng(0))
        fitted.append(learner.predict_probs("val"))
    assert np.allclose(*fitted, atol=1e-3)
    assert fitted[0].std() > 0.01


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS)
def test_each_benchmark_runs_at_a_small_size_and_stores_nothing(script):
    results = REPOSITORY / "benchmarks" / "results"
    stored = {file: file.stat().st_mtime for file in results.iterdir()}
    command = [sys.executable, f"benchmarks/{script}.py", "--quick"]
    assert subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL).returncode == 0
    assert all(file.stat().st_mtime == time for file, time in stored.items())
