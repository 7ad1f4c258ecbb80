"""BiT-S-R50x1 (Kolesnikov et al. 2020), pretrained on ImageNet-1k: fetch and check.

The other models of the paper come from the Hugging Face hub on first use; this one is in no format
of theirs.

    python data_prep/bit_weights.py --download [--out data/paper/weights]
    python data_prep/bit_weights.py            # check the file that is there
"""

import argparse
import zipfile
from pathlib import Path

import numpy as np
from release.download import Archive, fetch
from release.report import one_line_exit

from alpt_lib.errors import DataError
from alpt_lib.files import home

# neither size nor hash is published
BIT_S = Archive("BiT-S-R50x1.npz", ("https://storage.googleapis.com/bit_models/BiT-S-R50x1.npz",))
UNITS = (3, 4, 6, 3)  # residual units of the four blocks of an R50
N_CLASSES = 1000  # ImageNet-1k; BiT-M's head has 21,843


def check(file: Path) -> None:
    """Refuse a file that is not BiT-S-R50x1.

    Raises:
        DataError: missing, no npz, of another depth, or pretrained on other classes.
    """
    if not file.is_file():
        raise DataError(
            f"{file} is missing: run this with --download, or get it from {BIT_S.urls[0]} and put "
            "it there"
        )
    try:
        with np.load(file, allow_pickle=False) as arrays:
            names = arrays.files
            head = arrays["resnet/head/conv2d/bias"]
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{file} is no whole npz of a BiT model ({error}); delete it and get it again"
        ) from error
    kernels = [name for name in names if name.endswith("/c/standardized_conv2d/kernel")]
    units = tuple(
        sum(f"/block{block}/" in name for name in kernels) for block in range(1, len(UNITS) + 1)
    )
    if (units, len(head)) != (UNITS, N_CLASSES):
        raise DataError(
            f"{file} has {units} units and {len(head)} classes; BiT-S-R50x1 has {UNITS} and "
            f"{N_CLASSES}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--download", action="store_true", help="fetch the file if it is not there")
    out = home() / "data" / "paper" / "weights"
    parser.add_argument("--out", type=Path, default=out, help="folder of the file")
    given = parser.parse_args()
    with one_line_exit("bit_weights"):
        if given.download:
            fetch([BIT_S], given.out)
        check(given.out / BIT_S.file)
    print(f"{given.out / BIT_S.file} is BiT-S-R50x1")


if __name__ == "__main__":
    main()
