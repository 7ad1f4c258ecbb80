"""Execute the notebooks through papermill, turn them into html, and collect figures and claims on one page."""

import ast
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from alpt_lib.claims import COLUMNS
from alpt_lib.config import ConfigError, unknown
from alpt_lib.experiments import PRESETS, STORED_ONLY
from alpt_lib.paths import REPOSITORY, home

NOTEBOOKS = REPOSITORY / "notebooks"
TEMPLATES = Path(__file__).parent / "templates"
AT_ONCE = 2  # kernels at a time: each holds torch, about half a GB


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
            raise ConfigError(unknown("parameter", key, sorted({k for known in literals.values() for k in known})))
    given = {}
    for name, known in literals.items():
        given[name] = preset_parameters(preset, name)
        for key, value in changes.items():
            if key in known:
                before = {**known, **given[name]}[key]
                given[name][key] = {**before, **value} if isinstance(before, dict) and isinstance(value, dict) else value
    return given


def tagged_literals(name: str) -> dict[str, Any]:
    """The assignments of the cell tagged `parameters`."""
    cells = json.loads((NOTEBOOKS / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
    (tagged,) = ["".join(c["source"]) for c in cells if "parameters" in c["metadata"].get("tags", [])]
    return {node.targets[0].id: ast.literal_eval(node.value) for node in ast.parse(tagged).body}


def preset_parameters(preset: str, name: str) -> dict[str, Any]:
    """notebooks/presets/<preset>.yaml and, where there is one, notebooks/presets/<preset>/<name>.yaml, which wins.

    Raises:
        ConfigError: unknown preset.
    """
    if preset not in PRESETS:
        raise ConfigError(unknown("preset", preset, list(PRESETS)))
    folder = NOTEBOOKS / "presets"
    files = [file for file in (folder / f"{preset}.yaml", folder / preset / f"{name}.yaml") if file.exists()]
    return {key: value for file in files for key, value in yaml.safe_load(file.read_text(encoding="utf-8")).items()}


def render(given: dict[str, dict[str, Any]], output: Path, workers: int) -> list[str]:
    """Execute notebooks into `output`/NN_name/NN_name.ipynb and .html, two at a time.

    Args:
        given: of each notebook, the parameters that papermill sets.
    Returns:
        one line for each notebook that failed: its name and what went wrong.
    """
    with ThreadPoolExecutor(max(1, min(workers, AT_ONCE))) as threads:
        outcomes = list(threads.map(lambda name: _render_one(name, given[name], output), given))
    return [line for line in outcomes if line]


def _render_one(name: str, given: dict[str, Any], output: Path) -> str | None:
    started = time.monotonic()
    target = output / name / f"{name}.ipynb"
    target.parent.mkdir(parents=True, exist_ok=True)
    for stale in target.parent.iterdir():  # a notebook that fails must not be shown with the figures of an earlier one
        stale.unlink()
    folder = output.relative_to(home()) if output.is_relative_to(home()) else output
    command = [sys.executable, "-m", "papermill", _relative(NOTEBOOKS / f"{name}.ipynb"), _relative(target), "-k", "python3",
               "--no-progress-bar", "-y", yaml.safe_dump({**given, "output": folder.as_posix(), "workers": 1})]
    environment = {**os.environ, STORED_ONLY: "1"}
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, env=environment)
    if done.returncode:
        return f"{name}: {_what_went_wrong(target, done.stderr)}"
    _clean(target)
    target.with_suffix(".html").write_text(_page(_html_body(target), home_link="../index.html"), encoding="utf-8")
    print(f"{name}: rendered in {time.monotonic() - started:.0f} s", flush=True)
    return None


def _relative(path: Path) -> str:
    return os.path.relpath(path, REPOSITORY)  # papermill stores the paths it was given, and nobody else has this checkout's


def _what_went_wrong(executed: Path, stderr: str) -> str:
    """The last line of the failing cell's error; of papermill's own where no cell failed (a kernel that died)."""
    if executed.exists():
        for cell in json.loads(executed.read_text(encoding="utf-8"))["cells"]:
            for out in cell.get("outputs", []):
                if out["output_type"] == "error":
                    return f"{out['ename']}: {(out['evalue'].strip().splitlines() or ['no message'])[-1]}"
    return (stderr.strip().splitlines() or ["papermill stopped without a message"])[-1]


def _clean(executed: Path) -> None:
    """Drop timestamps, and of widgets all but their still pictures, so that equal results are equal files."""
    notebook = json.loads(executed.read_text(encoding="utf-8"))
    for drop in ("papermill", "widgets"):
        notebook["metadata"].pop(drop, None)
    for cell in notebook["cells"]:
        cell["metadata"] = {k: v for k, v in cell["metadata"].items() if k == "tags"}
        if "outputs" in cell:
            cell["outputs"] = [o for o in cell["outputs"] if _outlives_its_kernel(o.get("data", {}))]
    executed.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _outlives_its_kernel(data: dict[str, Any]) -> bool:
    """Take the widget out of an output; whether a still picture of it is left."""
    return data.pop("application/vnd.jupyter.widget-view+json", None) is None or "text/html" in data


def _html_body(executed: Path) -> str:
    from nbconvert import HTMLExporter

    return HTMLExporter(template_name="basic", exclude_anchor_links=True, exclude_input_prompt=True,
                        exclude_output_prompt=True).from_filename(str(executed))[0]


def gallery(names: list[str], preset: str, output: Path) -> Path:
    """Write `output`/index.html and claims.csv: the claims table, and every figure with what it is to show.

    Args:
        names: notebooks asked for; any others that `output` holds are shown as well.
    """
    from jinja2 import Environment

    entries = [_entry(n, output / n) for n in notebook_names() if n in names or (output / n / f"{n}.html").exists()]
    found = [e["name"] for e in entries if "claims.csv" in e["tables"]]
    tables = [pd.read_csv(output / name / "claims.csv").assign(notebook=name) for name in found]
    claims = pd.concat([t for t in tables if len(t)] or [pd.DataFrame(columns=[*COLUMNS, "notebook"])])
    claims.to_csv(output / "claims.csv", index=False, float_format="%.6g")
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["number"] = lambda v: "–" if pd.isna(v) else f"{v:.3f}"
    body = environment.from_string((TEMPLATES / "gallery.html").read_text(encoding="utf-8")).render(
        entries=entries, claims=claims.to_dict("records"), counts=claims["verdict"].value_counts().to_dict(), preset=preset)
    page = output / "index.html"
    page.write_text(_page(body), encoding="utf-8")
    return page


def _entry(name: str, folder: Path) -> dict[str, Any]:
    from nbconvert.filters import markdown2html

    cells = json.loads((NOTEBOOKS / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
    first = "".join(cells[0]["source"])
    claim = next(p for p in first.split("\n\n") if p.startswith("**The claim.**"))
    return {"name": name, "heading": first.splitlines()[0].lstrip("# "), "done": (folder / f"{name}.html").exists(),
            "claim": markdown2html(claim.removeprefix("**The claim.**")),
            "figures": [p.stem for p in sorted(folder.glob("*.png"))], "tables": [p.name for p in sorted(folder.glob("*.csv"))]}


def _page(body: str, home_link: str = "") -> str:
    back = f'<nav><a href="{home_link}">All figures</a></nav>' if home_link else ""
    return (f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n<meta name="viewport" content="width=device-width, '
            f'initial-scale=1">\n<title>Active learning helps pretrained models learn the intended task: companion</title>\n'
            f"<style>{''.join(_styles())}</style></head>\n<body><main>{back}{body}</main></body></html>\n")


def _styles() -> Iterator[str]:
    from pygments.formatters import HtmlFormatter

    yield (TEMPLATES / "style.css").read_text(encoding="utf-8")
    yield HtmlFormatter(style="default").get_style_defs(".highlight")
    yield f"@media (prefers-color-scheme: dark) {{{HtmlFormatter(style='github-dark').get_style_defs('.highlight')}}}"
