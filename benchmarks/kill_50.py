"""How many of 50 runs, killed by SIGKILL at random moments and started again, end with the bytes of one never killed.

    python benchmarks/kill_50.py [--quick] [--seed 0]

A third of the kills each fall into training, scoring and writing. Each run is a sweep of two arms, in turn under the paper's
rules with probes, under the released code's, and with dropout and batch norm (`SETTINGS` in tests/test_resume.py). One in five
is killed again while it is resumed. A kill that came too late, when all rounds were stored, is drawn again.
"""

import signal
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from common import options, report
from conftest import write_birds
from test_resume import SETTINGS, in_a_process, new_home, stored

CALLS = {"training": 45, "scoring": 16, "writing": 10}  # of each function in a run, about
SECONDS = {"training": 0.02, "scoring": 0.02, "writing": 0.002}  # a call takes, about
KILLED = -signal.SIGKILL


def main() -> int:
    """Exit status 0 if all ended equal."""
    chosen = options(__doc__, seed=(0, "of the moments"))
    rng, n = np.random.default_rng(chosen.seed), 9 if chosen.quick else 50
    with tempfile.TemporaryDirectory() as folder:
        rows = pd.DataFrame([killed_and_resumed(Path(folder), i, rng) for i in range(n)])
    report("kill_50", by_setting(rows), store=not chosen.quick)
    print(
        f"{rows['equal'].sum()} of {n} runs that were killed ended with the bytes of one never killed"
    )
    return int(not rows["equal"].all())


def by_setting(rows: pd.DataFrame) -> list[dict]:
    """The kills of each setting and phase: how many there were, how much was stored by then, how many runs ended equal."""
    table = rows.groupby(["setting", "killed_in"], sort=False).agg(
        runs=("equal", "size"),
        killed_again=("killed_again", "sum"),
        rounds=("rounds", "first"),
        rounds_stored=("rounds_stored", lambda n: f"{n.min()} to {n.max()}"),
        equal=("equal", "sum"),
    )
    return table.reset_index().to_dict("records")


def killed_and_resumed(top: Path, i: int, rng: np.random.Generator) -> dict:
    """The i-th run, killed and resumed: where, and whether it stores what an undisturbed one does."""
    setting, phase = list(SETTINGS)[i % 3], list(CALLS)[i // 3 % 3]
    birds, whole = top / "toybirds", top / setting
    (top / "cache").mkdir(exist_ok=True)
    if not birds.exists():
        write_birds(birds)
    if not whole.exists() and in_a_process(new_home(whole, top / "cache"), birds, setting):
        raise RuntimeError(f"the undisturbed run of {setting!r} failed")
    for attempt in range(20):
        home = new_home(top / f"killed{i}.{attempt}", top / "cache")
        moment = int(rng.integers(CALLS[phase])), float(rng.uniform(0, SECONDS[phase]))
        if in_a_process(home, birds, setting, phase, *moment) == KILLED and stored(home) != stored(
            whole
        ):
            break
    else:
        raise RuntimeError(f"20 kills in {phase} came too late")
    n_stored = n_rounds(home)
    again = (
        i % 5 == 0
        and in_a_process(home, birds, setting, phase, int(rng.integers(5)), moment[1]) == KILLED
    )
    finished = in_a_process(home, birds, setting)
    is_equal = finished == 0 and stored(home) == stored(whole)
    print(
        f"{i + 1:3} {setting:9} killed in {phase:9} call {moment[0]:3} + {moment[1] * 1000:4.1f} ms, {n_stored} lines stored"
        f"{', killed again' if again else ''}: {'equal' if is_equal else 'DIFFERENT'}",
        flush=True,
    )
    return {
        "setting": setting,
        "killed_in": phase,
        "killed_again": again,
        "rounds_stored": n_stored,
        "rounds": n_rounds(whole),
        "equal": is_equal,
    }


def n_rounds(home: Path) -> int:
    """Whole lines stored of all runs of a home."""
    return sum(rounds.count(b"\n") for rounds in stored(home).values())


if __name__ == "__main__":
    sys.exit(main())
