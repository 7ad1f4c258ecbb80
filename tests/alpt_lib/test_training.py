"""Fine-tuning one model on one labelled set."""

from multiprocessing.pool import ThreadPool
from unittest.mock import Mock

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from test_scoring import NO_MEMORY, SmallMemory
from torch import nn
from torch.nn import functional as F

from alpt_lib import scoring
from alpt_lib.config import Recipe, RunConfig, override
from alpt_lib.datasets import read_dataset
from alpt_lib.errors import CompanionError, ConfigError, TrainingDiverged
from alpt_lib.inputs import on_device
from alpt_lib.training import FineTunedNetwork, StoppingRule, batches, learning_rate

ROWS = np.arange(20)
RECIPE = Recipe(lr=0.03, warmup_steps=0, max_steps=6, train_batch_size=8)


def rng(seed=3):
    return np.random.default_rng(seed)


def network(folder, model="mini-bit-m-np", weights=None, **recipe) -> FineTunedNetwork:
    own = override(RECIPE, recipe, "recipe")
    config = RunConfig(str(folder), model, "random", seed=1, weights=weights, recipe=own)
    return FineTunedNetwork(read_dataset(folder), config)


@pytest.fixture
def learner(birds_folder):
    return network(birds_folder)


def flat(learner: FineTunedNetwork) -> np.ndarray:
    """All weights, a copy."""
    return torch.cat([p.detach().flatten() for p in learner.model.parameters()]).numpy().copy()


def fitted(learner: FineTunedNetwork, seed=3) -> np.ndarray:
    learner.fit(ROWS, rng(seed))
    return flat(learner)


def test_images_that_stay_on_the_device_are_scored_and_trained_on_as_those_on_the_disk(
    birds_folder,
):
    plain = network(birds_folder, augment="crop_flip", resize=36, crop=32)
    kept = network(birds_folder, augment="crop_flip", resize=36, crop=32)
    for split, train in (("pool", False), ("val", False), ("pool", True)):
        inputs = kept.inputs(split, train)
        inputs.array = on_device(inputs.array, kept.device, lambda: 50 * 36 * 36 * 3)
    for learner in (plain, kept):
        # first seen in inference mode, then trained on
        learner.predict_probs("pool")
    assert np.array_equal(fitted(plain), fitted(kept))
    assert np.array_equal(plain.predict_probs("val"), kept.predict_probs("val"))


def test_fits_from_reset_are_alike_so_neither_weights_nor_momentum_leak_and_the_rng_decides(
    learner,
):
    fits = []
    for seed in (3, 3, 4):
        learner.reset()
        fits.append(fitted(learner, seed))
    assert np.array_equal(fits[0], fits[1])
    assert not np.array_equal(fits[0], fits[2])
    # without a reset the next fit goes on
    assert not np.array_equal(fitted(learner, 4), fits[2])


def test_threads_that_train_at_once_do_not_draw_each_others_numbers(birds_folder):
    def train(_):
        # initial weights and dropout come from torch's generator, one for all threads
        learner = network(birds_folder, "timm:mobilenetv3_small_050?drop_rate=0.5-np", max_steps=3)
        return fitted(learner)

    alone = train(0)
    with ThreadPool(3) as threads:
        for weights in threads.map(train, range(9)):
            assert np.array_equal(weights, alone)


def test_one_step_of_sgd_is_the_gradient_of_the_mean_cross_entropy(birds_folder):
    learner = network(birds_folder, max_steps=1, train_batch_size=20)
    before = flat(learner)
    images = torch.from_numpy(np.array(learner.inputs("pool").array[ROWS]))
    labels = torch.from_numpy(learner.data.labels("pool")[ROWS])
    learner.model.train()
    F.cross_entropy(learner.model(images), labels).backward()
    gradient = torch.cat([p.grad.flatten() for p in learner.model.parameters()]).numpy()
    assert abs(gradient).max() > 0.01
    learner.reset()
    assert np.allclose(fitted(learner), before - 0.03 * gradient, atol=1e-5)


def diary(monkeypatch, learner: FineTunedNetwork, n_rows=20) -> tuple[list[float], np.ndarray]:
    """Losses of all steps, and the weights after them."""
    losses = []
    after = StoppingRule.after
    with monkeypatch.context() as patch:
        patch.setattr(StoppingRule, "after", lambda *a: (losses.append(a[2]), after(*a))[1])
        learner.fit(np.arange(n_rows), rng())
    return losses, flat(learner)


@pytest.mark.parametrize(("n_rows", "micro"), [(20, 1), (20, 3), (20, 4), (5, 4), (20, 100)])
def test_micro_batches_give_the_fit_of_the_whole_batch(birds_folder, monkeypatch, n_rows, micro):
    fits = []
    for size in (0, micro):
        learner = network(birds_folder, augment="flip", micro_batch_size=size)
        # else a rounding can tip a ReLU
        learner.model.double()
        start = flat(learner)
        fits.append(diary(monkeypatch, learner, n_rows))
    assert np.allclose(fits[0][0], fits[1][0], rtol=1e-4)
    assert np.allclose(fits[0][1], fits[1][1], atol=1e-12)
    # it did move
    assert abs(fits[0][1] - start).max() > 1e-3


def test_micro_batches_of_texts_are_padded_to_their_own_longest_and_give_the_same_gradients(
    reviews_folder,
):
    gradients = []
    widths = []
    tokens = rng(0).integers(5, 200, (60, 12))
    tokens[np.arange(12) >= rng(1).integers(2, 13, (60, 1))] = 1
    for size in (20, 7):
        recipe = {"max_steps": 1, "train_batch_size": 20, "micro_batch_size": size}
        learner = network(reviews_folder, "mini-roberta-m", **recipe)
        assert learner.inputs("pool").padding == 1
        learner.inputs("pool").array = tokens
        for module in learner.model.double().modules():
            # dropout draws differently for other parts
            module.p = 0.0
        start = flat(learner)
        learner.model.register_forward_hook(lambda _, given, __: widths.append(given[0].shape[1]))
        learner.fit(ROWS, rng())
        gradients.append((start - flat(learner)) / 0.03)
    assert np.allclose(*gradients, rtol=0, atol=1e-12)
    assert abs(gradients[0]).max() > 0.01
    assert widths[0] == widths[1] > widths[2] > widths[3]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there it does")
def test_precision_changes_nothing_on_a_cpu(birds_folder, monkeypatch):
    plain, *others = (
        diary(monkeypatch, network(birds_folder, precision=name))
        for name in ("tf32", "fp32", "bf16")
    )
    for other in others:
        assert other[0] == plain[0]
        assert np.array_equal(other[1], plain[1])


def test_bfloat16_is_of_training_forward_passes_alone_loss_scores_and_weights_stay_fp32(
    birds_folder, monkeypatch
):
    learner = network(birds_folder, max_steps=2, precision="bf16")
    autocast = torch.autocast
    loss = Mock(wraps=F.cross_entropy)
    logits = []
    # as if on CUDA
    monkeypatch.setattr(torch, "autocast", lambda device, dtype, enabled: autocast("cpu", dtype))
    monkeypatch.setattr(F, "cross_entropy", loss)
    learner.model.register_forward_hook(
        lambda model, given, out: logits.append((model.training, out.dtype))
    )
    learner.fit(ROWS, rng(0))
    learner.predict_probs("val")
    assert set(logits) == {(True, torch.bfloat16), (False, torch.float32)}
    losses = {call.args[0].dtype for call in loss.call_args_list}
    assert losses == {torch.float32} == {p.dtype for p in learner.model.parameters()}


def test_under_released_momentum_outlives_the_reset_of_the_weights(birds_folder):
    learner = network(birds_folder, max_steps=1, train_batch_size=20, fidelity="released")
    start = flat(learner)
    steps = []
    for _ in range(2):
        learner.reset()
        steps.append(fitted(learner, 0) - start)
    # 0.9 of the velocity, and the same gradient again
    assert np.allclose(steps[1], 1.9 * steps[0], atol=1e-6)


def test_the_released_stopping_rule_looks_at_the_last_micro_batch_alone(birds_folder):
    learner = network(
        birds_folder, max_steps=1, train_batch_size=11, micro_batch_size=4, fidelity="released"
    )
    seen = []
    learner.model.register_forward_hook(lambda model, given, logits: seen.append(logits))
    log = learner.fit(ROWS, rng(9))
    assert [len(logits) for logits in seen] == [4, 4, 3]
    draws = rng(9)
    # the seed of dropout
    draws.integers(2**31)
    order = next(batches(ROWS, 11, draws))
    labels = torch.from_numpy(learner.data.labels("pool")[order[8:]])
    assert log["first_loss"] == log["last_loss"]
    assert log["first_loss"] == pytest.approx(F.cross_entropy(seen[-1], labels).item())


@pytest.mark.parametrize(
    ("recipe", "losses", "reason"),
    [
        # waits for the mean over one pass of two steps
        ({}, [1.0, 0.05, 0.2, 0.01, 0.18], "loss_ratio"),
        ({"fidelity": "released"}, [1.0, 0.2, 0.09], "loss_ratio"),
        ({"max_steps": 3}, [1.0, 0.2, 0.3], "max_steps"),
        ({"stopping": "fixed_steps", "max_steps": 3}, [1.0, 0.0, 0.0], "max_steps"),
    ],
)
def test_training_stops_by_the_rule_of_the_recipe(birds_folder, recipe, losses, reason):
    learner = network(birds_folder, **{"loss_ratio": 0.1, "max_steps": 100, **recipe})
    rule = StoppingRule(learner, steps_per_pass=2)
    stops = [rule.after(n, loss) for n, loss in enumerate(losses, 1)]
    assert stops == [False] * (len(losses) - 1) + [True]
    assert rule.finish(len(losses))["stopped_by"] == reason


def test_early_stopping_restores_the_weights_of_the_best_check(birds_folder, monkeypatch):
    recipe = {"stopping": "early_stopping", "check_every": 1, "patience": 2, "max_steps": 50}
    learner = network(birds_folder, **recipe)
    right = np.eye(2)[learner.data.labels("val")]
    accuracies = iter([0.5, 1.0, 0.5, 0.5])
    seen = []

    def checked(split):
        seen.append(flat(learner))
        return right if next(accuracies) == 1.0 else 1 - right

    monkeypatch.setattr(learner, "predict_probs", checked)
    log = learner.fit(ROWS, rng(0))
    assert (log["n_steps"], log["stopped_by"]) == (4, "early_stopping")
    assert np.array_equal(flat(learner), seen[1])


def test_training_separates_what_can_be_separated(birds_folder):
    learner = network(birds_folder, max_steps=60)
    log = learner.fit(np.arange(100), rng(0))
    assert log["first_loss"] > 0.3 > log["last_loss"]
    assert (learner.predict_probs("val").argmax(axis=1) == learner.data.labels("val")).mean() > 0.8


def test_warmup_is_linear_then_the_rate_falls_by_ten_at_each_decay_step():
    recipe = Recipe(lr=1.0, warmup_steps=4, decay_steps=(6, 8))
    rates = [learning_rate(step, recipe) for step in range(10)]
    assert rates == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1, 0.1, 0.1, 0.01, 0.01])


def test_batches_are_full_and_show_every_row_once_a_pass():
    endless = batches(np.arange(10, 16), 4, rng(0))
    seen = np.concatenate([next(endless) for _ in range(3)])
    assert sorted(seen[:6]) == sorted(seen[6:]) == list(range(10, 16))
    # a labelled set smaller than a batch is one
    assert sorted(next(batches(np.arange(5), 32, rng(0)))) == list(range(5))


def test_a_loss_that_is_not_finite_stops_with_what_to_change(learner):
    with torch.no_grad():
        learner.model.network.get_classifier().weight.fill_(torch.nan)
    said = r"training loss is nan at step 1 \(lr 0.03\); lower lr or lengthen warmup_steps"
    with pytest.raises(TrainingDiverged, match=said):
        learner.fit(ROWS, rng(0))


def test_a_last_step_that_breaks_the_weights_stops_where_they_are_used(birds_folder):
    learner = network(birds_folder, lr=1e30, max_steps=1)
    # its loss was looked at before the step
    learner.fit(ROWS, rng(0))
    with pytest.raises(TrainingDiverged, match=r"the fitted model gives NaN \(lr 1e\+30\)"):
        learner.predict_probs("val")


def test_evaluation_splits_and_pool_are_folded_once_and_score_as_apart(birds_folder, monkeypatch):
    apart = [network(birds_folder).predict_probs(split) for split in ("val", "pool")]
    learner = network(birds_folder)
    folded = Mock(wraps=scoring.folded_convolutions)
    monkeypatch.setattr(scoring, "folded_convolutions", folded)
    together = [learner.predict_probs(split) for split in ("val", "pool")]
    assert folded.call_count == 1
    assert all(map(np.array_equal, together, apart))
    # trains as before, with weights that are no longer folded
    assert np.array_equal(fitted(learner), fitted(network(birds_folder)))
    assert not np.array_equal(learner.predict_probs("val"), apart[0])
    assert folded.call_count == 2


@pytest.mark.parametrize(("suffix", "is_kept"), [("", True), ("-np", False)])
def test_frozen_batch_norm_keeps_its_statistics_only_where_there_are_pretrained_ones(
    birds_folder, tmp_path, suffix, is_kept
):
    save_file(timm.create_model("mobilenetv2_035").state_dict(), tmp_path / "w.safetensors")
    weights = str(tmp_path / "w.safetensors") if is_kept else None
    name = "timm:mobilenetv2_035" + suffix
    learner = network(birds_folder, name, weights, lr=1e-4, max_steps=2, freeze_batch_norm=True)
    norm = next(m for m in learner.model.modules() if isinstance(m, nn.BatchNorm2d))
    before = norm.running_mean.clone()
    learner.fit(ROWS, rng(0))
    assert torch.equal(norm.running_mean, before) == is_kept


@pytest.mark.parametrize("error", [NO_MEMORY, None])
def test_training_that_does_not_fit_says_what_to_set_and_never_shrinks_a_batch(birds_folder, error):
    learner = network(birds_folder)
    learner.model = SmallMemory(learner.model, 5, error)
    said = "in training on 8 examples at a time: set recipe micro_batch_size to 4 or less"
    with pytest.raises(CompanionError, match=said):
        learner.fit(ROWS, rng(0))
    assert learner.model.sizes == [8]
    learner = network(birds_folder, micro_batch_size=4)
    learner.model = SmallMemory(learner.model, 5, error)
    learner.fit(ROWS, rng(0))
    assert learner.model.sizes == [4] * 12


def test_an_error_that_is_not_of_memory_is_not_taken_for_one(learner):
    learner.model = SmallMemory(learner.model, 5, RuntimeError("shapes do not fit"))
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        learner.fit(ROWS, rng(0))


@pytest.mark.parametrize("recipe", [{"micro_batch_size": 1}, {"micro_batch_size": 3}])
def test_batch_norm_on_a_single_example_says_what_to_set(birds_folder, recipe):
    settings = Recipe(train_batch_size=4, max_steps=2, **recipe)
    config = RunConfig(str(birds_folder), "timm:resnet18-np", "random", 1, recipe=settings)
    learner = FineTunedNetwork(read_dataset(birds_folder), config)
    with pytest.raises(ConfigError, match="micro_batch_size so that no part of a batch is one"):
        learner.fit(np.arange(8), np.random.default_rng(0))
