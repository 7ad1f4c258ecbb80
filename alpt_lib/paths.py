"""Where things live: everything under one home folder, the checkout unless ALPT_HOME says otherwise."""

import os
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
WEIGHTS = Path(__file__).resolve().parent / "weights"


def home() -> Path:
    """The folder that holds data/, runs/ and figures/."""
    return Path(os.environ.get("ALPT_HOME", REPOSITORY)).resolve()


def runs_folder() -> Path:
    """Stored runs, one folder each."""
    return home() / "runs"


def cache_folder() -> Path:
    """Decoded images, tokens, features and what was measured of this machine; safe to delete."""
    return home() / "data" / "cache"
