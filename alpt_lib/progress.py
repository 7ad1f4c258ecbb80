"""How far something is: a bar in terminals and notebooks, a plain line now and then elsewhere."""

import os
import sys
import time
from collections import deque

from tqdm.auto import tqdm

QUIET = "ALPT_QUIET"  # environment variable: no progress anywhere
PERCENT = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}"
EARLY = 50  # no time left is told before a 50th is done
RECENT = 20  # times that units were told of, whose pace says the time left: some units are slow


class Progress:
    """One progress line with the time left.

    Args:
        total: units to do. label: what they make, e.g. "220 runs".
        unit: e.g. "fit"; "": units that mean nothing to a reader, who is told percent.
        every: s between two plain lines.
    """

    def __init__(self, total: int, label: str, unit: str, quiet: bool = False, every: float = 15.0):
        self.total = total
        self.label = label
        self.unit = unit
        self.every = every
        self.done = 0
        self.quiet = quiet or QUIET in os.environ
        self.started = time.monotonic()
        self.printed = self.started
        self._told = deque([(self.started, 0)], maxlen=RECENT)
        live = not self.quiet and (sys.stderr.isatty() or "ipykernel" in sys.modules)
        self.bar = None
        if live:
            form = None if unit else PERCENT
            self.bar = tqdm(total=total, desc=label, unit=unit, dynamic_ncols=True, bar_format=form)
        elif unit:
            self._say(f"{total} {unit}s to do")
        else:
            self._say("begun")

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
        elif now - self.printed >= self.every and self.done < self.total:
            self.printed = now
            left = (now - since) / max(self.done - before, 1) * (self.total - self.done)
            last = f" ({what})" if what else ""
            so_far = f"{self.done} of {self.total} {self.unit}s{last}"
            if not self.unit:
                so_far = f"{self.done / self.total:.0%} done"
            # the pace of the very first units says nothing
            is_known = self.done * EARLY >= self.total
            self._say(so_far + f", about {left / 60:.1f} min left" * is_known)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
        else:
            self._say(f"done in {(time.monotonic() - self.started) / 60:.1f} min")
