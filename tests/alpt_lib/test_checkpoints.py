"""How weights are found, what counts as theirs, and which are refused, in one line."""

import hashlib
import json
import os
import re
import shutil
import time

import numpy as np
import pytest
import timm
import torch
from huggingface_hub import constants as hub
from paper_models import bit_arrays, tiny_bit_npz, tiny_roberta
from safetensors.torch import save_file

from alpt_lib import checkpoints, datasets
from alpt_lib.checkpoints import local_weights, weights_fingerprint
from alpt_lib.errors import ModelError
from alpt_lib.files import WEIGHTS
from alpt_lib.models import build_mini_bit, create_model

MOBILE = "timm:mobilenetv2_035?pad_type=same"


@pytest.fixture
def birds(birds_folder):
    return datasets.read_dataset(birds_folder)


@pytest.fixture
def reviews(reviews_folder):
    return datasets.read_dataset(reviews_folder)


@pytest.fixture
def roberta(tmp_path):
    return tiny_roberta(tmp_path)


@pytest.fixture
def weights(tmp_path):
    """A file with a MobileNetV2 of 1,000 classes, as one downloads it."""
    file = tmp_path / "mobile.safetensors"
    save_file(mobile_state(), file)
    return file


def mobile_state() -> dict[str, torch.Tensor]:
    torch.manual_seed(7)
    network = timm.create_model("mobilenetv2_035", num_classes=1000, pad_type="same")
    return network.state_dict()


def refusal(name, data, weights) -> str:
    with pytest.raises(ModelError) as error:
        create_model(name, data, weights and str(weights), seed=1)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_local_weights_come_back_as_they_were_saved_but_for_the_head(birds, weights):
    network = create_model(MOBILE, birds, str(weights), seed=1).network.state_dict()
    stored = mobile_state()
    assert network.keys() == stored.keys()
    assert all(torch.equal(network[k], stored[k]) for k in stored if "classifier" not in k)
    assert network["classifier.weight"].shape == (2, 1280)


@pytest.mark.parametrize(
    "wrap",
    [
        dict,
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": {f"module.{name}": state[name] for name in state}},
    ],
)
def test_a_pth_file_gives_the_same_model(birds, weights, tmp_path, wrap):
    torch.save(wrap(mobile_state()), tmp_path / "m.pth")
    states = [
        create_model(MOBILE, birds, str(file), seed=1).state_dict()
        for file in (weights, tmp_path / "m.pth")
    ]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])


def shorten(file):
    file.write_bytes(file.read_bytes()[:1000])


def of_another_network(file):
    save_file(timm.create_model("mobilenetv2_050", num_classes=1000).state_dict(), file)


def with_nan(file):
    state = mobile_state()
    state["bn1.weight"][3] = float("nan")
    save_file(state, file)


def of_kind(kind):
    return lambda file: save_file({k: (100 * v).to(kind) for k, v in mobile_state().items()}, file)


def a_pipe(file):
    file.unlink()
    os.mkfifo(file)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda file: file.unlink(), "weights not found: "),
        (shorten, "mobile.safetensors cannot be read as weights of this model: SafetensorError"),
        (of_another_network, r"do not fit this model: 0 of \d+ tensors missing, 0 unknown, \d+ "),
        (
            lambda file: save_file({"a": torch.ones(1)}, file),
            r"do not fit this model: (\d+) of \1 tensors missing, 1 unknown, 0 of another shape",
        ),
        (
            lambda file: file.write_text("version https://git-lfs.github.com/spec/v1"),
            "is a git-lfs pointer, not the file itself: run git lfs pull",
        ),
        *(
            (of_kind(kind), rf"no plain floats .*: \d+ of \d+ tensors, first [\w.]+ \({kind}\)")
            for kind in (torch.int8, torch.bool, torch.complex64)
        ),
        (
            lambda file: save_file({k: (100 * v).round() for k, v in mobile_state().items()}, file),
            r"are quantised: \d+ of \d+ tensors hold whole numbers, first ",
        ),
        (a_pipe, "weights must be a file or a folder; .* is neither"),
        (with_nan, r"hold NaN or infinite values: 1 of \d+ tensors, first bn1.weight"),
    ],
)
def test_weights_that_do_not_serve_are_refused(birds, weights, spoil, said):
    spoil(weights)
    assert re.search(said, refusal(MOBILE, birds, weights))


def test_packed_weights_and_options_that_are_ours_are_refused(birds, tmp_path):
    state = mobile_state()
    state["conv_stem.weight"] = state["conv_stem.weight"].to_sparse()
    torch.save(state, tmp_path / "sparse.pth")
    assert "first conv_stem.weight (torch.sparse_coo)" in refusal(
        MOBILE, birds, tmp_path / "sparse.pth"
    )
    for option in ("num_classes=5", "features_only=true", "checkpoint_path=/etc/passwd"):
        said = refusal(f"{MOBILE}&{option}", birds, tmp_path / "sparse.pth")
        assert "is not to be chosen here, the dataset decides it" in said


class Evil:
    def __reduce__(self):
        return print, ("this code must not run",)


def test_what_is_no_state_dict_is_refused_and_no_code_of_it_runs(birds, tmp_path, capsys):
    torch.save({"state_dict": Evil()}, tmp_path / "evil.pth")
    torch.save(torch.nn.Linear(2, 2), tmp_path / "whole.pth")
    torch.save({"epoch": 3}, tmp_path / "epoch.pth")
    torch.save([torch.zeros(2)], tmp_path / "list.pth")
    torch.save({0: torch.zeros(2)}, tmp_path / "numbers.pth")
    (tmp_path / "empty.pth").touch()
    kernel = np.array([Evil()], dtype=object)
    np.savez(tmp_path / "evil.npz", **{"resnet/root_block/standardized_conv2d/kernel": kernel})
    for file, said in (
        ("evil.pth", "Python objects, which are never run: save the state_dict alone"),
        ("whole.pth", "Python objects, which are never run"),
        ("epoch.pth", "ValueError: it holds no state dict: epoch is int"),
        ("list.pth", "ValueError: it holds no state dict but list"),
        ("numbers.pth", "ValueError: it holds no state dict: 0 is Tensor"),
        ("empty.pth", "EOFError"),
        ("evil.npz", "ValueError"),
    ):
        name = MOBILE if file.endswith("pth") else "timm:resnetv2_50x1_bit"
        assert re.search(f"{file} cannot be read .*{said}", refusal(name, birds, tmp_path / file))
    assert "must not run" not in capsys.readouterr().out


def test_weights_for_images_of_another_size_say_which_option_takes_them(birds, tmp_path):
    network = timm.create_model("vit_tiny_patch16_224", depth=1, num_classes=7)
    save_file(network.state_dict(), tmp_path / "vit.safetensors")
    name = "timm:vit_tiny_patch16_224?depth=1"
    said = refusal(f"{name}&img_size=32", birds, tmp_path / "vit.safetensors")
    assert "(e.g. pos_embed); for images of another size, take ?dynamic_img_size=true" in said
    weights = str(tmp_path / "vit.safetensors")
    model = create_model(f"{name}&dynamic_img_size=true", birds, weights, 1)
    assert model(torch.zeros(1, 32, 32, 3, dtype=torch.uint8)).shape == (1, 2)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        (bit_arrays(units=(3, 4, 8, 3)), "ValueError: it has 55 group norms, the model 49"),
        ({"kernel": np.ones(3)}, "ValueError: it has 0 group norms, the model 49"),
        (
            bit_arrays() | {"resnet/group_norm/gamma": np.ones(64, np.float32)},
            "BiT-tiny.npz cannot be read as weights of this model: RuntimeError",
        ),
        (
            bit_arrays() | {"resnet/group_norm/gamma": np.full(128, np.nan, np.float32)},
            r"hold NaN or infinite values: 1 of \d+ tensors, first norm",
        ),
    ],
)
def test_an_npz_of_another_network_is_refused(birds, tmp_path, arrays, said):
    name, file = tiny_bit_npz(tmp_path)
    np.savez(file, **arrays)
    assert re.search(said, refusal(name, birds, file))


def test_embedded_weights_are_checked_against_their_sha256(birds, tmp_path, monkeypatch):
    file = tmp_path / "mini-bit-m.safetensors"
    save_file(build_mini_bit(n_classes=5).state_dict(), file)
    monkeypatch.setattr(checkpoints, "WEIGHTS", tmp_path)
    listed = {file.name: {"sha256": hashlib.sha256(file.read_bytes()).hexdigest()}}
    (tmp_path / "weights.json").write_text(json.dumps(listed))
    create_model("mini-bit-m", birds, None, 1)
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    assert "fails its checksum: sha256 is" in refusal("mini-bit-m", birds, None)
    assert "mini-bit-s.safetensors missing: run python" in refusal("mini-bit-s", birds, None)


def test_the_embedded_text_model_is_checked_too(reviews, tmp_path, monkeypatch):
    folder = shutil.copytree(WEIGHTS, tmp_path / "weights")
    monkeypatch.setattr(checkpoints, "WEIGHTS", folder)
    create_model("mini-roberta-m", reviews, None, 1)
    file = folder / "mini-roberta-m" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    said = refusal("mini-roberta-m", reviews, None)
    assert "model.safetensors fails its checksum" in said
    assert "restore it with git checkout" in said


def test_a_hub_model_without_a_network_is_one_line_within_seconds(birds, monkeypatch, tmp_path):
    def no_network():
        raise OSError("name not known")

    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.utils.get_session", no_network)
    start = time.process_time()
    said = refusal("timm:resnetv2_50x1_bit.goog_in21k", birds, None)
    assert time.process_time() - start < 10
    assert "the hub did not deliver it (no network): download model.safetensors from" in said
    assert "/timm/resnetv2_50x1_bit.goog_in21k elsewhere" in said
    assert "pass weights: FILE_OR_FOLDER, or put them into the hub's cache" in said


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("hf:roberta-large", "config.json, model.safetensors and the tokenizer's files"),
        ("hf:roberta-large-np", "config.json and the tokenizer's files"),
    ],
)
def test_a_text_model_that_is_not_here_says_which_files_to_get(reviews, tmp_path, name, files):
    said = refusal(name, reviews, None)
    assert f"(no network): download {files} from" in said
    assert "/roberta-large elsewhere and pass weights: FILE_OR_FOLDER" in said
    assert f"cannot be read, it needs {files}" in refusal(name, reviews, tmp_path)


def test_the_content_of_weights_decides_their_fingerprint_at_once(weights, tmp_path):
    copy = shutil.copy(weights, tmp_path / "elsewhere.safetensors")
    first = weights_fingerprint(MOBILE, str(weights))
    assert weights_fingerprint(MOBILE, str(copy)) == first
    state = mobile_state()
    state["bn1.weight"] += 1
    save_file(state, weights)
    assert weights_fingerprint(MOBILE, str(weights)) != first
    assert weights_fingerprint(MOBILE + "-np", str(weights)) == ""
    assert weights_fingerprint(MOBILE, None) == f"hub:{MOBILE}"


@pytest.mark.parametrize("as_name", [True, False])
@pytest.mark.parametrize(
    ("file", "counts", "counts_untrained"),
    [
        ("model.safetensors", True, False),
        ("pytorch_model.bin.index.json", True, False),
        ("config.json", True, True),
        ("tokenizer.json", True, True),
        ("vocab.txt", True, True),
        ("spiece.model", True, True),
        ("modeling_own.py", False, False),
        ("README.md", False, False),
    ],
)
def test_a_folder_counts_by_what_is_loaded_from_it(
    roberta, as_name, file, counts, counts_untrained
):
    model, given = (f"hf:{roberta}", None) if as_name else ("hf:roberta-large", str(roberta))

    def fingerprints() -> tuple[str, str]:
        return weights_fingerprint(model, given), weights_fingerprint(model + "-np", given)

    before = fingerprints()
    assert before[0] == weights_fingerprint("hf:another-name", str(roberta))
    path = roberta / file
    path.write_bytes(b" " * (path.stat().st_size if path.exists() else 10))
    after = fingerprints()
    assert [before[0] != after[0], before[1] != after[1]] == [counts, counts_untrained]


@pytest.mark.parametrize("name", ["hf:./nowhere", "hf:/nowhere/model", "hf:~/nowhere"])
def test_a_path_where_nothing_is_is_not_taken_for_a_hubs_name(name):
    with pytest.raises(ModelError, match=r"weights not found: .*nowhere"):
        weights_fingerprint(name, None)


def test_weights_are_given_for_all_models_or_by_name(home):
    names = ["bit-m", "bit-m-np", "bit-m-deep", "hf:a-np", "hf:b"]

    def of_all(given) -> list[str | None]:
        return [local_weights(name, "paper", given) for name in names]

    assert of_all(None) == [None] * 5
    assert of_all("w") == ["w", None, "w", "w", "w"]
    deep = "timm:resnetv2_101x1_bit.goog_in21k"
    given = {"bit-m": "m", deep: "deep", "hf:a": "a", "bit-s": "of another notebook"}
    assert of_all(given) == ["m", None, "deep", "a", None]


def test_bit_s_has_its_place_and_says_how_to_fill_it(birds, home):
    place = local_weights("bit-s", "paper", None)
    assert place == str(home / "data" / "paper" / "weights" / "BiT-S-R50x1.npz")
    assert local_weights("bit-s", "paper", {"bit-s": "mine.npz"}) == "mine.npz"
    assert local_weights("bit-s-np", "paper", {"bit-s": "mine.npz"}) is None
    remedy = r"BiT-S-R50x1.npz: get it from https.* and put it there, or run python data_prep/bit"
    with pytest.raises(ModelError, match=rf"weights not found: .*{remedy}"):
        weights_fingerprint("timm:resnetv2_50x1_bit", place)
    assert "put it there, or run python" in refusal("timm:resnetv2_50x1_bit", birds, place)
