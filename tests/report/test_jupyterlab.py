"""Notebooks as their readers run them: in JupyterLab in a browser, Run All, no stumbling."""

import contextlib
import json
import time
from pathlib import Path

import nbformat
import pytest
from labelling.test_label_widget import CHROMIUM, browser_page, jupyter_lab, menu
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

from companion import notebook_text

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium found")]

BY_DEFAULT = ("01_accuracy_curves", "03_subgroup_upsampling")
WITHIN = 300  # s for all cells of one notebook
NOISE = {"stderr", "error"}


@pytest.fixture(scope="module")
def address(tmp_path_factory, birds_folder):
    """A JupyterLab that shows every notebook, told to use a hundred toy pictures and one seed."""
    folder = tmp_path_factory.mktemp("lab")
    (folder / "data").mkdir()
    for name in notebook_text.notebook_names():
        known = notebook_text.tagged_literals(name)
        given = {
            "datasets": [str(birds_folder)],
            "models": ["bit-m-np"],
            "seeds": [1],
            "protocol": {},
            "workers": 1,
            "recipe": {"max_steps": 2},
            "n_points": 40,
        }
        notebook = parameterize_notebook(
            load_notebook_node(str(notebook_text.NOTEBOOKS / f"{name}.ipynb")),
            {key: value for key, value in given.items() if key in known},
        )
        nbformat.write(notebook, folder / f"{name}.ipynb")
    tracker = (
        folder / ".settings" / "@jupyterlab" / "notebook-extension" / "tracker.jupyterlab-settings"
    )
    tracker.parent.mkdir(parents=True)
    tracker.write_text('{"windowingMode": "none"}')  # cells out of sight are there too
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALPT_HOME", str(folder))
        with jupyter_lab(folder) as shown:
            yield folder, shown


def run_all(page, file: Path) -> list[dict]:
    """Run All until every code cell is done or one has failed; the code cells as saved."""
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
    menu(page, "Run", "Run All Cells")
    deadline = time.monotonic() + WITHIN
    while time.monotonic() < deadline:
        page.wait_for_timeout(1000)
        menu(page, "File", "Save Notebook")
        cells = saved(file)
        if all(c["execution_count"] for c in cells) or noise(cells):
            return cells
    raise AssertionError(f"{file.stem} is not done after {WITHIN} s")


def saved(file: Path) -> list[dict]:
    """The code cells of a notebook that another process may just be writing."""
    for _ in range(100):
        with contextlib.suppress(json.JSONDecodeError):
            return [
                c
                for c in json.loads(file.read_text(encoding="utf-8"))["cells"]
                if c["cell_type"] == "code"
            ]
        time.sleep(0.1)
    raise AssertionError(f"{file.name} cannot be read")


def noise(cells: list[dict]) -> list[str]:
    """What a reader would stumble on: errors, and whatever went to stderr, warnings above all."""
    return [
        "".join(o.get("text", o.get("traceback", "")))
        for c in cells
        for o in c["outputs"]
        if NOISE & {o["output_type"], o.get("name")}
    ]


@pytest.mark.parametrize(
    "name",
    [
        n if n in BY_DEFAULT else pytest.param(n, marks=pytest.mark.slow)
        for n in notebook_text.notebook_names()
    ],
)
def test_run_all_leaves_neither_errors_nor_warnings(address, name):
    folder, shown = address
    with browser_page(f"{shown.replace('label', name)}&reset") as page:
        cells = run_all(page, folder / f"{name}.ipynb")
        assert noise(cells) == []
        assert list((folder / "figures" / "custom" / name).glob("*.png"))
        if name == "03_subgroup_upsampling":
            assert_that_its_browser_answers(page)
            assert_that_its_slider_moves(page)


def assert_that_its_slider_moves(page) -> None:
    """The one that needs no kernel."""
    slider = page.locator(".rounds input")
    slider.focus()
    slider.press("Home")
    assert "round 0" in page.locator(".rounds-says").inner_text()


def assert_that_its_browser_answers(page) -> None:
    """Another round is another picture."""
    picture = page.locator(".jupyter-widgets.widget-image")
    before = picture.get_attribute("src")
    page.locator(".widget-slider .noUi-handle").focus()
    page.keyboard.press("ArrowLeft")
    page.wait_for_function(
        "before => document.querySelector('.jupyter-widgets.widget-image').src != before",
        arg=before,
    )
