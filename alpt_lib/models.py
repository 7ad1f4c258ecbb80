"""How a model is built: a pretrained or random backbone, and a new head."""

from collections.abc import Sequence
from functools import cached_property, partial
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import numpy as np
import torch
import yaml
from torch import nn

from alpt_lib.checkpoints import checked, hub_errors, load_backbone, weights_source
from alpt_lib.datasets import Dataset
from alpt_lib.errors import ModelError, unknown
from alpt_lib.fast_layers import first_token_layer, mini_bit_class
from alpt_lib.registry import MINI_BIT_LAYERS, reads_texts, split_name


class ImageClassifier(nn.Module):
    """A timm network. Batches are (n, size, size, 3) uint8 images."""

    shift: torch.Tensor
    scale: torch.Tensor

    def __init__(self, network: Any, mean: Sequence[float], std: Sequence[float]):
        super().__init__()
        self.network = network.to(memory_format=torch.channels_last)
        shift = torch.tensor(mean).view(1, 3, 1, 1) * 255
        scale = 1 / (torch.tensor(std).view(1, 3, 1, 1) * 255)
        self.register_buffer("shift", shift, persistent=False)
        self.register_buffer("scale", scale, persistent=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(n, n_classes) logits of (n, size, size, 3) uint8 images."""
        return self.network(self._normalise(images))

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """(n, n_features) activations before the head (paper, section 6.3: the one before last)."""
        feature_maps = self.network.forward_features(self._normalise(images))
        return self.network.forward_head(feature_maps, pre_logits=True)

    def _normalise(self, images: torch.Tensor) -> torch.Tensor:
        # NHWC uint8 viewed as NCHW is channels_last already, which is 1.3-1.8x faster on a CPU
        return images.permute(0, 3, 1, 2).to(self.shift.dtype).sub_(self.shift).mul_(self.scale)


class TextClassifier(nn.Module):
    """A transformers sequence classifier. Batches are (n, n_tokens) int64 token ids, padded."""

    def __init__(self, network: Any, tokenizer: Any, max_tokens: int):
        super().__init__()
        self.network = network
        self.tokenizer = tokenizer
        self.max_tokens = max_tokens
        is_roberta = type(network).__name__ == "RobertaForSequenceClassification"
        if is_roberta and network.config._attn_implementation == "sdpa":
            network.roberta.encoder.layer[-1].__class__ = first_token_layer()

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """(n, n_classes) logits."""
        return self.network(input_ids=tokens, attention_mask=tokens != self.padding).logits

    def features(self, tokens: torch.Tensor) -> torch.Tensor:
        """(n, n_features) final hidden state of the first token, which the head reads."""
        backbone = self.network.base_model
        states = backbone(input_ids=tokens, attention_mask=tokens != self.padding)
        return states.last_hidden_state[:, 0]

    @property
    def padding(self) -> int:
        """The token id that fills up shorter texts."""
        return self.tokenizer.pad_token_id

    @cached_property
    def tokens_kind(self) -> str:
        """16 hexadecimal digits of what decides a text's tokens: the tokenizer and `max_tokens`."""
        described = self.tokenizer.backend_tokenizer.to_str() + str(self.max_tokens)
        return sha256(described.encode()).hexdigest()[:16]

    def tokenize(self, texts: list[str]) -> np.ndarray:
        """(n, longest) int64 token ids, cut at max_tokens."""
        encoded = self.tokenizer(
            texts, truncation=True, max_length=self.max_tokens, padding=True, return_tensors="np"
        )
        return encoded["input_ids"].astype(np.int64)


def create_model(
    name: str, data: Dataset, weights: str | None, seed: int
) -> ImageClassifier | TextClassifier:
    """The initial model of a run: a backbone as pretrained (or random from `seed`) and a new head.

    Args:
        name: concrete name, see `registry.resolve`. data: says the classes and what is read.
        weights: local file (safetensors, npz, pth) or folder; None takes the model's own.
    Raises:
        ModelError: unknown, reads something else, weights missing or not fitting, no hub.
    """
    base, suffix = split_name(name)
    is_text = reads_texts(base)
    if is_text != (data.description.modality == "text"):
        reads = "texts" if is_text else "images"
        raise ModelError(
            f"model {name} reads {reads}; dataset {data.name} holds {data.description.modality}s"
        )
    build = _create_text if is_text else _create_image
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build(base, data, weights, is_pretrained=not suffix)


def build_mini_bit(layers: tuple[int, ...] = (1, 1, 1), n_classes: int = 2) -> nn.Module:
    """BiT in miniature for 32 px images: pre-activation ResNetV2, weight-standardised convolutions.

    Stem 7x7/2 and 3x3/2 pool, stages of 64, 128 and 256 channels on 8x8, 4x4 and 2x2, group norm
    (8 groups), mean pool to 256 features.
    """
    from timm.layers import GroupNormAct, StdConv2d

    return mini_bit_class()(
        layers=list(layers),
        channels=(64, 128, 256),
        stem_chs=32,
        stem_type="fixed",
        num_classes=n_classes,
        conv_layer=partial(StdConv2d, eps=1e-8),
        norm_layer=partial(GroupNormAct, num_groups=8),
    )


def _create_image(
    base: str, data: Dataset, weights: str | None, is_pretrained: bool
) -> ImageClassifier:
    source = weights_source(base, weights) if is_pretrained else None
    n_classes = len(data.classes)
    if base in MINI_BIT_LAYERS:
        network: Any = build_mini_bit(MINI_BIT_LAYERS[base], n_classes)
        colours = {"mean": [0.5] * 3, "std": [0.5] * 3}
    else:
        network, colours = _build_timm(base, n_classes, is_pretrained and source is None)
    if source:
        load_backbone(network, source if weights else checked(source))
    _initialise(network, is_pretrained)
    return ImageClassifier(network, colours["mean"], colours["std"])


def _initialise(network: Any, is_pretrained: bool) -> None:
    """As the released code: zero head if pretrained, else PyTorch's default throughout."""
    if is_pretrained:
        head = network.get_classifier()
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
        return
    for module in network.modules():
        # timm starts norms as PyTorch does
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.reset_parameters()


def _build_timm(base: str, n_classes: int, from_hub: bool) -> tuple[Any, dict[str, Any]]:
    """The network, and the mean and std that its images are normalised with."""
    import timm

    name, _, query = base.removeprefix("timm:").partition("?")
    try:
        options = {key: yaml.safe_load(value) for key, value in parse_qsl(query)}
    except yaml.YAMLError as error:
        raise ModelError(f"{base}: the options after ? are no yaml: {error}") from error
    colours = {key: _three(key, options.pop(key)) for key in ("mean", "std") if key in options}
    if not timm.is_model(name):
        similar = timm.list_models(f"{name[:5]}*")
        raise ModelError(unknown("timm model", name, similar or ["see timm.list_models()"]))
    published = timm.get_pretrained_cfg(name)
    repository = (published and published.hf_hub_id) or name
    with hub_errors(f"timm model {name}", repository, "model.safetensors", use=from_hub):
        try:
            network = timm.create_model(name, pretrained=from_hub, num_classes=n_classes, **options)
        # an option or a pretrained tag that this network does not have
        except (TypeError, RuntimeError) as error:
            raise ModelError(
                f"timm model {name} cannot be built with {options}: {error}"
            ) from error
    return network, {**timm.data.resolve_model_data_config(network), **colours}


def _three(key: str, value: float | list[float]) -> list[float]:
    """A model's `mean` or `std`, one number or three: weights may want others than timm says."""
    values = value if isinstance(value, list) else [value] * 3
    if len(values) != 3 or not all(isinstance(v, int | float) for v in values):
        raise ModelError(
            f"{key} takes one number or [red, green, blue], on a scale from 0 to 1; got {value!r}"
        )
    return [float(v) for v in values]


def _create_text(
    base: str, data: Dataset, weights: str | None, is_pretrained: bool
) -> TextClassifier:
    source = weights_source(base, weights)
    if source and not weights and not base.startswith("hf:"):
        for part in ("config.json", "model.safetensors", "tokenizer.json"):
            checked(source / part)
    name = str(source or base.removeprefix("hf:"))
    network, tokenizer = _build_transformers(name, source, len(data.classes), is_pretrained)
    if len(tokenizer) < 100 or tokenizer.pad_token_id is None:
        raise ModelError(
            f"the tokenizer in {name} has {len(tokenizer)} tokens and pad token "
            f"{tokenizer.pad_token}; it needs its vocabulary files and a padding token"
        )
    return TextClassifier(network, tokenizer, data.description.max_tokens)


def _build_transformers(
    name: str, folder: Path | None, n_classes: int, is_pretrained: bool
) -> tuple[Any, Any]:
    """The network and its tokenizer. Code that lies in a model's folder is never run."""
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer
    from transformers.utils import logging

    # the note that the head is new: it always is
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    weights = ", model.safetensors" if is_pretrained else ""
    files = f"config.json{weights} and the tokenizer's files"
    with hub_errors(f"transformers model {name}", name, files, use=folder is None):
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
        config = AutoConfig.from_pretrained(name, num_labels=n_classes, trust_remote_code=False)
        if not is_pretrained:
            return _from_config(config), tokenizer
        network, report = AutoModelForSequenceClassification.from_pretrained(
            name,
            config=config,
            dtype=torch.float32,
            trust_remote_code=False,
            weights_only=True,
            # of a head with another number of classes; `_check_backbone` refuses all others
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    missing = set(report["missing_keys"])
    _check_backbone(name, network, missing, {key for key, *_ in report["mismatched_keys"]})
    if not missing.issuperset(_head(network)):
        _replace_head(network)
    return network, tokenizer


def _head(network: Any) -> set[str]:
    """Names of the tensors that are not the backbone's."""
    prefix = network.base_model_prefix + "."
    return {name for name in network.state_dict() if not name.startswith(prefix)}


def _check_backbone(name: str, network: Any, missing: set[str], misfits: set[str]) -> None:
    """Refuse a folder that holds another network's weights: transformers would draw them."""
    backbone = network.state_dict().keys() - _head(network)
    # a pooler is new where the checkpoint is of a language model
    lacking = sorted(key for key in missing & backbone if "pooler" not in key)
    misfits = misfits & backbone
    if lacking or misfits:
        raise ModelError(
            f"weights of {name} do not fit its config.json: {len(lacking)} of {len(backbone)} "
            f"tensors missing, {len(misfits)} of another shape (e.g. {min([*lacking, *misfits])})"
        )


def _replace_head(network: Any) -> None:
    """A classifier that was fine-tuned before starts with a new head: its own knows labels."""
    for part, module in _from_config(network.config).named_children():
        if part != network.base_model_prefix:
            setattr(network, part, module)


def _from_config(config: Any) -> Any:
    from transformers import AutoModelForSequenceClassification

    return AutoModelForSequenceClassification.from_config(
        config, dtype=torch.float32, trust_remote_code=False
    )
