"""The slider through the rounds of one run: its data, and that names in it stay text."""

import json
import re
import shutil
from itertools import chain

import pytest
from bs4 import BeautifulSoup

from alpt_lib.datasets import read_dataset
from companion.report.round_slider import FILE, round_slider
from companion.report.study import run_study

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
NAME = "</script><b>&"


@pytest.fixture
def shown(birds_copy, home) -> tuple[dict, str]:
    """The slider's data and html; one class is named so that html would read it as its own."""
    for name in ("manifest.csv", "dataset.yaml"):
        file = birds_copy / name
        file.write_text(re.sub(r"\bwide\b", NAME, file.read_text()))
    given = {"datasets": [str(birds_copy)], "models": ["bit-m-np"], "seeds": [1, 2]}
    study = run_study("03", {**given, "workers": 1, "recipe": {"max_steps": 1}})
    html = round_slider(study).data
    assert (study.output / FILE).read_text() == html
    (script, _) = BeautifulSoup(html, "html.parser").find_all("script")
    return json.loads(script.get_text()), html


def test_each_arm_has_its_curve_and_what_it_asked_for(shown, birds_copy):
    content, html = shown
    data = read_dataset(birds_copy)
    assert [arm["name"] for arm in content["arms"]] == ["random", "least confidence"]
    subgroups = data.subgroup("pool")
    for arm in content["arms"]:
        assert [point[:2] for point in arm["points"]] == [[0, 8], [1, 12], [2, 16], [3, 20]]
        assert list(arm["asked"]) == ["1", "2", "3"]
        for name, subgroup, is_marked, row in chain(*arm["asked"].values()):
            assert name == data.files("pool")[row].name
            assert subgroup == subgroups[row]
            assert is_marked == (subgroup in data.minority)
            assert content["thumbnails"][str(row)].startswith("data:image/webp;base64,")
    assert any(NAME in subgroup for subgroup in subgroups)
    assert html.count("</script>") == 2
    assert "<b>&" not in html


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium found")
def test_keys_move_through_the_rounds(shown, tmp_path):
    content, html = shown
    sync_playwright = pytest.importorskip("playwright.sync_api").sync_playwright
    (tmp_path / "page.html").write_text(f"<!doctype html><meta charset=utf-8>{html}")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 390, "height": 900})
        faults = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(f"file://{tmp_path / 'page.html'}")
        page.get_by_label("round", exact=True).focus()
        page.keyboard.press("Home")
        assert "round 0" in page.inner_text(".rounds-says")
        assert page.locator(".rounds-arms li").count() == 0
        page.keyboard.press("ArrowRight")
        assert "round 1 of 3: trained on 12 labels" in page.inner_text(".rounds-says")
        asked = [row[0] for arm in content["arms"] for row in arm["asked"]["1"]]
        assert page.locator(".rounds-arms li small").all_inner_texts() == asked
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        assert not faults
        browser.close()
