"""Which models exist, and what they are called: roles such as "bit-m" stand for concrete models."""

from alpt_lib.errors import ModelError, unknown

NOT_PRETRAINED = "-np"
# what comes before the name of features that a dataset holds
FEATURES = "features:"

# by tier; a concrete name ("timm:NAME", "hf:NAME") works in both
ROLES = {
    "mini": {role: f"mini-{role}" for role in ("bit-s", "bit-m", "bit-m-deep", "roberta-m")},
    "paper": {
        "bit-s": "timm:resnetv2_50x1_bit",
        "bit-m": "timm:resnetv2_50x1_bit.goog_in21k",
        "bit-m-deep": "timm:resnetv2_101x1_bit.goog_in21k",
        "roberta-m": "hf:roberta-large",
        "lite0": "timm:tf_efficientnet_lite0.in1k",
        # at any size; DINOv2's own in timm is 518 px, its authors probe it at 224 (Oquab et al.
        # 2023)
        "dinov2-s": "timm:vit_small_patch14_dinov2.lvd142m?dynamic_img_size=true",
        "dinov2-b": "timm:vit_base_patch14_dinov2.lvd142m?dynamic_img_size=true",
        # for 224 px
        "clip-b32": "timm:vit_base_patch32_clip_224.openai",
        "siglip-b16": "timm:vit_base_patch16_siglip_224.webli",
    },
}
TITLES = {
    "bit-s": "BiT-S",
    "bit-m": "BiT-M",
    "bit-m-deep": "BiT-M deep",
    "bit-m-np": "not pretrained",
    "bit-m-deep-np": "deep, not pretrained",
    "roberta-m": "RoBERTa",
    "lite0": "Lite0",
    "lite2": "Lite2",
    "mobilenet-imagenet": "MobileNet, ImageNet",
    "mobilenet-birds": "MobileNet, birds",
    "mobilenet-insects": "MobileNet, insects",
    "lite0-1-np": "Lite0, not pretrained",
    "lite0-2-np": "Lite0, not pretrained (2)",
    "lite0-3-np": "Lite0, not pretrained (3)",
    "dinov2-s": "DINOv2 S/14",
    "dinov2-b": "DINOv2 B/14",
    "clip-b32": "CLIP B/32",
    "siglip-b16": "SigLIP B/16",
}
MINI_BIT_LAYERS = {"mini-bit-s": (1, 1, 1), "mini-bit-m": (1, 1, 1), "mini-bit-m-deep": (2, 2, 2)}

# Google's file: no hub has this model in timm's format
BIT_S = "BiT-S-R50x1.npz"


def title(model: str) -> str:
    """How figures call a model."""
    base, suffix = split_name(model)
    name = base.removeprefix("timm:").removeprefix("hf:").partition("?")[0]
    return TITLES.get(model, TITLES.get(base, name) + (", not pretrained" if suffix else ""))


def resolve(name: str, tier: str = "mini") -> str:
    """Concrete name of a model given by role or by concrete name.

    Raises:
        ModelError: unknown; lists the known names.
    """
    base, suffix = split_name(name)
    roles = ROLES[tier]
    if base in roles:
        return roles[base] + suffix
    concrete = {*roles.values(), *ROLES["mini"].values()}
    if base in concrete or base.startswith(("timm:", "hf:", FEATURES)):
        return name
    not_pretrained = [role + NOT_PRETRAINED for role in roles]
    raise ModelError(unknown("model", name, [*roles, *not_pretrained, "timm:NAME", "hf:NAME"]))


def split_name(name: str) -> tuple[str, str]:
    """Base name, and "-np" (not pretrained) or ""."""
    base = name.removesuffix(NOT_PRETRAINED)
    return base, name.removeprefix(base)


def reads_texts(name: str) -> bool:
    """Whether a concrete model reads texts; all others read images."""
    return name.startswith(("hf:", "mini-roberta"))
