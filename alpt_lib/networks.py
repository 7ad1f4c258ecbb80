"""Backbones with a new head: the embedded miniatures, any timm model, any transformers sequence classifier."""

import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache, partial
from hashlib import sha256
from pathlib import Path
from pickle import UnpicklingError
from urllib.parse import parse_qsl

import numpy as np
import torch
import yaml
from huggingface_hub import constants as hub
from huggingface_hub.errors import LocalEntryNotFoundError, RepositoryNotFoundError
from huggingface_hub.utils import get_session
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

from alpt_lib.config import unknown
from alpt_lib.datasets import Dataset
from alpt_lib.models import MINI_BIT_LAYERS, ModelError, checked, embedded_weights, existing, reads_texts, split_name


def build_mini_bit(layers: tuple[int, ...] = (1, 1, 1), n_classes: int = 2) -> nn.Module:
    """BiT in miniature for 32 px images: pre-activation ResNetV2, group norm (8 groups), weight-standardised convs.

    Stem 7x7/2 and 3x3/2 pool, stages of 64-128-256 channels on 8x8, 4x4 and 2x2, mean pool to 256 features.
    """
    from timm.layers import GroupNormAct, StdConv2d

    return _mini_bit()(
        layers=list(layers), channels=(64, 128, 256), stem_chs=32, stem_type="fixed", num_classes=n_classes,
        conv_layer=partial(StdConv2d, eps=1e-8), norm_layer=partial(GroupNormAct, num_groups=8),
    )


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
            return (pooled if pre_logits else F.conv2d(pooled, self.head.fc.weight, self.head.fc.bias)).flatten(1)

    return MiniBit


def _convolved(x: torch.Tensor, convolution: nn.Conv2d) -> torch.Tensor:
    """By the convolution with standardised weights; in training a 1x1 is a product of matrices, faster for so small an image."""
    if "forward" in vars(convolution):
        return convolution.forward(x)  # folded
    if convolution.kernel_size != (1, 1) or not convolution.training:
        return F.conv2d(x, _standardised(convolution), None, convolution.stride, convolution.padding)
    if convolution.stride != (1, 1):
        x = x[:, :, :: convolution.stride[0], :: convolution.stride[1]]
    weight = torch.layer_norm(convolution.weight.flatten(1), (convolution.in_channels,), eps=convolution.eps)
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


class ImageClassifier(nn.Module):
    """A timm network. Batches are (n, size, size, 3) uint8 images."""

    def __init__(self, network: nn.Module, mean: Sequence[float], std: Sequence[float]):
        super().__init__()
        self.network = network.to(memory_format=torch.channels_last)
        self.register_buffer("shift", torch.tensor(mean).view(1, 3, 1, 1) * 255, persistent=False)
        self.register_buffer("scale", 1 / (torch.tensor(std).view(1, 3, 1, 1) * 255), persistent=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(n, n_classes) logits of (n, size, size, 3) uint8 images."""
        return self.network(self._normalise(images))

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """(n, n_features) activations before the head (paper, section 6.3: the second to last layer)."""
        return self.network.forward_head(self.network.forward_features(self._normalise(images)), pre_logits=True)

    def _normalise(self, images: torch.Tensor) -> torch.Tensor:
        # NHWC uint8 viewed as NCHW is channels_last already, which is 1.3-1.8x faster on a CPU
        return images.permute(0, 3, 1, 2).to(self.shift.dtype).sub_(self.shift).mul_(self.scale)


class TextClassifier(nn.Module):
    """A transformers sequence classifier. Batches are (n, n_tokens) int64 token ids, padded."""

    def __init__(self, network: nn.Module, tokenizer, max_tokens: int):
        super().__init__()
        self.network, self.tokenizer, self.max_tokens = network, tokenizer, max_tokens
        if type(network).__name__ == "RobertaForSequenceClassification" and network.config._attn_implementation == "sdpa":
            network.roberta.encoder.layer[-1].__class__ = _first_token_layer()

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """(n, n_classes) logits."""
        return self.network(input_ids=tokens, attention_mask=self._mask(tokens)).logits

    def features(self, tokens: torch.Tensor) -> torch.Tensor:
        """(n, n_features) final hidden state of the first token, which the head reads."""
        return self.network.base_model(input_ids=tokens, attention_mask=self._mask(tokens)).last_hidden_state[:, 0]

    def tokenize(self, texts: list[str]) -> np.ndarray:
        """(n, longest) int64 token ids, cut at max_tokens."""
        encoded = self.tokenizer(texts, truncation=True, max_length=self.max_tokens, padding=True, return_tensors="np")
        return encoded["input_ids"].astype(np.int64)

    def tokens(self, data: Dataset, split: str) -> np.ndarray:
        """(n, longest) int32 token ids of a split, from the dataset's cache."""
        described = self.tokenizer.backend_tokenizer.to_str() + str(self.max_tokens)
        return data.tokens(split, self.tokenize, sha256(described.encode()).hexdigest()[:16], self.tokenizer.pad_token_id)

    def _mask(self, tokens: torch.Tensor) -> torch.Tensor:
        return tokens != self.tokenizer.pad_token_id


@lru_cache(maxsize=1)
def _first_token_layer() -> type[nn.Module]:
    from transformers.models.roberta.modeling_roberta import RobertaLayer

    class FirstTokenLayer(RobertaLayer):
        """RoBERTa's last layer for the first token alone, all that its head reads: the numbers are the same.

        With two layers, as roberta-m has, a step takes two thirds of the time.
        """

        def forward(self, hidden: torch.Tensor, mask: torch.Tensor | None = None, *_, **__) -> torch.Tensor:
            first, attention = hidden[:, :1], self.attention.self
            query, key, value = (part(x).unflatten(-1, (attention.num_attention_heads, -1)).transpose(1, 2) for part, x in (
                (attention.query, first), (attention.key, hidden), (attention.value, hidden)))
            found = F.scaled_dot_product_attention(query, key, value, attn_mask=None if mask is None else mask[..., :1, :],
                                                   dropout_p=attention.dropout.p if self.training else 0.0)
            return self.feed_forward_chunk(self.attention.output(found.transpose(1, 2).flatten(2), first))

    return FirstTokenLayer


@contextmanager
def folded(model: nn.Module) -> Iterator[None]:
    """Weight-standardised convolutions as plain ones: for scoring, each weight is standardised once, not in every batch."""
    from timm.layers import StdConv2d

    convolutions = [module for module in model.modules() if type(module) is StdConv2d]
    for m in convolutions:
        m.forward = partial(F.conv2d, weight=_standardised(m), bias=m.bias, stride=m.stride, padding=m.padding,
                            dilation=m.dilation, groups=m.groups)
    try:
        yield
    finally:
        for m in convolutions:
            del m.forward


def create(name: str, data: Dataset, weights: str | None, seed: int) -> ImageClassifier | TextClassifier:
    """The initial model of a run: backbone as pretrained (or randomly initialised from `seed`) and a new head.

    Args:
        name: concrete name, see `resolve`. weights: local file (safetensors, npz, pth) or folder; None takes the model's own.
    Raises:
        ModelError: unknown, wrong modality, weights missing or not fitting, or a hub that cannot be reached.
    """
    base, suffix = split_name(name)
    is_text = reads_texts(base)
    if is_text != (data.description.modality == "text"):
        reads = "texts" if is_text else "images"
        raise ModelError(f"model {name} reads {reads}; dataset {data.name} holds {data.description.modality}s")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        build = _create_text if is_text else _create_image
        return build(base, data, weights, pretrained=not suffix)


def _create_image(base: str, data: Dataset, weights: str | None, pretrained: bool) -> ImageClassifier:
    network, mean, std = _build_image(base, len(data.classes), from_hub=pretrained and not weights)
    head = network.get_classifier()
    if pretrained:  # released code: zero head when pretrained, PyTorch's default initialisation throughout when not
        own = embedded_weights(base)
        if weights or own:
            _load_backbone(network, existing(weights) if weights else checked(own))
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
    else:
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):  # timm starts norms as PyTorch does
                module.reset_parameters()
    return ImageClassifier(network, mean, std)


def _build_image(base: str, n_classes: int, from_hub: bool) -> tuple[nn.Module, Sequence[float], Sequence[float]]:
    if base in MINI_BIT_LAYERS:
        return build_mini_bit(MINI_BIT_LAYERS[base], n_classes), (0.5,) * 3, (0.5,) * 3
    import timm

    name, _, query = base.removeprefix("timm:").partition("?")
    try:
        options = {key: yaml.safe_load(value) for key, value in parse_qsl(query)}
    except yaml.YAMLError as error:
        raise ModelError(f"{base}: the options after ? are no yaml: {error}") from error
    colours = {key: _three(key, options.pop(key)) for key in ("mean", "std") if key in options}
    if not timm.is_model(name):
        raise ModelError(unknown("timm model", name, timm.list_models(f"{name[:5]}*") or ["see timm.list_models()"]))
    config = timm.get_pretrained_cfg(name)
    with _hub(f"timm model {name}", config and config.hf_hub_id, "model.safetensors", use=from_hub):
        try:
            network = timm.create_model(name, pretrained=from_hub, num_classes=n_classes, **options)
        except (TypeError, RuntimeError) as error:  # an option or a pretrained tag that this network does not have
            raise ModelError(f"timm model {name} cannot be built with {options}: {error}") from error
    config = {**timm.data.resolve_model_data_config(network), **colours}
    return network, config["mean"], config["std"]


def _three(key: str, value: float | list[float]) -> list[float]:
    """The `mean` or `std` of a model's query, one number or three: weights may want others than timm's default says."""
    values = value if isinstance(value, list) else [value] * 3
    if len(values) != 3 or not all(isinstance(v, int | float) for v in values):
        raise ModelError(f"{key} takes one number or [red, green, blue], on a scale from 0 to 1; got {value!r}")
    return [float(v) for v in values]


def _create_text(base: str, data: Dataset, weights: str | None, pretrained: bool) -> TextClassifier:
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer
    from transformers.utils import logging

    logging.set_verbosity_error()  # the note that the head is new: it always is
    logging.disable_progress_bar()
    own = embedded_weights(base)
    source = str(existing(weights) if weights else own or base.removeprefix("hf:"))
    if own and not weights:
        for part in ("config.json", "model.safetensors", "tokenizer.json"):
            checked(own / part)
    files = f"config.json{', model.safetensors' if pretrained else ''} and the tokenizer's files"
    with _hub(f"transformers model {source}", source, files, use=not (weights or own)):
        tokenizer = AutoTokenizer.from_pretrained(source)
        if pretrained:
            build = AutoModelForSequenceClassification.from_pretrained
            network = build(source, num_labels=len(data.classes), dtype=torch.float32)
        else:
            config = AutoConfig.from_pretrained(source, num_labels=len(data.classes))
            network = AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)
    if len(tokenizer) < 100 or tokenizer.pad_token_id is None:
        raise ModelError(f"the tokenizer in {source} has {len(tokenizer)} tokens and pad token {tokenizer.pad_token}; "
                         "it needs its vocabulary files and a padding token")
    return TextClassifier(network, tokenizer, data.description.max_tokens)


@contextmanager
def _hub(what: str, repository: str | None, files: str, use: bool):
    """Load from the Hugging Face hub; one that does not deliver becomes one line: which file, from where, where to put it."""
    if use:
        _go_offline_if_unreachable()
    try:
        yield
    except ModelError:
        raise
    except (OSError, ValueError, LocalEntryNotFoundError, RepositoryNotFoundError, SafetensorError) as error:
        if not use:
            raise ModelError(f"{what} cannot be read, it needs {files}: {' '.join(str(error).split())[:200]}") from error
        why = "no network" if hub.HF_HUB_OFFLINE else (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(f"{what} is not on this machine and the hub did not deliver it ({why}): download {files} from "
                         f"{hub.ENDPOINT}/{repository} elsewhere and pass weights: FILE_OR_FOLDER, or put them into the hub's "
                         f"cache {hub.HF_HUB_CACHE}") from error


@lru_cache(maxsize=1)
def _go_offline_if_unreachable() -> None:
    """Use the hub's cache alone if the hub does not answer within 3 s; its client would go on retrying for up to 50 s."""
    try:
        get_session().head(hub.ENDPOINT, timeout=3)
    except Exception:  # what is raised depends on the HTTP library, which differs between versions of the hub's client
        hub.HF_HUB_OFFLINE = True


def _load_backbone(network: nn.Module, file: Path) -> None:
    """Load everything but the head, from safetensors, Google's npz or a state dict read with weights_only."""
    readers = {".safetensors": load_file, ".npz": partial(_read_npz, network)}
    try:
        state = readers.get(file.suffix, partial(torch.load, map_location="cpu", weights_only=True))(file)
        state = state.get("state_dict", state)
        own = network.state_dict()
        shapes = {name: tensor.shape for name, tensor in state.items()}
    except (AttributeError, LookupError, OSError, ValueError, RuntimeError, SafetensorError, UnpicklingError,
            zipfile.BadZipFile) as error:
        raise ModelError(f"{file} cannot be read as weights of this model: {type(error).__name__}: {str(error)[:200]}") from error
    head = {name for name, p in network.named_parameters() if any(p is q for q in network.get_classifier().parameters())}
    wanted, found = set(own) - head, set(state) - head
    misfits = [k for k in wanted & found if own[k].shape != shapes[k]]
    if wanted != found or misfits:
        raise ModelError(f"weights in {file.name} do not fit this model: {len(wanted - found)} of {len(wanted)} tensors missing, "
                         f"{len(found - wanted)} unknown, {len(misfits)} of another shape"
                         f" (e.g. {sorted([*(wanted ^ found), *misfits])[0]})")
    broken = sorted(k for k in wanted if not torch.isfinite(state[k]).all())
    if broken:
        raise ModelError(f"weights in {file.name} hold NaN or infinite values: {len(broken)} of {len(wanted)} tensors, "
                         f"first {broken[0]}")
    network.load_state_dict({**own, **{k: state[k] for k in wanted}})


def _read_npz(network: nn.Module, file: Path) -> dict[str, torch.Tensor]:
    """State dict of Google's npz in the layout of this network.

    Raises:
        ValueError: another network's; timm would load the first blocks of a deeper one without a word.
    """
    with np.load(file, allow_pickle=False) as stored:
        found = sum(name.endswith("group_norm/gamma") for name in stored.files)
    wanted = sum(isinstance(module, nn.GroupNorm) for module in network.modules())
    if found != wanted:
        raise ValueError(f"it has {found} group norms, the model {wanted}")
    network.load_pretrained(str(file))
    return network.state_dict()
