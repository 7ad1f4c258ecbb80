from concurrent.futures import ThreadPoolExecutor

import pytest

from alpt_lib.errors import ConfigError
from companion.runs.parameters import check_parameters, read_parameters
from companion.runs.plan import generate

TAGGED = 'preset = "mini"\ndatasets = ["waterbirds"]\nseeds = [1]'


def notebook(injected: str) -> dict:
    """A notebook's globals() after papermill injected a cell."""
    namespace = {"In": ["", TAGGED, injected]}
    exec(TAGGED, namespace)
    exec(injected, namespace)
    return namespace


def test_an_injected_parameter_overrides_the_tagged_one():
    assert read_parameters(notebook("# Parameters\nseeds = [3, 4]\n"))["seeds"] == [3, 4]


def test_a_parameter_the_notebook_does_not_define_stops_with_the_valid_ones():
    with pytest.raises(
        ConfigError,
        match=r"unknown parameter 'seed' \(did you mean 'seeds'\?\); known: datasets, preset, seeds",
    ):
        read_parameters(notebook("# Parameters\nseed = 3\n"))


def test_other_names_in_the_notebook_are_left_alone():
    namespace = notebook("# Parameters\nseeds = [3]\n") | {"ax": 1, "models": lambda: None}
    assert read_parameters(namespace)["models"] == []


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"seeds": 3}, "parameter seeds takes a list of whole numbers; got 3"),
        ({"seeds": "three"}, "parameter seeds takes a list of whole numbers; got 'three'"),
        ({"seeds": []}, "parameter seeds is empty"),
        ({"seeds": [True]}, "parameter seeds takes a list of whole numbers"),
        ({"protocol": [1]}, "parameter protocol takes a mapping"),
        ({"preset": "big"}, "unknown preset 'big'; known: smoke, mini, paper"),
        ({"workers": -1}, "parameter workers takes a number of processes"),
        ({"datasets": []}, "parameter datasets is empty"),
        ({"epochs": 3}, "unknown parameter 'epochs'"),
    ],
)
def test_a_bad_parameter_says_what_it_takes(given, message):
    with pytest.raises(ConfigError, match=message):
        check_parameters({"datasets": ["waterbirds"], **given})


def test_lists_and_mappings_that_arrive_as_text_are_read():
    found = check_parameters({"datasets": "[a, b]", "seeds": "[1, 2]", "recipe": "{lr: 0.1}"})
    assert (found["datasets"], found["seeds"], found["recipe"]) == (["a", "b"], [1, 2], {"lr": 0.1})


def test_two_processes_at_once_generate_one_after_the_other(tmp_path, monkeypatch):
    (tmp_path / "data_prep").mkdir()
    (tmp_path / "data_prep" / "alone.py").write_text(
        "import os, sys, time\nbusy = sys.argv[2] + '/busy'\n"
        "os.mkdir(busy)\ntime.sleep(0.3)\nos.rmdir(busy)\n"
    )
    monkeypatch.setattr(experiments, "REPOSITORY", tmp_path)
    monkeypatch.setattr(experiments, "GENERATORS", ("alone.py",))
    with ThreadPoolExecutor() as threads:
        assert list(threads.map(generate, [tmp_path / "mini"] * 3)) == [None] * 3
