import pytest

from alpt_lib.config import ConfigError, Protocol, Recipe, RunConfig, override


def test_the_released_protocol_has_64_rounds():
    assert Protocol().n_rounds == 64


def test_the_last_query_batch_may_be_smaller():
    assert Protocol(budget=12, query_batch_size=5).n_rounds == 3


@pytest.mark.parametrize(("changes", "message"), [
    ({"lr": 0}, "lr must be positive; got 0"),
    ({"lr": "fast"}, r"lr must be float; got 'fast' \(str\)"),
    ({"max_steps": 2.5}, "max_steps must be int; got 2.5"),
    ({"max_steps": True}, "max_steps must be int; got True"),
    ({"stopping": "never"}, "unknown stopping 'never'; known: loss_ratio, early_stopping, fixed_steps"),
    ({"learning_rate": 1}, "unknown recipe setting 'learning_rate'"),
    ({"loss_ratio": 2.0}, "loss_ratio must lie between 0 and 1"),
    ({"resize": 100, "crop": 200}, "crop 200 exceeds resize 100"),
])
def test_a_bad_recipe_says_what_is_wrong(changes, message):
    with pytest.raises(ConfigError, match=message):
        override(Recipe(), changes, "recipe")


def test_numbers_that_arrive_as_text_are_read():
    recipe = override(Recipe(), {"lr": "1e-3", "max_steps": "50"}, "recipe")
    assert (recipe.lr, recipe.max_steps) == (0.001, 50)


def test_an_unknown_acquisition_function_lists_the_known_ones():
    with pytest.raises(ConfigError, match=r"unknown acquisition 'entrpy' \(did you mean 'entropy'\?\); known: random"):
        RunConfig("folder", "bit-m", "entrpy", 1)


def test_configs_that_say_the_same_are_equal_and_hash_alike():
    a, b = (RunConfig("folder", "bit-m", "random", 1, recipe=Recipe(decay_steps=steps)) for steps in ([200], (200,)))
    assert a == b
    assert hash(a) == hash(b)
