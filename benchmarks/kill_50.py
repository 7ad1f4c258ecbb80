"""How many of 50 runs, killed by SIGKILL at random moments and started again, end with the bytes of one never killed.

    python benchmarks/kill_50.py [--kills 50] [--seed 0]

A third of the kills each fall into training, scoring and writing. Each run is a sweep of two arms, in turn under the paper's
rules with probes, under the released code's, and with dropout and batch norm (`SETTINGS` in tests/test_resume.py). One in five
is killed again while it is resumed. A kill that came too late, after the run's end, is drawn again.
"""

import argparse
import signal
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from conftest import write_birds
from test_resume import SETTINGS, in_a_process, new_home, stored

CALLS = {"training": 45, "scoring": 16, "writing": 10}  # of each function in a run, about
SECONDS = {"training": 0.02, "scoring": 0.02, "writing": 0.002}  # a call takes, about
KILLED = -signal.SIGKILL


def main() -> int:
    """Exit status 0 if all ended equal."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        equal = sum(killed_and_resumed(Path(folder), i, rng) for i in range(options.kills))
    print(f"{equal} of {options.kills} runs that were killed ended with the bytes of one never killed")
    return int(equal < options.kills)


def killed_and_resumed(top: Path, i: int, rng: np.random.Generator) -> bool:
    """Whether the i-th run, killed and resumed, stores what an undisturbed one does."""
    setting, phase = list(SETTINGS)[i % 3], list(CALLS)[i // 3 % 3]
    birds, whole = top / "toybirds", top / setting
    (top / "cache").mkdir(exist_ok=True)
    if not birds.exists():
        write_birds(birds)
    if not whole.exists():
        in_a_process(new_home(whole, top / "cache"), birds, setting)
    for attempt in range(20):
        home = new_home(top / f"killed{i}.{attempt}", top / "cache")
        moment = int(rng.integers(CALLS[phase])), float(rng.uniform(0, SECONDS[phase]))
        if in_a_process(home, birds, setting, phase, *moment) == KILLED:
            break
    lines = sum(rounds.count(b"\n") for rounds in stored(home).values())
    again = i % 5 == 0 and in_a_process(home, birds, setting, phase, int(rng.integers(5)), moment[1]) == KILLED
    finished = in_a_process(home, birds, setting)
    is_equal = finished == 0 and stored(home) == stored(whole)
    print(f"{i + 1:3} {setting:9} killed in {phase:9} call {moment[0]:3} + {moment[1] * 1000:4.1f} ms, {lines} lines stored"
          f"{', killed again' if again else ''}: {'equal' if is_equal else 'DIFFERENT'}", flush=True)
    return is_equal


if __name__ == "__main__":
    sys.exit(main())
