"""A simulated person in a real browser: clicks and keys in JupyterLab, a kernel restart in the middle, labels on the disk."""

import contextlib
import csv
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import draw

from alpt_lib.files import REPOSITORY

pytestmark = pytest.mark.browser

CELL = """from companion import labelling
session = labelling.open_session("pictures", ["tall", "wide"], "labels", who="robot", protocol={"seed_set_size": 4,
    "query_batch_size": 3}, recipe={"max_steps": 2})
labelling.LabelWidget(session)"""
N_PICTURES = 12
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)


def write_pictures(folder: Path) -> None:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(N_PICTURES):
        Image.fromarray(draw(i % 2, int(rng.integers(2)), rng)).save(
            folder / f"{['tall', 'wide'][i % 2]} {i}.png"
        )


def write_notebook(file: Path, cell: str) -> None:
    cells = [
        {
            "cell_type": "code",
            "id": "only",
            "metadata": {},
            "outputs": [],
            "execution_count": None,
            "source": cell,
        }
    ]
    file.write_text(
        json.dumps(
            {
                "nbformat": 4,
                "nbformat_minor": 5,
                "cells": cells,
                "metadata": {
                    "kernelspec": {
                        "name": "python3",
                        "display_name": "Python 3",
                        "language": "python",
                    }
                },
            }
        )
    )


@contextlib.contextmanager
def jupyter_lab(folder: Path, theme: str = "JupyterLab Light"):
    """JupyterLab in a process of its own that shows `folder`/label.ipynb; yields its address with the token."""
    settings = folder / ".settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True, exist_ok=True)
    (settings / "notification.jupyterlab-settings").write_text(
        '{"fetchNews": "false", "checkForUpdates": false}'
    )
    (settings / "themes.jupyterlab-settings").write_text(json.dumps({"theme": theme}))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "JUPYTERLAB_SETTINGS_DIR": str(folder / ".settings"),
        "PYTHONPATH": str(REPOSITORY),
        "JUPYTERLAB_WORKSPACES_DIR": str(folder / ".workspaces"),
        "JUPYTER_CONFIG_DIR": str(folder / ".config"),
        "JUPYTER_RUNTIME_DIR": str(folder / ".runtime"),
    }
    command = [
        sys.executable,
        "-m",
        "jupyter",
        "lab",
        "--no-browser",
        f"--ServerApp.port={port}",
        "--IdentityProvider.token=t",
        "--ServerApp.port_retries=0",
        "--allow-root",
        "--LabApp.extension_manager=readonly",
    ]
    with open(folder / "server.log", "wb") as log:
        server = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        for _ in range(600):
            with (
                contextlib.suppress(OSError),
                urllib.request.urlopen(f"http://127.0.0.1:{port}/api?token=t", timeout=1),
            ):
                break
            assert server.poll() is None, (folder / "server.log").read_text()[-2000:]
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.wait(0.1)
        yield f"http://127.0.0.1:{port}/lab/tree/label.ipynb?token=t"
    finally:
        server.terminate()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()


@contextlib.contextmanager
def browser_page(address: str):
    sync_playwright = pytest.importorskip("playwright.sync_api").sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(60_000)
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
    """Close the page and open it again; the kernel goes on meanwhile."""
    menu(page, "File", "Save Notebook")
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


def test_labels_on_disk_are_the_clicks_and_keys_also_across_a_kernel_restart(tmp_path, home):
    if CHROMIUM is None:
        pytest.skip("no Chromium found")
    write_pictures(tmp_path / "pictures")
    write_notebook(tmp_path / "label.ipynb", CELL)
    clicked = []

    def label(n: int) -> None:
        for _ in range(n):
            item = shown(page)
            name = item.split()[0]
            turn = len(clicked)
            answer(page, *(("key", "12"[name == "wide"]) if turn % 2 else ("click", name)))
            clicked.append([item, name, "robot"])
            assert rows(tmp_path) == clicked  # on the disk before the next one shows

    with jupyter_lab(tmp_path) as address, browser_page(address) as page:
        run_cells(page)
        n_cells = page.locator(".jp-Cell").count()
        label(3)
        item = shown(page)
        page.keyboard.press("d")  # JupyterLab deletes a cell at d d
        page.keyboard.press("d")
        answer(page, "key", "2")
        clicked.append([item, "wide", "robot"])
        answer(page, "key", "u")
        clicked.append([item, "", "robot"])
        assert shown(page) == item
        answer(page, "key", "0")
        clicked.append([item, "can't tell", "robot"])
        label(2)
        before = shown(page)
        save_and_reload(page)
        assert shown(page) == before
        label(1)
        before = shown(page)
        restart_kernel(page)
        run_cells(page)
        assert shown(page) == before
        label(N_PICTURES - 7)
        page.wait_for_selector(".alpt-done:not(.alpt-training)")
        assert page.locator(".jp-Cell").count() == n_cells
    assert rows(tmp_path) == clicked
    assert len({row[0] for row in clicked}) == N_PICTURES
    assert (tmp_path / "labels" / "fits.jsonl").read_text()  # trained while labels came
