"""TODO: what this room holds."""

import hashlib
import json
import zipfile
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import torch
from huggingface_hub import constants as hub
from huggingface_hub.errors import LocalEntryNotFoundError, RepositoryNotFoundError
from huggingface_hub.utils import get_session
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from alpt_lib.errors import ModelError
from alpt_lib.files import WEIGHTS, home
from alpt_lib.registry import BIT_S, MINI_BIT_LAYERS, resolve, split_name


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
        given = next(
            (given[key] for key in (name, concrete + suffix, base, concrete) if key in given), None
        )
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
        how = (
            (
                f": get it from https://storage.googleapis.com/bit_models/{BIT_S} and put it there, or run python "
                "data_prep/bit_weights.py --download"
            )
            if path.name == BIT_S
            else ""
        )
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
    return hashlib.sha256(
        b"".join(hashlib.sha256(f.read_bytes()).digest() for f in files)
    ).hexdigest()[:16]


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
        raise ModelError(
            f"embedded weights {name} missing: run python data_prep/pretrain_mini.py --model {model}"
        )
    found = hashlib.sha256(file.read_bytes()).hexdigest()
    if found != listed[name]["sha256"]:
        raise ModelError(
            f"{file} fails its checksum: sha256 is {found}, expected {listed[name]['sha256']}; "
            "restore it with git checkout"
        )
    return file


@contextmanager
def _hub(what: str, repository: str | None, files: str, use: bool):
    """Load from the Hugging Face hub; one that does not deliver becomes one line: which file, from where, where to put it."""
    if use:
        _go_offline_if_unreachable()
    try:
        yield
    except ModelError:
        raise
    except (
        OSError,
        ValueError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        SafetensorError,
    ) as error:
        if not use:
            raise ModelError(
                f"{what} cannot be read, it needs {files}: {' '.join(str(error).split())[:200]}"
            ) from error
        why = (
            "no network"
            if hub.HF_HUB_OFFLINE
            else (str(error).strip().splitlines() or [type(error).__name__])[0]
        )
        raise ModelError(
            f"{what} is not on this machine and the hub did not deliver it ({why}): download {files} from "
            f"{hub.ENDPOINT}/{repository} elsewhere and pass weights: FILE_OR_FOLDER, or put them into the hub's "
            f"cache {hub.HF_HUB_CACHE}"
        ) from error


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
        state = readers.get(
            file.suffix, partial(torch.load, map_location="cpu", weights_only=True)
        )(file)
        state = state.get("state_dict", state)
        own = network.state_dict()
        shapes = {name: tensor.shape for name, tensor in state.items()}
    except (
        AttributeError,
        LookupError,
        OSError,
        ValueError,
        RuntimeError,
        SafetensorError,
        UnpicklingError,
        zipfile.BadZipFile,
    ) as error:
        raise ModelError(
            f"{file} cannot be read as weights of this model: {type(error).__name__}: {str(error)[:200]}"
        ) from error
    head = {
        name
        for name, p in network.named_parameters()
        if any(p is q for q in network.get_classifier().parameters())
    }
    wanted, found = set(own) - head, set(state) - head
    misfits = [k for k in wanted & found if own[k].shape != shapes[k]]
    if wanted != found or misfits:
        raise ModelError(
            f"weights in {file.name} do not fit this model: {len(wanted - found)} of {len(wanted)} tensors missing, "
            f"{len(found - wanted)} unknown, {len(misfits)} of another shape"
            f" (e.g. {sorted([*(wanted ^ found), *misfits])[0]})"
        )
    broken = sorted(k for k in wanted if not torch.isfinite(state[k]).all())
    if broken:
        raise ModelError(
            f"weights in {file.name} hold NaN or infinite values: {len(broken)} of {len(wanted)} tensors, "
            f"first {broken[0]}"
        )
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
