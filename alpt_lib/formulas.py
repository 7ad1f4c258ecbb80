"""Cells that a spreadsheet would run as a formula: an apostrophe before them keeps it from that."""

import math
import re

GUARDED = re.compile(r"'+[=+\-@\t\r]")


def guarded(cell: str) -> str:
    """A cell that no spreadsheet executes."""
    is_formula = re.match(r"'*[=+\-@\t\r]", cell) and number(cell) is None
    return f"'{cell}" if is_formula else cell


def unguarded(cell: str) -> str:
    """What was guarded."""
    return cell[1:] if is_guarded(cell) else cell


def is_guarded(cell: str) -> bool:
    """Whether a cell may come from `guarded`."""
    return cell[:1] == "'" and bool(GUARDED.match(cell)) and number(cell[1:]) is None


def number(cell: str) -> float | None:
    """A number, also with a decimal comma; None if it is none."""
    plain = cell.strip().replace(",", ".")
    if not re.fullmatch(r"[-+]?\d+(\.\d*)?([eE][-+]?\d+)?", plain):
        return None
    value = float(plain)
    return value if math.isfinite(value) else None
