"""Fine-tuning one model on one labelled set."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from alpt_lib import datasets, training
from alpt_lib.config import Recipe, override
from alpt_lib.training import Inputs, Learner, TrainingDiverged, learning_rate

ROWS = np.arange(20)
RECIPE = Recipe(lr=0.03, warmup_steps=0, max_steps=6, train_batch_size=8)


@pytest.fixture
def learner(birds_folder):
    return Learner(datasets.load(birds_folder), "mini-bit-m-np", RECIPE, None, seed=1)


def with_recipe(learner: Learner, **changes) -> Learner:
    learner.recipe = override(learner.recipe, changes, "recipe")
    return learner


def weights(learner: Learner) -> np.ndarray:
    return torch.cat([p.detach().flatten() for p in learner.model.parameters()]).numpy().copy()


def test_refitting_from_reset_gives_identical_weights_so_neither_weights_nor_momentum_leak(learner):
    fits = []
    for _ in range(2):
        learner.reset()
        learner.fit(ROWS, np.random.default_rng(3))
        fits.append(weights(learner))
    assert np.array_equal(*fits)


def test_without_reset_the_second_fit_goes_on_from_the_first(learner):
    learner.fit(ROWS, np.random.default_rng(3))
    first = weights(learner)
    learner.fit(ROWS, np.random.default_rng(3))
    assert not np.array_equal(weights(learner), first)


def test_the_rng_decides_the_fit(learner):
    fits = []
    for seed in (3, 4):
        learner.reset()
        learner.fit(ROWS, np.random.default_rng(seed))
        fits.append(weights(learner))
    assert not np.array_equal(*fits)


def test_one_step_of_sgd_is_the_gradient_of_the_mean_cross_entropy(learner):
    with_recipe(learner, max_steps=1, train_batch_size=20)
    before = {k: p.detach().clone() for k, p in learner.model.named_parameters()}
    images = torch.from_numpy(np.array(learner.data.images("pool", 32)[ROWS]))
    learner.model.train()
    F.cross_entropy(learner.model(images), torch.from_numpy(learner.data.labels("pool")[ROWS])).backward()
    expected = {k: before[k] - 0.03 * p.grad for k, p in learner.model.named_parameters()}
    learner.reset()
    learner.fit(ROWS, np.random.default_rng(0))
    for name, p in learner.model.named_parameters():
        assert torch.allclose(p, expected[name], atol=1e-5), name


def test_training_separates_what_can_be_separated(learner):
    with_recipe(learner, max_steps=60)
    log = learner.fit(np.arange(100), np.random.default_rng(0))
    assert log.first_loss > 0.3 > log.last_loss
    assert (learner.predict_probs("val").argmax(axis=1) == learner.data.labels("val")).mean() > 0.8


def test_warmup_is_linear_then_the_rate_falls_by_ten_at_each_decay_step():
    recipe = Recipe(lr=1.0, warmup_steps=4, decay_steps=(6, 8))
    rates = [learning_rate(step, recipe) for step in range(10)]
    assert rates == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1, 0.1, 0.1, 0.01, 0.01])


def test_batches_are_full_and_show_every_row_once_a_pass():
    batches = training._batches(np.arange(10, 16), 4, np.random.default_rng(0))
    seen = np.concatenate([next(batches) for _ in range(3)])
    assert sorted(seen[:6]) == sorted(seen[6:]) == list(range(10, 16))


def test_a_labelled_set_smaller_than_a_batch_is_one_batch():
    assert sorted(next(training._batches(np.arange(5), 32, np.random.default_rng(0)))) == list(range(5))


def test_the_loss_ratio_rule_waits_for_the_mean_over_one_pass(learner):
    rule = training._StoppingRule(with_recipe(learner, loss_ratio=0.1, max_steps=100), steps_per_epoch=2)
    assert [rule.after(n + 1, loss) for n, loss in enumerate([1.0, 0.05, 0.2, 0.01, 0.18])] == [False, False, False, False, True]
    assert rule.finish(5).stopped_by == "loss_ratio"


def test_a_fixed_number_of_steps_is_kept_whatever_the_loss(learner):
    rule = training._StoppingRule(with_recipe(learner, stopping="fixed_steps", max_steps=3), steps_per_epoch=1)
    assert [rule.after(n, 0.0 if n > 1 else 1.0) for n in (1, 2, 3)] == [False, False, True]
    assert rule.finish(3).stopped_by == "max_steps"


def test_early_stopping_restores_the_weights_of_the_best_check(learner, monkeypatch):
    with_recipe(learner, stopping="early_stopping", check_every=1, patience=2, max_steps=50)
    right = np.eye(2)[learner.data.labels("val")]
    accuracies, seen = iter([0.5, 1.0, 0.5, 0.5]), []

    def checked(split):
        seen.append(weights(learner))
        return right if next(accuracies) == 1.0 else 1 - right

    monkeypatch.setattr(learner, "predict_probs", checked)
    log = learner.fit(ROWS, np.random.default_rng(0))
    assert (log.n_steps, log.stopped_by) == (4, "early_stopping")
    assert np.array_equal(weights(learner), seen[1])


def test_a_loss_that_is_not_finite_stops_with_what_to_change(learner):
    with torch.no_grad():
        learner.model.network.get_classifier().weight.fill_(float("nan"))
    with pytest.raises(TrainingDiverged, match=r"training loss is nan at step 1 \(lr 0.03\); lower lr or lengthen warmup_steps"):
        learner.fit(ROWS, np.random.default_rng(0))


def test_probabilities_are_softmax_and_follow_the_rows_asked_for(learner):
    every = learner.predict_probs("val")
    assert every.shape == (48, 2)
    assert np.allclose(every.sum(axis=1), 1)
    assert np.allclose(learner.predict_probs("val", np.array([7, 3])), every[[7, 3]], atol=1e-6)


def test_scoring_in_small_batches_changes_nothing(learner, monkeypatch):
    every = learner.predict_probs("val")
    monkeypatch.setattr(training, "SCORING_PIXELS", 5 * 32 * 32)
    assert np.allclose(learner.predict_probs("val"), every, atol=1e-6)


def test_features_are_what_the_head_reads(learner):
    head = learner.model.network.get_classifier()
    features = torch.from_numpy(learner.features("val"))[:, :, None, None]
    with torch.no_grad():
        probs = head(features).flatten(1).softmax(dim=1).numpy()
    assert np.allclose(probs, learner.predict_probs("val"), atol=1e-5)


def test_frozen_batch_norm_keeps_its_statistics_only_where_there_are_pretrained_ones(birds_folder, tmp_path):
    import timm
    from safetensors.torch import save_file

    save_file(timm.create_model("mobilenetv2_035").state_dict(), tmp_path / "w.safetensors")
    recipe = Recipe(lr=1e-4, max_steps=2, freeze_batch_norm=True)
    for suffix, file, kept in (("", str(tmp_path / "w.safetensors"), True), ("-np", None, False)):
        learner = Learner(datasets.load(birds_folder), "timm:mobilenetv2_035" + suffix, recipe, file, seed=1)
        norm = next(m for m in learner.model.modules() if isinstance(m, nn.BatchNorm2d))
        before = norm.running_mean.clone()
        learner.fit(ROWS, np.random.default_rng(0))
        assert torch.equal(norm.running_mean, before) == kept


def test_augmentation_flips_about_half_and_crops_within_the_image():
    images = np.zeros((400, 6, 6, 3), dtype=np.uint8)
    images[:, :, 0] = 255  # a line at the left edge
    flipped = Inputs(images, 6, "flip").batch(np.arange(400), torch.device("cpu"), np.random.default_rng(0)).numpy()
    assert 150 < (flipped[:, 0, -1, 0] == 255).sum() < 250
    cropped = Inputs(images, 4, "crop_flip").batch(np.arange(400), torch.device("cpu"), np.random.default_rng(0)).numpy()
    assert cropped.shape == (400, 4, 4, 3)
    assert 80 < (cropped[:, 0] == 255).any(axis=(1, 2)).sum() < 190  # one offset of three shows the line


def test_augmentation_leaves_the_stored_images_alone():
    images = np.random.default_rng(0).integers(0, 256, (8, 6, 6, 3), dtype=np.uint8)
    before = images.copy()
    Inputs(images, 6, "flip").batch(np.arange(8), torch.device("cpu"), np.random.default_rng(0))
    assert np.array_equal(images, before)


def test_a_text_batch_is_no_longer_than_its_longest_text():
    tokens = np.array([[5, 6, 1, 1, 1], [5, 1, 1, 1, 1], [5, 6, 7, 8, 1]])
    assert Inputs(tokens, padding=1).batch(np.array([0, 1]), torch.device("cpu")).tolist() == [[5, 6], [5, 1]]
