"""How many of 50 runs, killed by SIGKILL at random moments, end with the bytes of one never killed.

    python benchmarks/kill_50.py [--quick] [--seed 0]

Each is a sweep of two arms, in turn under the paper's rules with probes, under the released code's,
with dropout and batch norm, and with a head on a frozen network. It is killed while it trains,
scores or writes and started again. Or it has two seeds and two worker processes, and one of these
is killed (the sweep itself must then end well), or their parent is (they must end too, and the
sweep is started again). A kill that came too late, when all rounds were stored, is drawn again.
"""

import os
import signal
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
from common import options, report

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from conftest import write_birds
from toy_runs import SETTINGS, in_a_process, new_home, rows_of, start

CALLS = {"training": 45, "scoring": 12, "writing": 16}  # of each function in a run, about
SECONDS = {"training": 0.02, "scoring": 0.02, "writing": 0.002}  # a call takes, about
HEADS = {
    "training": "training a head",
    "scoring": "scoring by a head",
    "writing": "writing unsynced",
}
WHERE = [*CALLS, "a worker", "the parent"]
KILLED = -signal.SIGKILL


def main() -> int:
    """Exit status 0 if all ended equal."""
    chosen = options(__doc__, seed=(0, "of the moments"))
    rng = np.random.default_rng(chosen.seed)
    n = 15 if chosen.quick else 50
    with tempfile.TemporaryDirectory() as folder:
        trials = Trials(Path(folder), rng)
        rows = pd.DataFrame([trials.killed_and_resumed(i) for i in range(n)])
    report("kill_50", by_setting(rows), is_stored=not chosen.quick)
    n_equal = rows["equal"].sum()
    print(f"{n_equal} of {n} runs that were killed ended with the bytes of one never killed")
    return int(n_equal < n)


def by_setting(rows: pd.DataFrame) -> list[dict]:
    """Of each setting and place: runs, how much was stored by the kill, how many ended equal."""
    table = rows.groupby(["setting", "killed_in"], sort=False).agg(
        runs=("equal", "size"),
        rounds=("rounds", "first"),
        rounds_stored=("rounds_stored", lambda n: f"{n.min()} to {n.max()}"),
        equal=("equal", "sum"),
    )
    return table.reset_index().to_dict("records")


def n_rounds(home: Path) -> int:
    """Whole lines stored of all runs of a home."""
    return sum(rounds.count(b"\n") for rounds in rows_of(home).values())


class Trials:
    """Runs in folders of their own, which share dataset and caches."""

    def __init__(self, top: Path, rng: np.random.Generator):
        self.top = top
        self.rng = rng
        self.cache = top / "cache"
        self.cache.mkdir()
        self.birds = write_birds(top / "toybirds")
        self.whole: dict[tuple[str, int], dict[str, bytes]] = {}

    def killed_and_resumed(self, i: int) -> dict:
        """The i-th run: where it was killed, and whether it stores what an undisturbed one does."""
        setting = list(SETTINGS)[i % len(SETTINGS)]
        where = WHERE[i // len(SETTINGS) % len(WHERE)]
        n_workers = 1 if where in CALLS else 2
        whole = self.undisturbed(setting, n_workers)
        n_all = sum(text.count(b"\n") for text in whole.values())
        for attempt in range(20):
            home = new_home(self.top / f"killed{i}.{attempt}", self.cache)
            n_stored = self.kill(home, setting, where, n_all)
            if n_stored < n_all:
                break
        else:
            raise RuntimeError(f"20 kills in {where} came too late")
        ended = where == "a worker" or self.ends(home, setting, n_workers)
        is_equal = ended and rows_of(home) == whole
        how = "equal" if is_equal else "DIFFERENT"
        print(f"{i + 1:3} {setting:9} killed in {where:10} at {n_stored} lines: {how}", flush=True)
        return {
            "setting": setting,
            "killed_in": where,
            "rounds_stored": n_stored,
            "rounds": n_all,
            "equal": is_equal,
        }

    def undisturbed(self, setting: str, n_workers: int) -> dict[str, bytes]:
        """What an undisturbed run stores."""
        key = (setting, n_workers)
        if key not in self.whole:
            home = new_home(self.top / f"{setting}{n_workers}", self.cache)
            if not self.ends(home, setting, n_workers):
                raise RuntimeError(f"the undisturbed run of {setting!r} failed")
            self.whole[key] = rows_of(home)
        return self.whole[key]

    def ends(self, home: Path, setting: str, n_workers: int) -> bool:
        """Run a sweep to its end; whether it ended well."""
        process = start(home, self.birds, setting, workers=n_workers)
        process.join()
        return process.exitcode == 0

    def kill(self, home: Path, setting: str, where: str, n_all: int) -> int:
        """Start a run and kill it at random; how many lines were stored by then."""
        if where in CALLS:
            moment = (int(self.rng.integers(CALLS[where])), self.rng.uniform(0, SECONDS[where]))
            phase = HEADS[where] if setting == "frozen" else where
            status = in_a_process(home, self.birds, setting, phase, *moment)
            return n_rounds(home) if status == KILLED else n_all
        process = start(home, self.birds, setting, workers=2)
        n_wanted = int(self.rng.integers(n_all))
        while process.is_alive() and (n_rounds(home) < n_wanted or not children(process.pid)):
            time.sleep(0.002)
        time.sleep(self.rng.uniform(0, 0.05))
        n_stored = n_rounds(home)
        workers = children(process.pid)
        if where == "the parent":
            process.kill()
        elif workers:
            os.kill(int(self.rng.choice(workers)), signal.SIGKILL)
        process.join()
        while any(map(is_alive, workers)):
            time.sleep(0.01)
        was_killed = process.exitcode == (KILLED if where == "the parent" else 0)
        return n_stored if was_killed and workers else n_all


def is_alive(pid: int) -> bool:
    """Whether a process has not ended; one that nobody has waited for counts as ended."""
    with suppress(OSError):
        return state_and_parent(Path(f"/proc/{pid}"))[0] != "Z"
    return False


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            state, parent = state_and_parent(process)
            if parent == pid and state != "Z":
                found.append(int(process.name))
    return found


def state_and_parent(process: Path) -> tuple[str, int]:
    state, parent = (process / "stat").read_text().rpartition(")")[2].split()[:2]
    return state, int(parent)


if __name__ == "__main__":
    sys.exit(main())
