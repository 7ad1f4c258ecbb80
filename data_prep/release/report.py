"""What a script tells: notes, sizes, and one line at its end where something is wrong."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from alpt_lib.errors import CompanionError, visible
from alpt_lib.files import runs_folder


def note(text: str) -> None:
    """Print a remark; names of files and classes come from others, and may hold anything."""
    print(f"note: {' '.join(visible(text).split())}", flush=True)


@contextmanager
def one_line_exit(name: str) -> Iterator[None]:
    """End the script with one line where its input is at fault, or where it is stopped."""
    try:
        yield
    except (CompanionError, OSError) as error:
        sys.exit(f"{name}: {' '.join(visible(str(error)).split())}")
    except KeyboardInterrupt:
        sys.exit(f"\n{name}: stopped; the same command goes on from here")


def print_table(counts: pd.DataFrame) -> None:
    """Print counts with a column for their sums."""
    print(visible(counts.assign(all=counts.sum(axis=1)).to_string()))


def human(n_bytes: float) -> str:
    """1536 -> '1.5 KiB'."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if n_bytes < 1024:
            return f"{n_bytes:.0f} {unit}" if unit == "B" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1024
    return f"{n_bytes:.1f} TiB"


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files below a folder; 0 where there is none."""
    if path.is_file():
        return path.stat().st_size
    files = (os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names)
    return sum(os.lstat(file).st_size for file in files)


def disk_report(
    root: Path, folders: Sequence[Path], manifest: pd.DataFrame, description: dict
) -> str:
    """Sizes of the source, of what was written, of decoded images to come, of stored runs."""
    written = human(sum(map(size_of, folders)))
    lines = [f"disk: source {human(size_of(root))}, dataset folder {written}"]
    if "path" in manifest:
        recipe = description.get("recipe", {})
        splits = description.get("eval_splits") or manifest["split"].unique()
        n_used = manifest["split"].isin(["pool", *splits]).sum()
        size = recipe.get("crop") or recipe.get("resize") or description["image_size"]
        decoded = human(n_used * size**2 * 3)
        lines.append(f"      decoded images, cached by the first run: {decoded}")
    runs = runs_folder()
    lines.append(f"      stored runs of all datasets: {human(size_of(runs))} in {runs}")
    return "\n".join(lines)
