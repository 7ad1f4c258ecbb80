"""Plain progress lines; bars need a terminal."""

import pytest

from alpt_lib.progress import QUIET, Progress


def test_plain_lines_say_how_far_and_how_long(capsys):
    progress = Progress(4, "figures", "notebook", every=0)
    progress.started -= 60
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


@pytest.mark.parametrize("how", ["argument", "environment"])
def test_quiet_is_quiet(capsys, monkeypatch, how):
    if how == "environment":
        monkeypatch.setenv(QUIET, "1")
    progress = Progress(2, "runs", "fit", quiet=how == "argument", every=0)
    progress.add(1)
    progress.close()
    assert capsys.readouterr() == ("", "")
