"""How a model is built: a pretrained or random backbone, and a new head."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any
from urllib.parse import parse_qsl

import torch
import yaml
from torch import nn

from alpt_lib.checkpoints import checked, classifiers, hub_errors, load_backbone, weights_source
from alpt_lib.datasets import Dataset
from alpt_lib.errors import ModelError, one_line, unknown
from alpt_lib.fast_layers import mini_bit_class
from alpt_lib.registry import MINI_BIT_LAYERS, reads_texts, split_name
from alpt_lib.text_models import TextClassifier, build_text_classifier

# options of timm's that the dataset, the recipe and `weights` decide
OURS = {
    *("num_classes", "pretrained", "in_chans", "features_only", "out_indices", "checkpoint_path"),
    *("pretrained_cfg", "pretrained_cfg_overlay", "scriptable", "exportable"),
}

# torch has one generator a process, for all threads
_DRAWING = threading.RLock()


@contextmanager
def torch_seed(seed: int) -> Iterator[None]:
    """Draw from torch's generator as seeded here, while no other thread that asks this draws.

    A model that a labelling session trains meanwhile would take numbers of a notebook's run, and
    neither could be repeated.
    """
    with _DRAWING, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


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
        """(n, n_classes) logits of (n, size, size, 3) uint8 images.

        Raises:
            ModelError: a network for images of another size.
        """
        with self._size_errors(images.shape[1]):
            return self.network(self._normalise(images))

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """(n, n_features) activations before the head (paper, section 6.3: the one before last)."""
        with self._size_errors(images.shape[1]):
            feature_maps = self.network.forward_features(self._normalise(images))
            return self.network.forward_head(feature_maps, pre_logits=True)

    def logits_of_features(self, features: torch.Tensor) -> torch.Tensor:
        """(n, n_classes) what the head says to (n, n_features) activations."""
        logits = []
        for head in classifiers(self.network):
            is_convolution = isinstance(head, nn.Conv2d)
            given = features[:, :, None, None] if is_convolution else features
            logits.append(head(given).flatten(1))
        # of two heads the network takes the mean
        return torch.stack(logits).mean(dim=0)

    @contextmanager
    def _size_errors(self, size: int) -> Iterator[None]:
        try:
            yield
        except (AssertionError, RuntimeError) as error:
            # in words of many kinds
            is_about_size = isinstance(error, AssertionError) or "size" in str(error)
            if not is_about_size or "memory" in str(error):
                raise
            raise ModelError(
                f"the network cannot read images of {size} px ({one_line(error)}): add "
                f"?img_size={size} to the model's name, or set recipe resize to a size that it can"
            ) from error

    def _normalise(self, images: torch.Tensor) -> torch.Tensor:
        # NHWC uint8 viewed as NCHW is channels_last already, which is 1.3-1.8x faster on a CPU
        return images.permute(0, 3, 1, 2).to(self.shift.dtype).sub_(self.shift).mul_(self.scale)


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
    reads = "text" if reads_texts(base) else "image"
    holds = data.description.modality
    if holds != reads:
        what = f"{holds}s"
        if holds == "features":
            names = ", ".join(data.feature_names())
            what = f"features of {names}: take one of these as its model"
        raise ModelError(f"model {name} reads {reads}s; dataset {data.name} holds {what}")
    n_classes = len(data.classes)
    with torch_seed(seed):
        if reads == "text":
            max_tokens = data.description.max_tokens
            return build_text_classifier(base, weights, n_classes, max_tokens, not suffix)
        return _build_image_classifier(base, weights, n_classes, not suffix)


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


def _build_image_classifier(
    base: str, weights: str | None, n_classes: int, is_pretrained: bool
) -> ImageClassifier:
    source = weights_source(base, weights) if is_pretrained else None
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
    parts = classifiers(network) if is_pretrained else [network]
    layers = [layer for part in parts for layer in part.modules()]
    for layer in layers:
        if not isinstance(layer, nn.Conv2d | nn.Linear):
            # timm starts norms as PyTorch does
            continue
        if not is_pretrained:
            layer.reset_parameters()
        elif len(layer.weight) == network.num_classes:
            for parameter in layer.parameters():
                nn.init.zeros_(parameter)


def _build_timm(base: str, n_classes: int, from_hub: bool) -> tuple[Any, dict[str, Any]]:
    """The network, and the mean and std that its images are normalised with."""
    import timm

    name, _, query = base.removeprefix("timm:").partition("?")
    try:
        options = {key: yaml.safe_load(value) for key, value in parse_qsl(query)}
    except yaml.YAMLError as error:
        raise ModelError(f"{base}: the options after ? are no yaml: {error}") from error
    for name_of_ours in OURS.intersection(options):
        raise ModelError(f"{base}: {name_of_ours} is not to be chosen here, the dataset decides it")
    colours = {key: _three(key, options.pop(key)) for key in ("mean", "std") if key in options}
    require_timm_model(name)
    published = timm.get_pretrained_cfg(name)
    repository = (published and published.hf_hub_id) or name
    with hub_errors(f"timm model {name}", repository, "model.safetensors", use=from_hub):
        try:
            network = timm.create_model(name, pretrained=from_hub, num_classes=n_classes, **options)
        # an option or a pretrained tag that this network does not have
        except (TypeError, RuntimeError, LookupError, AttributeError, AssertionError) as error:
            raise ModelError(
                f"timm model {name} cannot be built with {options}: {one_line(error)}"
            ) from error
    return network, {**timm.data.resolve_model_data_config(network), **colours}


def require_timm_model(name: str) -> None:
    """Refuse a name that timm does not know.

    Raises:
        ModelError: lists similar ones.
    """
    import timm

    if not timm.is_model(name):
        similar = timm.list_models(f"{name[:5]}*") if name else []
        raise ModelError(unknown("timm model", name, similar or ["see timm.list_models()"]))


def _three(key: str, value: float | list[float]) -> list[float]:
    """A model's `mean` or `std`, one number or three: weights may want others than timm says."""
    values = value if isinstance(value, list) else [value] * 3
    if len(values) != 3 or not all(isinstance(v, int | float) for v in values):
        raise ModelError(
            f"{key} takes one number or [red, green, blue], on a scale from 0 to 1; got {value!r}"
        )
    return [float(v) for v in values]
