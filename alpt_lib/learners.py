"""Which learner serves a run: a fine-tuned network, or a linear head on a frozen one."""

from typing import Any, Protocol

from alpt_lib.config import RunConfig
from alpt_lib.datasets import Dataset
from alpt_lib.loop import Learner


class RestorableLearner(Learner, Protocol):
    """A learner whose weights can be taken out and put back."""

    def prepare(self) -> None: ...  # fill the caches that processes share

    def weights(self) -> Any: ...

    def load(self, weights: Any) -> None: ...


def create_learner(data: Dataset, config: RunConfig) -> RestorableLearner:
    """The learner that a run's recipe asks for, at its initial weights."""
    if config.recipe.backbone == "frozen":
        from alpt_lib.heads import LinearHead

        return LinearHead(data, config)
    from alpt_lib.training import FineTunedNetwork

    return FineTunedNetwork(data, config)
