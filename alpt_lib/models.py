"""Which models there are: roles such as "bit-m", what they stand for, and what decides a pretrained start. No torch here."""

import hashlib
import json
from pathlib import Path

from alpt_lib.config import CompanionError, unknown
from alpt_lib.paths import WEIGHTS, home

NOT_PRETRAINED = "-np"

# what a role such as "bit-m" stands for, by tier; a concrete name ("timm:...", "hf:...") works anywhere
ROLES = {
    "mini": {
        "bit-s": "mini-bit-s", "bit-m": "mini-bit-m", "bit-m-deep": "mini-bit-m-deep", "roberta-m": "mini-roberta-m",
    },
    "paper": {
        "bit-s": "timm:resnetv2_50x1_bit", "bit-m": "timm:resnetv2_50x1_bit.goog_in21k",
        "bit-m-deep": "timm:resnetv2_101x1_bit.goog_in21k", "roberta-m": "hf:roberta-large",
    },
}
MINI_BIT_LAYERS = {"mini-bit-s": (1, 1, 1), "mini-bit-m": (1, 1, 1), "mini-bit-m-deep": (2, 2, 2)}
BIT_S = "BiT-S-R50x1.npz"  # Google's file: no hub has this model in timm's format
TITLES = {
    "bit-s": "BiT-S", "bit-m": "BiT-M", "bit-m-deep": "BiT-M deep", "bit-m-np": "not pretrained",
    "bit-m-deep-np": "deep, not pretrained", "roberta-m": "RoBERTa", "roberta-m-np": "RoBERTa, not pretrained",
}


class ModelError(CompanionError):
    """A model that is unknown, or weights that are missing, do not fit or fail their checksum."""


def title(model: str) -> str:
    """How figures call a model."""
    base, suffix = split_name(model)
    name = base.removeprefix("timm:").removeprefix("hf:").partition("?")[0]
    return TITLES.get(model, name + (", not pretrained" if suffix else ""))


def resolve(name: str, tier: str = "mini") -> str:
    """Concrete name of a model given by role or by concrete name.

    Raises:
        ModelError: unknown; lists the known names.
    """
    base, suffix = split_name(name)
    roles = ROLES[tier]
    if base in roles:
        return roles[base] + suffix
    if base in roles.values() or base in ROLES["mini"].values() or base.startswith(("timm:", "hf:")):
        return name
    raise ModelError(unknown("model", name, [*roles, *(r + NOT_PRETRAINED for r in roles), "timm:NAME", "hf:NAME"]))


def split_name(name: str) -> tuple[str, str]:
    """Base name, and "-np" or ""."""
    pretrained = not name.endswith(NOT_PRETRAINED)
    return (name, "") if pretrained else (name.removesuffix(NOT_PRETRAINED), NOT_PRETRAINED)


def reads_texts(name: str) -> bool:
    """Whether a concrete model reads texts; all others read images."""
    return name.startswith(("hf:", "mini-roberta"))


def local_weights(name: str, tier: str, given: str | dict[str, str] | None) -> str | None:
    """The local file or folder that a model, named by role or concretely, takes its weights from; None if it needs none.

    Args:
        given: the parameter `weights`: one for all models, or a mapping of model to its own (an entry for "hf:NAME" serves
            "hf:NAME-np" too, which takes the configuration and the tokenizer from it).
    """
    base, suffix = split_name(name)
    concrete = resolve(base, tier)
    if suffix and not concrete.startswith("hf:"):
        return None
    if isinstance(given, dict):
        given = next((given[key] for key in (name, concrete + suffix, base, concrete) if key in given), None)
    if given is None and tier == "paper" and name == "bit-s":
        return str(home() / "data" / "paper" / "weights" / BIT_S)
    return given


def existing(weights: str) -> Path:
    """Path of local weights.

    Raises:
        ModelError: nothing is there.
    """
    path = Path(weights).expanduser()
    if not path.exists():
        how = (f": get it from https://storage.googleapis.com/bit_models/{BIT_S} and put it there, or run python "
               "data_prep/bit_weights.py --download") if path.name == BIT_S else ""
        raise ModelError(f"weights not found: {path}{how}")
    return path


def weights_fingerprint(name: str, weights: str | None) -> str:
    """What decides a pretrained start: sha256 of the weights' bytes, or the hub name; "" if not pretrained.

    A text model that is not pretrained still has a configuration and a tokenizer: those of a local folder count.
    """
    base, suffix = split_name(name)
    if suffix and not (weights and base.startswith("hf:")):
        return ""
    path = existing(weights) if weights else embedded_weights(base)
    if path is None:
        return f"hub:{base}"
    suffixes = (".json", ".txt") if suffix else (".safetensors", ".bin", ".json", ".txt")
    files = [path] if path.is_file() else sorted(p for p in path.iterdir() if p.suffix in suffixes)
    return hashlib.sha256(b"".join(hashlib.sha256(f.read_bytes()).digest() for f in files)).hexdigest()[:16]


def embedded_weights(base: str) -> Path | None:
    """File or folder of the weights that come with the package; None for other models."""
    if base in MINI_BIT_LAYERS:
        return WEIGHTS / f"{base}.safetensors"
    return WEIGHTS / base if base == "mini-roberta-m" else None


def checked(file: Path) -> Path:
    """An embedded weights file whose sha256 matches weights.json.

    Raises:
        ModelError: missing, or changed since it was published.
    """
    listed = json.loads((WEIGHTS / "weights.json").read_text(encoding="utf-8"))
    name = file.relative_to(WEIGHTS).as_posix()
    if not file.exists() or name not in listed:
        model = name.split("/")[0].removesuffix(".safetensors")
        raise ModelError(f"embedded weights {name} missing: run python data_prep/pretrain_mini.py --model {model}")
    found = hashlib.sha256(file.read_bytes()).hexdigest()
    if found != listed[name]["sha256"]:
        raise ModelError(f"{file} fails its checksum: sha256 is {found}, expected {listed[name]['sha256']}; "
                         "restore it with git checkout")
    return file
