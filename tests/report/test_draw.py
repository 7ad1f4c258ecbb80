"""Figures appear while runs are being done: one notebook after the other, in order."""

import threading

import pytest

from companion.report import draw as drawing
from companion.report.draw import Meanwhile, Notebook

NAMES = ("00", "01", "02")


@pytest.fixture
def drawn(monkeypatch):
    """What was drawn: each notebook with those still to come; and a way to wait for so many."""
    calls = []
    more = threading.Semaphore(0)

    def draw(notebooks, preset, output, workers, are_done, names, to_come):
        calls.append((*notebooks, tuple(to_come)))
        more.release()
        return output / "index.html", {}

    monkeypatch.setattr(drawing, "draw", draw)
    monkeypatch.setattr(drawing, "LOOK", 0.01)
    return calls, lambda: more.acquire(timeout=10)


def test_a_notebook_is_drawn_once_its_runs_are_done_and_the_rest_is_named(drawn, tmp_path):
    calls, wait = drawn
    done = {"01"}
    begun = []
    notebooks = {name: Notebook({}, []) for name in NAMES}
    with Meanwhile(notebooks, "mini", tmp_path, 1, done.__contains__, begun.append):
        assert wait()
        done.add("00")
        assert wait()
    assert calls == [("01", ("00", "02")), ("00", ("02",))]
    assert begun == [tmp_path / "index.html"]


def test_who_stops_the_runs_waits_for_no_figure(drawn, tmp_path):
    notebooks = {"00": Notebook({}, [])}
    never = threading.Event()
    meanwhile = Meanwhile(notebooks, "mini", tmp_path, 1, lambda name: never.wait(), print)
    with pytest.raises(KeyboardInterrupt), meanwhile:
        raise KeyboardInterrupt
    never.set()
