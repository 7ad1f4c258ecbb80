"""How weights are found, fetched, verified and loaded. Torch is imported only to load them."""

import json
import zipfile
from collections.abc import Iterator, Set
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
from huggingface_hub import constants as hub
from safetensors import SafetensorError

from alpt_lib.errors import ModelError, one_line
from alpt_lib.files import WEIGHTS, hash_file, hash_files, home
from alpt_lib.registry import BIT_S, MINI_BIT_LAYERS, reads_texts, resolve, split_name

WEIGHT_SUFFIXES = {".safetensors", ".bin"}
# of the files in a folder that transformers reads: configuration and tokenizer, code never
TEXT_SUFFIXES = {".json", ".txt", ".model"}
GIT_LFS = b"version https://git-lfs"
# what the libraries raise for files that are truncated, of another kind, or need more
UNREADABLE = (
    *(AttributeError, LookupError, OSError, EOFError, ValueError, RuntimeError, ImportError),
    *(SafetensorError, UnpicklingError, zipfile.BadZipFile),
)
BIT_S_REMEDY = (
    f": get it from https://storage.googleapis.com/bit_models/{BIT_S} and put it there, or run "
    "python data_prep/bit_weights.py --download"
)


def local_weights(name: str, tier: str, given: str | dict[str, str] | None) -> str | None:
    """The local file or folder of a model's weights; None if it comes with the package or a hub.

    Args:
        name: by role or concrete. tier: "mini" or "paper".
        given: the parameter `weights`, one for all models or each model's own; an entry for
            "hf:NAME" serves "hf:NAME-np" too, which takes configuration and tokenizer from it.
    """
    base, suffix = split_name(name)
    concrete = resolve(base, tier)
    if suffix and not concrete.startswith("hf:"):
        return None
    if isinstance(given, dict):
        keys = (name, concrete + suffix, base, concrete)
        given = next((given[key] for key in keys if key in given), None)
    if given is None and tier == "paper" and name == "bit-s":
        return str(home() / "data" / "paper" / "weights" / BIT_S)
    return given


def existing_weights(weights: str) -> Path:
    """Path of local weights, a file or a folder.

    Raises:
        ModelError: nothing is there, or something that only stands for weights.
    """
    path = Path(weights).expanduser()
    if not path.exists():
        remedy = BIT_S_REMEDY if path.name == BIT_S else ""
        raise ModelError(f"weights not found: {path}{remedy}")
    if not (path.is_file() or path.is_dir()):
        # reading a pipe would wait for ever
        raise ModelError(f"weights must be a file or a folder; {path} is neither")
    if (path / "adapter_config.json").exists():
        raise ModelError(
            f"{path} holds an adapter, not a model: merge it into its model (peft: "
            "merge_and_unload, save_pretrained) and take that folder"
        )
    for file in [path] if path.is_file() else _loaded_files(path, is_pretrained=True):
        with open(file, "rb") as stream:
            if stream.read(len(GIT_LFS)) == GIT_LFS:
                raise ModelError(
                    f"{file} is a git-lfs pointer, not the file itself: run git lfs pull in its "
                    "folder, or download it again"
                )
    return path


def embedded_weights(base: str) -> Path | None:
    """File or folder of the weights that come with the package; None for other models."""
    if base in MINI_BIT_LAYERS:
        return WEIGHTS / f"{base}.safetensors"
    return WEIGHTS / base if base == "mini-roberta-m" else None


def weights_source(base: str, weights: str | None) -> Path | None:
    """File or folder that a concrete model is loaded from; None: it is on a hub, or needs none.

    A model's own name may be a folder ("hf:FOLDER").

    Raises:
        ModelError: a path where nothing is.
    """
    if weights:
        return existing_weights(weights)
    named = base.removeprefix("hf:")
    if named != base and (named.startswith((".", "/", "~")) or Path(named).is_dir()):
        return existing_weights(named)
    return embedded_weights(base)


def weights_fingerprint(model: str, weights: str | None) -> str:
    """What decides a model's start: the content of the files it is loaded from, or a hub's name.

    Of a text model that is not pretrained, configuration and tokenizer count.

    Returns:
        16 hexadecimal digits, "hub:NAME", or "" where the seed alone decides.
    """
    base, suffix = split_name(model)
    if suffix and not reads_texts(base):
        return ""
    source = weights_source(base, weights)
    if source is None:
        return "" if suffix else f"hub:{base}"
    files = [source] if source.is_file() else _loaded_files(source, is_pretrained=not suffix)
    digests = hash_files(files, memory=source)
    return sha256(b"".join(map(bytes.fromhex, digests))).hexdigest()[:16]


def _loaded_files(folder: Path, is_pretrained: bool) -> list[Path]:
    def is_read(file: Path) -> bool:
        suffixes = set(file.suffixes)
        return is_pretrained if suffixes & WEIGHT_SUFFIXES else bool(suffixes & TEXT_SUFFIXES)

    return [file for file in sorted(folder.iterdir()) if is_read(file) and file.is_file()]


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
            f"embedded weights {name} missing: run python data_prep/pretrain_mini.py "
            f"--model {model}"
        )
    digest = hash_file(file)
    expected = listed[name]["sha256"]
    if digest != expected:
        raise ModelError(
            f"{file} fails its checksum: sha256 is {digest}, expected {expected}; restore it with "
            "git checkout"
        )
    return file


@contextmanager
def hub_errors(what: str, repository: str, files: str, use: bool) -> Iterator[None]:
    """Load from the Hugging Face hub, or (`use` is false) locally; what fails becomes one line.

    Raises:
        ModelError: which files, from where, where to put them.
    """
    if use:
        hub_answers()
    try:
        yield
    except ModelError:
        raise
    except UNREADABLE as error:
        if not use:
            raise ModelError(
                f"{what} cannot be read, it needs {files}: {_reason(error)}"
            ) from error
        why = "no network" if hub.HF_HUB_OFFLINE else str(error).strip().partition("\n")[0]
        raise ModelError(
            f"{what} is not on this machine and the hub did not deliver it "
            f"({why or type(error).__name__}): download {files} from {hub.ENDPOINT}/{repository} "
            "elsewhere and pass weights: FILE_OR_FOLDER, or put them into the hub's cache "
            f"{hub.HF_HUB_CACHE}"
        ) from error


def hub_answers() -> bool:
    """Whether the hub answers within 3 s; if not, its cache alone is used from now on.

    Its client would go on retrying for up to 50 s.
    """
    from huggingface_hub.utils import get_session

    if not hub.HF_HUB_OFFLINE:
        try:
            get_session().head(hub.ENDPOINT, timeout=3)
        # what is raised depends on the HTTP library, which differs between versions of the client
        except Exception:
            hub.HF_HUB_OFFLINE = True
    return not hub.HF_HUB_OFFLINE


def load_backbone(network: Any, file: Path) -> None:
    """Load everything but the head of a timm network.

    Args:
        file: safetensors, Google's npz, or a state dict as torch saves it (no code runs).
    Raises:
        ModelError: it cannot be read, does not fit, or holds NaN or what is no plain float.
    """
    stored = _read_state(network, file)
    own = network.state_dict()
    head_parameters = {id(p) for head in classifiers(network) for p in head.parameters()}
    head_names = {name for name, p in network.named_parameters() if id(p) in head_parameters}
    wanted = own.keys() - head_names
    given = stored.keys() - head_names
    misfits = {name for name in wanted & given if own[name].shape != stored[name].shape}
    check_fit(file.name, wanted, wanted - given, given - wanted, misfits)
    _require_floats(file.name, {name: stored[name] for name in wanted}, own)
    state = {name: stored[name].to(own[name].dtype) for name in wanted}
    check_values(file.name, state)
    network.load_state_dict({**own, **state})


def classifiers(network: Any) -> list[Any]:
    """The classifiers of a timm network: one, or two where it was distilled."""
    classifier = network.get_classifier()
    return list(classifier) if isinstance(classifier, tuple) else [classifier]


def check_fit(
    where: str, wanted: Set[str], missing: Set[str], strange: Set[str], misfits: Set[str]
) -> None:
    """Refuse weights of another network.

    Args:
        wanted: names of the tensors of the backbone. missing, strange, misfits: of those that are
            not there, not wanted, or of another shape.
    Raises:
        ModelError: says how many of each, and an example.
    """
    wrong = sorted(missing | strange | misfits)
    if not wrong:
        return
    remedy = "; for images of another size, take ?dynamic_img_size=true in place of ?img_size"
    raise ModelError(
        f"weights in {where} do not fit this model: {len(missing)} of {len(wanted)} tensors "
        f"missing, {len(strange)} unknown, {len(misfits)} of another shape (e.g. {wrong[0]})"
        f"{remedy if wrong == ['pos_embed'] else ''}"
    )


def _require_floats(where: str, stored: dict[str, Any], own: dict[str, Any]) -> None:
    """Refuse what loading would turn into floats in silence: complex, packed or whole numbers."""
    import torch

    odd = {
        name: tensor.dtype if tensor.layout == torch.strided else tensor.layout
        for name, tensor in stored.items()
        if own[name].is_floating_point()
        and (tensor.layout != torch.strided or not tensor.is_floating_point())
    }
    if odd:
        name, kind = min(odd.items())
        raise ModelError(
            f"weights in {where} are no plain floats (quantised, packed, or not weights): "
            f"{len(odd)} of {len(stored)} tensors, first {name} ({kind}); take the float weights "
            "that they were made of"
        )


def check_values(where: str, state: dict[str, Any]) -> None:
    """Refuse weights that hold NaN, infinite values, or whole numbers that stand for others.

    Raises:
        ModelError: says how many tensors, and the first.
    """
    broken = sorted(name for name, tensor in state.items() if not tensor.isfinite().all())
    if broken:
        raise ModelError(
            f"weights in {where} hold NaN or infinite values: {len(broken)} of {len(state)} "
            f"tensors, first {broken[0]}"
        )
    quantised = sorted(name for name, tensor in state.items() if _holds_whole_numbers(tensor))
    if quantised:
        raise ModelError(
            f"weights in {where} are quantised: {len(quantised)} of {len(state)} tensors hold "
            f"whole numbers, first {quantised[0]}; take the float weights that they were made of"
        )


def _holds_whole_numbers(tensor: Any) -> bool:
    """Whether a matrix was one of integers, which loading has turned into floats in silence."""
    if tensor.ndim < 2 or not tensor.is_floating_point():
        return False
    some = tensor.flatten()[:1000]
    return bool((some == some.round()).all() and (some != some[0]).any())


def _read_state(network: Any, file: Path) -> dict[str, Any]:
    import torch
    from safetensors.torch import load_file

    try:
        if file.suffix == ".npz":
            return read_npz(network, file)
        if file.suffix == ".safetensors":
            return load_file(file)
        return _state_dict(torch.load(file, map_location="cpu", weights_only=True))
    except UNREADABLE as error:
        raise ModelError(
            f"{file} cannot be read as weights of this model: {_reason(error)}"
        ) from error


def _state_dict(stored: Any) -> dict[str, Any]:
    """The weights in what a training script saved."""
    if not isinstance(stored, dict):
        raise ValueError(f"it holds no state dict but {type(stored).__name__}")
    for key in ("state_dict", "model", "model_state_dict"):
        if isinstance(stored.get(key), dict):
            stored = stored[key]
    for name, tensor in stored.items():
        if not (isinstance(name, str) and hasattr(tensor, "is_floating_point")):
            raise ValueError(f"it holds no state dict: {name} is {type(tensor).__name__}")
    # as DistributedDataParallel names them
    return {name.removeprefix("module."): tensor for name, tensor in stored.items()}


def read_npz(network: Any, file: Path) -> dict[str, Any]:
    """State dict of Google's npz in the layout of this network.

    Raises:
        ValueError: another network's; timm would load the first blocks of a deeper one in silence.
    """
    from torch import nn

    with np.load(file, allow_pickle=False) as arrays:
        n_stored = sum(name.endswith("group_norm/gamma") for name in arrays.files)
    n_wanted = sum(isinstance(module, nn.GroupNorm) for module in network.modules())
    if n_stored != n_wanted:
        raise ValueError(f"it has {n_stored} group norms, the model {n_wanted}")
    network.load_pretrained(str(file))
    return network.state_dict()


def _reason(error: Exception) -> str:
    if isinstance(error, UnpicklingError):
        return "no file of torch, or Python objects, which are never run: save the state_dict alone"
    if "trust_remote_code" in str(error):
        return "it needs code of its own, which is never run"
    return one_line(error)[:200]
