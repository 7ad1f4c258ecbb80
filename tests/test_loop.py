"""The active-learning loop, mostly with a linear model of two features in place of a network."""

from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from itertools import accumulate, chain
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from alpt_lib import datasets, loop
from alpt_lib.config import Protocol, Recipe, RunConfig
from alpt_lib.datasets import Dataset, Description
from alpt_lib.errors import CompanionError, ConfigError
from alpt_lib.loop import active_learning, query, start_pool, stream
from alpt_lib.training import Learner
from companion.runs.plan import check_protocol

PROTOCOL = Protocol(seed_set_size=8, budget=12, query_batch_size=4)


def linear_world(
    n_pool: int = 600, n_val: int = 200, seed: int = 0
) -> tuple[Dataset, dict[str, np.ndarray]]:
    """Two classes by two backgrounds, 95% matched in the pool; features: a noisy shape and a clear background."""
    rng = np.random.default_rng(seed)
    label = rng.integers(2, size=n_pool + n_val)
    is_pool = np.arange(n_pool + n_val) < n_pool
    background = np.where(rng.random(len(label)) < np.where(is_pool, 0.95, 0.5), label, 1 - label)
    features = np.stack(
        [2 * label - 1 + 0.3 * rng.normal(size=len(label)), 2 * background - 1.0], axis=1
    )
    frame = pd.DataFrame(
        {
            "text": "",
            "label": np.array(["a", "b"])[label],
            "background": np.array(["land", "water"])[background],
            "split": np.where(is_pool, "pool", "val"),
        }
    )
    description = Description(
        "linear", ["a", "b"], modality="text", subgroups=["label", "background"]
    )
    return Dataset(Path("linear"), description, frame), {
        "pool": features[is_pool],
        "val": features[~is_pool],
    }


@dataclass
class Log:
    """Stands for a FitLog."""

    n_steps: int = 1


class LinearModel:
    """The weights of shape, background and bias, as the loop keeps and restores them."""

    def __init__(self):
        self.w = torch.zeros(3, dtype=torch.float64)

    def state_dict(self):
        return {"w": self.w}

    def load_state_dict(self, state):
        self.w = state["w"].clone()


class LinearLearner:
    """Logistic regression that keeps a diary of what the loop asked of it."""

    def __init__(self, data: Dataset, features: dict[str, np.ndarray]):
        self.data, self.model = data, LinearModel()
        self.inputs = {
            split: np.column_stack([array, np.ones(len(array))])
            for split, array in features.items()
        }
        self.fits: list[list[int]] = []
        self.scored: list[int] = []
        self.resets = 0

    def reset(self):
        self.model = LinearModel()
        self.resets += 1

    def fit(self, rows, rng, optimizer=None):
        self.fits.append(sorted(rows.tolist()))
        x, y, w = (
            self.inputs["pool"][rows],
            2 * self.data.labels("pool")[rows] - 1,
            self.model.w.numpy(),
        )
        for _ in range(100):
            w = w + 0.5 * (x * (y / (1 + np.exp(y * (x @ w))))[:, None]).mean(axis=0)
        self.model.w = torch.from_numpy(w)
        return Log()

    def scoring(self):
        return nullcontext()

    def predict_probs(self, split, rows=None):
        if split == "pool":
            self.scored.append(len(rows))
        x = self.inputs[split] if rows is None else self.inputs[split][rows]
        p = 1 / (1 + np.exp(-(x @ self.model.w.numpy())))
        return np.column_stack([1 - p, p])


def config(acquisition="least_confidence", seed=1, **protocol) -> RunConfig:
    return RunConfig("linear", "linear", acquisition, seed, protocol=replace(PROTOCOL, **protocol))


def play(config_: RunConfig, **options):
    data, features = linear_world()
    learner = LinearLearner(data, features)
    return list(active_learning(data, learner, config_, **options)), learner


def rows(rounds) -> list[dict]:
    return [asdict(r) for r in rounds]


def test_labels_grow_by_a_query_batch_a_round_until_the_budget():
    rounds, _ = play(config())
    assert [r.n_labels for r in rounds] == [8, 12, 16, 20]
    assert [len(r.query) for r in rounds] == [4, 4, 4, 0]


def test_a_budget_that_is_no_multiple_of_the_query_batch_is_spent_exactly():
    rounds, _ = play(config(budget=10))
    assert [r.n_labels for r in rounds] == [8, 12, 16, 18]


def test_without_a_budget_there_is_the_seed_set_alone():
    rounds, _ = play(config(budget=0))
    assert [(r.n_labels, r.query) for r in rounds] == [(8, [])]


def test_each_round_trains_once_on_all_labels_so_far_from_the_initial_weights():
    rounds, learner = play(config())
    seed_set = start_pool(learner.data, config()).labelled.tolist()
    labelled = list(accumulate([seed_set, *(r.query for r in rounds[:3])]))
    assert learner.fits == [sorted(rows) for rows in labelled]
    assert learner.resets == 4


def test_the_query_is_the_least_confident_part_of_the_pool():
    data, features = linear_world()
    learner, pool = LinearLearner(data, features), start_pool(data, config())
    learner.fit(pool.labelled, None)
    asked, scores = query(learner, pool, config(), 0)
    confidence = pd.Series(learner.predict_probs("pool", np.arange(600)).max(axis=1)).drop(
        pool.labelled
    )
    assert np.allclose(np.sort(-scores), confidence.nsmallest(4))
    assert set(asked) <= set(confidence.index)


def test_every_arm_and_model_of_a_seed_starts_from_the_same_balanced_seed_set():
    data, _ = linear_world()
    starts = [
        start_pool(data, c).labelled.tolist()
        for c in (
            config("random"),
            config("margin"),
            replace(config(), model="other", recipe=Recipe(lr=1.0)),
            config(budget=40),
        )
    ]
    assert all(start == starts[0] for start in starts)
    assert data.labels("pool")[starts[0]].sum() == 4
    assert start_pool(data, config(seed=2)).labelled.tolist() != starts[0]


def test_the_random_arm_trains_and_scores_in_evaluated_rounds_only():
    rounds, learner = play(config("random", budget=20, eval_every=2))
    assert [bool(r.metrics) for r in rounds] == [True, False, True, False, True, True]
    assert [r.fit is not None for r in rounds] == [True, False, True, False, True, True]
    assert len(learner.fits) == 4
    assert learner.scored == []


def test_the_other_arms_train_in_every_round():
    rounds, learner = play(config("margin", budget=20, eval_every=2))
    assert [bool(r.metrics) for r in rounds] == [True, False, True, False, True, True]
    assert len(learner.fits) == 6


def test_what_the_random_arm_asks_does_not_depend_on_the_model():
    data, features = linear_world()
    other = {split: -array for split, array in features.items()}
    queries = [
        [r.query for r in active_learning(data, LinearLearner(data, f), config("random"))]
        for f in (features, other)
    ]
    assert queries[0] == queries[1]


def test_the_same_seed_gives_the_same_rounds_and_another_seed_others():
    first, second, other = (rows(play(config(seed=seed))[0]) for seed in (1, 1, 2))
    assert first == second
    assert first != other


@pytest.mark.parametrize("acquisition", ["random", "least_confidence", "margin", "entropy"])
@pytest.mark.parametrize("n_done", [1, 3, 4])
def test_a_resumed_run_gives_the_rows_of_an_uninterrupted_one(acquisition, n_done):
    whole, _ = play(config(acquisition))
    rest, learner = play(config(acquisition), history=[r.query for r in whole[:n_done]])
    assert rows(rest) == rows(whole[n_done:])
    assert len(learner.fits) == 4 - n_done


def test_arms_that_share_a_seed_set_fit_and_evaluate_it_once(monkeypatch):
    shared, evaluated, evaluate = {}, [], loop.evaluate
    monkeypatch.setattr(
        loop, "evaluate", lambda *given: evaluated.append(given) or evaluate(*given)
    )
    alone, _ = play(config("margin"))
    _, first = play(config("random"), shared=shared)
    rounds, second = play(
        config("margin"), shared=shared, observe=lambda round_: [{"probed": round_}]
    )
    assert (len(first.fits), len(second.fits)) == (4, 3)
    assert rounds[0].fit == {"n_steps": 1}
    assert len(evaluated) == 4 + 4 + 3
    assert [r.metrics for r in rounds] == [[*r.metrics, {"probed": r.round}] for r in alone]
    again, _ = play(config("margin"), shared=shared)
    assert rows(again) == rows(alone)


RELEASED = Recipe(lr=0.03, warmup_steps=2, max_steps=4, fidelity="released")


def play_released(folder: Path, acquisition: str = "least_confidence", **options):
    """Four rounds of a small network under the released code's rules, evaluated every 2nd; its rounds and optimizers."""
    data = datasets.read_dataset(folder)
    learner = Learner(data, "mini-bit-m-np", RELEASED, None, 1)
    fit, optimizers = learner.fit, []

    def noted(rows, rng, optimizer):
        optimizers.append(optimizer)
        return fit(rows, rng, optimizer)

    learner.fit = noted
    run = RunConfig(
        str(folder),
        "mini-bit-m-np",
        acquisition,
        1,
        protocol=replace(PROTOCOL, eval_every=2),
        recipe=RELEASED,
    )
    return rows(active_learning(data, learner, run, **options)), optimizers


@pytest.mark.parametrize("acquisition", ["random", "least_confidence"])
def test_under_released_one_optimizer_serves_every_round_of_every_arm(birds_folder, acquisition):
    rounds, optimizers = play_released(birds_folder, acquisition)
    assert [r["fit"] is not None for r in rounds] == [True] * 4
    assert len(optimizers) == 4
    assert optimizers[0] is not None
    assert all(o is optimizers[0] for o in optimizers)


@pytest.mark.parametrize("n_done", [1, 3])
def test_under_released_a_resumed_run_still_gives_the_rows_of_an_uninterrupted_one(
    birds_folder, n_done
):
    whole, _ = play_released(birds_folder)
    rest, optimizers = play_released(birds_folder, history=[r["query"] for r in whole[:n_done]])
    assert rest == whole[n_done:]
    assert len(optimizers) == 4  # the momentum of the rounds before is made again


def test_under_released_an_arm_is_the_same_after_another_as_alone(birds_folder):
    shared = {}
    play_released(birds_folder, "random", shared=shared)
    after, optimizers = play_released(birds_folder, shared=shared)
    assert after == play_released(birds_folder)[0]
    assert len(optimizers) == 4


def test_under_released_what_looks_alike_is_asked_by_position():
    data, features = linear_world()
    learner, run = LinearLearner(data, features), replace(config(), recipe=RELEASED)
    pool = start_pool(data, run)
    asked, _ = query(learner, pool, run, 0)  # weights of zero: every probability is 0.5
    assert asked.tolist() == pool.unlabelled[:4].tolist()
    assert query(learner, pool, config(), 0)[0].tolist() != asked.tolist()


def test_a_pool_subsample_bounds_what_is_scored():
    _, learner = play(config(pool_subsample=50))
    assert learner.scored == [50, 50, 50]


@pytest.mark.parametrize("acquisition", ["random", "least_confidence", "entropy", "margin"])
def test_a_pool_that_is_scored_part_by_part_is_asked_the_same_questions(acquisition, monkeypatch):
    whole = rows(play(config(acquisition))[0])
    monkeypatch.setattr("alpt_lib.loop.SCORED_AT_ONCE", 37)
    parts, learner = play(config(acquisition))
    assert rows(parts) == whole
    assert acquisition == "random" or max(learner.scored) <= 37


def test_what_is_observed_joins_the_metrics_of_evaluated_rounds():
    rounds, _ = play(
        config(eval_every=2), observe=lambda round_: [{"metric": "probe", "value": round_}]
    )
    assert [[m["value"] for m in r.metrics if m["metric"] == "probe"] for r in rounds] == [
        [0],
        [],
        [2],
        [3],
    ]


def test_evaluation_agrees_with_a_count_by_hand():
    rounds, learner = play(config())
    right = (learner.inputs["val"] @ learner.model.w.numpy() > 0) == learner.data.labels("val")
    values = {(m["metric"], m["subgroup"]): m["value"] for m in rounds[-1].metrics}
    assert values["accuracy", "all"] == right.mean()
    of_group = learner.data.subgroup("val") == "a/water"
    assert values["accuracy", "a/water"] == right[of_group].mean()


def test_named_streams_are_independent_of_each_other_and_repeatable():
    draws = {name: stream(1, name).random() for name in ("seed set", "training", "acquisition")}
    assert len(set(draws.values())) == 3
    assert stream(1, "training", 2).random() != draws["training"]
    assert stream(1, "training").random() == draws["training"]


def minority_share(acquisition: str, seed: int) -> float:
    """Share of mismatched examples among 40 acquired; the pool holds 5%."""
    data, features = linear_world()
    rounds = active_learning(
        data, LinearLearner(data, features), config(acquisition, seed, budget=40, eval_every=10)
    )
    asked = list(chain.from_iterable(r.query for r in rounds))
    return np.isin(data.subgroup("pool")[asked], ["a/water", "b/land"]).mean()


def test_uncertainty_finds_the_mismatched_minority_more_often_than_random():
    """The paper in miniature. Measured over these seeds: 0.30 to 0.40 for least confidence, 0 to 0.075 for random."""
    uncertain = [minority_share("least_confidence", seed) for seed in range(8)]
    random = [minority_share("random", seed) for seed in range(8)]
    assert min(uncertain) > 0.2
    assert max(random) < 0.15


def test_a_network_gives_the_same_rounds_twice(birds_folder):
    data = datasets.read_dataset(birds_folder)
    run = RunConfig(
        str(birds_folder),
        "mini-bit-m-np",
        "margin",
        1,
        protocol=replace(PROTOCOL, budget=4),
        recipe=Recipe(lr=0.03, warmup_steps=2, max_steps=4, augment="flip"),
    )
    first, second = (
        rows(active_learning(data, Learner(data, run.model, run.recipe, None, run.seed), run))
        for _ in range(2)
    )
    assert first == second


class NaNLearner(LinearLearner):
    def predict_probs(self, split, rows=None):
        probs = super().predict_probs(split, rows)
        probs[3:5] = np.nan
        return probs


def test_nan_scores_name_the_acquisition_function_and_the_pool_row():
    data, features = linear_world()
    row = start_pool(data, config("entropy")).unlabelled[3]
    with pytest.raises(
        CompanionError, match=f"entropy gave 2 NaN scores in round 0, first for pool row {row}"
    ):
        list(active_learning(data, NaNLearner(data, features), config("entropy")))


@pytest.mark.parametrize(
    ("protocol", "said"),
    [
        (
            {"budget": 593},
            r"asked for 601 labels \(seed set 8 \+ budget 593\) but the pool holds 600",
        ),
        ({"seed_set_size": 9}, r"a class-balanced seed set of 9 cannot be split over 2 classes"),
        (
            {"seed_set_size": 588},
            r"a balanced seed set needs 294 examples of each class; class number \d has \d+ in the pool",
        ),
        ({"pool_subsample": 3}, r"pool_subsample 3 is smaller than query_batch_size 4"),
    ],
)
def test_a_protocol_that_the_pool_cannot_serve_is_refused_before_training(protocol, said):
    with pytest.raises(ConfigError, match=said):
        check_protocol(linear_world()[0], config(**protocol))
