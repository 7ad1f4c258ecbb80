"""Which weights are on this machine, and which runs may be left out for want of a hub."""

from collections.abc import Sequence
from pathlib import Path

from huggingface_hub.constants import ENDPOINT

from alpt_lib.checkpoints import embedded_weights, existing_weights, hub_answers
from alpt_lib.registry import FEATURES, split_name
from companion.runs.plan import Planned


def within_reach(planned: Sequence[Planned]) -> tuple[list[Planned], list[str]]:
    """The runs that can be done, and a line for each setting of which networks are left out.

    Left out is only what its setting calls optional, is not finished, and needs weights that are
    not on this machine while no hub answers; all else is there, to fail where it must.
    """
    networks = {(each.config.model, each.config.weights) for each in planned if each.optional}
    absent = {network for network in networks if not is_here(*network)}
    if not absent or hub_answers():
        return list(planned), []
    kept = []
    names: dict[str, list[str]] = {}
    for each in planned:
        is_absent = (each.config.model, each.config.weights) in absent
        if each.optional and is_absent and not each.run.is_done():
            names.setdefault(each.setting, []).append(each.model)
        else:
            kept.append(each)
    return kept, [_left_out(setting, models) for setting, models in names.items()]


def _left_out(setting: str, models: list[str]) -> str:
    named = list(dict.fromkeys(models))
    return (
        f"{setting}: left out {', '.join(named)}, whose weights are not on this machine, and "
        f"{ENDPOINT} does not answer; with weights: {{{named[0]}: FILE}} or a hub they are there"
    )


def is_here(name: str, weights: str | None) -> bool:
    """Whether everything that a model needs is on this machine; else the hub would be asked.

    Raises:
        ModelError: local weights that are not there.
    """
    base, suffix = split_name(name)
    if base.startswith(FEATURES):
        return True
    if weights:
        return bool(existing_weights(weights))
    if base.startswith("mini-") or embedded_weights(base):
        return True
    if base.startswith("timm:"):
        return bool(suffix) or _timm_is_here(base)
    repository = base.removeprefix("hf:")
    files = ["config.json"] if suffix else ["config.json", "model.safetensors"]
    return Path(repository).is_dir() or all(_is_cached(repository, file) for file in files)


def _timm_is_here(base: str) -> bool:
    import timm

    config = timm.get_pretrained_cfg(base.removeprefix("timm:").partition("?")[0])
    repository = config.hf_hub_id if config else None
    return repository is not None and _is_cached(repository, "model.safetensors")


def _is_cached(repository: str, file: str) -> bool:
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(repository, file), str)
