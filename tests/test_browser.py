"""The browser of stored runs: what it shows follows its controls, and a picture stands in where no kernel answers."""

import io

import ipywidgets
import pytest
from PIL import Image

from companion.report import query_browser, study


@pytest.fixture
def study(birds_folder, home) -> study.Study:
    return study.run(
        "03",
        {
            "datasets": [str(birds_folder)],
            "models": ["bit-m-np"],
            "seeds": [1, 2],
            "workers": 1,
            "recipe": {"max_steps": 1},
        },
    )


@pytest.fixture
def shown(study, monkeypatch):
    """What `browse` displays, and its widgets by description."""
    displayed, created = [], []
    monkeypatch.setattr("IPython.display.display", lambda content, **_: displayed.append(content))
    for kind in ("Dropdown", "IntSlider", "Image"):
        make = getattr(ipywidgets, kind)
        monkeypatch.setattr(
            ipywidgets,
            kind,
            lambda *a, make=make, **k: created.append(make(*a, **k)) or created[-1],
        )
    query_browser.browse(study)
    return displayed[0], {getattr(w, "description", "") or "image": w for w in created}


def test_a_picture_stands_beside_the_widgets(shown):
    content, widgets = shown
    assert set(content) >= {"image/png", "text/plain", "application/vnd.jupyter.widget-view+json"}
    assert "round 3 of seed 1" in content["text/plain"]
    with Image.open(io.BytesIO(widgets["image"].value)) as image:
        assert image.width > 500


@pytest.mark.parametrize(("control", "value"), [("seed", 2), ("round", 1)])
def test_another_choice_is_another_picture(shown, control, value):
    widgets = shown[1]
    before = widgets["image"].value
    widgets[control].value = value
    assert widgets["image"].value != before
