"""Execute the notebooks through papermill, equal results into equal files, and make pages."""

import json
import os
import re
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from alpt_lib.errors import one_line
from alpt_lib.files import REPOSITORY, home, shared_memory, whole_file, write_whole
from alpt_lib.progress import Progress
from companion import notebook_text
from companion.report.pages import notebook_page
from companion.report.shrink import shrink_base64, shrink_png, shrink_svg
from companion.report.study import STORED_ONLY

# of an object shown as text
ADDRESS = re.compile(r" at 0x[0-9a-f]+>")

# of a styled table
DRAWN_ID = re.compile(r"T_[0-9a-f]{5}")

WIDGET = "application/vnd.jupyter.widget-view+json"

# kernels at a time: each holds torch, about half a GB
AT_ONCE = 2


def render(
    given: dict[str, dict[str, Any]],
    output: Path,
    workers: int,
    report: Callable[[str], None] = lambda name: None,
    quiet: bool = False,
) -> dict[str, str]:
    """Execute notebooks into `output`/NN_name/NN_name.ipynb and .html, two at a time.

    Args:
        given: of each notebook, the parameters that papermill sets. report: told of each, done.
    Returns:
        of each notebook that failed, what went wrong, in one line.
    """
    progress = Progress(len(given), "rendering", "notebook", quiet, every=0)
    processes = _processes(max(1, min(workers, AT_ONCE)), notebook_text.NOTEBOOKS, home())
    tasks: dict[Future, str] = {}
    # the first notebooks are short and go last, so that the processes end together
    for name in reversed(given):
        tasks[processes.submit(_render_one, name, given[name], output)] = name
    for task in as_completed(tasks):
        progress.add(1, tasks[task])
        report(tasks[task])
    progress.close()
    if any(isinstance(task.exception(), BrokenProcessPool) for task in tasks):
        _processes.cache_clear()
    outcomes = {name: _outcome(task) for task, name in tasks.items()}
    return {name: fault for name, fault in sorted(outcomes.items()) if fault}


@lru_cache(maxsize=1)
def _processes(n: int, notebooks: Path, place: Path) -> ProcessPoolExecutor:
    """Processes that render, each started when there is something to do; they serve later calls.

    Args:
        n: at most. place: the home folder, which they take from the environment.
    """
    with shared_memory():
        return ProcessPoolExecutor(n, get_context("spawn"), _start_process, (notebooks,))


def _outcome(task: Future) -> str | None:
    error = task.exception()
    if isinstance(error, BrokenProcessPool):
        return "the process that rendered it was killed"
    # of what comes after papermill
    return one_line(error) if error else task.result()


def _start_process(notebooks: Path) -> None:
    """A process that imports papermill once; its kernels read what is stored, and keep quiet."""
    notebook_text.NOTEBOOKS = notebooks
    os.chdir(REPOSITORY)
    os.environ[STORED_ONLY] = "1"
    # kernels at work beside each other would fight over the cores
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def _render_one(name: str, given: dict[str, Any], output: Path) -> str | None:
    """Render one notebook; returns what went wrong."""
    import papermill

    target = output / name / f"{name}.ipynb"
    target.parent.mkdir(parents=True, exist_ok=True)
    # a notebook that fails must not be shown with the figures of an earlier one
    for stale in target.parent.iterdir():
        stale.unlink()
    folder = output.relative_to(home()) if output.is_relative_to(home()) else output
    try:
        papermill.execute_notebook(
            _relative(notebook_text.NOTEBOOKS / f"{name}.ipynb"),
            _relative(target),
            kernel_name="python3",
            parameters={**given, "output": folder.as_posix(), "workers": 1},
            progress_bar=False,
        )
    except Exception as error:  # whatever a notebook or its kernel does, the others are rendered
        return what_went_wrong(target, str(error))
    clean_notebook(target)
    for file in target.parent.glob("*.png"):
        with whole_file(file) as stream:
            stream.write(shrink_png(file.read_bytes()))
    for file in target.parent.glob("*.svg"):
        write_whole(file, shrink_svg(file.read_text(encoding="utf-8")))
    write_whole(target.with_suffix(".html"), notebook_page(target))
    return None


def _relative(path: Path) -> str:
    """As papermill stores the paths that it is given; nobody else has this checkout's."""
    return os.path.relpath(path, REPOSITORY)


def what_went_wrong(executed: Path, otherwise: str) -> str:
    """The last line of the failing cell's error; of papermill's own where no cell failed."""
    # not there, or cut off by a full disk
    with suppress(OSError, ValueError):
        notebook = json.loads(executed.read_text(encoding="utf-8"))
        for output in _outputs(notebook):
            if output["output_type"] == "error":
                return f"{output['ename']}: {_last_line(output['evalue'])}"
    return _last_line(otherwise)


def _last_line(text: str) -> str:
    last = (text.strip().splitlines() or ["no message"])[-1]
    return f"{last} the kernel gave no reason; is there enough memory?" if last[-1] == ":" else last


def _outputs(notebook: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for cell in notebook["cells"]:
        yield from cell.get("outputs", [])


def clean_notebook(executed: Path) -> None:
    """Drop timestamps, addresses, drawn ids and widgets' states: equal results are equal files.

    Pictures are shrunk. A widget that shows a picture beside it leaves the picture; others, such as
    progress bars, leave nothing.
    """
    notebook = json.loads(executed.read_text(encoding="utf-8"))
    for machine_made in ("papermill", "widgets"):
        notebook["metadata"].pop(machine_made, None)
    for i, cell in enumerate(notebook["cells"]):
        tags = cell["metadata"].get("tags")
        cell["metadata"] = {} if tags is None else {"tags": tags}
        cell["id"] = f"cell-{i}"
        if "outputs" in cell:
            cell["outputs"] = [o for o in cell["outputs"] if _outlives_its_kernel(o)]
            _clean_outputs(cell["outputs"], f"T_{i}")
    text = json.dumps(notebook, indent=1, ensure_ascii=False)
    write_whole(executed, f"{text}\n")


def _clean_outputs(outputs: list[dict[str, Any]], table_id: str) -> None:
    shown = [output["data"] for output in outputs if "data" in output]
    for j, data in enumerate(shown):
        for kind in data.keys() & {"text/plain", "text/html"}:
            text = ADDRESS.sub(">", "".join(data[kind]))
            data[kind] = DRAWN_ID.sub(f"{table_id}_{j}", text).splitlines(keepends=True)
        if "image/png" in data:
            data["image/png"] = shrink_base64(data["image/png"])


def _outlives_its_kernel(output: dict[str, Any]) -> bool:
    """Take the widget out of an output; whether a still picture of it is left."""
    data = output.get("data", {})
    return data.pop(WIDGET, None) is None or "text/html" in data or "image/png" in data
