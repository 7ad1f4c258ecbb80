"""From a notebook's parameters to its tidy tables: plan the runs, do the missing ones, load all of them.

Every notebook has the parameters of `PARAMETERS` that it needs, as literals in its tagged cell; papermill and the
presets override them. Notebooks share runs: a run that one has done, the others find in the store.
"""

import ast
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from typing import Any

import yaml

from alpt_lib.errors import ConfigError, unknown

PRESETS = {
    "smoke": "mini",
    "mini": "mini",
    "paper": "paper",
}  # preset -> tier of datasets and models


def _list_of(kind: type) -> Callable[[Any], bool]:
    return lambda value: (
        isinstance(value, list)
        and all(isinstance(v, kind) and not isinstance(v, bool) for v in value)
    )


def _whole(least: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and value >= least


def _models(value: Any) -> bool:
    names = _list_of(str)
    return names(value) or (isinstance(value, dict) and all(names(v) for v in value.values()))


def _weights(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(v, str) for pair in value.items() for v in pair)
    return value is None or (
        isinstance(value, str) and not value.startswith("{")
    )  # "{": a mapping that arrived as text


# name -> (check, what it takes)
PARAMETERS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "preset": (lambda v: isinstance(v, str), f"one of {', '.join(PRESETS)}"),
    "datasets": (_list_of(str), "a list of dataset names or folders"),
    "models": (
        _models,
        "a list of model names, or a mapping of dataset to such a list; [] takes each dataset's own",
    ),
    "acquisitions": (_list_of(str), "a list of acquisition functions"),
    "seeds": (_list_of(int), "a list of whole numbers"),
    "weights": (
        _weights,
        "a file or folder of pretrained weights, a mapping of model to such, or None",
    ),
    "protocol": (
        lambda v: isinstance(v, dict),
        "a mapping of protocol settings, e.g. {budget: 40}",
    ),
    "recipe": (lambda v: isinstance(v, dict), "a mapping of recipe settings, e.g. {lr: 0.01}"),
    "stopping": (_list_of(str), "a list of stopping rules; [] takes the recipe's"),
    "probe": (_list_of(str), "a list of attributes, e.g. [label, background]"),
    "collection": (
        lambda v: isinstance(v, str),
        "a folder of images or a csv of texts to be labelled",
    ),
    "classes": (_list_of(str), "a list of class names"),
    "check_set": (lambda v: isinstance(v, str), "a csv with the columns id and label"),
    "who": (lambda v: isinstance(v, str), "a name"),
    "n_points": (_whole(1), "a whole number above 0"),
    "output": (lambda v: isinstance(v, str), "a folder for figures"),
    "workers": (_whole(0), "a number of processes; 0 takes one per core"),
}

DEFAULTS = {
    "preset": "mini",
    "models": [],
    "acquisitions": ["random", "least_confidence"],
    "seeds": [1],
    "weights": None,
    "protocol": {},
    "recipe": {},
    "stopping": [],
    "probe": [],
    "n_points": 500,
    "output": "figures/custom",
    "workers": 0,
}


def read_parameters(namespace: dict[str, Any]) -> dict[str, Any]:
    """A notebook's parameters from its globals(), checked.

    Raises:
        ConfigError: papermill injected a name that the tagged cell does not define (papermill itself only warns and runs
            the defaults), or a value has the wrong type; lists what is valid.
    """
    valid, injected = _cells(namespace.get("In", []))
    for name in injected:
        if name not in valid:
            raise ConfigError(unknown("parameter", name, sorted(valid)))
    return check_parameters(
        {
            name: namespace[name]
            for name in PARAMETERS
            if name in namespace and not callable(namespace[name])
        }
    )


def check_parameters(given: dict[str, Any]) -> dict[str, Any]:
    """Defaults filled in, lists and mappings that arrived as text parsed, every type checked."""
    parameters = dict(DEFAULTS)
    for name, value in given.items():
        if name not in PARAMETERS:
            raise ConfigError(unknown("parameter", name, sorted(PARAMETERS)))
        is_valid, takes = PARAMETERS[name]
        if isinstance(value, str) and not is_valid(
            value
        ):  # papermill -p seeds "[1, 2]" arrives as text
            with suppress(yaml.YAMLError):
                value = yaml.safe_load(value)
        if not is_valid(value):
            raise ConfigError(f"parameter {name} takes {takes}; got {value!r}")
        parameters[name] = value
    if parameters["preset"] not in PRESETS:
        raise ConfigError(unknown("preset", parameters["preset"], list(PRESETS)))
    for name in ("datasets", "acquisitions", "seeds"):
        if not parameters.get(name):
            raise ConfigError(f"parameter {name} is empty; it takes {PARAMETERS[name][1]}")
    for name, value in parameters.items():
        if isinstance(value, list) and len(set(value)) < len(
            value
        ):  # a run counted twice would narrow every interval
            raise ConfigError(
                f"parameter {name} names {next(v for v in value if value.count(v) > 1)!r} twice; got {value}"
            )
    return parameters


def _cells(history: list[str]) -> tuple[set[str], set[str]]:
    """Names assigned in the tagged cell and in the cell that papermill put after it."""
    for tagged, injected in pairwise(history):
        if injected.startswith("# Parameters\n"):
            return _assigned(tagged), _assigned(injected)
    return set(), set()


def _assigned(source: str) -> set[str]:
    assignments = [node for node in ast.parse(source).body if isinstance(node, ast.Assign)]
    return {
        target.id for node in assignments for target in node.targets if isinstance(target, ast.Name)
    }
