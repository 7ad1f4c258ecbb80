"""Names of models, and what needs no torch."""

import subprocess
import sys

import pytest

from alpt_lib import registry
from alpt_lib.errors import ModelError

MOBILE = "timm:mobilenetv2_035?pad_type=same"


def test_roles_stand_for_a_model_of_their_tier():
    assert registry.resolve("bit-m-np", "mini") == "mini-bit-m-np"
    assert registry.resolve("bit-m", "paper") == "timm:resnetv2_50x1_bit.goog_in21k"
    assert registry.resolve("mini-bit-m", "paper") == "mini-bit-m"
    assert registry.resolve(MOBILE, "mini") == MOBILE
    known = "bit-s, bit-m,.*timm:NAME, hf:NAME"
    with pytest.raises(ModelError, match=rf"unknown model 'bit-x' .*; known: {known}"):
        registry.resolve("bit-x")


def test_figures_call_a_timm_model_by_its_name():
    assert registry.title("bit-m-deep") == "BiT-M deep"
    assert registry.title("lite0-np") == "Lite0, not pretrained"
    assert registry.title(MOBILE) == "mobilenetv2_035"
    assert registry.title(MOBILE + "-np") == "mobilenetv2_035, not pretrained"


def test_names_and_fingerprints_do_not_wait_for_torch():
    code = (
        "import sys; from alpt_lib import checkpoints, registry; "
        "checkpoints.weights_fingerprint('mini-roberta-m', None); "
        "print({'torch', 'timm', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
