"""A notebook's parameters: what there is, what each takes, what papermill injected.

Every notebook has those of `PARAMETERS` that it needs, as literals in its tagged cell; papermill
and the presets override them.
"""

import ast
from contextlib import suppress
from itertools import pairwise
from typing import Annotated, Any

import yaml
from pydantic import Field, StrictBool, StrictInt, StrictStr, TypeAdapter, ValidationError

from alpt_lib.errors import ConfigError, unknown

# preset -> tier of datasets and models
PRESETS = {
    "smoke": "mini",
    "mini": "mini",
    "thorough": "mini",
    "real": "paper",
    "paper": "paper",
}
Texts = list[StrictStr]
# "{...": a mapping that arrived as text
Place = Annotated[StrictStr, Field(pattern=r"^([^{]|$)")]
# name -> (type, what it takes in words)
PARAMETERS: dict[str, tuple[Any, str]] = {
    "preset": (StrictStr, f"one of {', '.join(PRESETS)}"),
    "datasets": (Texts, "a list of dataset names or folders"),
    "models": (
        Texts | dict[StrictStr, Texts],
        "a list of model names, or a mapping of dataset to such a list; [] takes each dataset's "
        "own, [all] every network whose features it holds",
    ),
    "acquisitions": (Texts, "a list of acquisition functions"),
    "seeds": (
        list[StrictInt] | dict[StrictStr, list[StrictInt]],
        "a list of whole numbers, or a mapping of dataset to such a list (others: for the rest)",
    ),
    "weights": (
        Place | dict[StrictStr, StrictStr] | None,
        "a file or folder of pretrained weights, a mapping of model to such, or None",
    ),
    "protocol": (dict, "a mapping of protocol settings, e.g. {budget: 40}"),
    "recipe": (dict, "a mapping of recipe settings, e.g. {lr: 0.01}"),
    "settings": (
        dict[StrictStr, dict],
        "a mapping of a name to changes of the other parameters, for further runs, e.g. "
        "{by 1: {protocol: {query_batch_size: 1}}}",
    ),
    "stopping": (Texts, "a list of stopping rules; [] takes the recipe's"),
    "probe": (Texts, "a list of attributes, e.g. [label, background]"),
    "collection": (StrictStr, "a folder of images or a csv of texts to be labelled"),
    "classes": (Texts, "a list of class names"),
    "check_set": (StrictStr, "a csv with the columns id and label"),
    "who": (StrictStr, "a name"),
    "optional": (StrictBool, "true: a network that cannot be had without a hub is left out"),
    "n_points": (Annotated[StrictInt, Field(ge=1)], "a whole number above 0"),
    "output": (StrictStr, "a folder for figures"),
    "workers": (Annotated[StrictInt, Field(ge=0)], "a number of processes; 0 takes one per core"),
}
# what a setting may change
SET = ["datasets", "models", "acquisitions", "seeds", "weights", "protocol", "recipe", "stopping"]
SET += ["optional"]
DEFAULTS: dict[str, Any] = {
    "preset": "mini",
    "models": [],
    "acquisitions": ["random", "least_confidence"],
    "seeds": [1],
    "weights": None,
    "protocol": {},
    "recipe": {},
    "settings": {},
    "stopping": [],
    "probe": [],
    "optional": False,
    "n_points": 500,
    "output": "figures/custom",
    "workers": 0,
}


def read_parameters(namespace: dict[str, Any]) -> dict[str, Any]:
    """A notebook's parameters from its globals(), checked.

    Raises:
        ConfigError: papermill injected a name that the tagged cell does not define (papermill
            itself only warns and runs the defaults), or a value has the wrong type; lists what is
            valid.
    """
    valid, injected = _cells(namespace.get("In", []))
    for name in injected:
        if name not in valid:
            raise ConfigError(unknown("parameter", name, sorted(valid)))
    given = {name: namespace[name] for name in PARAMETERS if name in namespace}
    return check_parameters({name: value for name, value in given.items() if not callable(value)})


def check_parameters(given: dict[str, Any]) -> dict[str, Any]:
    """Defaults filled in, lists and mappings that arrived as text parsed, every type checked."""
    parameters = dict(DEFAULTS)
    for name, value in given.items():
        if name not in PARAMETERS:
            raise ConfigError(unknown("parameter", name, sorted(PARAMETERS)))
        parameters[name] = _checked(name, value)
    for name, changes in parameters["settings"].items():
        _check_setting(name, changes)
    if parameters["preset"] not in PRESETS:
        raise ConfigError(unknown("preset", parameters["preset"], list(PRESETS)))
    for name in ("datasets", "acquisitions", "seeds"):
        if not parameters.get(name):
            raise ConfigError(f"parameter {name} is empty; it takes {PARAMETERS[name][1]}")
    for name, value in parameters.items():
        # a run counted twice would narrow every interval
        lists = value.values() if name == "seeds" and isinstance(value, dict) else [value]
        for named in lists:
            if isinstance(named, list) and len(set(named)) < len(named):
                twice = next(v for v in named if named.count(v) > 1)
                raise ConfigError(f"parameter {name} names {twice!r} twice; got {named}")
    return parameters


def _check_setting(name: str, changes: dict[str, Any]) -> None:
    for changed, value in changes.items():
        if changed not in SET:
            raise ConfigError(f"settings {name}: {unknown('parameter', changed, SET)}")
        _checked(changed, value)


def each_setting(parameters: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The parameters as they are, named "", then those of each setting in full.

    What a setting says of `protocol` and `recipe` is added, all else replaces.
    """
    base = {**parameters, "settings": {}}
    every = {"": base}
    for name, changes in parameters["settings"].items():
        added = {key: {**base[key], **changes.get(key, {})} for key in ("protocol", "recipe")}
        every[name] = {**base, **changes, **added}
    return every


def _checked(name: str, value: Any) -> Any:
    kind, takes = PARAMETERS[name]
    if isinstance(value, str) and not _is_a(kind, value):
        # papermill -p seeds "[1, 2]" arrives as text
        with suppress(yaml.YAMLError):
            value = yaml.safe_load(value)
    if not _is_a(kind, value):
        raise ConfigError(f"parameter {name} takes {takes}; got {value!r}")
    return value


def _is_a(kind: Any, value: Any) -> bool:
    try:
        TypeAdapter(kind).validate_python(value, strict=True)
    except ValidationError:
        return False
    return True


def _cells(history: list[str]) -> tuple[set[str], set[str]]:
    """Names assigned in the tagged cell and in the cell that papermill put after it."""
    for tagged, injected in pairwise(history):
        if injected.startswith("# Parameters\n"):
            return _assigned(tagged), _assigned(injected)
    return set(), set()


def _assigned(source: str) -> set[str]:
    assignments = [node for node in ast.parse(source).body if isinstance(node, ast.Assign)]
    targets = [target for node in assignments for target in node.targets]
    return {target.id for target in targets if isinstance(target, ast.Name)}
