"""Backbones and heads: how they start, and what they compute."""

import socket
from unittest import mock

import numpy as np
import pytest
import timm
import torch
from paper_models import TINY_BIT, UNITS, tiny_bit_npz
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from alpt_lib import datasets, registry
from alpt_lib.config import RunConfig
from alpt_lib.errors import ModelError
from alpt_lib.models import create_model
from alpt_lib.scoring import ScoringNetwork

MOBILE = "timm:mobilenetv2_035?pad_type=same&mean=0.5&std=0.5"
IMAGES = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)


@pytest.fixture
def birds(birds_folder):
    return datasets.read_dataset(birds_folder)


def test_logits_and_features_are_those_of_timm_on_images_normalised_by_hand(birds):
    model = create_model(MOBILE + "-np", birds, None, seed=1).eval()
    reference = timm.create_model("mobilenetv2_035", num_classes=0, pad_type="same").eval()
    state = model.network.state_dict()
    reference.load_state_dict({k: v for k, v in state.items() if not k.startswith("classifier")})
    by_hand = (IMAGES.transpose(0, 3, 1, 2) / 255 - 0.5) / 0.5
    with torch.no_grad():
        expected = reference(torch.from_numpy(by_hand).float())
        assert torch.allclose(model.features(torch.from_numpy(IMAGES)), expected, atol=1e-4)
        nn.init.ones_(model.network.classifier.weight)
        nn.init.zeros_(model.network.classifier.bias)
        logits = model(torch.from_numpy(IMAGES))
        assert torch.allclose(logits, expected.sum(dim=1, keepdim=True).expand(3, 2), rtol=1e-4)
        assert torch.allclose(model.logits_of_features(expected), logits, rtol=1e-4)


@pytest.mark.parametrize(
    ("role", "patch", "n_features", "millions"),
    [
        # Oquab et al. 2023, Radford et al. 2021, Zhai et al. 2023: ViT-S and ViT-B
        ("dinov2-s", 14, 384, 22.1),
        ("dinov2-b", 14, 768, 86.6),
        ("clip-b32", 32, 768, 87.5),
        ("siglip-b16", 16, 768, 92.9),
    ],
)
def test_foundation_models_are_timms_own_at_224_px(birds, role, patch, n_features, millions):
    name = registry.resolve(role, "paper")
    published = timm.get_pretrained_cfg(name.removeprefix("timm:").partition("?")[0])
    assert published.hf_hub_id.startswith("timm/vit_")
    # shapes alone: nothing is computed
    with torch.device("meta"):
        model = create_model(name + "-np", birds, None, seed=1)
        images = torch.empty((2, 224, 224, 3), dtype=torch.uint8)
        assert model.features(images).shape == (2, n_features)
        assert model(images).shape == (2, 2)
    network = model.network
    assert network.patch_embed.proj.weight.shape[2:] == (patch, patch)
    n_weights = sum(p.numel() for p in network.parameters())
    assert n_weights / 1e6 == pytest.approx(millions, abs=0.1)
    # as published, so that what the hub delivers fits
    stored = (published.input_size[1] // patch) ** 2
    assert network.pos_embed.shape[1] - network.num_prefix_tokens in (stored, stored - 1)


def test_mean_and_std_follow_the_name_else_timm(birds):
    default = timm.data.resolve_model_data_config(timm.create_model("mobilenetv2_035"))["mean"]
    for name, mean in (
        (MOBILE, [0.5] * 3),
        ("timm:mobilenetv2_035?mean=[0,0.5,1]", [0, 0.5, 1]),
        ("timm:mobilenetv2_035", default),
    ):
        shift = create_model(name + "-np", birds, None, 1).shift.flatten().tolist()
        assert shift == pytest.approx([255 * m for m in mean])


def test_a_model_that_is_not_pretrained_starts_from_pytorchs_own_initialisation(birds):
    network = create_model(MOBILE + "-np", birds, None, seed=1).network
    for module in (network.conv_stem, network.classifier):
        # kaiming_uniform(a=sqrt 5): uniform within 1 / sqrt(fan in)
        bound = np.prod(module.weight.shape[1:]) ** -0.5
        assert module.weight.abs().max() <= bound
        assert module.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.1)


def test_the_seed_decides_the_weights_that_are_drawn_and_nothing_else_is_touched(birds):
    before = torch.get_rng_state()
    first, second, other = (
        create_model("mini-bit-m-np", birds, None, seed).state_dict() for seed in (1, 1, 2)
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[k], second[k]) for k in first)
    assert not all(torch.equal(first[k], other[k]) for k in first)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "timm:mobilenetv2_03-np",
            r"unknown timm model 'mobilenetv2_03' \(did you mean 'mobilenetv2_035'\?\)",
        ),
        (
            "timm:mobilenetv2_035?pad_typ=same-np",
            r"mobilenetv2_035 cannot be built with \{'pad_typ': 'same'\}",
        ),
        (
            "timm:mobilenetv2_035?act_layer=none_such-np",
            r"cannot be built with \{'act_layer': 'none_such'\}: KeyError: 'none_such'$",
        ),
        (
            "timm:mobilenetv2_035?mean=dark-np",
            r"mean takes one number or \[red, green, blue\].*got 'dark'",
        ),
        ("timm:mobilenetv2_035?mean=[-np", r"the options after \? are no yaml"),
        ("hf:roberta-base", r"reads texts; dataset toybirds holds images"),
    ],
)
def test_a_name_that_cannot_be_built_is_refused_in_a_line(birds, name, said):
    with pytest.raises(ModelError, match=said) as error:
        create_model(name, birds, None, 1)
    assert "\n" not in str(error.value)


def bit_features(arrays: dict[str, np.ndarray], images: np.ndarray) -> torch.Tensor:
    """BiT from its authors' description: (n, n_features) of (n, size, size, 3) uint8 images."""
    tensors = {}
    for name, array in arrays.items():
        kernel_or_vector = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array
        tensors[name.removeprefix("resnet/")] = torch.from_numpy(kernel_or_vector)

    def conv(x, name, stride=1):
        w = tensors[f"{name}/standardized_conv2d/kernel"]
        variance, mean = torch.var_mean(w, dim=(1, 2, 3), keepdim=True, unbiased=False)
        w = (w - mean) / torch.sqrt(variance + 1e-10)
        return F.conv2d(x, w, stride=stride, padding=w.shape[-1] // 2)

    def norm_relu(x, name):
        gamma, beta = (tensors[f"{name}group_norm/{part}"] for part in ("gamma", "beta"))
        return F.group_norm(x, 32, gamma, beta, eps=1e-5).relu()

    x = torch.from_numpy(images.transpose(0, 3, 1, 2) / np.float32(127.5) - 1)
    x = F.max_pool2d(F.pad(conv(x, "root_block", 2), (1, 1, 1, 1)), 3, 2)
    for block, n_units in enumerate(UNITS, start=1):
        for unit in range(1, n_units + 1):
            at = f"block{block}/unit{unit:02d}"
            stride = 2 if block > 1 and unit == 1 else 1
            out = norm_relu(x, f"{at}/a/")
            shortcut = conv(out, f"{at}/a/proj", stride) if unit == 1 else x
            out = norm_relu(conv(out, f"{at}/a"), f"{at}/b/")
            out = norm_relu(conv(out, f"{at}/b", stride), f"{at}/c/")
            x = shortcut + conv(out, f"{at}/c")
    return norm_relu(x, "").mean(dim=(2, 3))


def test_googles_npz_gives_the_features_of_an_independent_forward(birds, tmp_path):
    name, file = tiny_bit_npz(tmp_path)
    images = np.random.default_rng(1).integers(0, 256, (3, 128, 128, 3), dtype=np.uint8)
    model = create_model(name, birds, str(file), seed=1).eval()
    with torch.no_grad():
        features = model.features(torch.from_numpy(images))
        # a new head, though the file has one: undecided
        assert model(torch.from_numpy(images)).abs().max() == 0
    expected = bit_features(dict(np.load(file)), images)
    assert expected.std() > 0.1
    # 8e-5 apart: to the variance of a kernel, timm adds 1e-8
    assert torch.allclose(features, expected, atol=5e-4)


def test_a_bit_that_is_not_pretrained_is_drawn_as_by_pytorch_and_asks_no_network(
    birds, monkeypatch
):
    def no_socket(*args, **options):
        raise AssertionError("a model that is not pretrained opened a socket")

    monkeypatch.setattr(socket, "socket", no_socket)
    name = registry.resolve("bit-m", "paper") + "?" + TINY_BIT.partition("?")[2] + "-np"
    network = create_model(name, birds, None, seed=1).network
    norms = [m for m in network.modules() if isinstance(m, nn.GroupNorm)]
    assert len(norms) == 49
    assert all((m.weight == 1).all() and (m.bias == 0).all() for m in norms)
    for conv in (m for m in network.modules() if isinstance(m, nn.Conv2d)):
        bound = np.prod(conv.weight.shape[1:]) ** -0.5
        assert 0.9 * bound < conv.weight.abs().max() <= bound


def test_a_distilled_network_starts_with_two_new_heads(birds, tmp_path):
    name = "deit_tiny_distilled_patch16_224"
    torch.manual_seed(0)
    stored = timm.create_model(name, img_size=32, depth=1, num_classes=7).state_dict()
    save_file(stored, tmp_path / "deit.safetensors")
    model = create_model(
        f"timm:{name}?img_size=32&depth=1", birds, f"{tmp_path}/deit.safetensors", 1
    )
    state = model.network.state_dict()
    for key, value in state.items():
        assert torch.equal(value, stored[key]) or key.startswith("head")
    with torch.no_grad():
        assert model.eval()(torch.from_numpy(IMAGES)).abs().max() == 0
        assert model.features(torch.from_numpy(IMAGES)).std() > 0.1


@pytest.mark.parametrize("network", ["vit_tiny_patch16_224", "levit_128s"])
def test_a_network_for_another_size_says_how_to_change_it(birds, network):
    model = create_model(f"timm:{network}-np", birds, None, 1)
    for read in (model, model.features):
        with pytest.raises(
            ModelError, match=r"cannot read images of 32 px .*: add \?img_size=32 to"
        ):
            read(torch.from_numpy(IMAGES))
    config = RunConfig(str(birds.folder), f"timm:{network}-np", "random", 1)
    with pytest.raises(ModelError, match=r"add \?img_size=32 to"):
        ScoringNetwork(birds, config).prepare()
    model = create_model(f"timm:{network}?img_size=32-np", birds, None, 1)
    assert model(torch.from_numpy(IMAGES)).shape == (3, 2)


def test_an_error_that_is_not_about_the_size_of_images_stays_what_it_is(birds):
    model = create_model("mini-bit-m-np", birds, None, 1)
    for words in ("out of memory, tried to allocate a size of 2 GiB", "another fault"):
        error = RuntimeError(words)
        failing = mock.patch.object(model.network, "forward", side_effect=error)
        with failing, pytest.raises(RuntimeError, match=words):
            model(torch.from_numpy(IMAGES))
