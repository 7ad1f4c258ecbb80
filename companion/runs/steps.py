"""How many steps a fit takes before its rule stops it, learned from runs that were done.

A run of the notebooks leaves steps.csv beside its figures; the committed reference holds one, so
that a first dry run knows what to expect.
"""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import pandas as pd

from alpt_lib.config import RunConfig
from alpt_lib.files import REPOSITORY, write_whole
from companion.runs.store import StoredRun, stored_runs

KEY = ["dataset", "model", "max_steps"]
FILE = "steps.csv"
Key = tuple[str, str, int]


def key(config: RunConfig) -> Key:
    """What decides the steps of a fit, as far as they are kept."""
    return Path(config.dataset).name, config.model, config.recipe.max_steps


def mean_steps(runs: Iterable[StoredRun]) -> pd.DataFrame:
    """Mean steps a fit of these runs: KEY, steps, n_fits; a head on frozen features has none."""
    rows = []
    for run in runs:
        if run.config.recipe.backbone == "frozen":
            continue
        steps = run.fits()["n_steps"]
        rows.append((*key(run.config), steps.sum(), len(steps)))
    table = pd.DataFrame(rows, columns=[*KEY, "steps", "n_fits"])
    table = table.groupby(KEY, sort=True)[["steps", "n_fits"]].sum().reset_index()
    table = table[table["n_fits"] > 0]
    return table.assign(steps=(table["steps"] / table["n_fits"]).round(1))


def write_steps(runs: Iterable[StoredRun], folder: Path) -> None:
    """Leave `mean_steps` beside figures; what runs of other notebooks left there stays."""
    table = mean_steps(run for run in dict.fromkeys(runs) if run.is_done())
    with suppress(OSError, ValueError, KeyError):
        before = pd.read_csv(folder / FILE)[table.columns]
        table = pd.concat([table, before]).drop_duplicates(KEY).sort_values(KEY)
    write_whole(folder / FILE, table.to_csv(index=False))


def known_steps() -> dict[Key, float]:
    """Mean steps a fit: of the committed references, then of what is stored here, which counts."""
    tables = []
    for file in sorted((REPOSITORY / "figures" / "reference").glob(f"[!.]*/{FILE}")):
        tables.append(pd.read_csv(file))
    tables.append(mean_steps(stored_runs()))
    known = {}
    for table in tables:
        for row in table.itertuples():
            known[row.dataset, row.model, row.max_steps] = float(row.steps)
    return known
