"""What the benchmarks share: timing in turns, the machine, files of results, small datasets."""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import yaml
from PIL import Image

from alpt_lib.config import Protocol, Recipe, override
from alpt_lib.datasets import Description
from alpt_lib.files import REPOSITORY
from companion.runs.store import PACKAGES, commit, installed

RESULTS = Path(__file__).parent / "results"
Clock = Callable[[], float]


def options(description: str, **more: tuple[int, str]) -> argparse.Namespace:
    """--quick, --threads and `more` integer options; sets torch's threads and an empty home."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    quick = "smaller sizes, results are printed but not stored"
    parser.add_argument("--quick", action="store_true", help=quick)
    threads = (1, "threads of torch, 1 as in a worker of ours")
    for name, (default, text) in {"threads": threads, **more}.items():
        shown = f"{text} (default: {default})"
        parser.add_argument(f"--{name}", type=int, default=default, help=shown)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    os.environ["ALPT_HOME"] = tempfile.mkdtemp(prefix="alpt_benchmark_")
    return chosen


def seconds(function: Callable, *arguments, clock: Clock = time.perf_counter) -> float:
    """Time of one call by this clock (wall time); waits for the device."""
    started = clock()
    function(*arguments)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return clock() - started


def best(repeats: int, clock: Clock = time.perf_counter, **functions: Callable) -> dict[str, float]:
    """Least time in s of each function.

    They take turns, so that a busy moment of the machine meets all of them.
    """
    least = dict.fromkeys(functions, float("inf"))
    for _ in range(repeats):
        for name, function in functions.items():
            least[name] = min(least[name], seconds(function, clock=clock))
    return least


def computing() -> Clock:
    """The clock for computations on one thread: time on the CPU; on a GPU wall time.

    Other processes disturb it less.
    """
    is_parallel = torch.cuda.is_available() or torch.get_num_threads() > 1
    return time.perf_counter if is_parallel else time.process_time


def machine() -> dict[str, object]:
    """What the numbers hold for."""
    cpu = platform.processor()
    if sys.platform == "linux":
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        named = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
        cpu = named[0] if named else cpu
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "torch_threads": torch.get_num_threads(),
        "load_1_min": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
    }


def report(name: str, rows: list[dict], is_stored: bool) -> None:
    """Print rows as a table; store them as results/<name>.json.

    With them the machine, the versions and the commit.
    """
    print(pd.DataFrame(rows).to_string(index=False, float_format="{:.4g}".format), flush=True)
    if is_stored:
        RESULTS.mkdir(exist_ok=True)
        versions = {package: installed(package) for package in PACKAGES}
        record = {"machine": machine(), "versions": versions, "commit": commit(), "rows": rows}
        text = json.dumps(record, indent=1) + "\n"
        (RESULTS / f"{name}.json").write_text(text, encoding="utf-8")


def mini(name: str) -> Path:
    """An embedded dataset, generated if need be."""
    from companion.runs.plan import generate

    folder = REPOSITORY / "data" / "mini" / name
    if not (folder / "dataset.yaml").exists():
        generate(folder.parent)
    return folder


def settings(described: Description, **changes: dict) -> dict[str, Protocol | Recipe]:
    """`protocol` and `recipe` as a dataset describes them, with changes."""
    own = {"protocol": described.protocol, "recipe": described.recipe}
    empty = {"protocol": Protocol(), "recipe": Recipe()}
    return {
        name: override(empty[name], {**own[name], **changes.get(name, {})}, name) for name in own
    }


def photos(n_pool: int, n_eval: int, size: int, target: Path) -> Path:
    """`n_pool` and `n_eval` images: of Waterbirds, drawn at random, or JPEGs of noise.

    ALPT_REAL_DATA names the folder of Waterbirds.
    """
    real = next(Path(os.environ.get("ALPT_REAL_DATA", "/nowhere")).glob("waterbird*"), None)
    if real:
        script = REPOSITORY / "data_prep" / "waterbirds.py"
        command = [sys.executable, str(script), "--root", str(real), "--out", str(target)]
        subprocess.run(command, check=True, capture_output=True)
        manifest = pd.read_csv(target / "manifest.csv", dtype=str)
    else:
        manifest = noise(n_pool, n_eval, target)
    parts = []
    for split, n in (("pool", n_pool), ("val", n_eval)):
        parts.append(manifest[manifest["split"] == split].sample(n, random_state=0))
    pd.concat(parts).to_csv(target / "manifest.csv", index=False)
    described = {
        "name": "waterbirds" if real else "noise",
        "classes": ["landbird", "waterbird"],
        "image_size": size,
        "eval_splits": ["val"],
    }
    if real:
        # its images stay where they are
        described["allow_outside"] = True
    (target / "dataset.yaml").write_text(yaml.safe_dump(described), encoding="utf-8")
    return target


def noise(n_pool: int, n_eval: int, target: Path) -> pd.DataFrame:
    """JPEGs of 160 px, and their manifest."""
    rng = np.random.default_rng(0)
    (target / "images").mkdir(parents=True)
    rows = []
    for i in range(n_pool + n_eval):
        coarse = Image.fromarray(rng.integers(0, 256, (20, 20, 3), dtype=np.uint8))
        image = coarse.resize((160, 160), Image.Resampling.BICUBIC)
        image.save(target / f"images/{i}.jpg", quality=88)
        label = ["landbird", "waterbird"][i % 2]
        rows.append((f"images/{i}.jpg", label, "pool" if i < n_pool else "val"))
    return pd.DataFrame(rows, columns=["path", "label", "split"])
