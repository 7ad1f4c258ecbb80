"""Draw a run: render the notebooks that have changed since, then write the page of all figures."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alpt_lib.files import REPOSITORY, locked
from companion import notebook_text
from companion.report.gallery import write_gallery
from companion.report.render import render

# files of the library that decide what a notebook or its page looks like
SOURCES = (".py", ".html", ".css", ".csv", ".js")


@dataclass(frozen=True)
class Notebook:
    """A notebook to draw: what papermill sets, and the ids of the runs that it shows."""

    given: dict[str, Any]
    run_ids: list[str]


def draw(
    notebooks: dict[str, Notebook], preset: str, output: Path, workers: int, are_done: bool
) -> tuple[Path, dict[str, str]]:
    """Draw into a folder, one process at a time: a second one then finds everything rendered.

    Args:
        are_done: all runs are; otherwise the notebooks are rendered again the next time.
    Returns:
        the page; of each notebook that failed, what went wrong.
    """
    with locked(output.parent / f".{output.name}.lock"):
        library = _library()
        stamps = {name: _stamp(name, notebook, library) for name, notebook in notebooks.items()}
        stale = {
            name: notebook.given
            for name, notebook in notebooks.items()
            if not _is_rendered(name, output, stamps[name])
        }
        faults = render(stale, output, workers) if stale else {}
        for name in stale:
            if are_done and name not in faults:
                file = _stamp_file(name, output)
                file.parent.mkdir(exist_ok=True)
                file.write_text(stamps[name])
        page = write_gallery(list(notebooks), preset, output, reference=output.name)
    return page, faults


def _library() -> bytes:
    """Hash of the packages."""
    digest = hashlib.sha256()
    for package in ("alpt_lib", "companion"):
        for file in sorted((REPOSITORY / package).rglob("*")):
            if file.suffix in SOURCES:
                digest.update(file.read_bytes())
    return digest.digest()


def _stamp(name: str, notebook: Notebook, library: bytes) -> str:
    """Hash of all that decides a rendered notebook: text, library, parameters, runs."""
    digest = hashlib.sha256(library)
    digest.update((notebook_text.NOTEBOOKS / f"{name}.ipynb").read_bytes())
    digest.update(repr((notebook.given, notebook.run_ids)).encode())
    return digest.hexdigest()


def _stamp_file(name: str, output: Path) -> Path:
    return output.parent / ".rendered" / f"{output.name}_{name}"


def _is_rendered(name: str, output: Path, stamp: str) -> bool:
    file = _stamp_file(name, output)
    if not file.exists() or file.read_text() != stamp:
        return False
    return (output / name / f"{name}.html").exists()
