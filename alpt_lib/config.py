"""What a run is: dataset, model, acquisition function, seed, protocol and recipe. Checked on creation."""

from dataclasses import asdict, dataclass, field, fields, replace
from math import inf
from typing import Any

from alpt_lib.acquisition import ACQUISITION_FUNCTIONS
from alpt_lib.errors import ConfigError, unknown

CHOICES = {
    "acquisition": tuple(ACQUISITION_FUNCTIONS),
    "seed_set": ("balanced", "random"),
    "optimizer": ("sgd", "adamw"),
    "stopping": ("loss_ratio", "early_stopping", "fixed_steps"),
    "augment": ("none", "flip", "crop_flip"),
    "fidelity": ("paper", "released"),
}


@dataclass(frozen=True)
class Protocol:
    """How labels are spent (paper, section 2)."""

    seed_set_size: int = (
        40  # labels before the first round (Waterbirds, Treeperson: 40; iWildCam: 182)
    )
    seed_set: str = "balanced"  # "balanced" over classes, or "random"
    budget: int = 320  # labels acquired after the seed set (released code: 320; iWildCam 1,456)
    query_batch_size: int = 5  # labels per round (released code: 5; iWildCam 20)
    eval_every: int = (
        1  # evaluate every n-th round (released code: 2); the last is always evaluated
    )
    pool_subsample: int = (
        0  # score only this many random pool rows a round; 0 scores all (iWildCam: 12,000)
    )

    def __post_init__(self):
        _check_fields(self)
        for name in ("seed_set_size", "query_batch_size", "eval_every"):
            _require(
                getattr(self, name) >= 1, f"{name} must be at least 1; got {getattr(self, name)}"
            )
        for name in ("budget", "pool_subsample"):
            _require(
                getattr(self, name) >= 0, f"{name} must be 0 or more; got {getattr(self, name)}"
            )

    @property
    def n_rounds(self) -> int:
        """Acquisition rounds after the seed set; the last may be smaller than a full query batch."""
        return -(-self.budget // self.query_batch_size)

    def evaluates(self, round_: int) -> bool:
        """Whether this round is evaluated: every n-th is, and the last."""
        return round_ == self.n_rounds or round_ % self.eval_every == 0


@dataclass(frozen=True)
class Recipe:
    """How one model is fine-tuned on one labelled set.

    Beside each setting: whose it is. The paper's text fixes the stopping rule only; the other image settings are those of its
    released code (BiT-HyperRule for sets under 20,000 examples). Its text code was not released: settings for texts are ours.
    """

    optimizer: str = "sgd"  # released code; "adamw" is ours, for texts
    lr: float = 0.003  # released code
    momentum: float = 0.9  # released code; SGD only
    weight_decay: float = 0.0  # released code
    warmup_steps: int = 100  # released code; linear warm-up, in steps
    decay_steps: tuple[int, ...] = ()  # lr is divided by 10 at each (released code: 200, 300, 400)
    max_steps: int = 500  # released code; hard stop
    train_batch_size: int = 32  # released code
    micro_batch_size: int = 0  # examples a backward pass, gradients added up over the batch; 0 takes all (released code: 4)
    mixed_precision: bool = False  # ours (released code: fp32): bfloat16 forward passes in training on CUDA; no effect on a CPU
    stopping: str = "loss_ratio"  # the paper's rule; or "early_stopping" (its Appendix D), or "fixed_steps" (ours)
    loss_ratio: float = (
        0.001  # the paper's: stop when the training loss falls to this share of its first value
    )
    check_every: int = 5  # released code (iWildCam: 10); early stopping: steps between checks
    patience: int = 5  # released code; early stopping: checks without improvement
    validation_split: str = "val"  # released code; early stopping only
    freeze_batch_norm: bool = (
        False  # ours: keep batch-norm statistics as pretrained (BiT has no batch norm)
    )
    augment: str = "none"  # "none", "flip" or "crop_flip" (released code)
    resize: int = 0  # px, side after resizing; 0 takes the dataset's image_size (released code: 512; small images 160)
    crop: int = 0  # px, side of the random crop (train) and of evaluation images; 0 takes resize (released code: 480; 128)
    # "paper": as its text reads. "released": as its code does. There the stopping rule looks at the last micro-batch alone,
    # the optimizer's momentum outlives the reset of the weights, and ties in the acquisition are broken by position
    fidelity: str = "paper"

    def __post_init__(self):
        _to_tuple(self, "decay_steps", int)
        _check_fields(self)
        _require(0 < self.lr < inf, f"lr must be positive and finite; got {self.lr}")
        _require(0 <= self.momentum < 1, f"momentum must lie in [0, 1); got {self.momentum}")
        _require(
            0 <= self.weight_decay < inf,
            f"weight_decay must be 0 or more and finite; got {self.weight_decay}",
        )
        _require(
            0 < self.loss_ratio < 1, f"loss_ratio must lie between 0 and 1; got {self.loss_ratio}"
        )
        for name in ("max_steps", "train_batch_size", "check_every", "patience"):
            _require(
                getattr(self, name) >= 1, f"{name} must be at least 1; got {getattr(self, name)}"
            )
        for name in ("warmup_steps", "micro_batch_size", "resize", "crop"):
            _require(
                getattr(self, name) >= 0, f"{name} must be 0 or more; got {getattr(self, name)}"
            )
        _require(
            self.crop <= self.resize or not self.resize,
            f"crop {self.crop} exceeds resize {self.resize}",
        )


# recipe settings that came after the first stored runs: at their defaults they are no part of a run's identity
ADDED_LATER = ("micro_batch_size", "mixed_precision", "fidelity")


@dataclass(frozen=True)
class RunConfig:
    """One run: everything that decides its rows. Its hash, with the data's and the weights', is the run id."""

    dataset: str  # folder of the manifest
    model: str  # concrete model name, see models.MODELS ("-np": not pretrained)
    acquisition: str
    seed: int
    weights: str | None = None  # local weights file or folder; None takes the model's own
    probe: tuple[
        str, ...
    ] = ()  # attributes a linear probe is asked for after each fit (paper, section 6.3)
    protocol: Protocol = field(default_factory=Protocol)
    recipe: Recipe = field(default_factory=Recipe)

    def __post_init__(self):
        _to_tuple(self, "probe", str)
        _check_fields(self)
        _require(
            0 <= self.seed < 2**32, f"seed must lie between 0 and {2**32 - 1}; got {self.seed}"
        )

    def trains(self, round_: int) -> bool:
        """Whether this round fine-tunes: the random arm asks nothing of a model, but for its evaluations (and as released)."""
        return (
            self.protocol.evaluates(round_)
            or self.acquisition != "random"
            or self.recipe.fidelity == "released"
        )

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def override(base: Any, changes: dict[str, Any], what: str) -> Any:
    """A copy of a config dataclass with some fields replaced.

    Raises:
        ConfigError: a key that is no field (all fields are listed), or a value of the wrong type or range.
    """
    if not isinstance(changes, dict):
        raise ConfigError(
            f"{what} takes a mapping such as {{{fields(base)[0].name}: ...}}; got {changes!r}"
        )
    known = [f.name for f in fields(base)]
    for key in changes:
        if key not in known:
            raise ConfigError(unknown(f"{what} setting", key, known))
    numbers = {f.name: f.type for f in fields(base) if f.type in (int, float)}
    changes = {
        k: _number(v, numbers[k]) if k in numbers and isinstance(v, str) else v
        for k, v in changes.items()
    }
    return replace(base, **changes)


def _number(text: str, kind: type) -> Any:
    """`lr: 1e-3` is a string to yaml; read it as the number it is, leave the rest to the type check."""
    try:
        return kind(text)
    except ValueError:
        return text


def _check_fields(config: Any) -> None:
    for f in fields(config):
        value = getattr(config, f.name)
        kind = {int: int, float: (int, float), bool: bool, str: str}.get(f.type)
        if kind and (
            not isinstance(value, kind) or (isinstance(value, bool) and f.type is not bool)
        ):
            raise ConfigError(
                f"{f.name} must be {f.type.__name__}; got {value!r} ({type(value).__name__})"
            )
        if f.name in CHOICES and value not in CHOICES[f.name]:
            raise ConfigError(unknown(f.name, value, CHOICES[f.name]))


def _to_tuple(config: Any, name: str, kind: type) -> None:
    value = getattr(config, name)
    if not isinstance(value, list | tuple) or any(type(v) is not kind for v in value):
        raise ConfigError(f"{name} must be a list of {kind.__name__}; got {value!r}")
    object.__setattr__(config, name, tuple(value))


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ConfigError(message)
