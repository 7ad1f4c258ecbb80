"""Backbones and heads: how they start, what they refuse, and that nothing is changed on the way in."""

import hashlib
import json
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from huggingface_hub import constants as hub
from paper_models import TINY_BIT, UNITS, bit_arrays, tiny_bit_npz, tiny_roberta
from safetensors.torch import load_file, save_file
from timm.layers import StdConv2d
from timm.models.resnetv2 import ResNetV2
from torch import nn
from torch.nn import functional as F

from alpt_lib import checkpoints, datasets, fast_layers, models, registry
from alpt_lib.errors import ConfigError, ModelError
from alpt_lib.models import create
from companion.runs.plan import plan_runs

MOBILE = "timm:mobilenetv2_035?pad_type=same&mean=0.5&std=0.5"


@pytest.fixture
def birds(birds_folder):
    return datasets.read_dataset(birds_folder)


@pytest.fixture(scope="session")
def roberta(tmp_path_factory) -> str:
    return str(tiny_roberta(tmp_path_factory.mktemp("weights")))


@pytest.fixture
def images() -> torch.Tensor:
    return torch.from_numpy(
        np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    )


@pytest.fixture
def weights(tmp_path):
    """A file with a MobileNetV2 of 1,000 classes, as one downloads it."""
    torch.manual_seed(7)
    file = tmp_path / "mobile.safetensors"
    save_file(
        timm.create_model("mobilenetv2_035", num_classes=1000, pad_type="same").state_dict(), file
    )
    return file


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_local_weights_come_back_as_they_were_saved_but_for_the_head(birds, weights):
    network = create(MOBILE, birds, str(weights), seed=1).network.state_dict()
    reference = timm.create_model(
        "mobilenetv2_035", num_classes=1000, pad_type="same", checkpoint_path=str(weights)
    ).state_dict()
    backbone = [k for k in reference if not k.startswith("classifier")]
    assert all(torch.equal(network[k], reference[k]) for k in backbone)
    assert network["classifier.weight"].shape == (2, 1280)


def test_a_pth_file_gives_the_same_model(birds, weights, tmp_path):
    state = create(MOBILE, birds, str(weights), seed=1).state_dict()
    torch.save(load_file(weights), tmp_path / "m.pth")
    assert same(create(MOBILE, birds, str(tmp_path / "m.pth"), seed=1).state_dict(), state)


def test_logits_and_features_are_those_of_timm_on_images_normalised_by_hand(birds, weights, images):
    model = create(MOBILE, birds, str(weights), seed=1).eval()
    reference = timm.create_model("mobilenetv2_035", num_classes=0, pad_type="same").eval()
    reference.load_state_dict(
        {k: v for k, v in model.network.state_dict().items() if not k.startswith("classifier")}
    )
    by_hand = (images.numpy().transpose(0, 3, 1, 2) / 255 - 0.5) / 0.5
    with torch.no_grad():
        expected = reference(torch.from_numpy(by_hand).float())
        assert torch.allclose(model.features(images), expected, atol=1e-4)
        nn.init.ones_(model.network.classifier.weight)
        assert torch.allclose(
            model(images), expected.sum(dim=1, keepdim=True).expand(3, 2), rtol=1e-4
        )


def test_mean_and_std_follow_the_name_else_timm(birds, weights):
    assert create(MOBILE, birds, str(weights), 1).shift.flatten().tolist() == [127.5] * 3
    by_channel = create("timm:mobilenetv2_035?mean=[0,0.5,1]-np", birds, None, 1)
    assert by_channel.shift.flatten().tolist() == [0, 127.5, 255]
    default = timm.data.resolve_model_data_config(timm.create_model("mobilenetv2_035"))["mean"]
    assert create(
        "timm:mobilenetv2_035-np", birds, None, 1
    ).shift.flatten().tolist() == pytest.approx([255 * m for m in default])


def test_a_pretrained_model_starts_undecided(birds, weights, images):
    with torch.no_grad():
        assert create(MOBILE, birds, str(weights), seed=1).eval()(images).abs().max() == 0


def test_a_model_that_is_not_pretrained_starts_from_pytorchs_own_initialisation(birds):
    network = create(MOBILE + "-np", birds, None, seed=1).network
    for module in (network.conv_stem, network.classifier):
        bound = (
            np.prod(module.weight.shape[1:]) ** -0.5
        )  # kaiming_uniform(a=sqrt 5): uniform within 1 / sqrt(fan in)
        assert module.weight.abs().max() <= bound
        assert module.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.1)


def test_the_seed_decides_the_weights_that_are_drawn(birds):
    first, second, other = (
        create("mini-bit-m-np", birds, None, seed).state_dict() for seed in (1, 1, 2)
    )
    assert same(first, second)
    assert not same(first, other)


def test_building_a_model_leaves_the_global_random_state_alone(birds):
    before = torch.get_rng_state()
    create("mini-bit-m-np", birds, None, 1)
    assert torch.equal(torch.get_rng_state(), before)


def test_roles_stand_for_a_model_of_their_tier():
    assert registry.resolve("bit-m-np", "mini") == "mini-bit-m-np"
    assert registry.resolve("bit-m", "paper") == "timm:resnetv2_50x1_bit.goog_in21k"
    assert registry.resolve(MOBILE, "mini") == MOBILE
    with pytest.raises(
        ModelError, match=r"unknown model 'bit-x' .*; known: bit-s, bit-m,.*timm:NAME, hf:NAME"
    ):
        registry.resolve("bit-x")


def test_figures_call_a_timm_model_by_its_name():
    assert registry.title(MOBILE) == "mobilenetv2_035"
    assert registry.title(MOBILE + "-np") == "mobilenetv2_035, not pretrained"


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
            "timm:mobilenetv2_035?mean=dark-np",
            r"mean takes one number or \[red, green, blue\].*got 'dark'",
        ),
        ("hf:roberta-base", r"reads texts; dataset toybirds holds images"),
    ],
)
def test_a_name_that_cannot_be_built_is_refused_in_a_line(birds, name, said):
    with pytest.raises(ModelError, match=said) as error:
        create(name, birds, None, 1)
    assert "\n" not in str(error.value)


def shorten(file):
    file.write_bytes(file.read_bytes()[:1000])


def of_another_network(file):
    save_file(timm.create_model("mobilenetv2_050", num_classes=1000).state_dict(), file)


def with_nan(file):
    state = timm.create_model("mobilenetv2_035", num_classes=1000).state_dict()
    state["bn1.weight"][3] = float("nan")
    save_file(state, file)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda file: file.unlink(), r"weights not found: .*mobile.safetensors"),
        (shorten, r"mobile.safetensors cannot be read as weights of this model: SafetensorError"),
        (
            of_another_network,
            r"mobile.safetensors do not fit this model: 0 of .* missing, 0 unknown, \d+ of another shape",
        ),
        (
            lambda file: save_file({"a": torch.ones(1)}, file),
            r"do not fit this model: \d+ of \d+ tensors missing, 1 unknown",
        ),
        (
            with_nan,
            r"weights in mobile.safetensors hold NaN or infinite values: 1 of \d+ tensors, first bn1.weight",
        ),
    ],
)
def test_weights_that_do_not_serve_are_refused_in_a_line(birds, weights, spoil, said):
    spoil(weights)
    with pytest.raises(ModelError, match=said) as error:
        create(MOBILE, birds, str(weights), 1)
    assert "\n" not in str(error.value)


class Evil:
    def __reduce__(self):
        return print, ("this code must not run",)


def test_a_pickle_that_runs_code_is_refused(birds, tmp_path, capsys):
    torch.save({"state_dict": Evil()}, tmp_path / "evil.pth")
    np.savez(
        tmp_path / "evil.npz",
        **{"resnet/root_block/standardized_conv2d/kernel": np.array([Evil()], dtype=object)},
    )
    for name, file in ((MOBILE, "evil.pth"), ("timm:resnetv2_50x1_bit", "evil.npz")):
        with pytest.raises(ModelError, match=f"{file} cannot be read as weights of this model"):
            create(name, birds, str(tmp_path / file), 1)
    assert "must not run" not in capsys.readouterr().out


def test_embedded_weights_are_checked_against_their_sha256(birds, tmp_path, monkeypatch):
    file = tmp_path / "mini-bit-m.safetensors"
    save_file(models.build_mini_bit(n_classes=5).state_dict(), file)
    monkeypatch.setattr(models, "WEIGHTS", tmp_path)
    listed = {file.name: {"sha256": hashlib.sha256(file.read_bytes()).hexdigest()}}
    (tmp_path / "weights.json").write_text(json.dumps(listed))
    create("mini-bit-m", birds, None, 1)
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(
        ModelError,
        match=r"mini-bit-m.safetensors fails its checksum: sha256 .* expected .*; restore it",
    ):
        create("mini-bit-m", birds, None, 1)
    with pytest.raises(
        ModelError, match=r"embedded weights mini-bit-s.safetensors missing: run python data_prep"
    ):
        create("mini-bit-s", birds, None, 1)


def test_the_embedded_text_model_is_checked_too(tmp_path, monkeypatch):
    shutil.copytree(registry.WEIGHTS, tmp_path / "weights")
    monkeypatch.setattr(models, "WEIGHTS", tmp_path / "weights")
    file = tmp_path / "weights" / "mini-roberta-m" / "model.safetensors"
    assert checkpoints.checked(file) == file
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(ModelError, match=r"model.safetensors fails its checksum"):
        checkpoints.checked(file)


def test_a_hub_model_without_a_network_is_one_line_within_seconds(birds, monkeypatch, tmp_path):
    def no_network():
        raise OSError("name not known")

    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(networks, "get_session", no_network)
    checkpoints._go_offline_if_unreachable.cache_clear()
    start = time.process_time()
    with pytest.raises(ModelError) as error:
        create("timm:resnetv2_50x1_bit.goog_in21k", birds, None, 1)
    assert time.process_time() - start < 10
    assert "(no network): download model.safetensors from" in str(error.value)
    assert "/timm/resnetv2_50x1_bit.goog_in21k elsewhere" in str(error.value)
    assert "pass weights: FILE_OR_FOLDER, or put them into the hub's cache" in str(error.value)
    assert "\n" not in str(error.value)


def test_what_a_pretrained_start_is_made_of_decides_its_fingerprint(weights, tmp_path):
    copy = tmp_path / "elsewhere.safetensors"
    copy.write_bytes(weights.read_bytes())
    assert checkpoints.weights_fingerprint(MOBILE, str(weights)) == checkpoints.weights_fingerprint(
        MOBILE, str(copy)
    )
    copy.write_bytes(weights.read_bytes() + b" ")
    assert checkpoints.weights_fingerprint(MOBILE, str(weights)) != checkpoints.weights_fingerprint(
        MOBILE, str(copy)
    )
    assert checkpoints.weights_fingerprint(MOBILE + "-np", str(weights)) == ""


def bit_features(arrays: dict[str, np.ndarray], images: np.ndarray) -> torch.Tensor:
    """BiT from the description of its authors' code: (n, n_features) of (n, size, size, 3) uint8 images."""
    arrays = {name.removeprefix("resnet/"): array for name, array in arrays.items()}
    tensors = {
        name: torch.from_numpy(a.transpose(3, 2, 0, 1) if a.ndim == 4 else a)
        for name, a in arrays.items()
    }

    def conv(x, name, stride=1):
        w = tensors[f"{name}/standardized_conv2d/kernel"]
        variance, mean = torch.var_mean(w, dim=(1, 2, 3), keepdim=True, unbiased=False)
        return F.conv2d(
            x, (w - mean) / torch.sqrt(variance + 1e-10), stride=stride, padding=w.shape[-1] // 2
        )

    def norm_relu(x, name):
        return F.group_norm(
            x, 32, tensors[f"{name}group_norm/gamma"], tensors[f"{name}group_norm/beta"], eps=1e-5
        ).relu()

    x = torch.from_numpy(images.transpose(0, 3, 1, 2) / np.float32(127.5) - 1)
    x = F.max_pool2d(F.pad(conv(x, "root_block", 2), (1, 1, 1, 1)), 3, 2)
    for block, n_units in enumerate(UNITS, start=1):
        for unit in range(1, n_units + 1):
            at, stride = f"block{block}/unit{unit:02d}", 2 if block > 1 and unit == 1 else 1
            out = norm_relu(x, f"{at}/a/")
            shortcut = conv(out, f"{at}/a/proj", stride) if unit == 1 else x
            out = norm_relu(conv(out, f"{at}/a"), f"{at}/b/")
            out = norm_relu(conv(out, f"{at}/b", stride), f"{at}/c/")
            x = shortcut + conv(out, f"{at}/c")
    return norm_relu(x, "").mean(dim=(2, 3))


def test_googles_npz_gives_the_features_of_an_independent_forward(birds, tmp_path):
    name, file = tiny_bit_npz(tmp_path)
    images = np.random.default_rng(1).integers(0, 256, (3, 128, 128, 3), dtype=np.uint8)
    model = create(name, birds, str(file), seed=1).eval()
    with torch.no_grad():
        features = model.features(torch.from_numpy(images))
        assert (
            model(torch.from_numpy(images)).abs().max() == 0
        )  # a new head, though the file has one
    expected = bit_features(dict(np.load(file)), images)
    assert expected.std() > 0.1
    assert torch.allclose(
        features, expected, atol=5e-4
    )  # 8e-5 apart: to the variance of a kernel, timm adds 1e-8


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        (
            lambda: bit_arrays(units=(3, 4, 8, 3)),
            r"cannot be read .*: ValueError: it has 55 group norms, the model 49",
        ),
        (
            lambda: {"kernel": np.ones(3)},
            r"cannot be read .*: ValueError: it has 0 group norms, the model 49",
        ),
        (
            lambda: bit_arrays() | {"resnet/group_norm/gamma": np.ones(64, np.float32)},
            r"cannot be read .*: RuntimeError",
        ),
        (
            lambda: bit_arrays() | {"resnet/group_norm/gamma": np.full(128, np.nan, np.float32)},
            r"NaN .*: 1 of .*, first norm",
        ),
    ],
)
def test_an_npz_of_another_network_is_refused_in_a_line(birds, tmp_path, arrays, said):
    name, file = tiny_bit_npz(tmp_path)
    np.savez(file, **arrays())
    with pytest.raises(ModelError, match=f"BiT-tiny.npz.*{said}") as error:
        create(name, birds, str(file), 1)
    assert "\n" not in str(error.value)


def test_a_bit_that_is_not_pretrained_is_drawn_as_by_pytorch_and_asks_no_network(
    birds, monkeypatch
):
    def no_socket(*args, **options):
        raise AssertionError("a model that is not pretrained opened a socket")

    monkeypatch.setattr(socket, "socket", no_socket)
    narrow = "?" + TINY_BIT.partition("?")[2]
    network = create(
        registry.resolve("bit-m", "paper") + narrow + "-np", birds, None, seed=1
    ).network
    norms = [m for m in network.modules() if isinstance(m, nn.GroupNorm)]
    assert len(norms) == 49
    assert all((m.weight == 1).all() and (m.bias == 0).all() for m in norms)
    for conv in (m for m in network.modules() if isinstance(m, nn.Conv2d)):
        bound = np.prod(conv.weight.shape[1:]) ** -0.5
        assert 0.9 * bound < conv.weight.abs().max() <= bound


@pytest.mark.parametrize("name", ["mini-bit-m", "timm:resnetv2_50x1_bit-np"])
def test_folding_weight_standardization_changes_scores_by_rounding_at_most_and_is_undone(
    birds_folder, name
):
    data = datasets.read_dataset(birds_folder)
    model, images = (
        create(name, data, None, 1).eval(),
        torch.from_numpy(np.array(data.images("val", 32)[:4])),
    )
    with torch.inference_mode():
        before = model.features(images)
        with fast_layers.folded(model):
            first = next(m for m in model.modules() if isinstance(m, StdConv2d))
            assert "forward" in vars(first)
            assert torch.allclose(
                model.features(images), before, rtol=1e-4, atol=1e-4 * before.abs().max()
            )
        assert "forward" not in vars(first)
        first.weight[0, 0, 0, 0] += 1
        with fast_layers.folded(model):  # of the weights as they are now
            assert not torch.allclose(
                model.features(images), before, rtol=1e-4, atol=1e-4 * before.abs().max()
            )


@pytest.mark.parametrize("layers", [(1, 1, 1), (1, 2, 2)])
@pytest.mark.parametrize("size", [32, 30, 47])
def test_the_miniature_computes_what_timms_network_does(layers, size):
    torch.manual_seed(0)
    networks_ = [models.build_mini_bit(layers, n_classes=3).double() for _ in range(2)]
    ours, timms = networks_
    timms.__class__ = ResNetV2
    for p in ours.parameters():
        p.data += 0.1 * torch.randn_like(p)  # the head starts at 0, norms at 1 and 0
    timms.load_state_dict(ours.state_dict())
    images = torch.randn(4, 3, size, size).double().to(memory_format=torch.channels_last)
    found = [network(images) for network in networks_]
    features = [n.forward_head(n.forward_features(images), pre_logits=True) for n in networks_]
    assert torch.allclose(*found, rtol=0, atol=1e-12)
    assert torch.allclose(*features, rtol=0, atol=1e-12)
    for logits in found:
        logits.square().sum().backward()
    for p, q in zip(ours.parameters(), timms.parameters(), strict=True):
        assert torch.allclose(p.grad, q.grad, rtol=1e-9, atol=1e-12)
    with fast_layers.folded(ours), torch.no_grad():
        assert torch.allclose(ours(images), found[1], rtol=0, atol=1e-12)


def test_a_folder_as_on_the_hub_gives_its_encoder_under_a_new_head(reviews_folder, roberta):
    data = datasets.read_dataset(reviews_folder)
    model, stored = (
        create("hf:roberta-large", data, roberta, 1),
        load_file(Path(roberta) / "model.safetensors"),
    )
    encoder = {k: v for k, v in model.network.state_dict().items() if k.startswith("roberta.")}
    assert len(encoder) > 30
    assert all(torch.equal(v, stored[k]) for k, v in encoder.items())
    assert model.network.classifier.out_proj.weight.shape == (2, 16)
    assert model.tokenize(["the book", "a"]).tolist()[1][0] == 0  # <s>
    assert np.array_equal(
        model.tokens(data, "val"), model.tokenize(data.rows("val")["text"].tolist())
    )


def test_a_text_model_that_is_not_pretrained_takes_only_configuration_and_tokenizer(
    reviews_folder, roberta, tmp_path
):
    folder = shutil.copytree(roberta, tmp_path / "np")
    (folder / "model.safetensors").unlink()
    data, name = datasets.read_dataset(reviews_folder), "hf:roberta-large-np"
    first, other = (
        create(name, data, str(folder), seed).network.roberta.embeddings.word_embeddings.weight
        for seed in (1, 2)
    )
    assert first.shape == (274, 16)
    assert not torch.equal(first, other)
    before = checkpoints.weights_fingerprint(name, str(folder))
    assert before == checkpoints.weights_fingerprint(name, roberta)
    (folder / "config.json").write_text(
        (folder / "config.json").read_text().replace('"hidden_size": 16', '"hidden_size": 32')
    )
    assert checkpoints.weights_fingerprint(name, str(folder)) != before


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("hf:roberta-large", "config.json, model.safetensors and the tokenizer's files"),
        ("hf:roberta-large-np", "config.json and the tokenizer's files"),
    ],
)
def test_a_text_model_that_is_not_here_says_which_files_to_get(
    reviews_folder, tmp_path, monkeypatch, name, files
):
    monkeypatch.setattr(
        networks, "_go_offline_if_unreachable", lambda: None
    )  # the tests run with HF_HUB_OFFLINE
    with pytest.raises(ModelError) as error:
        create(name, datasets.read_dataset(reviews_folder), None, 1)
    assert f"(no network): download {files} from" in str(error.value)
    assert "/roberta-large elsewhere and pass weights: FILE_OR_FOLDER" in str(error.value)
    with pytest.raises(
        ModelError, match=r"transformers model .* cannot be read, it needs config.json"
    ) as error:
        create(name, datasets.read_dataset(reviews_folder), str(tmp_path), 1)
    assert "\n" not in str(error.value)


def weights_of(models_: list[str], given, folder: Path) -> list:
    parameters = {
        "preset": "paper",
        "datasets": [str(folder)],
        "models": models_,
        "weights": given,
        "acquisitions": ["random"],
    }
    return [planned.config.weights for planned in plan_runs(parameters)]


def test_weights_are_given_for_all_models_or_by_name(birds_folder):
    names = ["bit-m", "bit-m-np", "bit-m-deep", "hf:a-np", "hf:b"]
    assert weights_of(names, None, birds_folder) == [None] * 5
    assert weights_of(names, "w", birds_folder) == ["w", None, "w", "w", "w"]
    given = {
        "bit-m": "m",
        "timm:resnetv2_101x1_bit.goog_in21k": "deep",
        "hf:a": "a",
        "bit-s": "of another notebook",
    }
    assert weights_of(names, given, birds_folder) == ["m", None, "deep", "a", None]
    assert weights_of(names, json.dumps(given), birds_folder) == ["m", None, "deep", "a", None]


def test_weights_for_an_unknown_model_are_refused(birds_folder):
    with pytest.raises(
        ConfigError, match=r"unknown model in weights 'bit-deep' .*; known: bit-s, bit-m, .*, timm:"
    ):
        weights_of(["bit-m"], {"bit-deep": "w"}, birds_folder)
    with pytest.raises(ConfigError, match=r"parameter weights takes a file or folder .* a mapping"):
        weights_of(["bit-m"], {"bit-m": 3}, birds_folder)


def test_bit_s_has_its_place_and_says_how_to_fill_it(birds, birds_folder, home):
    (place,) = weights_of(["bit-s"], None, birds_folder)
    assert Path(place) == home / "data" / "paper" / "weights" / "BiT-S-R50x1.npz"
    assert weights_of(["bit-s", "bit-s-np"], {"bit-s": "mine.npz"}, birds_folder) == [
        "mine.npz",
        None,
    ]
    for ask in (
        lambda: create("timm:resnetv2_50x1_bit", birds, place, 1),
        lambda: checkpoints.weights_fingerprint("bit-s", place),
    ):
        with pytest.raises(
            ModelError,
            match=r"weights not found: .*BiT-S-R50x1.npz: get it from https.* and put it there, or "
            r"run python data_prep/bit_weights.py --download",
        ):
            ask()


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (lambda file: np.savez(file, **bit_arrays()), "is BiT-S-R50x1"),
        (
            lambda file: np.savez(file, **bit_arrays(n_classes=21_843)),
            "has (3, 4, 6, 3) units and 21843 classes; BiT-S-R50x1 has",
        ),
        (
            lambda file: np.savez(file, **bit_arrays(units=(3, 4, 23, 3))),
            "has (3, 4, 23, 3) units and 1000 classes",
        ),
        (lambda file: file.write_bytes(b"PK and then nothing"), "is no whole npz of a BiT model"),
        (
            lambda file: None,
            "is missing: run this with --download, or get it from https://storage.googleapis.com/bit_models/",
        ),
    ],
)
def test_the_script_for_bit_s_knows_its_file(tmp_path, write, said):
    file = tmp_path / "BiT-S-R50x1.npz"
    write(file)
    script = Path(__file__).resolve().parent.parent / "data_prep" / "bit_weights.py"
    done = subprocess.run(
        [sys.executable, str(script), "--out", str(tmp_path)], capture_output=True, text=True
    )
    assert said in done.stdout + done.stderr
    assert done.returncode == (0 if said == "is BiT-S-R50x1" else 1)
    assert "Traceback" not in done.stderr
