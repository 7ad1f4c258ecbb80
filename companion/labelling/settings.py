"""What a session is opened with: model, acquisition function, protocol, recipe; what is usual."""

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

from alpt_lib.acquisition import ACQUISITION_FUNCTIONS, BATCH_FUNCTIONS, CHEATING
from alpt_lib.checkpoints import local_weights
from alpt_lib.config import FROZEN_SETTINGS, Protocol, Recipe, RunConfig, frozen_recipe, override
from alpt_lib.errors import LabelError, unknown
from alpt_lib.registry import FEATURES, reads_texts, resolve
from companion.labelling.items import Collection
from companion.recipes import recipe_for

# ours: for a person's own data, where nobody knows yet how hard they are
SEED_SET = 20
QUERY_BATCH = 10
# settings that a head has not
FINE_TUNING = {field.name for field in fields(Recipe)} - set(FROZEN_SETTINGS)
SETTINGS = (
    "model",
    "acquisition",
    "seed",
    "weights",
    "protocol",
    "recipe",
    "image_size",
    "max_tokens",
)


def require_known(names: Iterable[str]) -> None:
    """Raises LabelError for a setting that there is not; lists those that there are."""
    for name in names:
        if name not in SETTINGS:
            raise LabelError(unknown("setting", name, SETTINGS))


def run_config(collection: Collection, settings: Mapping[str, Any]) -> RunConfig:
    """The model, protocol and recipe of a session on this collection.

    Raises:
        CompanionError: unknown, of a wrong type, or for something else than what is labelled.
    """
    given = settings.get("model", "roberta-m" if collection.is_text else "bit-m")
    model = resolve(given)
    has_features = model.startswith(FEATURES)
    if not has_features and reads_texts(model) != collection.is_text:
        reads = "texts" if reads_texts(model) else "images"
        holds = f"{collection.source.name} holds {collection.description.modality}s"
        raise LabelError(f"model {given} reads {reads}; {holds}")
    acquisition = settings.get("acquisition", "least_confidence")
    if acquisition in CHEATING:
        raise LabelError(
            f"{acquisition} needs every answer before it asks, and here nobody knows them; take "
            f"one of {', '.join(ACQUISITION_FUNCTIONS)}"
        )
    if acquisition in BATCH_FUNCTIONS:
        raise LabelError(
            f"{acquisition} chooses a batch together, but people are asked for one item after the "
            f"other; take one of {', '.join(ACQUISITION_FUNCTIONS)}"
        )
    seed_set = max(SEED_SET, 2 * len(collection.classes))
    protocol = Protocol(seed_set_size=seed_set, query_batch_size=QUERY_BATCH, budget=0)
    return RunConfig(
        str(collection.source),
        model,
        acquisition,
        settings.get("seed", 1),
        None if has_features else local_weights(given, "mini", settings.get("weights")),
        protocol=override(protocol, settings.get("protocol") or {}, "protocol"),
        recipe=_recipe(given, collection.description.image_size, settings.get("recipe") or {}),
    )


def _recipe(model: str, image_size: int, changes: dict[str, Any]) -> Recipe:
    """A head on the frozen network, unless the changes say `backbone: fine-tuned`."""
    if isinstance(changes, Mapping) and changes.get("backbone", "frozen") == "frozen":
        usual = vars(Recipe())
        silly = [n for n in changes if n in FINE_TUNING and changes[n] != usual[n]]
        if silly:
            raise LabelError(
                f"a session trains a head on the frozen network, which has no {', '.join(silly)}: "
                "leave that out, or add backbone: fine-tuned"
            )
        changes = {**changes, "backbone": "frozen"}
    recipe = Recipe()
    if not model.startswith(FEATURES):
        recipe = override(recipe, recipe_for(model.removeprefix("mini-"), image_size), "recipe")
    recipe = override(recipe, changes, "recipe")
    if recipe.backbone == "frozen":
        return frozen_recipe(recipe)
    if model.startswith(FEATURES):
        raise LabelError("features can only be read by a head: leave backbone: fine-tuned out")
    return recipe
