"""Fine-tuning one model on one labelled set."""

import numpy as np
import pytest
import torch
from paper_models import tiny_roberta
from torch import nn
from torch.nn import functional as F

from alpt_lib import datasets, training
from alpt_lib.config import Recipe, override
from alpt_lib.errors import CompanionError, TrainingDiverged
from alpt_lib.inputs import Inputs
from alpt_lib.training import Learner, learning_rate

ROWS = np.arange(20)
RECIPE = Recipe(lr=0.03, warmup_steps=0, max_steps=6, train_batch_size=8)


@pytest.fixture
def learner(birds_folder):
    return Learner(datasets.read_dataset(birds_folder), "mini-bit-m-np", RECIPE, None, seed=1)


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
    F.cross_entropy(
        learner.model(images), torch.from_numpy(learner.data.labels("pool")[ROWS])
    ).backward()
    expected = {k: before[k] - 0.03 * p.grad for k, p in learner.model.named_parameters()}
    learner.reset()
    learner.fit(ROWS, np.random.default_rng(0))
    for name, p in learner.model.named_parameters():
        assert torch.allclose(p, expected[name], atol=1e-5), name


def fit_diary(
    learner: Learner, monkeypatch, n_rows: int = 20, **changes
) -> tuple[list[float], np.ndarray]:
    """Losses of all steps and the weights after them, from the initial weights."""
    losses, backward = [], learner._backward

    def noted(*given):
        losses.append(backward(*given))
        return losses[-1]

    learner.reset()
    with monkeypatch.context() as patch:
        patch.setattr(learner, "_backward", noted)
        with_recipe(learner, **changes).fit(np.arange(n_rows), np.random.default_rng(3))
    return losses, weights(learner)


@pytest.mark.parametrize(("n_rows", "micro"), [(20, 1), (20, 3), (20, 4), (5, 4), (20, 100)])
def test_micro_batches_give_the_fit_of_the_whole_batch(learner, monkeypatch, n_rows, micro):
    learner.model.double()  # else a rounding can tip a ReLU
    losses, fitted = fit_diary(learner, monkeypatch, n_rows, augment="flip")
    losses_in_parts, fitted_in_parts = fit_diary(
        learner, monkeypatch, n_rows, micro_batch_size=micro
    )
    assert np.allclose(losses_in_parts, losses, rtol=1e-4)
    assert np.allclose(fitted_in_parts, fitted, atol=1e-12)
    learner.reset()
    assert abs(fitted - weights(learner)).max() > 1e-3  # it did move


@pytest.mark.skipif(torch.cuda.is_available(), reason="there it does")
def test_mixed_precision_changes_nothing_on_a_cpu(learner, monkeypatch):
    losses, fitted = fit_diary(learner, monkeypatch)
    mixed_losses, mixed_fitted = fit_diary(learner, monkeypatch, mixed_precision=True)
    assert mixed_losses == losses
    assert np.array_equal(mixed_fitted, fitted)


def test_mixed_precision_is_of_training_forward_passes_alone_loss_scores_and_weights_stay_fp32(
    learner, monkeypatch
):
    autocast, cross_entropy, losses, logits = torch.autocast, F.cross_entropy, [], []
    monkeypatch.setattr(
        torch, "autocast", lambda device, dtype, enabled: autocast("cpu", dtype)
    )  # as if on CUDA
    monkeypatch.setattr(
        F,
        "cross_entropy",
        lambda given, wanted: losses.append(given.dtype) or cross_entropy(given, wanted),
    )
    learner.model.register_forward_hook(
        lambda model, given, out: logits.append((model.training, out.dtype))
    )
    with_recipe(learner, max_steps=2, mixed_precision=True).fit(ROWS, np.random.default_rng(0))
    learner.predict_probs("val")
    assert set(logits) == {(True, torch.bfloat16), (False, torch.float32)}
    assert set(losses) == {torch.float32} == {p.dtype for p in learner.model.parameters()}


def test_an_optimizer_that_is_handed_on_keeps_its_momentum_through_a_reset(learner):
    with_recipe(learner, max_steps=1, train_batch_size=20)
    start, optimizer, steps = weights(learner), learner.new_optimizer(), []
    for _ in range(2):
        learner.reset()
        learner.fit(ROWS, np.random.default_rng(0), optimizer)
        steps.append(weights(learner) - start)
    assert np.allclose(
        steps[1], 1.9 * steps[0], atol=1e-6
    )  # 0.9 of the velocity, and the same gradient again


def test_the_released_stopping_rule_looks_at_the_last_micro_batch_alone(learner):
    with_recipe(learner, max_steps=1, train_batch_size=11, micro_batch_size=4, fidelity="released")
    seen = []
    learner.model.register_forward_hook(lambda model, given, logits: seen.append(logits))
    order = next(training._batches(ROWS, 11, np.random.default_rng(9)))
    labels = torch.from_numpy(learner.data.labels("pool"))
    parts = learner.inputs("pool").micro_batches(order, 4, learner.device, np.random.default_rng(0))
    loss = learner._backward(parts, labels, 11)
    assert [len(logits) for logits in seen] == [4, 4, 3]
    assert loss == pytest.approx(F.cross_entropy(seen[-1], labels[order[8:]]).item())
    rule = training._StoppingRule(
        with_recipe(learner, loss_ratio=0.1, max_steps=100), steps_per_epoch=3
    )
    assert [rule.after(n, loss) for n, loss in [(1, 1.0), (2, 0.2), (3, 0.09)]] == [
        False,
        False,
        True,
    ]


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
    assert sorted(next(training._batches(np.arange(5), 32, np.random.default_rng(0)))) == list(
        range(5)
    )


def test_the_loss_ratio_rule_waits_for_the_mean_over_one_pass(learner):
    rule = training._StoppingRule(
        with_recipe(learner, loss_ratio=0.1, max_steps=100), steps_per_epoch=2
    )
    assert [rule.after(n + 1, loss) for n, loss in enumerate([1.0, 0.05, 0.2, 0.01, 0.18])] == [
        False,
        False,
        False,
        False,
        True,
    ]
    assert rule.finish(5).stopped_by == "loss_ratio"


def test_a_fixed_number_of_steps_is_kept_whatever_the_loss(learner):
    rule = training._StoppingRule(
        with_recipe(learner, stopping="fixed_steps", max_steps=3), steps_per_epoch=1
    )
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
    with pytest.raises(
        TrainingDiverged,
        match=r"training loss is nan at step 1 \(lr 0.03\); lower lr or lengthen warmup_steps",
    ):
        learner.fit(ROWS, np.random.default_rng(0))


def test_a_last_step_that_breaks_the_weights_stops_where_they_are_used(learner):
    with_recipe(learner, lr=1e30, max_steps=1)
    learner.fit(ROWS, np.random.default_rng(0))  # its loss was looked at before the step
    with pytest.raises(
        TrainingDiverged,
        match=r"the fitted model gives NaN \(lr 1e\+30\); lower lr or lengthen warmup_steps",
    ):
        learner.predict_probs("val")


def test_probabilities_are_softmax_and_follow_the_rows_asked_for(learner):
    every = learner.predict_probs("val")
    assert every.shape == (48, 2)
    assert np.allclose(every.sum(axis=1), 1)
    assert np.allclose(learner.predict_probs("val", np.array([7, 3])), every[[7, 3]], atol=1e-6)


def test_scoring_in_small_batches_changes_nothing(learner, monkeypatch):
    every = learner.predict_probs("val")
    monkeypatch.setattr(training, "SCORING_PIXELS", 5 * 32 * 32)
    assert np.allclose(learner.predict_probs("val"), every, atol=1e-6)


def test_evaluation_splits_and_pool_in_one_pass_are_folded_once_and_score_as_apart(
    learner, monkeypatch
):
    apart = [learner.predict_probs(split) for split in ("val", "pool")]
    folds, folded = [], training.folded
    monkeypatch.setattr(training, "folded", lambda model: folds.append(model) or folded(model))
    with learner.scoring():
        together = [learner.predict_probs(split) for split in ("val", "pool")]
    assert len(folds) == 1
    assert all(map(np.array_equal, together, apart))
    learner.fit(
        ROWS, np.random.default_rng(0)
    )  # trains as before, with weights that are no longer folded
    assert not np.array_equal(learner.predict_probs("val"), apart[0])
    assert len(folds) == 2


def test_on_a_gpu_the_scoring_batch_is_doubled_while_that_pays_once_per_device_network_and_size(
    learner, monkeypatch, tmp_path
):
    monkeypatch.setenv("ALPT_HOME", str(tmp_path))
    inputs, tried = learner.inputs("val"), []

    def examples_per_s(given, size, fastest=128):
        tried.append(size)
        return 0.0 if size > fastest else size

    monkeypatch.setattr(learner, "_examples_per_s", examples_per_s)
    assert learner.fastest_batch(inputs) == 128
    assert tried == [32, 64, 128, 256]
    assert learner.fastest_batch(inputs) == 128
    learner.name = "another"
    monkeypatch.setattr(
        learner, "_examples_per_s", lambda given, size: tried.append(size) or 100 + size / 10
    )
    assert learner.fastest_batch(inputs) == 32  # 3% faster is not worth twice the memory
    assert tried[4:] == [32, 64]
    monkeypatch.setattr(learner, "_scoring_batch", learner.fastest_batch)  # as on a GPU
    learner.predict_probs("val")
    assert len(tried) == 6


def test_examples_per_second_are_measured_and_none_where_memory_is_too_small(learner, monkeypatch):
    assert 10 < learner._examples_per_s(learner.inputs("val"), 50) < 1e6
    monkeypatch.setattr(
        learner,
        "model",
        lambda batch: (_ for _ in ()).throw(torch.OutOfMemoryError("CUDA out of memory")),
    )
    assert learner._examples_per_s(learner.inputs("val"), 50) == 0
    monkeypatch.setattr(
        learner, "model", lambda batch: (_ for _ in ()).throw(RuntimeError("another fault"))
    )
    with pytest.raises(RuntimeError, match="another fault"):
        learner._examples_per_s(learner.inputs("val"), 50)


@pytest.fixture
def text_learner(reviews_folder, tmp_path):
    """RoBERTa's architecture on texts of 2 to 12 random tokens."""
    learner = Learner(
        datasets.read_dataset(reviews_folder),
        "hf:tiny-np",
        RECIPE,
        str(tiny_roberta(tmp_path)),
        seed=1,
    )
    for split, seed in (("pool", 0), ("val", 2)):
        tokens = np.random.default_rng(seed).integers(5, 200, (30, 12))
        tokens[np.arange(12) >= np.random.default_rng(seed + 1).integers(2, 13, (30, 1))] = (
            1  # padding
        )
        learner._inputs[split, False] = Inputs(tokens, padding=1)
    return learner


def widths_seen(learner: Learner) -> list[int]:
    """Fills with the length of each batch that the model is given."""
    widths = []
    learner.model.register_forward_hook(
        lambda model, given, logits: widths.append(given[0].shape[1])
    )
    return widths


def test_texts_are_scored_by_length_and_come_back_in_their_order(text_learner, monkeypatch):
    expected, rows = text_learner.predict_probs("val"), np.array([7, 3, 29, 11])
    one_by_one = [text_learner.predict_probs("val", np.array([row]))[0] for row in range(30)]
    assert np.allclose(one_by_one, expected, atol=1e-6)
    widths = widths_seen(text_learner)
    monkeypatch.setattr(training, "SCORING_BATCH", 7)
    assert np.allclose(text_learner.predict_probs("val"), expected, atol=1e-6)
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] < 5
    assert np.allclose(text_learner.predict_probs("val", rows), expected[rows], atol=1e-6)
    assert len({tuple(p) for p in expected.round(5)}) > 20


def test_micro_batches_of_texts_are_padded_to_their_own_longest_and_give_the_same_gradients(
    text_learner,
):
    rows, labels, gradients = np.arange(20), torch.from_numpy(text_learner.data.labels("pool")), []
    widths = widths_seen(text_learner)
    text_learner.model.double().eval()  # dropout draws differently for other parts
    for size in (20, 7):
        text_learner.model.zero_grad()
        parts = list(
            text_learner.inputs("pool").micro_batches(
                rows, size, text_learner.device, np.random.default_rng(0)
            )
        )
        assert sorted(np.concatenate([part_rows for _, part_rows in parts])) == rows.tolist()
        loss = text_learner._backward(parts, labels, 20)
        gradients.append(
            np.concatenate([[loss], *(p.grad.flatten() for p in text_learner.model.parameters())])
        )
    assert np.allclose(*gradients, rtol=0, atol=1e-12)
    assert abs(gradients[0]).max() > 0.01
    assert widths[0] == widths[1] > widths[2] > widths[3]


def test_the_last_layer_of_roberta_is_computed_for_the_first_token_alone_and_changes_nothing(
    text_learner,
):
    from transformers.models.roberta.modeling_roberta import RobertaLayer

    model = text_learner.model.double().train()
    last, batch = (
        model.network.roberta.encoder.layer[-1],
        text_learner.inputs("pool").batch(ROWS, text_learner.device),
    )
    assert type(last).__name__ == "FirstTokenLayer"
    found = []
    for layer in (type(last), RobertaLayer):
        last.__class__ = layer
        torch.manual_seed(0)
        model.zero_grad()
        for module in model.modules():
            module.p = 0.0  # dropout draws for fewer tokens
        logits, features = model(batch), model.features(batch)
        logits.square().sum().backward()
        found.append([logits, features, *(p.grad for p in model.parameters())])
    assert (
        model.network.roberta(batch).last_hidden_state.shape[1] == batch.shape[1]
    )  # Hugging Face's own: all tokens
    for ours, theirs in zip(*found, strict=True):
        assert torch.allclose(ours, theirs, rtol=0, atol=1e-12)


def test_features_are_what_the_head_reads(learner):
    head = learner.model.network.get_classifier()
    features = torch.from_numpy(learner.features("val"))[:, :, None, None]
    with torch.no_grad():
        probs = head(features).flatten(1).softmax(dim=1).numpy()
    assert np.allclose(probs, learner.predict_probs("val"), atol=1e-5)


def test_frozen_batch_norm_keeps_its_statistics_only_where_there_are_pretrained_ones(
    birds_folder, tmp_path
):
    import timm
    from safetensors.torch import save_file

    save_file(timm.create_model("mobilenetv2_035").state_dict(), tmp_path / "w.safetensors")
    recipe = Recipe(lr=1e-4, max_steps=2, freeze_batch_norm=True)
    for suffix, file, kept in (("", str(tmp_path / "w.safetensors"), True), ("-np", None, False)):
        learner = Learner(
            datasets.read_dataset(birds_folder),
            "timm:mobilenetv2_035" + suffix,
            recipe,
            file,
            seed=1,
        )
        norm = next(m for m in learner.model.modules() if isinstance(m, nn.BatchNorm2d))
        before = norm.running_mean.clone()
        learner.fit(ROWS, np.random.default_rng(0))
        assert torch.equal(norm.running_mean, before) == kept


def test_augmentation_flips_about_half_and_crops_within_the_image():
    images = np.zeros((400, 6, 6, 3), dtype=np.uint8)
    images[:, :, 0] = 255  # a line at the left edge
    flipped = (
        Inputs(images, 6, "flip")
        .batch(np.arange(400), torch.device("cpu"), np.random.default_rng(0))
        .numpy()
    )
    assert 150 < (flipped[:, 0, -1, 0] == 255).sum() < 250
    cropped = (
        Inputs(images, 4, "crop_flip")
        .batch(np.arange(400), torch.device("cpu"), np.random.default_rng(0))
        .numpy()
    )
    assert cropped.shape == (400, 4, 4, 3)
    assert (
        80 < (cropped[:, 0] == 255).any(axis=(1, 2)).sum() < 190
    )  # one offset of three shows the line


def test_augmentation_leaves_the_stored_images_alone():
    images = np.random.default_rng(0).integers(0, 256, (8, 6, 6, 3), dtype=np.uint8)
    before = images.copy()
    Inputs(images, 6, "flip").batch(np.arange(8), torch.device("cpu"), np.random.default_rng(0))
    assert np.array_equal(images, before)


def test_a_text_batch_is_no_longer_than_its_longest_text():
    tokens = np.array([[5, 6, 1, 1, 1], [5, 1, 1, 1, 1], [5, 6, 7, 8, 1]])
    assert Inputs(tokens, padding=1).batch(np.array([0, 1]), torch.device("cpu")).tolist() == [
        [5, 6],
        [5, 1],
    ]


class SmallMemory(nn.Module):
    """A model that takes no more than `limit` examples at a time."""

    def __init__(self, model: nn.Module, limit: int, on_cpu: bool = False):
        super().__init__()
        self.model, self.limit, self.on_cpu, self.sizes = model, limit, on_cpu, []

    def forward(self, batch):
        self.sizes.append(len(batch))
        if len(batch) > self.limit:
            if self.on_cpu:
                torch.empty(1 << 60)  # what PyTorch itself raises there
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")
        return self.model(batch)


@pytest.mark.parametrize("on_cpu", [False, True])
def test_scoring_goes_on_in_halved_batches_when_memory_is_short_and_says_so_once(
    learner, capsys, on_cpu
):
    training._say_once.cache_clear()
    every = learner.predict_probs("pool")
    learner.model = SmallMemory(learner.model, limit=11, on_cpu=on_cpu)
    for _ in range(2):
        assert np.allclose(learner.predict_probs("pool"), every, atol=1e-6)
    assert learner.model.sizes == [
        100,
        100,
        64,
        32,
        16,
        *[8] * 12,
        4,
        *[8] * 12,
        4,
    ]  # from 256, of which the pool has 100
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "out of memory on cpu in scoring: going on with smaller batches" in said


def test_scoring_that_fails_with_one_example_fails(learner):
    learner.model = SmallMemory(learner.model, limit=0)
    with pytest.raises(torch.OutOfMemoryError):
        learner.predict_probs("val")


def test_an_error_that_is_not_of_memory_is_not_taken_for_one(learner, monkeypatch):
    def broken(batch):
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr(learner.model, "forward", broken)
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        learner.predict_probs("val")
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        learner.fit(ROWS, np.random.default_rng(0))


@pytest.mark.parametrize("on_cpu", [False, True])
def test_training_that_does_not_fit_says_what_to_set_and_never_shrinks_a_batch(learner, on_cpu):
    learner.model = SmallMemory(learner.model, limit=5, on_cpu=on_cpu)
    with pytest.raises(
        CompanionError,
        match=r"in training on 8 examples at a time: set recipe micro_batch_size to 4 or less",
    ):
        learner.fit(ROWS, np.random.default_rng(0))
    assert learner.model.sizes == [8]
    with_recipe(learner, micro_batch_size=4).fit(ROWS, np.random.default_rng(0))
    assert set(learner.model.sizes[1:]) == {4}
