"""A simulated person in a browser: clicks and keys in JupyterLab, and what lands on the disk."""

import contextlib
import csv
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from nbformat import v4

from alpt_lib.files import REPOSITORY

pytestmark = pytest.mark.browser
pytest_plugins = ["label_fixtures"]

CELL = """from companion import labelling
protocol = {"seed_set_size": 4, "query_batch_size": 3}
folders = ("pictures", ["tall", "wide"], "labels")
session = labelling.open_session(*folders, who="robot", protocol=protocol)
labelling.LabelWidget(session)"""
N_PICTURES = 12
STARTED_WITHIN = 300  # s for JupyterLab, also where everything else runs at once
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)


@contextlib.contextmanager
def jupyter_lab(folder: Path):
    """JupyterLab in a process of its own that shows `folder`/label.ipynb; yields its address."""
    settings = folder / ".settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True, exist_ok=True)
    silent = '{"fetchNews": "false", "checkForUpdates": false}'
    (settings / "notification.jupyterlab-settings").write_text(silent)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    names = ("LAB_SETTINGS", "LAB_WORKSPACES", "_CONFIG", "_RUNTIME")
    own = {f"JUPYTER{n}_DIR": str(folder / f".{n.rpartition('_')[2].lower()}") for n in names}
    server_options = ["--IdentityProvider.token=t", "--ServerApp.port_retries=0", "--allow-root"]
    command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", f"--ServerApp.port={port}"]
    command += [*server_options, "--LabApp.extension_manager=readonly"]
    environment = {**os.environ, **own, "PYTHONPATH": str(REPOSITORY)}
    with open(folder / "server.log", "wb") as log:
        server = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + STARTED_WITHIN
        while True:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/api?token=t", timeout=10).close()
                break
            has_time = server.poll() is None and time.monotonic() < deadline
            assert has_time, (folder / "server.log").read_text()[-2000:]
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/lab/tree/label.ipynb?token=t"
    finally:
        server.terminate()
        server.wait(60)


@contextlib.contextmanager
def browser_page(address: str):
    sync_playwright = pytest.importorskip("playwright.sync_api").sync_playwright
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(180_000)
        page.goto(address)
        page.wait_for_selector(".jp-CodeCell .cm-content")  # editors of rendered prose are hidden
        yield page
        browser.close()


def run_cells(page) -> None:
    """Run All through the menu, once the kernel is there, until the widget shows something."""
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
    menu(page, "Run", "Run All Cells")
    page.wait_for_selector(".alpt-label[data-turn]")
    page.locator(".alpt-stage").click()  # keys are for what has the focus


def menu(page, name: str, entry: str) -> None:
    page.locator("#jp-MainMenu").get_by_text(name, exact=True).click()
    page.locator(".lm-Menu").get_by_text(re.compile(f"^{entry}…?$")).click()


def restart_kernel(page) -> None:
    menu(page, "Kernel", "Restart Kernel and Clear Outputs of All Cells")
    page.locator(".jp-Dialog").get_by_text("Restart", exact=True).click()
    page.wait_for_selector(".alpt-label", state="detached")


def save_and_reload(page) -> None:
    """Ctrl+S within the widget, close the page, open it again; the kernel goes on meanwhile."""
    page.keyboard.press("Control+s")
    assert "on the disk already" in page.locator(".alpt-said").inner_text()
    page.wait_for_selector(".lm-TabBar-tab.lm-mod-current.jp-mod-dirty", state="detached")
    page.reload()
    page.wait_for_selector(".alpt-label[data-turn]")
    page.locator(".alpt-stage").click()


def shown(page) -> str:
    return page.locator(".alpt-label").get_attribute("data-item")


def answer(page, how: str, what: str) -> None:
    """Click the button, or press the key, and wait for the next item."""
    turn = page.locator(".alpt-label").get_attribute("data-turn")
    if how == "key":
        page.keyboard.press(what)
    else:
        page.locator(".alpt-button").filter(has_text=what).click()
    page.wait_for_selector(f'.alpt-label[data-turn="{int(turn) + 1}"]')


def rows(folder: Path) -> list[list[str]]:
    with open(folder / "labels" / "labels.csv", newline="") as file:
        return [row[:3] for row in list(csv.reader(file))[1:]]


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium found")
def test_labels_on_disk_are_the_clicks_and_keys_also_across_a_kernel_restart(pictures, tmp_path):
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = v4.new_notebook(cells=[v4.new_code_cell(CELL)], metadata={"kernelspec": kernel})
    (tmp_path / "label.ipynb").write_text(json.dumps(notebook))
    clicked = []

    def label(n: int) -> None:
        for _ in range(n):
            item = shown(page)
            name = item.split("/")[0]
            key = "2" if name == "wide" else "1"
            answer(page, *(("key", key) if len(clicked) % 2 else ("click", name)))
            clicked.append([item, name, "robot"])
            assert rows(tmp_path) == clicked  # on the disk before the next one shows

    with jupyter_lab(tmp_path) as address, browser_page(address) as page:
        run_cells(page)
        n_cells = page.locator(".jp-Cell").count()
        label(3)
        page.get_by_text("What the model takes it for is hidden").wait_for()
        page.keyboard.press("m")
        page.get_by_text("The model takes it for: nothing yet").wait_for()
        item = shown(page)
        page.keyboard.press("d")  # JupyterLab deletes a cell at d d
        page.keyboard.press("d")
        for key, told in (("2", "wide"), ("u", ""), ("0", "can't tell")):
            answer(page, "key", key)
            clicked.append([item, told, "robot"])
            assert (shown(page) == item) is (key == "u")
        label(2)
        before = shown(page)
        # trained by now, or soon
        page.get_by_text(
            re.compile(r"The model takes it for: (tall|wide) \d+%, (tall|wide)")
        ).wait_for()
        save_and_reload(page)
        assert shown(page) == before
        label(1)
        before = shown(page)
        restart_kernel(page)
        run_cells(page)
        assert shown(page) == before
        label(N_PICTURES - 7)
        page.wait_for_selector(".alpt-done:not(.alpt-training)")
        assert "labels/labels.csv" in page.locator(".alpt-text").inner_text()
        assert page.locator(".alpt-button:visible").all_inner_texts() == ["u\nundo"]
        assert page.locator(".jp-Cell").count() == n_cells
    assert rows(tmp_path) == clicked
    assert len({row[0] for row in clicked}) == N_PICTURES
    assert (tmp_path / "labels" / "fits.jsonl").read_text()  # trained while labels came
