"""Layers that compute what timm's and transformers' do, faster. Without them only time is lost."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F


@contextmanager
def folded_convolutions(model: nn.Module) -> Iterator[None]:
    """Weight-standardised convolutions as plain ones, for scoring.

    Each weight is standardised once, not in every batch.
    """
    from timm.layers import StdConv2d

    convolutions = [module for module in model.modules() if type(module) is StdConv2d]
    for convolution in convolutions:
        vars(convolution)["forward"] = partial(
            convolution._conv_forward, weight=_standardised(convolution), bias=convolution.bias
        )
    try:
        yield
    finally:
        for convolution in convolutions:
            del vars(convolution)["forward"]


def _standardised(convolution: Any) -> torch.Tensor:
    """Its weight with mean 0 and variance 1 over each output channel, channels last as before."""
    weight = convolution.weight.permute(0, 2, 3, 1)
    return torch.layer_norm(weight, weight.shape[1:], eps=convolution.eps).permute(0, 3, 1, 2)


@lru_cache(maxsize=1)
def mini_bit_class() -> type[nn.Module]:
    """The class of the miniature BiT: timm's network and its numbers, as functions of its weights.

    So small, it is 4% faster a training step without module calls.
    """
    from timm.models.resnetv2 import ResNetV2

    class MiniBit(ResNetV2):
        def forward_features(self, x: torch.Tensor) -> torch.Tensor:
            x = _padded_max_pool(_convolved(x, self.stem.conv))
            stages: Any = self.stages
            for stage in stages:
                for block in stage.blocks:
                    x = _residual_block(x, block)
            return _normed(x, self.norm)

        def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
            x = F.adaptive_avg_pool2d(x, 1)
            if not pre_logits:
                x = F.conv2d(x, self.head.fc.weight, self.head.fc.bias)
            return x.flatten(1)

    return MiniBit


def _residual_block(x: torch.Tensor, block: Any) -> torch.Tensor:
    shortcut = x
    x = _normed(x, block.norm1)
    if block.downsample is not None:
        shortcut = _convolved(x, block.downsample.conv)
    x = _normed(_convolved(x, block.conv1), block.norm2)
    x = _normed(_convolved(x, block.conv2), block.norm3)
    return _convolved(x, block.conv3) + shortcut


def _convolved(x: torch.Tensor, convolution: Any) -> torch.Tensor:
    """By the convolution with standardised weights.

    In training a 1x1 is a product of matrices, faster for so small an image.
    """
    if "forward" in vars(convolution):
        # folded
        return convolution.forward(x)
    if convolution.kernel_size != (1, 1) or not convolution.training:
        return convolution._conv_forward(x, _standardised(convolution), None)
    if convolution.stride != (1, 1):
        x = x[:, :, :: convolution.stride[0], :: convolution.stride[1]]
    kernel = convolution.weight.flatten(1)
    kernel = torch.layer_norm(kernel, (convolution.in_channels,), eps=convolution.eps)
    return F.linear(x.permute(0, 2, 3, 1), kernel).permute(0, 3, 1, 2)


def _normed(x: torch.Tensor, norm: Any) -> torch.Tensor:
    return torch.group_norm(x, norm.num_groups, norm.weight, norm.bias, norm.eps).relu_()


def _padded_max_pool(x: torch.Tensor) -> torch.Tensor:
    """3x3/2 of an image with zeros around it, as BiT's, without copying it."""
    zeros = _zeros_seen(*x.shape[-2:], x.dtype, x.device)
    return F.max_pool2d(x, 3, 2, padding=1).clamp(min=zeros)


@lru_cache
@torch.inference_mode(False)
def _zeros_seen(height: int, width: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """0 where a window of that pool reaches beyond the image, else -inf."""
    inside = torch.full((1, 1, height, width), -torch.inf, dtype=dtype, device=device)
    return F.max_pool2d(F.pad(inside, [1] * 4), 3, 2)


@lru_cache(maxsize=1)
def first_token_layer() -> type[nn.Module]:
    """RoBERTa's last layer for the first token alone, all that its head reads.

    With two layers, as roberta-m has, a step takes two thirds of the time.
    """
    from transformers.models.roberta.modeling_roberta import RobertaLayer

    class FirstTokenLayer(RobertaLayer):
        def forward(  # type: ignore[override]
            self, hidden: torch.Tensor, mask: torch.Tensor | None = None, *_: Any, **__: Any
        ) -> torch.Tensor:
            attention = self.attention.self
            first = hidden[:, :1]

            def heads(projected: torch.Tensor) -> torch.Tensor:
                return projected.unflatten(-1, (attention.num_attention_heads, -1)).transpose(1, 2)

            attended = F.scaled_dot_product_attention(
                heads(attention.query(first)),
                heads(attention.key(hidden)),
                heads(attention.value(hidden)),
                attn_mask=None if mask is None else mask[..., :1, :],
                dropout_p=attention.dropout.p if self.training else 0.0,
            )
            attended = attended.transpose(1, 2).flatten(2)
            return self.feed_forward_chunk(self.attention.output(attended, first))

    return FirstTokenLayer


def keep_freed_memory() -> None:
    """Let glibc reuse the memory of activations: fetched anew, it costs 10-25% of a step."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):  # glibc only
        libc.mallopt(-3, 32 << 20)  # M_MMAP_THRESHOLD, its largest value
        libc.mallopt(-1, 1 << 30)  # M_TRIM_THRESHOLD
