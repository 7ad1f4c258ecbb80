"""Real data that come with the companion, as features: copy them to where datasets live.

data_prep/embedded/NAME is a dataset folder of features (`embed.py` made it; its CARD.md says from
what, by which networks, on whose terms). Pictures are not part of it: with those of the release at
hand, `data_prep/waterbirds.py --root FOLDER` prepares them.

    python data_prep/embedded.py [--out data/mini]
"""

import argparse
import shutil
import sys
from pathlib import Path

import yaml

from alpt_lib.datasets import read_dataset
from alpt_lib.errors import CompanionError
from alpt_lib.files import home, write_whole

EMBEDDED = Path(__file__).resolve().parent / "embedded"


def copy(source: Path, target: Path) -> None:
    """Copy a dataset folder of features; dataset.yaml comes last: who has it is complete.

    One that was made here from the pictures (`--embed`), by the same networks, is left as it is.
    """
    described = (source / "dataset.yaml").read_text(encoding="utf-8")
    there = target / "dataset.yaml"
    if there.exists():
        own = there.read_text(encoding="utf-8")
        if own == described or (
            (target / "images").exists() and _networks(own) == _networks(described)
        ):
            return
    (target / "features").mkdir(parents=True, exist_ok=True)
    there.unlink(missing_ok=True)
    for file in [source / "manifest.parquet", *sorted(source.glob("features/*.npy"))]:
        shutil.copyfile(file, target / file.relative_to(source))
    write_whole(there, described)


def _networks(description: str) -> set[str]:
    return set(yaml.safe_load(description)["generator"])


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0, or 1 with one line on standard error."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=home() / "data" / "mini")
    options = parser.parse_args(arguments)
    try:
        for source in sorted(EMBEDDED.glob("*/")):
            folder = options.out / source.name
            copy(source, folder)
            data = read_dataset(folder)
            sizes = {split: len(data.rows(split)) for split in ("pool", *data.eval_splits)}
            print(f"{data.name}: {sizes}, features of {', '.join(data.feature_names())}")
    except (CompanionError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
