"""Little pictures, and sessions on them."""

from pathlib import Path

import numpy as np
import pytest
from conftest import draw
from label_sessions import CLASSES, FAST
from PIL import Image

from companion import labelling


@pytest.fixture
def pictures(tmp_path) -> Path:
    """12 images of 32 px, tall/*.png and wide/*.png, no two alike."""
    rng = np.random.default_rng(0)
    for i in range(12):
        file = tmp_path / "pictures" / CLASSES[i % 2] / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw(i % 2, int(rng.integers(2)), rng)).save(file)
    return tmp_path / "pictures"


@pytest.fixture
def start(pictures, tmp_path):
    """Opens the session on `pictures`, again where it was opened before."""
    opened = []

    def open_(**changes):
        given = {"source": pictures, "classes": CLASSES, "folder": tmp_path / "labels", **FAST}
        opened.append(labelling.open_session(**{**given, **changes}))
        return opened[-1]

    yield open_
    for session in opened:
        session.wait()
        session.close()
