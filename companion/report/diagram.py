"""The loop of section 2 as a drawing, and as the lines that run it."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from alpt_lib import loop
from companion.report.plotting import COLOURS, WIDTH

if TYPE_CHECKING:
    from IPython.display import Markdown

# where a box stands (column, row), and what it says: short lines, which a phone has room for
BOXES = {
    "pool": ((0, 2), "the pool:\nno labels"),
    "score": ((0, 1), "3  score each x\na(x) = −max p(y|x)\n(equation 1)"),
    "ask": ((0, 0), "4  ask for the\nhighest scores:\na query batch"),
    "labelled": ((1, 0), "labels so far:\n1  a seed set,\nthen the answers"),
    "train": ((1, 1), "2  train anew,\nfrom the initial\nweights"),
}
ARROWS = [
    ("pool", "score"),
    ("score", "ask"),
    ("ask", "labelled"),
    ("labelled", "train"),
    ("train", "score"),
]


def loop_diagram() -> Figure:
    """Pool, score, ask, label, train, and round again (paper, section 2, equation 1)."""
    figure, ax = plt.subplots(figsize=(WIDTH, 2.8))
    ax.set(xlim=(-0.4, 1.4), ylim=(-0.4, 2.3))
    ax.axis("off")
    box = {"boxstyle": "round,pad=0.4", "facecolor": "white", "edgecolor": COLOURS["random"]}
    drawn = {}
    for key, (place, words) in BOXES.items():
        drawn[key] = ax.text(*place, words, ha="center", va="center", fontsize=8, bbox=box)
    arrow = {"arrowstyle": "-|>", "color": COLOURS["least_confidence"], "linewidth": 1.5}
    for start, end in ARROWS:
        ends = {"patchA": drawn[start].get_bbox_patch(), "patchB": drawn[end].get_bbox_patch()}
        places = (BOXES[end][0], BOXES[start][0])
        ax.annotate("", *places, arrowprops={**arrow, **ends, "shrinkA": 2, "shrinkB": 2})
    ax.text(0.52, 0.06, "5  answers", fontsize=8, ha="center", va="bottom")
    return figure


def loop_lines() -> Markdown:
    """The lines of `alpt_lib/loop.py` that are the loop, as they stand in the file."""
    from IPython.display import Markdown

    source = "\n\n".join(inspect.getsource(each) for each in (loop.active_learning, loop.ask))
    return Markdown(f"```python\n{source}```")
