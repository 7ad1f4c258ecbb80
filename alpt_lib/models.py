"""Backbones with a new head: the embedded miniatures, any timm model, any transformers sequence classifier."""

from functools import partial

from timm.layers import GroupNormAct, StdConv2d
from timm.models.resnetv2 import ResNetV2

MINI_BIT_LAYERS = {"mini-bit-s": (1, 1, 1), "mini-bit-m": (1, 1, 1), "mini-bit-m-deep": (2, 2, 2)}


def build_mini_bit(layers: tuple[int, ...] = (1, 1, 1), n_classes: int = 2) -> ResNetV2:
    """BiT in miniature for 32 px images: pre-activation ResNetV2, group norm (8 groups), weight-standardised convs.

    Stem 7x7/2 and 3x3/2 pool, stages of 64-128-256 channels on 8x8, 4x4 and 2x2, mean pool to 256 features.
    """
    return ResNetV2(
        layers=list(layers), channels=(64, 128, 256), stem_chs=32, stem_type="fixed", num_classes=n_classes,
        conv_layer=partial(StdConv2d, eps=1e-8), norm_layer=partial(GroupNormAct, num_groups=8),
    )
