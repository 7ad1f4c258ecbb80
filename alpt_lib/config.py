"""What a run is: dataset, model, acquisition function, seed, protocol, recipe; checked."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, field, fields, replace
from typing import Annotated, Any, Literal, TypeVar, cast, dataclass_transform, get_args
from zlib import crc32

import numpy as np
from pydantic import AfterValidator, ConfigDict, Field, Strict, StrictInt, StrictStr
from pydantic import ValidationError as PydanticError
from pydantic.dataclasses import dataclass

from alpt_lib.acquisition import CHEATING, acquisition_names
from alpt_lib.errors import CompanionError, ConfigError, unknown

Class = TypeVar("Class")
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
# a list in yaml serves as a tuple
Integers = Annotated[tuple[StrictInt, ...], Strict(False)]
Names = Annotated[tuple[StrictStr, ...], Strict(False)]


@dataclass_transform(frozen_default=True, field_specifiers=(field, Field))
def checked_dataclass(error: type[CompanionError]) -> Callable[[type[Class]], type[Class]]:
    """A frozen pydantic dataclass: its fields are checked when made, a fault is one line."""

    def decorate(cls: type[Class]) -> type[Class]:
        settings = ConfigDict(strict=True, extra="forbid", validate_default=False)
        checked: Any = dataclass(config=settings, frozen=True)(cls)
        make = checked.__init__

        def __init__(self, *values: Any, **named: Any) -> None:
            try:
                make(self, *values, **named)
            except PydanticError as faults:
                raise error(_in_words(checked, faults.errors()[0])) from None

        checked.__init__ = __init__
        return checked

    return decorate


def _in_words(cls: type, fault: Any) -> str:
    """The first fault that pydantic names: which field, what it takes, what it got."""
    name = str(fault["loc"][0]) if fault["loc"] else ""
    value = fault["input"]
    if fault["type"] == "unexpected_keyword_argument":
        return unknown("setting", name, [f.name for f in fields(cls)])
    if fault["type"] == "literal_error":
        (kind,) = [f.type for f in fields(cls) if f.name == name]
        return unknown(name, value, get_args(kind))
    if "error" in fault.get("ctx", {}):
        return str(fault["ctx"]["error"])
    takes = fault["msg"].replace("Input should be", "must be")
    return f"{name} {takes}; got {value!r} ({type(value).__name__})"


@checked_dataclass(ConfigError)
class Protocol:
    """How labels are spent (paper, section 2)."""

    # labels before the first round (Waterbirds, Treeperson: 40; iWildCam: 182)
    seed_set_size: Positive = 40
    seed_set: Literal["balanced", "random"] = "balanced"  # over classes
    # labels acquired after the seed set (released code: 320; iWildCam 1,456)
    budget: Count = 320
    query_batch_size: Positive = 5  # labels a round (released code: 5; iWildCam 20)
    # evaluate every n-th round (released code: 2); the last is always evaluated
    eval_every: Positive = 1
    # score only this many random pool rows a round; 0 scores all (iWildCam: 12,000)
    pool_subsample: Count = 0

    @property
    def n_rounds(self) -> int:
        """Query batches after the seed set; the last may be smaller than the others."""
        return -(-self.budget // self.query_batch_size)

    def evaluates(self, number: int) -> bool:
        """Whether a round is evaluated: every n-th, the last, and what comes before any label."""
        return number in (-1, self.n_rounds) or number % self.eval_every == 0


@checked_dataclass(ConfigError)
class Recipe:
    """How one model is trained on one labelled set.

    Beside each setting: whose it is. The paper's text fixes the stopping rule only; the other image
    settings are those of its released code (BiT-HyperRule for sets under 20,000 examples). Its text
    code was not released: settings for texts are ours.
    """

    # ours: "frozen" trains a linear head on the pretrained network's features; the settings of
    # fine-tuning then mean nothing (FROZEN_SETTINGS are those that it has)
    backbone: Literal["fine-tuned", "frozen"] = "fine-tuned"
    # strength of regularisation of that head: half of it times the squared norm of its weights
    l2: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.01
    optimizer: Literal["sgd", "adamw"] = "sgd"  # released code; "adamw" is ours, for texts
    lr: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.003  # released code
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9  # released code; SGD only
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0  # released code
    warmup_steps: Count = 100  # released code; linear warm-up, in steps
    decay_steps: Integers = ()  # lr is divided by 10 at each (released code: 200, 300, 400)
    max_steps: Positive = 500  # released code; hard stop
    train_batch_size: Positive = 32  # released code
    # examples a backward pass, gradients added up over the batch; 0 takes all (released code: 4)
    micro_batch_size: Count = 0
    # on CUDA: "tf32" lets convolutions round to TF32, PyTorch's default and so the released code's;
    # "fp32" forbids it; "bf16", ours, has bfloat16 forward passes in training and for the features
    # of frozen networks. No effect on a CPU
    precision: Literal["tf32", "fp32", "bf16"] = "tf32"
    # the paper's rule; or its Appendix D's early stopping; "fixed_steps" is ours
    stopping: Literal["loss_ratio", "early_stopping", "fixed_steps"] = "loss_ratio"
    # the paper's: stop when the training loss falls to this share of its first value
    loss_ratio: Annotated[float, Field(gt=0, lt=1)] = 0.001
    check_every: Positive = 5  # released code (iWildCam: 10); early stopping: steps between checks
    patience: Positive = 5  # released code; early stopping: checks without improvement
    validation_split: str = "val"  # released code; early stopping only
    # ours: keep batch-norm statistics as pretrained (BiT has no batch norm)
    freeze_batch_norm: bool = False
    augment: Literal["none", "flip", "crop_flip"] = "none"  # released code: "crop_flip"
    # px, side after resizing; 0 takes the dataset's image_size (released code: 512; small ones 160)
    resize: Count = 0
    # px, side of random crops (training) and of evaluation images; 0 takes resize (released code:
    # 480; small ones 128)
    crop: Count = 0
    # "paper": as its text reads. "released": as its code does. There the stopping rule looks at
    # the last micro-batch alone, the optimizer's momentum outlives the reset of the weights, and
    # ties in the acquisition are broken by position
    fidelity: Literal["paper", "released"] = "paper"

    def __post_init__(self) -> None:
        if self.crop > self.resize > 0:
            raise ConfigError(f"crop {self.crop} exceeds resize {self.resize}")


FROZEN_SETTINGS = ("backbone", "l2", "resize", "crop", "precision", "fidelity")


def frozen_recipe(recipe: Recipe) -> Recipe:
    """The recipe of a linear head on a frozen network; settings of fine-tuning are dropped."""
    kept = {name: getattr(recipe, name) for name in FROZEN_SETTINGS}
    return Recipe(**{**kept, "backbone": "frozen"})


def _known_acquisition(name: str) -> str:
    if name not in acquisition_names():
        raise ConfigError(unknown("acquisition", name, acquisition_names()))
    return name


@checked_dataclass(ConfigError)
class RunConfig:
    """One run: what decides its rows. Its hash, with the data's and the weights', is its id."""

    dataset: str  # folder of the manifest
    model: str  # concrete model name, see registry.py ("-np": not pretrained)
    acquisition: Annotated[str, AfterValidator(_known_acquisition)]
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    weights: str | None = None  # local weights file or folder; None takes the model's own
    # attributes that a linear probe is asked for after each fit (paper, section 6.3)
    probe: Names = ()
    protocol: Protocol = field(default_factory=Protocol)
    recipe: Recipe = field(default_factory=Recipe)

    def trains(self, number: int) -> bool:
        """Whether this round fine-tunes: the random arm needs a model for its evaluations only."""
        is_blind = self.acquisition == "random" or self.acquisition in CHEATING
        needs_model = not is_blind or self.recipe.fidelity == "released"
        return number >= 0 and (self.protocol.evaluates(number) or needs_model)

    def to_dict(self) -> dict[str, Any]:
        return asdict(cast(Any, self))

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "RunConfig":
        """The config that `to_dict` wrote, also after a turn through json."""
        parts = {"protocol": Protocol(**content["protocol"]), "recipe": Recipe(**content["recipe"])}
        return cls(**{**content, **parts})


def stream(seed: int, name: str, number: int = 0) -> np.random.Generator:
    """A run's random numbers of this name and round, independent of all others."""
    return np.random.default_rng([seed, crc32(name.encode()), number])


def input_size(recipe: Recipe, image_size: int) -> tuple[int, int]:
    """Sides in px: of an image after resizing, and of the crop that the network gets.

    Args:
        image_size: px, the dataset's own, which a recipe that names none takes.
    """
    resize = recipe.resize or image_size
    return resize, recipe.crop or resize


def override(base: Any, changes: Mapping[str, Any], what: str) -> Any:
    """A copy of a config dataclass with some fields replaced.

    Raises:
        ConfigError: a key that is no field (all are listed), or a value of a wrong type or range.
    """
    names = [f.name for f in fields(base)]
    if not isinstance(changes, Mapping):
        raise ConfigError(f"{what} takes a mapping such as {{{names[0]}: ...}}; got {changes!r}")
    for key in changes:
        if key not in names:
            raise ConfigError(unknown(f"{what} setting", key, names))
    values = {key: _as_number(value, getattr(base, key)) for key, value in changes.items()}
    return replace(base, **values)


def _as_number(value: Any, present: Any) -> Any:
    """`lr: 1e-3` is text to yaml: read it as a number where the field holds one."""
    is_number = type(present) in (int, float) and isinstance(value, str)
    try:
        return type(present)(value) if is_number else value
    except ValueError:
        return value
