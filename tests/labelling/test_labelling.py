"""A labelling session: asking and telling, what is on the disk after a crash, and files that are not as they should be."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from conftest import draw

from alpt_lib import datasets
from alpt_lib.errors import CompanionError, LabelError
from alpt_lib.files import REPOSITORY, cache_folder
from companion import labelling
from companion.labelling import CANNOT_TELL, SKIPPED, UNDONE
from companion.labelling.items import read_collection
from companion.labelling.storage import Label, Labels
from companion.runs.execute import execute
from companion.runs.plan import plan_runs

CLASSES = ["tall", "wide"]
FAST = {
    "model": "bit-m-np",
    "protocol": {"seed_set_size": 4, "query_batch_size": 3},
    "recipe": {"max_steps": 2},
}


def truth(id_: str) -> str:
    return id_.split("/")[0]


@pytest.fixture
def pictures(tmp_path) -> Path:
    """12 images of 32 px, tall/*.png and wide/*.png, no two alike."""
    rng = np.random.default_rng(0)
    for i in range(12):
        file = tmp_path / "pictures" / CLASSES[i % 2] / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw(i % 2, int(rng.integers(2)), rng)).save(file)
    return tmp_path / "pictures"


@pytest.fixture
def start(pictures, tmp_path):
    """Opens the session on `pictures`, again where it was opened before."""
    opened = []

    def open_(**changes):
        given = {
            "source": pictures,
            "classes": CLASSES,
            "folder": tmp_path / "labels",
            **FAST,
            **changes,
        }
        opened.append(labelling.open_session(**given))
        return opened[-1]

    yield open_
    for session in opened:
        session.wait()
        session.close()


def label(session, n: int) -> list[str]:
    """Tell the truth about the next n items."""
    done = []
    for _ in range(n):
        item = session.ask()[0]
        session.tell(item.id, truth(item.id))
        done.append(item.id)
    return done


def on_disk(folder: Path) -> list[list[str]]:
    return (
        pd.read_csv(folder / "labels.csv", dtype=str, keep_default_na=False)[["id", "label"]]
        .to_numpy()
        .tolist()
    )


# ---- asking and telling


def test_told_a_stored_runs_labels_a_session_asks_that_runs_questions(birds_copy, tmp_path):
    (planned,) = plan_runs(
        {"datasets": [str(birds_copy)], "acquisitions": ["least_confidence"], "seeds": [1]}
    )
    execute([planned.run], workers=1, quiet=True)
    data = datasets.read_dataset(birds_copy)
    rows = data.rows("pool")
    rows[["path"]].to_csv(birds_copy / "paths.csv", index=False)
    session = labelling.open_session(
        birds_copy / "paths.csv",
        data.classes,
        tmp_path / "labels",
        model="bit-m-np",
        protocol=data.description.protocol,
        recipe=data.description.recipe,
    )
    stored = planned.run.acquisitions()
    for row in stored.query("round == 0")["index"]:
        session.tell(rows["path"][row], rows["label"][row])
    oracle = dict(zip(rows["path"], rows["label"], strict=True))
    for _ in range(planned.config.protocol.n_rounds):
        assert session.refit()
        for item in session.ask(4):
            session.tell(item.id, oracle[item.id])
    told = session.labels.rows
    assert [session.collection.row[row.id] for row in told] == stored["index"].tolist()
    assert [row.round for row in told] == stored["round"].tolist()
    assert [row.score for row in told[8:]] == pytest.approx(stored["score"][8:].tolist())
    session.close()


def test_asking_twice_is_asking_once_and_what_was_told_is_not_asked_again(start):
    session = start()
    first = session.ask(5)
    assert session.ask(5) == first
    assert session.ask(2) == first[:2]
    session.tell(first[1].id, "wide")
    assert [item.id for item in session.ask()] == [
        item.id for i, item in enumerate(first) if i != 1
    ]


def test_labels_may_come_out_of_order_partially_and_unasked(start):
    session = start()
    asked = [item.id for item in session.ask(3)]
    unasked = next(id_ for id_ in session.collection.ids if id_ not in asked)
    session.tell(asked[2], "wide")
    session.tell(unasked, "tall", who="a colleague")
    assert [item.id for item in session.ask(2)] == asked[:2]
    assert session.progress().n_labels == 2
    assert session.labels.current[unasked].who == "a colleague"


def test_the_last_label_of_an_item_counts(start):
    session = start()
    id_ = session.ask()[0].id
    for told in ("tall", "wide"):
        session.tell(id_, told)
    assert session.progress().class_mix == {"tall": 0, "wide": 1}
    assert [row.label for row in session.labels.rows] == ["tall", "wide"]


def test_undo_takes_back_one_decision_after_the_other_and_asks_again(start):
    session = start()
    first, second = label(session, 2)
    assert session.undo() == second
    assert session.ask()[0].id == second
    assert session.undo() == first
    assert [item.id for item in session.ask()][:2] == [first, second]
    assert session.undo() is None
    assert session.progress().n_labels == 0


def test_cannot_tell_is_never_asked_again_nor_trained_on_and_skipped_comes_back(start):
    session = start()
    never, later = (item.id for item in session.ask(2))
    session.tell(never, CANNOT_TELL)
    session.tell(later, SKIPPED)
    asked = label(session, 1)
    while session.progress().n_left > 1:
        asked += label(session, 1) if session.ask()[0].id != later else []
        if session.ask()[0].id == later and session.progress().n_left > 1:
            session.tell(later, SKIPPED)
    assert later not in asked
    assert label(session, 1) == [later]
    assert session.ask() == []
    assert session.progress().n_cannot_tell == 1
    assert session.progress().status == "everything is labelled"
    assert never not in session.table()["id"].tolist()


@pytest.mark.parametrize(
    ("id_", "told", "said"),
    [
        ("wide/99.png", "wide", r"'wide/99.png' is not in pictures; ids look like 'tall/0.png'"),
        (
            "tall/0.png",
            "wid",
            r"unknown class 'wid' \(did you mean 'wide'\?\); known: tall, wide, can't tell, skipped",
        ),
    ],
)
def test_an_unknown_item_or_class_is_one_line_and_nothing_is_written(
    start, id_, told, said, tmp_path
):
    session = start()
    with pytest.raises(LabelError, match=said):
        session.tell(id_, told)
    assert on_disk(tmp_path / "labels") == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"classes": ["tall"]}, "classes must be two or more names"),
        ({"classes": ["tall", "skipped"]}, "'skipped' cannot be a class"),
        ({"source": "nowhere"}, "nowhere does not exist; give a folder of images"),
        ({"model": "roberta-m"}, "model roberta-m reads texts; pictures holds images"),
        ({"acquisition": "margn"}, r"unknown acquisition.*did you mean 'margin'"),
        ({"modle": "bit-m"}, r"unknown setting 'modle' \(did you mean 'model'\?\)"),
        ({"protocol": {"budgets": 1}}, "unknown protocol setting 'budgets'"),
        ({"check": {"tall/0.png": "long"}}, "check set: unknown class 'long'"),
        (
            {"check": {"0.png": "tall"}},
            "check set: '0.png' is not in pictures; its ids look like 'tall/0.png'",
        ),
    ],
)
def test_what_cannot_be_labelled_is_said_in_one_line(start, changes, said):
    with pytest.raises(CompanionError, match=said) as error:
        start(**changes)
    assert "\n" not in str(error.value)


# ---- when there is a model


def test_before_the_seed_set_is_full_and_every_class_was_met_it_asks_at_random_and_says_why(start):
    session = start(classes=["tall", "wide", "round"])
    assert not session.refit()
    assert session.progress().status == "asking at random: the seed set has 0 of 4 labels"
    for id_ in session.collection.ids[:4]:
        session.tell(id_, "tall")
    assert session.why_random() == "all labels so far are 'tall', and a model needs two classes"
    session.tell(session.collection.ids[-1], "wide")
    assert session.why_random() == "there is no example of 'round' yet"
    assert not session.refit()
    assert all(item.score is None for item in session.ask(3))


def test_after_three_seed_sets_it_goes_on_without_a_class_that_nobody_met(start):
    session = start(
        classes=["tall", "wide", "round"], protocol={"seed_set_size": 3, "query_batch_size": 3}
    )
    label(session, 9)
    assert session.refit()
    session.ask()
    assert "it has seen no example of 'round'" in session.progress().status


def test_a_model_trains_while_labels_come_and_then_the_rest_is_ranked_anew(start):
    session = start(check={"tall/0.png": "tall", "wide/1.png": "wide"})
    label(session, 4)
    assert session.refit_is_due()
    assert session.refit(wait=False)
    assert not session.refit(wait=False)  # one at a time
    label(session, 1)
    looked_at = session.ask()[0]
    session.wait()
    again = session.ask()
    assert again[0] == looked_at  # a person may be looking at it
    assert all(item.score is not None and item.round == 1 for item in again[1:])
    found = session.progress()
    assert (found.n_items, found.n_labels, found.n_check) == (10, 5, 2)
    assert found.check_accuracy in (0.0, 0.5, 1.0)
    assert (
        found.status
        == "asking what the model, trained on 4 labels, is unsure of (least confidence)"
    )


def test_the_check_set_is_neither_asked_for_nor_told(start):
    session = start(check={"tall/0.png": "tall"})
    assert "tall/0.png" not in [item.id for item in session.ask(12)]
    with pytest.raises(LabelError, match=r"'tall/0.png' is in the check set"):
        session.tell("tall/0.png", "tall")


def test_a_training_that_fails_is_said_and_labelling_goes_on(start):
    session = start(recipe={"lr": 1e30, "max_steps": 9, "warmup_steps": 0})
    label(session, 4)
    with pytest.raises(LabelError, match="training failed: TrainingDiverged: training loss is"):
        session.refit()
    assert session.progress().status.startswith("training failed (TrainingDiverged")
    label(session, 1)


def test_texts_are_labelled_and_trained_on_too(tmp_path):
    words = [("good", "fine great good superb"), ("bad", "awful poor dreadful bad")]
    texts = [
        (f"{word} number {i}", name)
        for i in range(6)
        for name, line in words
        for word in [line.split()[i % 4]]
    ]
    pd.DataFrame(texts, columns=["review", "truth"]).to_csv(tmp_path / "reviews.csv", index=False)
    session = labelling.open_session(
        tmp_path / "reviews.csv",
        ["bad", "good"],
        tmp_path / "labels",
        protocol={"seed_set_size": 4, "query_batch_size": 3},
        recipe={"max_steps": 2},
    )
    for id_ in session.collection.ids[:4]:
        session.tell(id_, texts[int(id_)][1])
    assert session.refit()
    assert [item.text for item in session.ask(2)] == [
        texts[int(item.id)][0] for item in session.ask(2)
    ]
    session.close()


# ---- the disk


@pytest.mark.parametrize("n", [1, 3, 5])
def test_after_a_restart_the_same_picture_shows_without_a_training(start, n):
    session = start()
    label(session, n)
    shown = session.ask()
    session.close()
    assert start().ask() == shown


def test_after_a_restart_the_models_picture_shows_and_undo_still_works(start):
    session = start()
    label(session, 4)
    session.refit()
    (last,) = label(session, 1)
    shown = session.ask()
    again = start()
    assert again.ask() == shown
    assert shown[0].score is not None
    assert again.undo() == last


def test_killed_in_the_middle_nothing_told_is_lost_and_the_same_picture_shows(
    pictures, tmp_path, home
):
    code = f"""
import time
from companion import labelling
session = labelling.open_session({str(pictures)!r}, {CLASSES}, {str(tmp_path / "labels")!r}, **{FAST})
while True:
    item = session.ask()[0]
    print("asked", item.id, flush=True)
    session.tell(item.id, item.id.split("/")[0])
    print("told", item.id, flush=True)
    time.sleep(0.02)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=REPOSITORY
    )
    said = [process.stdout.readline().split() for _ in range(11)]
    os.kill(process.pid, signal.SIGKILL)
    said += [line.split() for line in process.communicate()[0].splitlines()]
    told = [id_ for what, id_ in said if what == "told"]
    with_session = labelling.open_session(pictures, CLASSES, tmp_path / "labels", **FAST)
    kept = [row.id for row in with_session.labels.rows]
    assert kept[: len(told)] == told
    assert len(kept) - len(told) in (0, 1)  # killed between the disk and the word
    asked = [id_ for what, id_ in said if what == "asked"]
    if len(asked) > len(kept):
        assert with_session.ask()[0].id == asked[-1]
    with_session.close()


@pytest.mark.parametrize("seed", range(6))
def test_after_any_decisions_and_restarts_what_counts_is_what_was_decided_last(start, seed):
    rng, session, expected, order = np.random.default_rng(seed), start(), {}, []
    for _ in range(60):
        shown = session.ask()
        do = rng.choice(
            ["shown", "any", "undo", "restart", "train"], p=[0.5, 0.15, 0.15, 0.15, 0.05]
        )
        if do == "restart":
            session = start()
            assert session.ask() == shown
        elif do == "train":
            session.refit()
        elif do == "undo" and order:
            assert session.undo() == order[-1]
            assert session.ask()[0].id == order.pop()
            expected.pop(next(id_ for id_ in expected if id_ not in order))
        elif do == "any" or (do == "shown" and shown):
            id_ = shown[0].id if do == "shown" else str(rng.choice(session.collection.ids))
            expected[id_] = str(rng.choice([*CLASSES, CANNOT_TELL, SKIPPED]))
            session.tell(id_, expected[id_])
            order = [other for other in order if other != id_] + [id_]
        assert {i: row.label for i, row in session.labels.current.items() if row.label} == expected
        askable = {i for i in session.collection.ids if expected.get(i, SKIPPED) == SKIPPED}
        assert {item.id for item in session.ask()} <= askable
        assert bool(askable) == bool(session.ask())


@pytest.mark.parametrize("n_bytes", [1, 5, 40])
def test_a_torn_last_line_is_cut_off_and_said(start, tmp_path, n_bytes):
    told = label(start(), 3)
    file = tmp_path / "labels" / "labels.csv"
    whole = file.read_bytes()
    lines = whole.splitlines(keepends=True)
    file.write_bytes(whole[:-n_bytes])
    session = start()
    assert [row.id for row in session.labels.rows] == told[:2]
    assert file.read_bytes() == b"".join(lines[:3])
    assert session.notes[0].startswith("a crash tore the last line of labels.csv, it was removed")
    assert session.ask()[0].id == told[2]


def test_a_torn_queue_is_asked_again(start, tmp_path):
    shown = start().ask()
    file = tmp_path / "labels" / "asked.jsonl"
    file.write_bytes(file.read_bytes()[:-9])
    assert start().ask() == shown


def test_a_second_process_on_the_same_labels_is_refused_in_one_line(start, pictures, tmp_path):
    start()
    code = (
        f"from companion import labelling\nlabelling.open_session({str(pictures)!r}, {CLASSES}, "
        f"{str(tmp_path / 'labels')!r})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY
    )
    assert (
        f"is being labelled by another process (process {os.getpid()}): shut that notebook's kernel down"
        in done.stderr
    )


def test_a_cell_that_is_run_again_takes_over_and_the_older_session_says_so(start):
    older, newer = start(), start()
    newer.tell(newer.ask()[0].id, "tall")
    with pytest.raises(LabelError, match="its cell was run again: use the newer one"):
        older.tell("tall/0.png", "tall")
    with pytest.raises(LabelError, match="its cell was run again"):
        older.ask()


def test_a_folder_that_cannot_be_written_is_one_line(start, tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(
        LabelError,
        match=r"cannot write .*what was labelled before is kept: make the folder writable",
    ):
        start(folder=tmp_path / "file" / "labels")


def test_a_disk_that_fills_up_leaves_no_half_line(start, tmp_path, monkeypatch):
    session = start()
    label(session, 1)
    before = (tmp_path / "labels" / "labels.csv").read_bytes()

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(LabelError, match="No space left on device"):
        label(session, 1)
    assert (tmp_path / "labels" / "labels.csv").read_bytes() == before
    monkeypatch.undo()
    assert session.progress().n_labels == 1


@pytest.mark.parametrize(
    "id_",
    ['a,"b"', "two\nlines", "<b>&amp;", "ümläut ☃", "\r", "a\u2028b", "'; drop table", "=1+1"],
)
def test_any_text_is_kept_as_it_is(tmp_path, id_):
    file = Labels(tmp_path / "labels.csv")
    wanted = Label(id_, "tall", 'who "says', "now", 3, -0.25)
    file.append(wanted)
    file.append(Label("other", CANNOT_TELL))
    assert Labels(tmp_path / "labels.csv").rows == [wanted, Label("other", CANNOT_TELL)]


def test_labels_of_another_class_or_another_folder_are_not_taken_for_ones_own(start, tmp_path):
    label(start(), 3)
    with pytest.raises(
        LabelError,
        match=r"has labels of another class: unknown class '(tall|wide)'.*; known: long, short",
    ):
        start(classes=["long", "short"])
    Image.new("RGB", (8, 8)).save(tmp_path / "other.png")
    (tmp_path / "elsewhere").mkdir()
    shutil.move(tmp_path / "other.png", tmp_path / "elsewhere" / "other.png")
    with pytest.raises(LabelError, match=r"none of the 3 items labelled in .* is in .*elsewhere"):
        start(source=tmp_path / "elsewhere")


# ---- files that are not as they should be


def test_copies_are_asked_for_once_and_get_the_label_in_the_export_if_wanted(start, pictures):
    shutil.copy(pictures / "tall" / "0.png", pictures / "tall" / "again.png")
    session = start()
    assert session.notes == ["copies of others, left out (1): tall/again.png = tall/0.png"]
    assert session.progress().n_items == 12
    assert "tall/again.png" not in [item.id for item in session.ask(99)]
    session.tell("tall/again.png", "tall")
    assert session.labels.current["tall/0.png"].label == "tall"
    assert session.table()["id"].tolist() == ["tall/0.png"]
    assert session.table(copies=True)["id"].tolist() == ["tall/0.png", "tall/again.png"]


def test_a_copy_of_a_check_item_is_not_trained_on(start, pictures):
    shutil.copy(pictures / "tall" / "0.png", pictures / "tall" / "again.png")
    session = start(check={"tall/0.png": "tall"})
    assert "tall/again.png" not in [item.id for item in session.ask(99)]


def test_a_file_that_is_no_image_is_named_and_left_out_also_by_the_model(start, pictures):
    (pictures / "tall" / "broken.png").write_bytes(b"no image")
    session = start()
    with pytest.raises(
        LabelError, match=r"tall/broken.png cannot be read as an image .*; it is left out"
    ):
        session.collection.picture("tall/broken.png")
    again = start()
    for id_ in ("tall/0.png", "tall/2.png", "wide/1.png", "wide/3.png"):
        again.tell(id_, truth(id_))
    assert again.refit()
    assert again.collection.unreadable == {
        "tall/broken.png": "UnidentifiedImageError: cannot identify image file"
    }
    assert "tall/broken.png" not in [item.id for item in again.ask(99)]


def test_a_folder_of_other_files_says_what_it_holds(tmp_path):
    (tmp_path / "a.txt").touch()
    with pytest.raises(LabelError, match=r"holds no images, only 1 x .txt; images end in .jpg"):
        read_collection(tmp_path, CLASSES)


def test_an_image_that_changed_is_named_once_and_one_that_was_touched_is_not(start, pictures):
    told = label(start(), 3)
    os.utime(pictures / told[0])
    Image.new("RGB", (32, 32)).save(pictures / told[1])
    assert [note for note in start().notes if "changed" in note] == [
        f"changed since they were labelled; the labels stay, tell(id, UNDONE) takes one back (1): {told[1]}"
    ]
    assert start().notes == []


def test_an_image_that_is_gone_is_named_and_its_label_kept(start, pictures, tmp_path):
    told = label(start(), 3)
    (pictures / told[0]).unlink()
    session = start()
    assert session.notes == [f"labelled, but not there any more (1): {told[0]}"]
    assert [row[0] for row in on_disk(tmp_path / "labels")] == told
    assert session.progress().n_labels == 2


def test_a_name_that_is_no_text_is_left_out(start, pictures):
    try:
        shutil.copy(pictures / "tall" / "0.png", os.fsencode(pictures) + b"/tall/\xff.png")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    session = start()
    assert len(session.collection.ids) == 12
    assert "its name is no valid UTF-8" in session.notes[0]


def test_hidden_files_are_no_items_and_a_link_to_a_parent_ends(start, pictures):
    (pictures / "tall" / "parent").symlink_to(pictures)
    (pictures / ".hidden.png").write_bytes(b"")
    found = start().collection.ids
    assert len([id_ for id_ in found if "parent" not in id_]) == 12
    assert len(found) <= 24


def test_texts_without_text_are_left_out_and_ids_must_be_unique(tmp_path):
    pd.DataFrame({"id": ["a", "b", "c"], "text": ["one", " ", "<script>x</script>"]}).to_csv(
        tmp_path / "t.csv", index=False
    )
    found = read_collection(tmp_path / "t.csv", CLASSES)
    assert found.unreadable == {"b": "no text"}
    assert found.content["c"] == "<script>x</script>"
    pd.DataFrame({"id": ["a", "a"], "text": ["one", "two"]}).to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(
        LabelError, match="ids must be there and unique; 1 are not, first 'a' in row 1"
    ):
        read_collection(tmp_path / "t.csv", CLASSES)


def test_texts_that_moved_to_other_rows_are_noticed(tmp_path):
    pd.DataFrame({"text": ["one", "two", "three"]}).to_csv(tmp_path / "t.csv", index=False)
    session = labelling.open_session(tmp_path / "t.csv", CLASSES, tmp_path / "labels")
    for id_ in session.collection.ids:
        session.tell(id_, "tall")
    pd.DataFrame({"text": ["one", "inserted", "two", "three"]}).to_csv(
        tmp_path / "t.csv", index=False
    )
    session = labelling.open_session(tmp_path / "t.csv", CLASSES, tmp_path / "labels")
    assert session.notes == [
        "changed since they were labelled; the labels stay, tell(id, UNDONE) takes one back (2): 1, 2"
    ]
    session.close()


def test_large_pictures_open_without_being_decoded_and_are_scaled_once(tmp_path):
    (tmp_path / "large").mkdir()
    for i in range(3):
        Image.new("RGB", (4000, 3000), (i, 0, 0)).save(tmp_path / "large" / f"{i}.jpg")
    found = read_collection(tmp_path / "large", CLASSES)
    assert not (cache_folder() / "pictures").exists() or not list(
        (cache_folder() / "pictures").glob("*.partial")
    )
    content, kind = found.picture("0.jpg")
    assert kind == "jpeg"
    assert len(content) < 40_000
    started = time.monotonic()
    assert found.picture("0.jpg") == (content, kind)
    assert time.monotonic() - started < 0.05


# ---- to and from other tools


def test_an_exported_csv_becomes_a_dataset_folder(start, tmp_path):
    session = start(check={"tall/0.png": "tall", "wide/1.png": "wide"})
    label(session, 8)
    file = session.export(tmp_path / "out" / "mine.csv")
    command = [
        sys.executable,
        str(REPOSITORY / "data_prep" / "your_dataset.py"),
        "--table",
        str(file),
        "--out",
        str(tmp_path / "mine"),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    made = datasets.read_dataset(tmp_path / "mine")
    assert {split: len(made.rows(split)) for split in ("pool", "val")} == {"pool": 8, "val": 2}
    assert all(Path(row.path).parent.name == row.label for row in made.rows("pool").itertuples())


def test_labels_made_elsewhere_come_in_once_or_not_at_all(start, tmp_path):
    session = start()
    good = pd.DataFrame(
        {"path": ["/data/pictures/tall/0.png", "wide/1.png"], "label": ["tall", "wide"]}
    )
    good.to_csv(tmp_path / "good.csv", index=False)
    assert session.import_labels(tmp_path / "good.csv") == 2
    assert session.import_labels(tmp_path / "good.csv") == 0
    assert session.progress().class_mix == {"tall": 1, "wide": 1}
    for column, value, said in (
        ("path", "x.png", "1 of 2 items are not in pictures, first 'x.png'"),
        ("label", "big", "unknown class 'big'"),
    ):
        pd.concat([good[:1], good[1:].assign(**{column: value})]).to_csv(
            tmp_path / "bad.csv", index=False
        )
        with pytest.raises(LabelError, match=rf"bad.csv: {said}.*nothing was imported"):
            session.import_labels(tmp_path / "bad.csv")
    assert len(session.labels.rows) == 2


def test_the_label_file_of_another_session_comes_in_as_it_counts(start, tmp_path):
    session = start()
    first, second, third = (item.id for item in session.ask(3))
    for id_, told in (
        (first, "tall"),
        (first, "wide"),
        (second, "tall"),
        (second, UNDONE),
        (third, CANNOT_TELL),
    ):
        session.tell(id_, told)
    other = start(folder=tmp_path / "other")
    assert other.import_labels(tmp_path / "labels" / "labels.csv") == 2
    assert {id_: row.label for id_, row in other.labels.current.items()} == {
        first: "wide",
        third: CANNOT_TELL,
    }


def test_label_studio_gets_all_items_and_gives_the_same_labels_back(start, tmp_path):
    session = start(who="me")
    told = label(session, 4)
    session.tell(session.ask()[0].id, CANNOT_TELL)
    file = session.export(tmp_path / "tasks.json")
    tasks = json.loads(file.read_text())
    assert len(tasks) == 12
    assert all(task["data"]["image"].startswith("/data/local-files/?d=") for task in tasks)
    other = start(folder=tmp_path / "other")
    assert other.import_labels(file) == 5
    assert {id_: (row.label, row.who) for id_, row in other.labels.current.items()} == {
        id_: (row.label, row.who) for id_, row in session.labels.current.items()
    }
    assert set(told) <= set(other.labels.current)


@pytest.mark.parametrize(
    "task",
    [
        {
            "id": 7,
            "data": {"image": "/data/upload/1/0a1b2c3d-0.png"},
            "predictions": [{"score": 0.9, "result": []}],
            "annotations": [
                {
                    "completed_by": 3,
                    "created_at": "2024-01-01T00:00:00Z",
                    "was_cancelled": False,
                    "result": [
                        {
                            "from_name": "c",
                            "to_name": "i",
                            "type": "choices",
                            "value": {"choices": ["tall"]},
                        }
                    ],
                }
            ],
        },
        {
            "id": 7,
            "image": "s3://bucket/pictures/tall/0.png",
            "choice": "tall",
            "annotator": 3,
            "annotation_id": 1,
            "created_at": "2024-01-01T00:00:00Z",
            "updated_at": "",
            "lead_time": 1.5,
        },
    ],
)
def test_label_studios_own_exports_are_read(start, tmp_path, task):
    session = start()
    (tmp_path / "export.json").write_text(json.dumps([task]))
    assert session.import_labels(tmp_path / "export.json") == 1
    assert session.labels.rows == [Label("tall/0.png", "tall", "3", "2024-01-01T00:00:00Z")]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "is no export of Label Studio"),
        ('[{"data": {"audio": "x"}}]', "is no export of Label Studio"),
        (
            '[{"data": {"image": "tall/0.png"}, "annotations": [{"result": [{"value": {"choices": ["tall", "wide"]}}]}]}]',
            r"'tall/0.png' has 2 choices, not one",
        ),
    ],
)
def test_a_file_that_is_no_export_is_one_line(start, tmp_path, content, said):
    (tmp_path / "bad.json").write_text(content)
    with pytest.raises(LabelError, match=said):
        start().import_labels(tmp_path / "bad.json")


# ---- the widget, without a browser


def test_the_widget_tells_what_was_answered_for_the_item_shown_and_nothing_else(start):
    from companion.labelling.screen import LabelWidget

    session = start()
    widget = LabelWidget(session)
    shown = widget.shown["id"]
    widget.answer({"do": "tell", "id": "another", "label": "tall"})  # a page that is behind
    assert widget.shown["id"] == shown
    widget.answer({"do": "tell", "id": shown, "label": "tall"})
    assert [(row.id, row.label) for row in session.labels.rows] == [(shown, "tall")]
    assert widget.state["n_labels"] == 1
    widget.answer({"do": "undo"})
    assert widget.shown["id"] == shown
    widget.answer({"do": "tell", "id": shown, "label": "no class"})
    assert widget.problem.startswith("unknown class 'no class'")


def test_the_widget_leaves_out_what_cannot_be_read_and_ends_when_nothing_is_left(start, pictures):
    from companion.labelling.screen import LabelWidget

    (pictures / "tall" / "broken.png").write_bytes(b"no image")
    session = start()
    widget = LabelWidget(session)
    while widget.shown["kind"] != "done":
        shown = widget.shown["id"]
        widget.answer({"do": "tell", "id": shown, "label": truth(shown)})
    session.wait()
    assert len(session.labels.rows) == 12
    assert widget.notes == [
        "cannot be read, left out (1): tall/broken.png (UnidentifiedImageError: cannot identify image "
        "file)"
    ]


def test_a_page_without_a_kernel_shows_a_picture_and_a_table_and_text_stays_text(tmp_path):
    from companion.labelling.screen import LabelWidget

    pd.DataFrame({"text": ["<script>alert(1)</script>", "two"]}).to_csv(
        tmp_path / "t.csv", index=False
    )
    session = labelling.open_session(tmp_path / "t.csv", CLASSES, tmp_path / "labels")
    pages = set()
    for _ in range(2):
        bundle = LabelWidget(session)._repr_mimebundle_()
        pages.add((bundle[0] if isinstance(bundle, tuple) else bundle)["text/html"])
        session.tell(session.ask()[0].id, "tall")
    assert all("<table>" in page and "<script>" not in page for page in pages)
    assert any("&lt;script&gt;" in page for page in pages)
    session.close()


def test_taking_a_label_back_by_hand_puts_the_item_back(start):
    session = start()
    (told,) = label(session, 1)
    session.tell(told, UNDONE)
    assert told in [item.id for item in session.ask(99)]
