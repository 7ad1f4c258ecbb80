import json

import pytest

from alpt_lib.config import Protocol, Recipe, RunConfig, input_size, override, stream
from alpt_lib.errors import ConfigError


def test_the_released_protocol_has_64_rounds_and_a_last_one_may_be_smaller():
    assert Protocol().n_rounds == 64
    assert Protocol(budget=12, query_batch_size=5).n_rounds == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lr": 0}, r"lr must be greater than 0; got 0 \(int\)"),
        ({"lr": float("inf")}, r"lr must be a finite number; got inf \(float\)"),
        ({"lr": "fast"}, r"lr must be a valid number; got 'fast' \(str\)"),
        ({"max_steps": 2.5}, r"max_steps must be a valid integer; got 2.5 \(float\)"),
        ({"max_steps": True}, r"max_steps must be a valid integer; got True \(bool\)"),
        ({"stopping": "never"}, "unknown stopping 'never'; known: loss_ratio, early_stopping, f"),
        ({"learning_rate": 1}, "unknown recipe setting 'learning_rate'.*; known: backbone, l2, o"),
        ({"loss_ratio": 2.0}, "loss_ratio must be less than 1; got 2.0"),
        ({"micro_batch_size": -1}, "micro_batch_size must be greater than or equal to 0; got -1"),
        ({"freeze_batch_norm": 1}, r"freeze_batch_norm must be a valid boolean; got 1 \(int\)"),
        ({"fidelity": "exact"}, "unknown fidelity 'exact'; known: paper, released"),
        ({"resize": 100, "crop": 200}, "crop 200 exceeds resize 100"),
        ({"decay_steps": [1, "b"]}, r"decay_steps must be a valid integer; got 'b' \(str\)"),
        ("fast", r"recipe takes a mapping such as \{backbone: ...\}; got 'fast'"),
    ],
)
def test_a_bad_recipe_says_in_a_line_what_is_wrong(changes, message):
    with pytest.raises(ConfigError, match=message) as error:
        override(Recipe(), changes, "recipe")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"acquisition": "entrpy"}, r"'entrpy' \(did you mean 'entropy'\?\); known: random"),
        ({"seed": -1}, "seed must be greater than or equal to 0; got -1"),
        ({"seed": 2**32}, "seed must be less than 4294967296; got 4294967296"),
        ({"seeds": 1}, "unknown setting 'seeds'.*; known: dataset, model, acquisition, seed"),
        ({"protocol": {"budget": 1}}, "protocol must be .*Protocol"),
    ],
)
def test_a_bad_run_says_in_a_line_what_is_wrong(changes, message):
    with pytest.raises(ConfigError, match=message):
        RunConfig(**{"dataset": "d", "model": "m", "acquisition": "random", "seed": 1, **changes})


def test_numbers_that_arrive_as_text_are_read():
    recipe = override(Recipe(), {"lr": "1e-3", "max_steps": "50"}, "recipe")
    assert (recipe.lr, recipe.max_steps) == (0.001, 50)


def test_configs_that_say_the_same_are_equal_and_hash_alike_also_after_a_turn_through_json():
    recipes = [Recipe(decay_steps=steps) for steps in ([200], (200,))]
    first, second = (RunConfig("d", "m", "random", 1, recipe=recipe) for recipe in recipes)
    read = RunConfig.from_dict(json.loads(json.dumps(first.to_dict())))
    assert first == second == read
    assert len({first, second, read}) == 1


@pytest.mark.parametrize(
    ("recipe", "sizes"),
    [
        ({}, (96, 96)),
        ({"resize": 160}, (160, 160)),
        ({"resize": 160, "crop": 128}, (160, 128)),
        ({"crop": 64}, (96, 64)),
    ],
)
def test_a_recipe_that_names_no_size_takes_the_datasets(recipe, sizes):
    assert input_size(Recipe(**recipe), 96) == sizes


def test_named_streams_are_independent_of_each_other_and_repeatable():
    keys = [
        (1, "seed set"),
        (1, "training"),
        (1, "acquisition"),
        (1, "training", 2),
        (2, "training"),
    ]
    draws = [stream(*key).random() for key in keys]
    assert len(set(draws)) == 5
    assert draws == [stream(*key).random() for key in keys]
