"""What a reader does: open a notebook in JupyterLab, in Chromium, Run All, and look. Runs are those of the smoke preset."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import closing

import pytest

from alpt_lib.paths import REPOSITORY
from companion import render

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
QUICK = ("00_task_ambiguity", "03_subgroup_upsampling", "09_stopping_rule")  # the others are slow
pytestmark = [pytest.mark.browser, pytest.mark.skipif(not CHROMIUM, reason="no Chromium on the path")]
playwright = pytest.importorskip("playwright.sync_api")


@pytest.fixture(scope="session")
def notebooks(tmp_path_factory):
    """The notebooks with the smoke preset's parameters in a folder of their own, and the home folder of their runs."""
    folder = tmp_path_factory.mktemp("lab")
    for name in render.notebook_names():
        notebook = json.loads((render.NOTEBOOKS / f"{name}.ipynb").read_text(encoding="utf-8"))
        given = render.preset_parameters("smoke", name)
        place = next(i for i, c in enumerate(notebook["cells"]) if "parameters" in c["metadata"].get("tags", []))
        notebook["cells"].insert(place + 1, {
            "cell_type": "code", "id": "given", "metadata": {}, "outputs": [], "execution_count": None,
            "source": "# Parameters\n" + "\n".join(f"{key} = {value!r}" for key, value in given.items())})
        (folder / f"{name}.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def lab(notebooks, tmp_path_factory):
    """Address of a JupyterLab server of its own, without the user's settings."""
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folders = {key: str(tmp_path_factory.mktemp(key.lower())) for key in
               ("ALPT_HOME", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")}
    server = subprocess.Popen(
        [sys.executable, "-m", "jupyterlab", "--no-browser", f"--port={port}", "--ip=127.0.0.1", "--allow-root",
         "--IdentityProvider.token=", "--ServerApp.disable_check_xsrf=True", "--LabApp.news_url=",
         "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate", f"--ServerApp.root_dir={notebooks}"],
        env={**os.environ, **folders, "PYTHONPATH": str(REPOSITORY), "JUPYTERLAB_WORKSPACES_DIR": folders["JUPYTER_DATA_DIR"],
             "JUPYTERLAB_SETTINGS_DIR": folders["JUPYTER_CONFIG_DIR"]},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    for _ in range(120):
        try:
            urllib.request.urlopen(f"{address}/api", timeout=5)
            break
        except OSError:
            time.sleep(0.5)
    yield address
    server.terminate()
    server.wait(timeout=30)


@pytest.fixture(scope="session")
def chromium():
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=[
            "--no-sandbox", "--disable-gpu", "--disable-background-networking"])
        yield browser
        browser.close()


@pytest.fixture
def page(chromium):
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    yield context.new_page()
    context.close()


def run_all(page, lab: str, name: str) -> list[dict]:
    """Open a notebook, Run All, wait until its last cell is done and it is saved; its code cells."""
    page.goto(f"{lab}/lab/tree/{name}.ipynb?reset", timeout=120_000)
    page.get_by_text("Python 3 (ipykernel)").and_(page.locator(".jp-KernelName, .jp-Toolbar-kernelName *, button *")).first.wait_for(
        timeout=120_000)
    page.locator(".jp-NotebookPanel .jp-Cell").first.wait_for(timeout=60_000)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        time.sleep(2)
        page.keyboard.press("Control+s")
        saved = json.loads(urllib.request.urlopen(f"{lab}/api/contents/{name}.ipynb", timeout=30).read())["content"]["cells"]
        code = [c for c in saved if c["cell_type"] == "code"]
        is_failed = any(o["output_type"] == "error" for c in code for o in c["outputs"])
        if is_failed or all(c["execution_count"] for c in code):
            return code
    raise AssertionError(f"{name} was not done after ten minutes")


@pytest.mark.parametrize("name", [pytest.param(n, marks=[] if n in QUICK else pytest.mark.slow) for n in render.notebook_names()])
def test_run_all_in_jupyterlab_shows_no_error_and_no_warning(page, lab, name):
    outputs = [output for cell in run_all(page, lab, name) for output in cell["outputs"]]
    assert [o["evalue"] for o in outputs if o["output_type"] == "error"] == []
    assert ["".join(o["text"]) for o in outputs if o.get("name") == "stderr"] == []
    assert any("image/png" in o.get("data", {}) for o in outputs)
    assert page.get_by_text("Error displaying widget").count() == 0
    if name == "03_subgroup_upsampling":
        leaf_through(page)


def leaf_through(page) -> None:
    """The browser of stored runs answers: another round is another picture."""
    picture = page.locator(".jupyter-widgets img").first
    picture.scroll_into_view_if_needed(timeout=60_000)
    before = picture.get_attribute("src")
    page.locator(".jupyter-widgets select").nth(2).select_option("2")  # the seed
    for _ in range(60):
        time.sleep(0.5)
        if picture.get_attribute("src") != before:
            return
    raise AssertionError("another seed gave the same picture")
