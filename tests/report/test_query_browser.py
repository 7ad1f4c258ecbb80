"""The browser of stored runs: a choice is another picture; a still one where no kernel answers."""

import io

import ipywidgets
import pytest
from PIL import Image

from companion.report import query_browser
from companion.report.study import run_study


@pytest.fixture
def shown(birds_folder, home, monkeypatch):
    """What `browse` displays, and its widgets by description."""
    given = {"datasets": [str(birds_folder)], "models": ["bit-m-np"], "seeds": [1, 2]}
    study = run_study("03", {**given, "workers": 1, "recipe": {"max_steps": 1}})
    displayed = []
    created = []
    monkeypatch.setattr("IPython.display.display", lambda content, **_: displayed.append(content))
    for kind in ("Dropdown", "IntSlider", "Image"):
        make = getattr(ipywidgets, kind)

        def noted(*arguments, make=make, **options):
            created.append(make(*arguments, **options))
            return created[-1]

        monkeypatch.setattr(ipywidgets, kind, noted)
    query_browser.browse(study)
    return displayed[0], {getattr(w, "description", "") or "image": w for w in created}


def test_another_choice_is_another_picture_and_a_still_one_stands_beside(shown):
    content, widgets = shown
    assert set(content) >= {"image/png", "text/plain", "application/vnd.jupyter.widget-view+json"}
    assert "round 3 of seed 1" in content["text/plain"]
    with Image.open(io.BytesIO(widgets["image"].value)) as image:
        assert image.width > 500
    for control, value in (("seed", 2), ("round", 1)):
        before = widgets["image"].value
        widgets[control].value = value
        assert widgets["image"].value != before
