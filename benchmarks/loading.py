"""How long one waits for large data: manifests read and hashed, a labelling folder opened.

    python benchmarks/loading.py [--quick]

`first` hashes each image's content, `again` finds the hashes remembered (by path, size, time and
inode), as every later command does; texts are hashed each time.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from common import options, os, report, seconds
from PIL import Image

from alpt_lib.datasets import read_dataset
from companion import labelling

CLASSES = ["dark", "light"]


def pictures(folder: Path, n: int) -> list[str]:
    """n small pictures in folders of 1,000, each of another content; their paths."""
    paths = [f"{i // 1000:04}/{i:06}.png" for i in range(n)]
    rng = np.random.default_rng(0)
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(folder / path)
    return paths


def dataset(folder: Path, modality: str, content: dict[str, list[str]]) -> Path:
    """A dataset folder of this content, a tenth of it for evaluation."""
    n = len(next(iter(content.values())))
    frame = pd.DataFrame({**content, "label": [CLASSES[i % 2] for i in range(n)]})
    frame["split"] = ["val" if i % 10 == 0 else "pool" for i in range(n)]
    frame["place"] = [f"place{i % 7}" for i in range(n)]
    frame.to_csv(folder / "manifest.csv", index=False)
    described = {"classes": CLASSES, "modality": modality, "subgroups": ["place"]}
    (folder / "dataset.yaml").write_text(yaml.safe_dump(described))
    return folder


def row(what: str, n: int, work: Callable) -> dict:
    """Time in s of the first call, and the best of the others."""
    first = seconds(work)
    return {"what": what, "n": n, "first_s": first, "again_s": min(map(seconds, [work] * 3))}


def open_folder(source: Path, labels: Path) -> None:
    labelling.open_session(source, CLASSES, labels).close()


def measure_all(folder: Path, n_images: int, n_texts: int, n_items: int) -> list[dict]:
    images, texts, items = folder / "images", folder / "texts", folder / "items"
    texts.mkdir()
    dataset(images, "image", {"path": pictures(images, n_images)})
    dataset(
        texts, "text", {"text": [f"review {i} of a long film, {i % 97}" for i in range(n_texts)]}
    )
    pictures(items, n_items)
    rows = []
    for source, n in ((images, n_images), (texts, n_texts)):
        rows.append(row(f"read {source.name}", n, lambda s=source: read_dataset(s)))
        data = [read_dataset(source) for _ in range(4)]
        rows.append(row(f"fingerprint of {source.name}", n, lambda d=data: d.pop().fingerprint))
    rows.append(row("open a labelling folder", n_items, lambda: open_folder(items, folder / "l")))
    return rows


if __name__ == "__main__":
    chosen = options(__doc__)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["ALPT_HOME"] = folder
        sizes = (200, 1000, 200) if chosen.quick else (200_000, 1_000_000, 20_000)
        table = measure_all(Path(folder), *sizes)
    report("loading", table, is_stored=not chosen.quick)
