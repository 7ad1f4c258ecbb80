"""Execute the notebooks through papermill, turn them into html, and collect figures and claims on one page."""

import ast
import base64
import html
import json
import os
import re
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from alpt_lib.claims import COLUMNS
from alpt_lib.config import ConfigError, unknown
from alpt_lib.experiments import PRESETS, STORED_ONLY
from alpt_lib.paths import REPOSITORY, home
from alpt_lib.progress import Progress
from companion.pictures import shrink_png, shrink_svg
from companion.share import DICTIONARY

NOTEBOOKS = REPOSITORY / "notebooks"
TEMPLATES = Path(__file__).parent / "templates"
CAPTION = "**Figure.**"  # begins the paragraph that says what a figure shows
NAVIGATION = "<!-- navigation -->"  # where a notebook's page has its links, known once all pages are there
VERDICTS = {  # a sign beside the colour, and what the word means
    "reproduced": ("✓", "the whole 95% interval is on the claim's side, or where the claim is no effect, allows for none"),
    "right direction": ("↗", "the estimate is on the claim's side, but its interval reaches to no effect"),
    "not reproduced": ("✗", "the estimate is on the other side, or where the claim is no effect, the interval excludes none"),
    "not testable": ("–", "too few seeds for an interval, or not part of this preset"),
}
ADDRESS = re.compile(r" at 0x[0-9a-f]+>")  # of an object shown as text
DRAWN_ID = re.compile(r"T_[0-9a-f]{5}")  # of a styled table
WIDGET = "application/vnd.jupyter.widget-view+json"
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


def heading(name: str) -> str:
    """A notebook's title."""
    return _first_cell(name).splitlines()[0].lstrip("# ")


def paper_source(name: str) -> str:
    """The section and figures of the paper that a notebook's claim names, e.g. "section 5.1, Fig. 2"."""
    found = re.search(r"\((?:paper, )?((?:section|Fig|Appendix)[^)]*)\)", " ".join(_first_cell(name).split()))
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
            caption = next((" ".join(p.split()) for p in source.split("\n\n") if p.startswith(CAPTION)), caption)
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
    (tagged,) = ["".join(c["source"]) for c in _cells(name) if "parameters" in c["metadata"].get("tags", [])]
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
    progress = Progress(len(given), "rendering", "notebook", every=0)
    n_processes = max(1, min(workers, AT_ONCE, len(given)))
    with ProcessPoolExecutor(n_processes, get_context("spawn"), _start_rendering, (NOTEBOOKS,)) as processes:
        tasks = {processes.submit(_render_one, name, given[name], output): name for name in reversed(given)}  # short ones last
        for task in as_completed(tasks):
            progress.add(1, tasks[task])
    progress.close()
    lines = (f"{name}: the process that rendered it was killed" if isinstance(task.exception(), BrokenProcessPool)
             else task.result() for task, name in tasks.items())
    return sorted(line for line in lines if line)


def _start_rendering(notebooks: Path) -> None:
    """A process that imports papermill once; its kernels only read what is stored, and leave the terminal alone."""
    global NOTEBOOKS
    NOTEBOOKS = notebooks
    os.chdir(REPOSITORY)
    os.environ[STORED_ONLY] = "1"
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # kernels at work beside each other would fight over the cores
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def _render_one(name: str, given: dict[str, Any], output: Path) -> str | None:
    import papermill

    target = output / name / f"{name}.ipynb"
    target.parent.mkdir(parents=True, exist_ok=True)
    for stale in target.parent.iterdir():  # a notebook that fails must not be shown with the figures of an earlier one
        stale.unlink()
    folder = output.relative_to(home()) if output.is_relative_to(home()) else output
    try:
        papermill.execute_notebook(_relative(NOTEBOOKS / f"{name}.ipynb"), _relative(target), kernel_name="python3",
                                   parameters={**given, "output": folder.as_posix(), "workers": 1}, progress_bar=False)
    except Exception as error:  # whatever a notebook or its kernel does, the others are rendered
        return f"{name}: {_what_went_wrong(target, str(error))}"
    _clean(target)
    for file in target.parent.glob("*.png"):
        file.write_bytes(shrink_png(file.read_bytes()))
    for file in target.parent.glob("*.svg"):
        file.write_text(shrink_svg(file.read_text(encoding="utf-8")), encoding="utf-8")
    page = _page(NAVIGATION + _html_body(target) + NAVIGATION, heading(name))
    target.with_suffix(".html").write_text(page, encoding="utf-8")
    return None


def _relative(path: Path) -> str:
    return os.path.relpath(path, REPOSITORY)  # papermill stores the paths it was given, and nobody else has this checkout's


def _what_went_wrong(executed: Path, otherwise: str) -> str:
    """The last line of the failing cell's error; of papermill's own where no cell failed (a kernel that died)."""
    with suppress(OSError, ValueError):  # not there, or cut off by a full disk
        for cell in json.loads(executed.read_text(encoding="utf-8"))["cells"]:
            for out in cell.get("outputs", []):
                if out["output_type"] == "error":
                    return f"{out['ename']}: {(out['evalue'].strip().splitlines() or ['no message'])[-1]}"
    return (otherwise.strip().splitlines() or ["papermill stopped without a message"])[-1]


def _clean(executed: Path) -> None:
    """Drop timestamps, addresses, drawn ids and the states of widgets, so that equal results are equal files; shrink pictures.

    A widget that shows a picture beside it leaves the picture; the others, such as progress bars, leave nothing.
    """
    notebook = json.loads(executed.read_text(encoding="utf-8"))
    for drop in ("papermill", "widgets"):
        notebook["metadata"].pop(drop, None)
    for i, cell in enumerate(notebook["cells"]):
        cell["metadata"], cell["id"] = {k: v for k, v in cell["metadata"].items() if k == "tags"}, f"cell-{i}"
        if "outputs" in cell:
            cell["outputs"] = [o for o in cell["outputs"] if _outlives_its_kernel(o.get("data", {}))]
        for j, data in enumerate(o["data"] for o in cell.get("outputs", []) if "data" in o):
            for kind in data.keys() & {"text/plain", "text/html"}:
                data[kind] = DRAWN_ID.sub(f"T_{i}_{j}", ADDRESS.sub(">", "".join(data[kind]))).splitlines(keepends=True)
            if "image/png" in data:
                data["image/png"] = base64.b64encode(shrink_png(base64.b64decode(data["image/png"]))).decode()
    executed.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _outlives_its_kernel(data: dict[str, Any]) -> bool:
    """Take the widget out of an output; whether a still picture of it is left."""
    return data.pop(WIDGET, None) is None or "text/html" in data or "image/png" in data


def _html_body(executed: Path) -> str:
    """The notebook as html. Pictures that are saved beside it are not stored in it a second time, and have their captions."""
    import nbformat
    from nbconvert import HTMLExporter

    notebook, described = nbformat.read(executed, as_version=4), captions(executed.stem)
    for cell in notebook.cells:
        pictures = [o for o in cell.get("outputs", []) if "image/png" in o.get("data", {})]
        for name, out in zip(dict.fromkeys(_saved(cell.source)), pictures, strict=False):
            if (executed.parent / f"{name}.png").exists():
                alt = html.escape(plain(described.get(name, name)))
                out.data = {"text/html": f'<a href="{name}.svg"><img src="{name}.png" alt="{alt}" loading="lazy"></a>'}
    exporter = HTMLExporter(template_name="basic", exclude_anchor_links=True, exclude_input_prompt=True,
                            exclude_output_prompt=True)
    return exporter.from_notebook_node(notebook)[0]


def plain(markdown: str) -> str:
    """Markdown without its marks, for alternative texts."""
    return re.sub(r"[*`]|\[([^]]*)\]\([^)]*\)", r"\1", markdown)


def gallery(names: list[str], preset: str, output: Path) -> Path:
    """Write `output`/index.html, claims.csv and data_dictionary.csv: the claims table, and every figure with its caption.

    Args:
        names: notebooks asked for; any others that `output` holds are shown as well.
    """
    from jinja2 import Environment

    entries = [_entry(n, output / n) for n in notebook_names() if n in names or (output / n / f"{n}.html").exists()]
    found = [e["name"] for e in entries if "claims.csv" in e["tables"]]
    tables = [pd.read_csv(output / name / "claims.csv").assign(notebook=name) for name in found]
    claims = pd.concat([t for t in tables if len(t)] or [pd.DataFrame(columns=[*COLUMNS, "notebook"])])
    claims.to_csv(output / "claims.csv", index=False, float_format="%.6g")
    shutil.copyfile(DICTIONARY, output / DICTIONARY.name)
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["number"] = lambda v: "–" if pd.isna(v) else f"{v:.3f}".replace("-", "−")
    counts = claims["verdict"].value_counts()
    body = environment.from_string((TEMPLATES / "gallery.html").read_text(encoding="utf-8")).render(
        entries=entries, claims={n: rows.to_dict("records") for n, rows in claims.groupby("notebook")}, preset=preset,
        counts={verdict: counts[verdict] for verdict in VERDICTS if verdict in counts}, verdicts=VERDICTS, n_claims=len(claims))
    page = output / "index.html"
    page.write_text(_page(body, "all figures"), encoding="utf-8")
    _link_neighbours([e for e in entries if e["done"]], output)
    return page


def _link_neighbours(entries: list[dict[str, Any]], output: Path) -> None:
    """On each notebook's page: the way back, and to the notebooks before and after it that are here."""
    for before, entry, after in zip([None, *entries], entries, [*entries[1:], None], strict=False):
        links = [f'<a href="../{e["name"]}/{e["name"]}.html" rel="{rel}">{html.escape(words.format(e["short"]))}</a>'
                 if e else "<span></span>" for e, rel, words in ((before, "prev", "← {}"), (after, "next", "{} →"))]
        navigation = f'<nav class="around">{links[0]}<a href="../index.html">All figures</a>{links[1]}</nav>'
        page = output / entry["name"] / f"{entry['name']}.html"
        page.write_text(re.sub(f"{NAVIGATION}|<nav class=\"around\">.*?</nav>", lambda _, n=navigation: n,
                               page.read_text(encoding="utf-8")), encoding="utf-8")


def _entry(name: str, folder: Path) -> dict[str, Any]:
    from nbconvert.filters import markdown2html

    first, described = _first_cell(name), captions(name)
    claim = next(p for p in first.split("\n\n") if p.startswith("**The claim.**"))
    drawn = [figure for figure in described if (folder / f"{figure}.png").exists()]
    drawn += sorted({p.stem for p in folder.glob("*.png")} - set(drawn))
    texts = {figure: described.get(figure) or figure.replace("_", " ").capitalize() for figure in drawn}
    figures = [{"name": f, "caption": markdown2html(text), "alt": plain(text)} for f, text in texts.items()]
    return {"name": name, "number": name[:2], "heading": heading(name), "short": re.match(r"[^:,?]*\??", heading(name))[0],
            "done": (folder / f"{name}.html").exists(), "claim": markdown2html(claim.removeprefix("**The claim.**")),
            "figures": figures, "tables": [p.name for p in sorted(folder.glob("*.csv"))]}


def _page(body: str, title: str) -> str:
    return (f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n<meta name="viewport" content="width=device-width, '
            f'initial-scale=1">\n<title>{html.escape(title)}: active learning helps pretrained models, a companion</title>\n'
            f"<style>{''.join(_styles())}</style></head>\n<body><main>{body}</main></body></html>\n")


def _styles() -> Iterator[str]:
    from pygments.formatters import HtmlFormatter

    yield (TEMPLATES / "style.css").read_text(encoding="utf-8")
    yield HtmlFormatter(style="default").get_style_defs(".highlight")
    yield f"@media (prefers-color-scheme: dark) {{{HtmlFormatter(style='github-dark').get_style_defs('.highlight')}}}"
