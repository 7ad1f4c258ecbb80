"""TODO: what this room holds."""

import ast
import json
import re
from typing import Any

import yaml

from alpt_lib.errors import ConfigError, unknown
from alpt_lib.files import REPOSITORY
from companion.runs.parameters import PRESETS

NOTEBOOKS = REPOSITORY / "notebooks"

CAPTION = "**Figure.**"  # begins the paragraph that says what a figure shows


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
    chosen = []
    for wanted in filter(None, (part.strip() for part in only.split(","))):
        found = [n for n in names if wanted in (n, n.split("_")[0])]
        if not found:
            raise ConfigError(unknown("notebook", wanted, names))
        chosen += found
    if not chosen:
        raise ConfigError(f"no notebook named in {only!r}; known: {', '.join(names)}")
    return sorted(set(chosen))


def heading(name: str) -> str:
    """A notebook's title."""
    return _first_cell(name).splitlines()[0].lstrip("# ")


def paper_source(name: str) -> str:
    """The section and figures of the paper that a notebook's claim names, e.g. "section 5.1, Fig. 2"."""
    found = re.search(
        r"\((?:paper, )?((?:section|Fig|Appendix)[^)]*)\)", " ".join(_first_cell(name).split())
    )
    return found[1] if found else ""


def _first_cell(name: str) -> str:
    return "".join(_cells(name)[0]["source"])


def _cells(name: str) -> list[dict[str, Any]]:
    return json.loads((NOTEBOOKS / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]


def captions(name: str) -> dict[str, str]:
    """Figure -> its caption in markdown: the last paragraph before the cell that saves it which begins with **Figure.**"""
    found, caption = {}, ""
    for cell in _cells(name):
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            caption = next(
                (" ".join(p.split()) for p in source.split("\n\n") if p.startswith(CAPTION)),
                caption,
            )
        else:
            found |= {figure: caption.removeprefix(CAPTION).strip() for figure in _saved(source)}
    return found


def _saved(source: str) -> list[str]:
    """The figures that a code cell saves."""
    return re.findall(r'study\.save\(\w+, "(\w+)"', source)


def overrides(names: list[str], preset: str, changes: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What papermill gives each notebook: the preset's parameters, then the changes that the notebook has a parameter for.

    Args:
        changes: parameters from the command line; `protocol` and `recipe` are added to the preset's, others replace them.
    Raises:
        ConfigError: unknown preset, or a change that none of the notebooks has a parameter for.
    """
    literals = {name: tagged_literals(name) for name in names}
    for key in changes:
        if not any(key in known for known in literals.values()):
            raise ConfigError(
                unknown("parameter", key, sorted({k for known in literals.values() for k in known}))
            )
    given = {}
    for name, known in literals.items():
        given[name] = preset_parameters(preset, name)
        for key, value in changes.items():
            if key in known:
                before = {**known, **given[name]}[key]
                given[name][key] = (
                    {**before, **value}
                    if isinstance(before, dict) and isinstance(value, dict)
                    else value
                )
    return given


def tagged_literals(name: str) -> dict[str, Any]:
    """The assignments of the cell tagged `parameters`."""
    (tagged,) = [
        "".join(c["source"]) for c in _cells(name) if "parameters" in c["metadata"].get("tags", [])
    ]
    return {node.targets[0].id: ast.literal_eval(node.value) for node in ast.parse(tagged).body}


def preset_parameters(preset: str, name: str) -> dict[str, Any]:
    """notebooks/presets/<preset>.yaml and, where there is one, notebooks/presets/<preset>/<name>.yaml, which wins.

    Raises:
        ConfigError: unknown preset.
    """
    if preset not in PRESETS:
        raise ConfigError(unknown("preset", preset, list(PRESETS)))
    folder = NOTEBOOKS / "presets"
    files = [
        file
        for file in (folder / f"{preset}.yaml", folder / preset / f"{name}.yaml")
        if file.exists()
    ]
    return {
        key: value
        for file in files
        for key, value in yaml.safe_load(file.read_text(encoding="utf-8")).items()
    }
