"""Execute the notebooks through papermill, turn them into html, and collect figures and claims on one page."""

import base64
import json
import os
import re
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from alpt_lib.files import REPOSITORY, home
from alpt_lib.progress import Progress
from companion.notebook_text import NOTEBOOKS, heading
from companion.report.pages import NAVIGATION, _html_body, _page
from companion.report.shrink import shrink_png, shrink_svg
from companion.report.study import STORED_ONLY

ADDRESS = re.compile(r" at 0x[0-9a-f]+>")  # of an object shown as text

DRAWN_ID = re.compile(r"T_[0-9a-f]{5}")  # of a styled table

WIDGET = "application/vnd.jupyter.widget-view+json"

AT_ONCE = 2  # kernels at a time: each holds torch, about half a GB


def render(given: dict[str, dict[str, Any]], output: Path, workers: int) -> list[str]:
    """Execute notebooks into `output`/NN_name/NN_name.ipynb and .html, two at a time.

    Args:
        given: of each notebook, the parameters that papermill sets.
    Returns:
        one line for each notebook that failed: its name and what went wrong.
    """
    progress = Progress(len(given), "rendering", "notebook", every=0)
    n_processes = max(1, min(workers, AT_ONCE, len(given)))
    with ProcessPoolExecutor(
        n_processes, get_context("spawn"), _start_rendering, (NOTEBOOKS,)
    ) as processes:
        tasks = {
            processes.submit(_render_one, name, given[name], output): name
            for name in reversed(given)
        }  # short ones last
        for task in as_completed(tasks):
            progress.add(1, tasks[task])
    progress.close()
    lines = (
        f"{name}: the process that rendered it was killed"
        if isinstance(task.exception(), BrokenProcessPool)
        else task.result()
        for task, name in tasks.items()
    )
    return sorted(line for line in lines if line)


def _start_rendering(notebooks: Path) -> None:
    """A process that imports papermill once; its kernels only read what is stored, and leave the terminal alone."""
    global NOTEBOOKS
    NOTEBOOKS = notebooks
    os.chdir(REPOSITORY)
    os.environ[STORED_ONLY] = "1"
    os.environ.setdefault(
        "OMP_NUM_THREADS", "1"
    )  # kernels at work beside each other would fight over the cores
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def _render_one(name: str, given: dict[str, Any], output: Path) -> str | None:
    import papermill

    target = output / name / f"{name}.ipynb"
    target.parent.mkdir(parents=True, exist_ok=True)
    for stale in (
        target.parent.iterdir()
    ):  # a notebook that fails must not be shown with the figures of an earlier one
        stale.unlink()
    folder = output.relative_to(home()) if output.is_relative_to(home()) else output
    try:
        papermill.execute_notebook(
            _relative(NOTEBOOKS / f"{name}.ipynb"),
            _relative(target),
            kernel_name="python3",
            parameters={**given, "output": folder.as_posix(), "workers": 1},
            progress_bar=False,
        )
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
    return os.path.relpath(
        path, REPOSITORY
    )  # papermill stores the paths it was given, and nobody else has this checkout's


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
        cell["metadata"], cell["id"] = (
            {k: v for k, v in cell["metadata"].items() if k == "tags"},
            f"cell-{i}",
        )
        if "outputs" in cell:
            cell["outputs"] = [
                o for o in cell["outputs"] if _outlives_its_kernel(o.get("data", {}))
            ]
        for j, data in enumerate(o["data"] for o in cell.get("outputs", []) if "data" in o):
            for kind in data.keys() & {"text/plain", "text/html"}:
                data[kind] = DRAWN_ID.sub(
                    f"T_{i}_{j}", ADDRESS.sub(">", "".join(data[kind]))
                ).splitlines(keepends=True)
            if "image/png" in data:
                data["image/png"] = base64.b64encode(
                    shrink_png(base64.b64decode(data["image/png"]))
                ).decode()
    executed.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _outlives_its_kernel(data: dict[str, Any]) -> bool:
    """Take the widget out of an output; whether a still picture of it is left."""
    return data.pop(WIDGET, None) is None or "text/html" in data or "image/png" in data
