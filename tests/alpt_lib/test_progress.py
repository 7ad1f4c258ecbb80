"""Plain progress lines; bars need a terminal."""

import re

import pytest

from alpt_lib import progress as progress_lines
from alpt_lib.progress import QUIET, Progress


@pytest.fixture
def clock(monkeypatch):
    """Seconds, moved by hand."""
    now = [1000.0]
    monkeypatch.setattr(progress_lines.time, "monotonic", lambda: now[0])
    return now


def test_plain_lines_say_how_far_and_how_long(capsys, clock):
    progress = Progress(4, "figures", "notebook", every=0)
    clock[0] += 60
    progress.add(1, "01_accuracy")
    progress.add(3)
    progress.close()
    assert capsys.readouterr().out.splitlines() == [
        "figures: 4 notebooks to do",
        "figures: 1 of 4 notebooks (01_accuracy), about 3.0 min left",
        "figures: done in 1.0 min",
    ]


def test_a_line_comes_now_and_then_only(capsys):
    progress = Progress(1000, "runs", "fit", every=60)
    for _ in range(1000):
        progress.add(1)
    assert capsys.readouterr().out == "runs: 1000 fits to do\n"


def test_the_time_left_goes_by_the_recent_pace(capsys, clock):
    progress = Progress(140, "runs", "round")
    for seconds in [1] * 100 + [60] * 20:
        for _ in range(30):
            clock[0] += seconds / 30
            progress.add(0)
        progress.add(1)
    # at the pace of all 120 it were 3.3 min
    minutes = re.search(r"about (.*) min left", capsys.readouterr().out.splitlines()[-1])[1]
    assert float(minutes) == pytest.approx(20, abs=2)


def test_units_without_a_name_are_told_in_percent(capsys, clock):
    progress = Progress(400, "3 runs", "")
    clock[0] += 60
    progress.add(100)
    assert capsys.readouterr().out.splitlines() == [
        "3 runs: begun",
        "3 runs: 25% done, about 3.0 min left",
    ]


@pytest.mark.parametrize(("seconds", "said"), [(0.2, 0), (2.0, 2)])
def test_what_is_done_at_once_is_not_shown(capsys, clock, seconds, said):
    progress = Progress(2, "features", "example", delay=1)
    for _ in range(2):
        clock[0] += seconds
        progress.add(1)
    progress.close()
    lines = ["features: 2 examples to do", f"features: done in {seconds / 30:.1f} min"]
    assert capsys.readouterr().out.splitlines() == lines[:said]


@pytest.mark.parametrize("how", ["argument", "environment"])
def test_quiet_is_quiet(capsys, monkeypatch, how):
    if how == "environment":
        monkeypatch.setenv(QUIET, "1")
    progress = Progress(2, "runs", "fit", quiet=how == "argument", every=0)
    progress.add(1)
    progress.close()
    assert capsys.readouterr() == ("", "")
