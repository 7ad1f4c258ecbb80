"""What the notebooks say of themselves: names, headings, captions, parameters."""

import ast
import json
import re
from typing import Any

import yaml

from alpt_lib.errors import ConfigError, unknown
from alpt_lib.files import REPOSITORY
from companion.runs.parameters import PRESETS

NOTEBOOKS = REPOSITORY / "notebooks"

# begin the paragraphs that say what a figure shows, and what the paper claims
CAPTION = "**Figure.**"
CLAIM = "**The claim.**"

# ends the file of a figure's variant for phones
NARROW = ".narrow.png"

# the part of the paper that a claim names: "(paper, section 5.1, Fig. 2)"
SOURCE = re.compile(r"\((?:paper, )?((?:section|Fig|Appendix)[^)]*)\)")


def notebook_names() -> list[str]:
    """All notebooks, in order."""
    return sorted(path.stem for path in NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))


def select(only: str | None) -> list[str]:
    """The notebooks that "01,05" or full names stand for; None stands for all.

    Raises:
        ConfigError: unknown; lists all.
    """
    names = notebook_names()
    if only is None:
        return names
    chosen = set()
    for wanted in filter(None, (part.strip() for part in only.split(","))):
        matching = {name for name in names if wanted in (name, name.split("_")[0])}
        if not matching:
            raise ConfigError(unknown("notebook", wanted, names))
        chosen |= matching
    if not chosen:
        raise ConfigError(f"no notebook named in {only!r}; known: {', '.join(names)}")
    return sorted(chosen)


def heading(name: str) -> str:
    """A notebook's title."""
    return _first_cell(name).splitlines()[0].lstrip("# ")


def claim(name: str) -> str:
    """What the paper claims, in markdown: the first cell's paragraph that begins so."""
    paragraphs = _first_cell(name).split("\n\n")
    (words,) = [p for p in paragraphs if p.startswith(CLAIM)]
    return words.removeprefix(CLAIM)


def paper_source(name: str) -> str:
    """The part of the paper that a notebook's claim names, e.g. "section 5.1, Fig. 2"."""
    named = SOURCE.search(" ".join(_first_cell(name).split()))
    return named[1] if named else ""


def captions(name: str) -> dict[str, str]:
    """Figure -> its caption in markdown: the last such paragraph before the cell that saves it."""
    by_figure: dict[str, str] = {}
    caption = ""
    for cell in _cells(name):
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            for paragraph in source.split("\n\n"):
                if paragraph.startswith(CAPTION):
                    caption = " ".join(paragraph.removeprefix(CAPTION).split())
        else:
            by_figure |= dict.fromkeys(saved_figures(source), caption)
    return by_figure


def saved_figures(source: str) -> list[str]:
    """The figures that a code cell saves."""
    return re.findall(r'study\.save\(\w+, "(\w+)"', source)


def tagged_literals(name: str) -> dict[str, Any]:
    """The assignments of the cell tagged `parameters`."""
    cells = [c for c in _cells(name) if "parameters" in c["metadata"].get("tags", [])]
    (tagged,) = cells
    literals = {}
    for node in ast.walk(ast.parse("".join(tagged["source"]))):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            literals[node.targets[0].id] = ast.literal_eval(node.value)
    return literals


def preset_parameters(preset: str, name: str) -> dict[str, Any]:
    """What presets/<preset>.yaml sets and, if it exists, presets/<preset>/<name>.yaml, which wins.

    Raises:
        ConfigError: unknown preset.
    """
    if preset not in PRESETS:
        raise ConfigError(unknown("preset", preset, list(PRESETS)))
    folder = NOTEBOOKS / "presets"
    parameters: dict[str, Any] = {}
    for file in (folder / f"{preset}.yaml", folder / preset / f"{name}.yaml"):
        if file.exists():
            parameters |= yaml.safe_load(file.read_text(encoding="utf-8"))
    return parameters


def overrides(names: list[str], preset: str, changes: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What papermill gives each notebook: the preset's parameters, then changes of those it has.

    Args:
        changes: from the command line; `protocol` and `recipe` are added to the preset's, others
            replace them.
    Raises:
        ConfigError: unknown preset, or a change that none of the notebooks has a parameter for.
    """
    literals = {name: tagged_literals(name) for name in names}
    every_parameter = sorted(set().union(*literals.values()))
    for key in changes:
        if key not in every_parameter:
            raise ConfigError(unknown("parameter", key, every_parameter))
    given = {}
    for name, own in literals.items():
        given[name] = preset_parameters(preset, name)
        for key in changes.keys() & own.keys():
            before = {**own, **given[name]}[key]
            given[name][key] = _changed(before, changes[key])
    return given


def _changed(before: Any, change: Any) -> Any:
    # {} takes everything back
    if isinstance(before, dict) and isinstance(change, dict) and change:
        return {**before, **change}
    return change


def _first_cell(name: str) -> str:
    return "".join(_cells(name)[0]["source"])


def _cells(name: str) -> list[dict[str, Any]]:
    return json.loads((NOTEBOOKS / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
