"""What was told stays told: restarts, kills, full disks, spreadsheets, items that go elsewhere."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from label_sessions import CLASSES, FAST, decisions, label, open_texts, truth, write_texts
from PIL import Image

from alpt_lib.errors import LabelError
from alpt_lib.files import REPOSITORY
from companion import labelling
from companion.labelling import UNDONE

pytest_plugins = ["label_fixtures"]

ODD_IDS = [
    'a,"b"',
    "two\nlines",
    "<b>&amp;",
    "ümläut ☃",
    "\r",
    "a\u2028b",
    "'; x",
    "=1+1",
    "-1",
    "p",
]


# ---- restarts, kills, two at once


def test_killed_in_the_middle_nothing_told_is_lost_and_the_same_picture_shows(
    pictures, tmp_path, home
):
    code = f"""
import time
from companion import labelling
labels = {str(tmp_path / "labels")!r}
session = labelling.open_session({str(pictures)!r}, {CLASSES}, labels, **{FAST})
while True:
    item = session.ask()[0]
    print("asked", item.id, flush=True)
    session.tell(item.id, item.id.split("/")[0])
    print("told", item.id, flush=True)
    time.sleep(0.02)
"""
    command = [sys.executable, "-c", code]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY)
    said = [process.stdout.readline().split() for _ in range(11)]
    os.kill(process.pid, signal.SIGKILL)
    said += [line.split() for line in process.communicate()[0].splitlines()]
    told = [id_ for what, id_ in said if what == "told"]
    session = labelling.open_session(pictures, CLASSES, tmp_path / "labels", **FAST)
    kept = [row.id for row in session.labels.rows]
    assert kept[: len(told)] == told
    assert len(kept) - len(told) in (0, 1)  # killed between the disk and the word
    asked = [id_ for what, id_ in said if what == "asked"]
    if len(asked) > len(kept):
        assert session.ask()[0].id == asked[-1]
    session.close()


def test_one_process_and_one_cell_at_a_time(start, pictures, tmp_path):
    older, newer = start(), start()
    newer.tell(newer.ask()[0].id, "tall")
    for late in (older.ask, lambda: older.tell("tall/0.png", "tall")):
        with pytest.raises(LabelError, match="its cell was run again: use the newer one"):
            late()
    given = f"{str(pictures)!r}, {CLASSES}, {str(tmp_path / 'labels')!r}"
    code = f"from companion import labelling\nlabelling.open_session({given})"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY)
    words = f"is being labelled by another process (process {os.getpid()}): shut that notebook's"
    assert words in done.stderr


# ---- full disks and folders that cannot be used


@pytest.mark.parametrize("call", ["write", "fsync"])
def test_a_disk_that_fills_up_leaves_no_half_line(start, tmp_path, monkeypatch, call):
    session = start()
    first = label(session, 1)
    before = {file.name: file.read_bytes() for file in (tmp_path / "labels").iterdir()}
    write = os.write

    def full(fd: int, content: bytes = b"") -> None:
        write(fd, bytes(content[:20]))
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, call, full)
    with pytest.raises(LabelError, match="No space left on device; what was labelled before is"):
        session.tell("wide/1.png", "wide")
    after = {file.name: file.read_bytes() for file in (tmp_path / "labels").iterdir()}
    assert after == before
    monkeypatch.undo()
    session.tell("wide/3.png", "wide")
    assert start().notes == session.notes == []
    assert list(decisions(start())) == [*first, "wide/3.png"]


def test_a_folder_that_is_of_no_use_is_one_line(start, tmp_path):
    label(start(), 3)
    (tmp_path / "file").write_text("no folder")
    (tmp_path / "elsewhere").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "elsewhere" / "other.png")
    for changes, said in [
        ({"folder": tmp_path / "file" / "labels"}, r"cannot write .*: make the folder writable"),
        ({"classes": ["long", "short"]}, r"labels of another class: unknown class '(tall|wide)"),
        ({"source": tmp_path / "elsewhere"}, r"none of the 3 items labelled in .* is in .*where"),
    ]:
        with pytest.raises(LabelError, match=said):
            start(**changes)
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "labels.csv").write_text("name,age\nme,7\n")
    with pytest.raises(LabelError, match="is no label file, first 'name,age"):
        start(folder=tmp_path / "none")


# ---- spreadsheets and crashes

MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None

EDITS = {
    "nothing": lambda rows, i: rows,
    "row deleted": lambda rows, i: rows[:i] + rows[i + 1 :],
    "row twice": lambda rows, i: rows[: i + 1] + rows[i:],
    "older state": lambda rows, i: rows[:i],
    "sorted": lambda rows, i: rows[:1] + sorted(rows[1:]),
    "columns turned": lambda rows, i: [row[::-1] for row in rows],
    "column lost": lambda rows, i: [row[:2] + row[2 + i % 4 + 1 :] for row in rows],
    "header in capitals": lambda rows, i: [[cell.upper() for cell in rows[0]], *rows[1:]],
    "numbers": lambda rows, i: [[c if c != "0" else "0.0" for c in row] for row in rows],
    "cells at the end": lambda rows, i: [[*row, "", ""] for row in rows] + [[""] * 8],
    "empty lines": lambda rows, i: [*rows[:i], [], *rows[i:], [], []],
    "by hand": lambda rows, i: [*rows, ["p", "wide"]],
    "by hand, turned": lambda rows, i: [*rows, ["wide", "p"]],
    "cell": lambda rows, i: [*rows[:i], [rows[i][0], "wide", *rows[i][2:]], *rows[i + 1 :]],
    "cell damaged": lambda rows, i: [*rows[:i], [rows[i][0], "w?de"], *rows[i + 1 :]],
}
FORMS = {
    "": lambda text, i: text.encode(),
    "CRLF": lambda text, i: text.replace("\n", "\r\n").encode(),
    "CR": lambda text, i: text.replace("\n", "\r").encode(),
    "BOM": lambda text, i: text.encode("utf-8-sig"),
    "UTF-16": lambda text, i: text.encode("utf-16"),
    "semicolons": lambda text, i: text.replace(",", ";").encode(),
    "stray quote": lambda text, i: (text[:i] + '"' + text[i:]).encode(),
    "NULs": lambda text, i: (text[:i] + "\0" * 9 + text[i:]).encode(),
    "cut": lambda text, i: text.encode()[: -i or None],
    "no last line end": lambda text, i: text.rstrip("\n").encode(),
    "deleted": lambda text, i: None,
}


TOLD = st.lists(
    st.tuples(st.sampled_from(ODD_IDS), st.sampled_from([*CLASSES, UNDONE])), max_size=8
)
EDIT = st.sampled_from([*EDITS, *["nothing"] * len(FORMS)])
FORM = st.sampled_from(list(FORMS))
NAME = st.sampled_from([*["labels.csv"] * 4, "told.jsonl", "asked.jsonl"])


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(TOLD, EDIT, FORM, NAME, st.integers(0), st.booleans())
def test_nothing_told_is_missing_whatever_others_do_to_a_file(told, edit, form, name, at, is_open):
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        write_texts(Path(folder) / "t.csv", [f"text {i}" for i in range(len(ODD_IDS))], ODD_IDS)
        session = open_texts(Path(folder))
        for id_, word in [*told, ("two\nlines", "tall")]:
            session.tell(id_, word)
        shown = session.ask(1)
        expected = decisions(session)
        file = Path(folder) / "labels" / name
        before = file.read_bytes()
        text = before.decode()
        is_table = name == "labels.csv"
        if is_table and edit != "nothing":
            rows = list(csv.reader(io.StringIO(text, newline="")))
            stream = io.StringIO()
            writer = csv.writer(stream, lineterminator="\n", quoting=csv.QUOTE_ALL)
            writer.writerows(EDITS[edit](rows, 1 + at % (len(rows) - 1)))
            text = stream.getvalue()
        content = FORMS[form](text, at % len(text))
        file.unlink() if content is None else file.write_bytes(content)
        notes = session.notes
        if is_open:
            session.tell("<b>&amp;", "tall")
            expected["<b>&amp;"] = "tall"
            notes += session.notes
        session = open_texts(Path(folder))
        now = decisions(session)
        edited = {id_ for id_ in {*now, *expected} if now.get(id_) != expected.get(id_)}
        said = " ".join([*notes, *session.notes])
        assert len(edited) <= is_table
        assert all("count now" in said for _ in edited)
        assert name == "asked.jsonl" or session.ask(1) == shown or is_open or edited
        if content is not None and not before.startswith(content) and is_table:
            assert file.with_name("labels.csv.damaged-1").read_bytes() == content
            assert "it is kept as labels.csv.damaged-1" in said
        again = open_texts(Path(folder))
        assert again.notes == again.collection.notes
        again.close()


# ---- the label of an item stays with it


@pytest.mark.parametrize(
    ("ids", "ids_after"), [(None, None), (list("012"), list("0123")), (list("abc"), list("nabc"))]
)
def test_a_label_stays_with_its_text_whatever_its_row_or_number(tmp_path, ids, ids_after):
    write_texts(tmp_path / "t.csv", ["one", "two", "three"], ids)
    session = open_texts(tmp_path)
    for item in session.ask(3):
        session.tell(item.id, CLASSES[item.text == "two"])
    for texts in (["new", "one", "two", "three"], ["two", "three", "new", "one"]):
        write_texts(tmp_path / "t.csv", texts, ids_after)
        session = open_texts(tmp_path)
        table = session.table().set_index("text")["label"]
        assert table.to_dict() == {"one": "tall", "two": "wide", "three": "tall"}
        assert [item.text for item in session.ask(9)] == ["new"]
    assert open_texts(tmp_path).notes == []


def test_a_picture_takes_its_label_along_and_one_that_changed_is_named_until_told_again(
    start, pictures
):
    a, b, c, d = sorted(label(start(), 4))
    session = start()
    (pictures / "moved").mkdir()
    (pictures / a).rename(pictures / "moved" / "a.png")
    (pictures / b).rename(pictures / "swap")
    (pictures / c).rename(pictures / b)
    (pictures / "swap").rename(pictures / c)
    session = start()
    assert decisions(session) == {"moved/a.png": truth(a), b: truth(c), c: truth(b), d: truth(d)}
    assert "labels that went with their content to another name (3): " in session.notes[0]
    os.utime(pictures / c)
    Image.new("RGB", (32, 32)).save(pictures / b)
    (pictures / d).unlink()
    for _ in range(2):
        session = start()
        assert [note.partition(" (1): ")[2] for note in session.notes] == [b, d]
        assert "changed since they were labelled; the labels stay, told again" in session.notes[0]
        assert "labelled, but not there any more" in session.notes[1]
        assert d in decisions(session)
    session.tell(b, "tall")
    assert len(start().notes) == 1


SEEN = {"0": ["one"], "1": ["two"], "2": ["three"]}


@pytest.mark.parametrize(
    ("ids", "seen", "expected"),
    [
        (None, SEEN, {"one": "tall", "two": "wide"}),
        (list("0123"), SEEN, {"one": "tall", "two": "wide"}),
        (None, {**SEEN, "1": ["two", "one"]}, "not clear for 1, first row 1: give the table a col"),
        (None, {}, "not clear for 2, first row 0"),
    ],
)
def test_labels_of_an_earlier_version_are_understood_or_refused(tmp_path, ids, seen, expected):
    folder = tmp_path / "labels"
    folder.mkdir()
    old = "id,label,who,when,round,score\n0,tall,,,0,\n1,tall,,,0,\n1,wide,me,,0,\n"
    (folder / "labels.csv").write_text(old)
    with open(folder / "seen.jsonl", "w") as stream:
        for id_, texts in seen.items():
            for digest in (sha256(text.encode()).hexdigest()[:16] for text in texts):
                stream.write(json.dumps({"id": id_, "stamp": digest, "hash": digest}) + "\n")
    # when they were labelled, there was no "new"
    write_texts(tmp_path / "t.csv", ["new", "one", "two", "three"], ids)
    if isinstance(expected, str):
        with pytest.raises(LabelError, match=expected):
            open_texts(tmp_path)
        assert (folder / "labels.csv").read_text() == old
        return
    session = open_texts(tmp_path)
    assert session.table().set_index("text")["label"].to_dict() == expected
    assert [row.label for row in session.labels.rows[:3]] == ["tall", "tall", "wide"]
    assert session.labels.rows[2].who == "me"
    if ids is None:
        assert (folder / "labels.csv.damaged-1").read_text() == old
    assert open_texts(tmp_path).notes == []
