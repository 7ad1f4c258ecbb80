"""What the benchmarks share: interleaved timing, the machine, the files of results, small datasets."""

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

from alpt_lib.files import REPOSITORY

RESULTS = Path(__file__).parent / "results"


def options(description: str, **more) -> argparse.Namespace:
    """--quick, --threads and `more` integer options of a benchmark; sets torch's threads and a home folder of its own."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument(
        "--quick", action="store_true", help="smaller sizes, results are printed but not stored"
    )
    parser.add_argument(
        "--threads",
        type=int,
        default=1,
        help="threads of torch (default: 1, as in a worker of ours)",
    )
    for name, (default, text) in more.items():
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            type=int,
            default=default,
            help=f"{text} (default: {default})",
        )
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    os.environ["ALPT_HOME"] = tempfile.mkdtemp(prefix="alpt_benchmark_")
    return chosen


def seconds(
    function: Callable, *arguments, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Time of one call by this clock (wall time); waits for the device."""
    started = clock()
    function(*arguments)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return clock() - started


def best(
    repeats: int, clock: Callable[[], float] = time.perf_counter, **functions: Callable
) -> dict[str, float]:
    """Least time in s of each function; they take turns, so that a busy moment of the machine meets all of them."""
    times = [
        {name: seconds(function, clock=clock) for name, function in functions.items()}
        for _ in range(repeats)
    ]
    return {name: min(t[name] for t in times) for name in functions}


def computing() -> Callable[[], float]:
    """The clock for computations on one thread: time on the CPU, which other processes disturb less; on a GPU wall time."""
    return (
        time.perf_counter
        if torch.cuda.is_available() or torch.get_num_threads() > 1
        else time.process_time
    )


def machine() -> dict[str, object]:
    """What the numbers hold for."""
    model = (
        next(
            (
                line.split(":")[1].strip()
                for line in Path("/proc/cpuinfo").read_text().splitlines()
                if line.startswith("model name")
            ),
            platform.processor(),
        )
        if sys.platform == "linux"
        else platform.processor()
    )
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "gpu": gpu,
        "torch_threads": torch.get_num_threads(),
        "load_1_min": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
    }


def report(name: str, rows: list[dict], store: bool) -> None:
    """Print rows as a table; store them with the machine, the versions and the commit as results/<name>.json."""
    print(pd.DataFrame(rows).to_string(index=False, float_format="{:.4g}".format), flush=True)
    if store:
        RESULTS.mkdir(exist_ok=True)
        record = {
            "machine": machine(),
            "versions": store.versions(),
            "commit": store.commit(),
            "rows": rows,
        }
        (RESULTS / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def mini(name: str) -> Path:
    """An embedded dataset, generated if need be."""
    from companion.runs.plan import generate

    folder = REPOSITORY / "data" / "mini" / name
    if not (folder / "dataset.yaml").exists():
        generate(folder.parent)
    return folder


def photos(n_pool: int, n_eval: int, size: int, target: Path) -> Path:
    """Waterbirds where ALPT_REAL_DATA has it, else JPEGs of noise: `n_pool` and `n_eval` images, drawn at random."""
    real = next(Path(os.environ.get("ALPT_REAL_DATA", "/nowhere")).glob("waterbird*"), None)
    if real:
        script = REPOSITORY / "data_prep" / "waterbirds.py"
        subprocess.run(
            [sys.executable, str(script), "--root", str(real), "--out", str(target)],
            check=True,
            capture_output=True,
        )
        manifest = pd.read_csv(target / "manifest.csv", dtype=str)
    else:
        manifest = _noise(n_pool, n_eval, target)
    parts = [
        manifest[manifest["split"] == split].sample(n, random_state=0)
        for split, n in (("pool", n_pool), ("val", n_eval))
    ]
    pd.concat(parts).to_csv(target / "manifest.csv", index=False)
    described = {
        "name": "waterbirds" if real else "noise",
        "classes": ["landbird", "waterbird"],
        "image_size": size,
        "eval_splits": ["val"],
    }
    (target / "dataset.yaml").write_text(yaml.safe_dump(described), encoding="utf-8")
    return target


def _noise(n_pool: int, n_eval: int, target: Path) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    (target / "images").mkdir(parents=True)
    rows = []
    for i in range(n_pool + n_eval):
        coarse = Image.fromarray(rng.integers(0, 256, (20, 20, 3), dtype=np.uint8))
        coarse.resize((160, 160), Image.Resampling.BICUBIC).save(
            target / f"images/{i}.jpg", quality=88
        )
        rows.append(
            (f"images/{i}.jpg", ["landbird", "waterbird"][i % 2], "pool" if i < n_pool else "val")
        )
    return pd.DataFrame(rows, columns=["path", "label", "split"])
