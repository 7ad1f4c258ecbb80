"""TODO: what this room holds."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache, partial

import torch
from torch import nn
from torch.nn import functional as F


@lru_cache(maxsize=1)
def _mini_bit() -> type[nn.Module]:
    from timm.models.resnetv2 import ResNetV2

    class MiniBit(ResNetV2):
        """timm's network and its numbers, as functions of its weights: so small, it is 4% faster a step without module calls."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.forward_head(self.forward_features(x))

        def forward_features(self, x: torch.Tensor) -> torch.Tensor:
            x = _padded_max_pool(_convolved(x, self.stem.conv))
            for block in (block for stage in self.stages for block in stage.blocks):
                shortcut, x = x, _normed(x, block.norm1)
                if block.downsample is not None:
                    shortcut = _convolved(x, block.downsample.conv)
                x = _normed(_convolved(x, block.conv1), block.norm2)
                x = _normed(_convolved(x, block.conv2), block.norm3)
                x = _convolved(x, block.conv3) + shortcut
            return _normed(x, self.norm)

        def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
            pooled = F.adaptive_avg_pool2d(x, 1)
            return (
                pooled if pre_logits else F.conv2d(pooled, self.head.fc.weight, self.head.fc.bias)
            ).flatten(1)

    return MiniBit


def _convolved(x: torch.Tensor, convolution: nn.Conv2d) -> torch.Tensor:
    """By the convolution with standardised weights; in training a 1x1 is a product of matrices, faster for so small an image."""
    if "forward" in vars(convolution):
        return convolution.forward(x)  # folded
    if convolution.kernel_size != (1, 1) or not convolution.training:
        return F.conv2d(
            x, _standardised(convolution), None, convolution.stride, convolution.padding
        )
    if convolution.stride != (1, 1):
        x = x[:, :, :: convolution.stride[0], :: convolution.stride[1]]
    weight = torch.layer_norm(
        convolution.weight.flatten(1), (convolution.in_channels,), eps=convolution.eps
    )
    return F.linear(x.permute(0, 2, 3, 1), weight).permute(0, 3, 1, 2)


def _normed(x: torch.Tensor, norm: nn.GroupNorm) -> torch.Tensor:
    return torch.group_norm(x, norm.num_groups, norm.weight, norm.bias, norm.eps).relu_()


def _padded_max_pool(x: torch.Tensor) -> torch.Tensor:
    """3x3/2 of an image with zeros around it, as BiT's, without copying it."""
    return F.max_pool2d(x, 3, 2, padding=1).clamp(min=_zeros_seen(*x.shape[-2:], x.dtype, x.device))


@lru_cache
@torch.inference_mode(False)
def _zeros_seen(height: int, width: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """0 where a window of that pool reaches beyond the image, else -inf."""
    inside = torch.full((1, 1, height, width), -torch.inf, dtype=dtype, device=device)
    return F.max_pool2d(F.pad(inside, [1] * 4), 3, 2)


def _standardised(convolution: nn.Conv2d) -> torch.Tensor:
    """Its weight with mean 0 and variance 1 over each output channel; kept in its memory format, channels last."""
    weight = convolution.weight.permute(0, 2, 3, 1)
    return torch.layer_norm(weight, weight.shape[1:], eps=convolution.eps).permute(0, 3, 1, 2)


@lru_cache(maxsize=1)
def _first_token_layer() -> type[nn.Module]:
    from transformers.models.roberta.modeling_roberta import RobertaLayer

    class FirstTokenLayer(RobertaLayer):
        """RoBERTa's last layer for the first token alone, all that its head reads: the numbers are the same.

        With two layers, as roberta-m has, a step takes two thirds of the time.
        """

        def forward(
            self, hidden: torch.Tensor, mask: torch.Tensor | None = None, *_, **__
        ) -> torch.Tensor:
            first, attention = hidden[:, :1], self.attention.self
            query, key, value = (
                part(x).unflatten(-1, (attention.num_attention_heads, -1)).transpose(1, 2)
                for part, x in (
                    (attention.query, first),
                    (attention.key, hidden),
                    (attention.value, hidden),
                )
            )
            found = F.scaled_dot_product_attention(
                query,
                key,
                value,
                attn_mask=None if mask is None else mask[..., :1, :],
                dropout_p=attention.dropout.p if self.training else 0.0,
            )
            return self.feed_forward_chunk(
                self.attention.output(found.transpose(1, 2).flatten(2), first)
            )

    return FirstTokenLayer


@contextmanager
def folded(model: nn.Module) -> Iterator[None]:
    """Weight-standardised convolutions as plain ones: for scoring, each weight is standardised once, not in every batch."""
    from timm.layers import StdConv2d

    convolutions = [module for module in model.modules() if type(module) is StdConv2d]
    for m in convolutions:
        m.forward = partial(
            F.conv2d,
            weight=_standardised(m),
            bias=m.bias,
            stride=m.stride,
            padding=m.padding,
            dilation=m.dilation,
            groups=m.groups,
        )
    try:
        yield
    finally:
        for m in convolutions:
            del m.forward
