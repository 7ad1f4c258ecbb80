"""What is computed faster is what timm and transformers compute."""

import numpy as np
import pytest
import torch
from timm.layers import StdConv2d
from timm.models.resnetv2 import ResNetV2
from transformers.models.roberta.modeling_roberta import RobertaLayer

from alpt_lib import datasets, models
from alpt_lib.fast_layers import folded_convolutions

IMAGES = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8))


@pytest.mark.parametrize("name", ["mini-bit-m", "timm:resnetv2_50x1_bit-np"])
def test_folding_changes_scores_by_rounding_at_most_and_is_undone(birds_folder, name):
    model = models.create_model(name, datasets.read_dataset(birds_folder), None, 1).eval()
    with torch.inference_mode():
        before = model.features(IMAGES)

        def is_as_before() -> bool:
            tolerance = 1e-4 * before.abs().max()
            return torch.allclose(model.features(IMAGES), before, rtol=1e-4, atol=tolerance)

        first = next(m for m in model.modules() if isinstance(m, StdConv2d))
        with folded_convolutions(model):
            assert "forward" in vars(first)
            assert is_as_before()
        assert "forward" not in vars(first)
        first.weight[0, 0, 0, 0] += 1
        # of the weights as they are now
        with folded_convolutions(model):
            assert not is_as_before()


@pytest.mark.parametrize("layers", [(1, 1, 1), (1, 2, 2)])
@pytest.mark.parametrize("size", [32, 30, 47])
def test_the_miniature_computes_what_timms_network_does(layers, size):
    torch.manual_seed(0)
    ours = models.build_mini_bit(layers, n_classes=3).double()
    timms = models.build_mini_bit(layers, n_classes=3).double()
    timms.__class__ = ResNetV2
    # the head starts at 0, norms at 1 and 0
    for p in ours.parameters():
        p.data += 0.1 * torch.randn_like(p)
    timms.load_state_dict(ours.state_dict())
    images = torch.randn(4, 3, size, size).double().to(memory_format=torch.channels_last)
    logits = [network(images) for network in (ours, timms)]
    features = [
        network.forward_head(network.forward_features(images), pre_logits=True)
        for network in (ours, timms)
    ]
    assert torch.allclose(*logits, rtol=0, atol=1e-12)
    assert torch.allclose(*features, rtol=0, atol=1e-12)
    for output in logits:
        output.square().sum().backward()
    for p, q in zip(ours.parameters(), timms.parameters(), strict=True):
        assert torch.allclose(p.grad, q.grad, rtol=1e-9, atol=1e-12)
    with folded_convolutions(ours), torch.no_grad():
        assert torch.allclose(ours(images), logits[1], rtol=0, atol=1e-12)


def test_robertas_last_layer_for_the_first_token_alone_changes_nothing(reviews_folder):
    reviews = datasets.read_dataset(reviews_folder)
    model = models.create_model("mini-roberta-m", reviews, None, 1).double().train()
    batch = torch.from_numpy(model.tokenize(reviews.rows("val")["text"].tolist()))
    last = model.network.roberta.encoder.layer[-1]
    assert type(last) is not RobertaLayer
    results = []
    for layer in (type(last), RobertaLayer):
        last.__class__ = layer
        model.zero_grad()
        logits = model(batch)
        features = model.features(batch)
        logits.square().sum().backward()
        results.append([logits, features, *(p.grad for p in model.parameters())])
    # Hugging Face's own: all tokens
    assert model.network.roberta(batch).last_hidden_state.shape[1] == batch.shape[1]
    for ours, theirs in zip(*results, strict=True):
        assert torch.allclose(ours, theirs, rtol=0, atol=1e-12)
