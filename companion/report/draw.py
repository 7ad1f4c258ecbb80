"""Draw a run: render the notebooks that have changed since; the page of all figures grows along."""

import hashlib
import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from alpt_lib.errors import CompanionError
from alpt_lib.files import REPOSITORY, locked, write_whole
from companion import notebook_text
from companion.report.gallery import write_gallery
from companion.report.render import render

# files of the library that decide what a notebook or its page looks like
SOURCES = (".py", ".html", ".css", ".csv", ".js")

# s between two looks at which runs are done
LOOK = 2.0


@dataclass(frozen=True)
class Notebook:
    """A notebook to draw: what papermill sets, and the ids of the runs that it shows."""

    given: dict[str, Any]
    run_ids: list[str]


def draw(
    notebooks: dict[str, Notebook],
    preset: str,
    output: Path,
    workers: int,
    are_done: bool,
    names: Sequence[str] = (),
    to_come: Sequence[str] = (),
) -> tuple[Path, dict[str, str]]:
    """Draw into a folder, one process at a time: a second one then finds everything rendered.

    Args:
        are_done: all runs are; otherwise the notebooks are rendered again the next time.
        names: of all that the page shows; () for these. to_come: those whose runs are still being
            done, which it names.
    Returns:
        the page; of each notebook that failed, what went wrong.
    """
    names = names or list(notebooks)
    library = _library()
    stamps = {name: _stamp(name, notebook, library) for name, notebook in notebooks.items()}
    page = output / "index.html"
    if page.exists() and not os.access(output, os.W_OK) and not _stale(stamps, output):
        # a folder that may only be read shows what is drawn
        return page, {}
    with locked(output.parent / f".{output.name}.lock"):
        given = {name: notebooks[name].given for name in _stale(stamps, output)}
        left = [*given, *to_come]

        def grow(name: str) -> None:
            left.remove(name)
            write_gallery(names, preset, output, output.name, left)

        faults = render(given, output, workers, grow, bool(to_come)) if given else {}
        for name in given:
            if are_done and name not in faults:
                write_whole(_stamp_file(name, output), stamps[name])
        page = write_gallery(names, preset, output, output.name, to_come)
    return page, faults


def _stale(stamps: dict[str, str], output: Path) -> list[str]:
    """The notebooks that are to be rendered; (stamps) what each would be rendered from."""
    return [name for name, stamp in stamps.items() if not _is_rendered(name, output, stamp)]


class Meanwhile:
    """While runs are being done, draws each notebook whose runs all are, one at a time.

    Args:
        notebooks: all of them, in order. are_done: whether the runs of one are. begun: told of the
            page, once.
    """

    def __init__(
        self,
        notebooks: dict[str, Notebook],
        preset: str,
        output: Path,
        workers: int,
        are_done: Callable[[str], bool],
        begun: Callable[[Path], None],
    ):
        self.notebooks = notebooks
        self.where = (preset, output, workers)
        self.are_done = are_done
        self.begun = begun
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> None:
        self.thread.start()

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ended.set()
        # who stops the runs does not wait for a figure
        if kind is None:
            self.thread.join()

    def _watch(self) -> None:
        waiting = list(self.notebooks)
        # what stops a figure here is said when all are drawn
        with suppress(CompanionError, OSError):
            while waiting and not self.ended.wait(LOOK):
                name = next(filter(self.are_done, waiting), None)
                if name is None:
                    continue
                waiting.remove(name)
                one = {name: self.notebooks[name]}
                page, _ = draw(one, *self.where, True, list(self.notebooks), waiting)
                self.begun(page)
                self.begun = lambda page: None


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
