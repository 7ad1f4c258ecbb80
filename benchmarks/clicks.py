"""Labelling: the time from a click to the next question, a model trained in between.

    python benchmarks/clicks.py [--quick] [--threads 1]

A session on a folder of pictures, with a linear head on a frozen network. A click is what the
widget does of it in the kernel: the label on the disk, the head trained on all labels, all items
left scored, the next picture chosen and read. The first labels, until the seed set is full, are
not counted. `late` counts the questions that came before the training was through, because it took
longer than the page waits; `training_ms` is what the head alone took.
"""

import tempfile
import time
from pathlib import Path

import numpy as np
from common import options, os, report
from PIL import Image

from companion import labelling

CLASSES = ["dark", "light"]
SIZE = 32  # px


def pictures(folder: Path, n: int) -> Path:
    """n noisy pictures, the light ones a little lighter."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(n):
        noise = rng.integers(0, 200, (SIZE, SIZE, 3)) + 20 * (i % 2)
        Image.fromarray(noise.astype(np.uint8)).save(folder / f"{i:05}-{CLASSES[i % 2]}.png")
    return folder


def measure(source: Path, labels: Path, model: str, n_clicks: int) -> dict:
    """One row: ms from a click to the next question, at the median, 95th percentile and most."""
    session = labelling.open_session(source, CLASSES, labels, model=model, image_size=SIZE)
    started = time.perf_counter()
    session.prepare()
    session.wait()
    prepared = time.perf_counter() - started
    widget = labelling.LabelWidget(session)
    clicks = []
    n_late = 0
    while len(clicks) < n_clicks:
        id_ = widget.shown["id"]
        label = Path(id_).stem.rpartition("-")[2]
        n_fits = len(session.fits)
        started = time.perf_counter()
        widget.answer({"do": "tell", "id": id_, "label": label})
        took = time.perf_counter() - started
        if session.why_random():
            continue
        clicks.append(1000 * took)
        n_late += len(session.fits) == n_fits
    session.wait()
    session.close()
    return {
        "model": model,
        "n_items": len(session.collection.ids),
        "n_labels": session.progress().n_labels,
        "features_s": prepared,
        "median_ms": float(np.median(clicks)),
        "p95_ms": float(np.percentile(clicks, 95)),
        "most_ms": max(clicks),
        "training_ms": 1000 * float(np.median([fit["seconds"] for fit in session.fits])),
        "late": n_late,
    }


def measure_all(folder: Path, n: int, n_clicks: int) -> list[dict]:
    source = pictures(folder / "pictures", n)
    # 256 and 1,280 features
    models = ["bit-m", "timm:mobilenetv2_100-np"]
    return [measure(source, folder / f"labels{i}", m, n_clicks) for i, m in enumerate(models)]


if __name__ == "__main__":
    chosen = options(__doc__)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["ALPT_HOME"] = folder
        sizes = (500, 10) if chosen.quick else (10_000, 200)
        table = measure_all(Path(folder), *sizes)
    report("clicks", table, is_stored=not chosen.quick)
