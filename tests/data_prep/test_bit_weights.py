"""The script that fetches BiT-S knows its file."""

import subprocess
import sys

import numpy as np
import pytest
from paper_models import bit_arrays

from alpt_lib.files import REPOSITORY

BUCKET = "https://storage.googleapis.com/bit_models/"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (bit_arrays(), "is BiT-S-R50x1"),
        (
            bit_arrays(n_classes=21_843),
            "has (3, 4, 6, 3) units and 21843 classes; BiT-S-R50x1 has",
        ),
        (bit_arrays(units=(3, 4, 23, 3)), "has (3, 4, 23, 3) units and 1000 classes"),
        (b"PK and then nothing", "is no whole npz of a BiT model"),
        (None, f"is missing: run this with --download, or get it from {BUCKET}"),
    ],
)
def test_the_script_for_bit_s_knows_its_file(tmp_path, content, said):
    file = tmp_path / "BiT-S-R50x1.npz"
    if isinstance(content, dict):
        np.savez(file, **content)
    elif content:
        file.write_bytes(content)
    command = [sys.executable, REPOSITORY / "data_prep" / "bit_weights.py", "--out", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert said in done.stdout + done.stderr
    assert done.returncode == (0 if said == "is BiT-S-R50x1" else 1)
    assert "Traceback" not in done.stderr
