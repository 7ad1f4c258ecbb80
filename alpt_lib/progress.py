"""How far something is: a bar in terminals and notebooks, a plain line now and then elsewhere."""

import os
import sys
import time
from collections import deque
from dataclasses import dataclass

from tqdm.auto import tqdm

QUIET = "ALPT_QUIET"  # environment variable: no progress anywhere
PERCENT = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}"
EARLY = 50  # no time left is told before a 50th is done
SLOW = 2.0  # s, a delay for what is often done at once
RECENT = 20  # times that units were told of, whose pace says the time left: some units are slow


@dataclass
class Progress:
    """One progress line with the time left.

    Args:
        total: units to do. label: what they make, e.g. "220 runs".
        unit: e.g. "fit"; "": units that mean nothing to a reader, who is told percent.
        every: s between two plain lines. delay: s; what is done sooner is not shown.
    """

    total: int
    label: str
    unit: str
    quiet: bool = False
    every: float = 15.0
    delay: float = 0.0

    def __post_init__(self) -> None:
        self.done = 0
        self.quiet = self.quiet or QUIET in os.environ
        self.started = self.printed = time.monotonic()
        self._told = deque([(self.started, 0)], maxlen=RECENT)
        self.bar = None
        if not self.quiet and (sys.stderr.isatty() or "ipykernel" in sys.modules):
            form = None if self.unit else PERCENT
            how = {"desc": self.label, "unit": self.unit, "bar_format": form, "delay": self.delay}
            self.bar = tqdm(total=self.total, dynamic_ncols=True, **how)
        self.is_begun = self._begins()

    def _begins(self) -> bool:
        """Say the first plain line, if it took long enough; whether it did."""
        is_due = time.monotonic() - self.started >= self.delay
        if is_due and self.bar is None:
            self._say(f"{self.total} {self.unit}s to do" if self.unit else "begun")
        return is_due

    def _say(self, text: str) -> None:
        if not self.quiet:
            print(f"{self.label}: {text}", flush=True)

    def add(self, n: int, what: str = "") -> None:
        """So many more units are done, the last of them `what`."""
        self.done += n
        now = time.monotonic()
        since, before = self._told[0]
        if n:
            self._told.append((now, self.done))
        if self.bar is not None:
            self.bar.set_postfix_str(what, refresh=False)
            self.bar.update(n)
        elif not self.is_begun:
            self.is_begun = self._begins()
        elif now - self.printed >= self.every and self.done < self.total:
            self.printed = now
            left = (now - since) / max(self.done - before, 1) * (self.total - self.done)
            so_far = f"{self.done} of {self.total} {self.unit}s" + f" ({what})" * bool(what)
            if not self.unit:
                so_far = f"{self.done / self.total:.0%} done"
            # the pace of the very first units says nothing
            time_left = f", about {left / 60:.1f} min left" * (self.done * EARLY >= self.total)
            self._say(so_far + time_left)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
        elif self.is_begun:
            self._say(f"done in {(time.monotonic() - self.started) / 60:.1f} min")
