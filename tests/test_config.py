import pytest

from alpt_lib.config import Protocol, Recipe, RunConfig, override
from alpt_lib.errors import ConfigError
from companion.runs import store


def test_the_released_protocol_has_64_rounds():
    assert Protocol().n_rounds == 64


def test_the_last_query_batch_may_be_smaller():
    assert Protocol(budget=12, query_batch_size=5).n_rounds == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lr": 0}, "lr must be positive and finite; got 0"),
        ({"lr": "fast"}, r"lr must be float; got 'fast' \(str\)"),
        ({"max_steps": 2.5}, "max_steps must be int; got 2.5"),
        ({"max_steps": True}, "max_steps must be int; got True"),
        (
            {"stopping": "never"},
            "unknown stopping 'never'; known: loss_ratio, early_stopping, fixed_steps",
        ),
        ({"learning_rate": 1}, "unknown recipe setting 'learning_rate'"),
        ({"loss_ratio": 2.0}, "loss_ratio must lie between 0 and 1"),
        ({"micro_batch_size": -1}, "micro_batch_size must be 0 or more; got -1"),
        ({"mixed_precision": 1}, r"mixed_precision must be bool; got 1 \(int\)"),
        ({"fidelity": "exact"}, "unknown fidelity 'exact'; known: paper, released"),
        ({"resize": 100, "crop": 200}, "crop 200 exceeds resize 100"),
    ],
)
def test_a_bad_recipe_says_what_is_wrong(changes, message):
    with pytest.raises(ConfigError, match=message):
        override(Recipe(), changes, "recipe")


def test_numbers_that_arrive_as_text_are_read():
    recipe = override(Recipe(), {"lr": "1e-3", "max_steps": "50"}, "recipe")
    assert (recipe.lr, recipe.max_steps) == (0.001, 50)


def test_an_unknown_acquisition_function_lists_the_known_ones():
    with pytest.raises(
        ConfigError,
        match=r"unknown acquisition 'entrpy' \(did you mean 'entropy'\?\); known: random",
    ):
        RunConfig("folder", "bit-m", "entrpy", 1)


def test_configs_that_say_the_same_are_equal_and_hash_alike():
    a, b = (
        RunConfig("folder", "bit-m", "random", 1, recipe=Recipe(decay_steps=steps))
        for steps in ([200], (200,))
    )
    assert a == b
    assert hash(a) == hash(b)


def test_settings_that_came_later_change_the_identity_of_a_run_only_when_they_are_used(
    birds_folder,
):
    def recipe(**changes):
        return store.identity(
            RunConfig(str(birds_folder), "mini-bit-m", "random", 1, recipe=Recipe(**changes))
        )["recipe"]

    first = {
        "optimizer",
        "lr",
        "momentum",
        "weight_decay",
        "warmup_steps",
        "decay_steps",
        "max_steps",
        "train_batch_size",
        "stopping",
        "loss_ratio",
        "check_every",
        "patience",
        "validation_split",
        "freeze_batch_norm",
        "augment",
        "resize",
        "crop",
    }
    assert (
        set(recipe())
        == set(recipe(micro_batch_size=0, mixed_precision=False, fidelity="paper"))
        == first
    )
    for used in ({"micro_batch_size": 4}, {"mixed_precision": True}, {"fidelity": "released"}):
        assert recipe(**used) == {**recipe(), **used}
