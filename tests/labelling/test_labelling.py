"""A session: asking and telling, a model that trains meanwhile, odd sources, the widget."""

import io
import os
import re
import shutil
import sys
import time
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
from label_sessions import CLASSES, FAST, decisions, label, open_texts, truth, write_texts
from PIL import Image

from alpt_lib import datasets, inputs
from alpt_lib.errors import CompanionError, LabelError
from alpt_lib.files import REPOSITORY
from alpt_lib.heads import LinearHead
from companion import labelling
from companion.labelling import CANNOT_TELL, SKIPPED, UNDONE, screen
from companion.runs.execute import execute
from companion.runs.plan import plan_runs

sys.path.insert(0, str(REPOSITORY / "data_prep"))
import your_dataset

pytest_plugins = ["label_fixtures"]


# ---- asking and telling


@pytest.mark.parametrize("backbone", ["fine-tuned", "frozen"])
def test_told_a_stored_runs_labels_a_session_asks_that_runs_questions(
    birds_copy, tmp_path, backbone
):
    given = {"datasets": [str(birds_copy)], "acquisitions": ["least_confidence"], "seeds": [1]}
    (planned,) = plan_runs({**given, "recipe": {"backbone": backbone}})
    execute([planned.run], workers=1, quiet=True)
    data = datasets.read_dataset(birds_copy)
    rows = data.rows("pool")
    rows[["path"]].to_csv(birds_copy / "paths.csv", index=False)
    recipe = asdict(planned.config.recipe)
    settings = {"protocol": data.description.protocol, "recipe": recipe}
    session = labelling.open_session(
        birds_copy / "paths.csv", data.classes, tmp_path / "labels", model="bit-m-np", **settings
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


FINE_TUNED = {"backbone": "fine-tuned", "warmup_steps": 0}
DO = ["shown", "any", "undo", "restart", "train"]


@pytest.mark.parametrize("seed", range(8))
def test_after_any_decisions_and_restarts_what_counts_is_what_was_decided_last(start, seed):
    rng, session, expected, order = np.random.default_rng(seed), start(), {}, []
    for _ in range(60):
        shown = session.ask()
        do = rng.choice(DO, p=[0.5, 0.15, 0.15, 0.15, 0.05])
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
        assert decisions(session) == expected
        askable = {i for i in session.collection.ids if expected.get(i, SKIPPED) == SKIPPED}
        asked = session.ask(5)
        assert [item.id for item in asked] == list(dict.fromkeys(item.id for item in asked))
        assert {item.id for item in asked} <= askable
        assert (len(asked), asked) == (min(5, len(askable)), session.ask(5))
        assert session.ask(2) == asked[:2]
        now, told = session.progress(), list(expected.values())
        assert now.class_mix == {name: told.count(name) for name in CLASSES}
        assert (now.n_left, now.n_cannot_tell) == (len(askable), told.count(CANNOT_TELL))
        assert (now.status == "everything is labelled") is not bool(askable)
        assert sorted(session.table()["label"]) == sorted(t for t in told if t in CLASSES)
    assert session.undo() == (order[-1] if order else None)


def test_the_rest_of_a_batch_stays_when_labels_come_out_of_order_unasked_or_are_taken_back(start):
    session = start()
    asked = [item.id for item in session.ask(5)]
    unasked = next(id_ for id_ in session.collection.ids if id_ not in asked)
    session.tell(asked[2], "wide")
    session.tell(unasked, "tall", who="a colleague")
    assert [item.id for item in session.ask()] == [*asked[:2], *asked[3:]]
    assert session.labels.current[unasked].who == "a colleague"
    session.tell(unasked, UNDONE)
    assert unasked in [item.id for item in session.ask(99)]
    assert [session.undo(), session.undo()] == [asked[2], None]
    assert session.ask()[0].id == asked[2]


@pytest.mark.parametrize(
    ("id_", "told", "said"),
    [
        ("wide/99.png", "wide", r"'wide/99.png' is not in pictures; ids look like 'tall/0.png'"),
        ("tall/0.png", "wid", r"unknown class 'wid' \(did you mean 'wide'\?\); known: tall, wide"),
        ("wide/1.png", "wide", r"'wide/1.png' is in the check set"),
    ],
)
def test_what_cannot_be_told_is_one_line_and_nothing_is_written(start, id_, told, said):
    session = start(check={"wide/1.png": "wide"})
    with pytest.raises(LabelError, match=said):
        session.tell(id_, told)
    assert session.labels.rows == []
    assert "wide/1.png" not in [item.id for item in session.ask(12)]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"classes": ["tall"]}, "classes must be two or more names"),
        ({"classes": "tall,wide"}, "classes must be a list"),
        ({"classes": ["tall", "skipped"]}, "'skipped' cannot be a class"),
        ({"source": "nowhere"}, "nowhere does not exist; give a folder of images"),
        ({"model": "roberta-m"}, "model roberta-m reads texts; pictures holds images"),
        ({"acquisition": "margn"}, r"unknown acquisition.*did you mean 'margin'"),
        ({"acquisition": "badge"}, r"badge chooses a batch together, but people are asked for one"),
        (
            {"acquisition": "cheating_class_balance"},
            r"every answer before it asks, and here nobody",
        ),
        ({"modle": "bit-m"}, r"unknown setting 'modle' \(did you mean 'model'\?\)"),
        ({"recipe": {"lr": 0.1}}, "has no lr: leave that out, or add backbone: fine-tuned"),
        ({"protocol": {"budgets": 1}}, "unknown protocol setting 'budgets'"),
        ({"check": {"tall/0.png": "long"}}, "check set: unknown class 'long'"),
        ({"check": {"0.png": "tall"}}, "check set: '0.png' is not in pictures; its ids look like"),
    ],
)
def test_what_cannot_be_labelled_is_said_in_one_line(start, changes, said):
    with pytest.raises(CompanionError, match=said) as error:
        start(**changes)
    assert "\n" not in str(error.value)


# ---- when there is a model


def test_until_every_class_was_met_or_three_seed_sets_are_full_it_asks_at_random(start):
    protocol = {"seed_set_size": 3, "query_batch_size": 3}
    session = start(classes=["tall", "wide", "round"], protocol=protocol)
    assert not session.refit()
    assert session.progress().status == "asking at random: the seed set has 0 of 3 labels"
    for id_ in session.collection.ids[:3]:
        session.tell(id_, "tall")
    assert session.why_random() == "all labels so far are 'tall', and a model needs two classes"
    session.tell(session.collection.ids[-1], "wide")
    assert session.why_random() == "there is no example of 'round' yet"
    assert not session.refit()
    assert all(item.score is None for item in session.ask(3))
    label(session, 5)
    assert session.refit()
    session.ask()
    assert "it has seen no example of 'round'" in session.progress().status


def test_a_model_trains_while_labels_come_and_then_the_rest_is_ranked_again(start):
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
    now = session.progress()
    assert (now.n_items, now.n_labels, now.n_check) == (10, 5, 2)
    assert now.check_accuracy in (0.0, 0.5, 1.0)
    expected = "asking what the model, trained on 4 labels, is unsure of (least confidence)"
    assert now.status == expected


def test_a_training_that_fails_is_said_and_labelling_goes_on(start):
    session = start(recipe={**FINE_TUNED, "lr": 1e30, "max_steps": 9})
    label(session, 4)
    with pytest.raises(LabelError, match="training failed: TrainingDiverged: training loss is"):
        session.refit()
    assert session.progress().status.startswith("training failed (TrainingDiverged")
    label(session, 1)


def test_a_model_that_is_sure_of_all_that_is_left_says_that_one_may_stop(start):
    session = start(recipe={**FINE_TUNED, "max_steps": 60, "lr": 0.03})
    label(session, 8)
    assert session.refit()
    session.ask()
    sure = pd.Series([-item.score for item in session.ask(9)])
    words = f"sure or more of all {len(sure)} left: you may stop"
    assert (words in session.progress().status) == (sure.min() >= 0.99)
    assert sure.min() >= 0.99


def test_texts_are_labelled_and_trained_on_too(tmp_path):
    words = ["fine", "awful", "great", "poor", "good", "dreadful", "superb", "bad"]
    write_texts(tmp_path / "t.csv", [f"{word} number {i}" for i in range(2) for word in words])
    settings = {"protocol": FAST["protocol"], "recipe": FAST["recipe"]}
    session = open_texts(tmp_path, ["bad", "good"], **settings)
    while session.why_random():
        item = session.ask()[0]
        session.tell(item.id, ["good", "bad"][words.index(item.text.split()[0]) % 2])
    assert session.refit()
    assert all(item.text and item.score is not None for item in session.ask(2))
    session.close()


# ---- a head on a frozen network

HEAD = {"model": "bit-m", "recipe": {}, "protocol": {"seed_set_size": 4, "query_batch_size": 3}}


def test_a_head_is_trained_between_two_clicks(start, monkeypatch):
    monkeypatch.setattr(screen, "PATIENCE", 60)
    session = start(**HEAD)
    session.prepare()
    session.wait()
    widget = labelling.LabelWidget(session)
    while (now := widget.shown)["kind"] != "done":
        n_fits = len(session.fits)
        # what comes next was asked for by the model of all labels so far
        assert session.ask()[0].round == n_fits
        widget.answer({"do": "tell", "id": now["id"], "label": truth(now["id"])})
        assert len(session.fits) == n_fits + (session.why_random() == "")
    assert session.fits[-1]["n_labels"] == 12


def test_features_are_computed_from_the_first_label_on_and_training_follows_by_itself(
    start, pictures
):
    # nobody has read these pictures before
    Image.new("RGB", (32, 32), "teal").save(pictures / "wide" / "new.png")
    session = start(**HEAD)
    said = []
    session.listeners.append(lambda: said.append(session.progress().status))
    widget = labelling.LabelWidget(session)
    assert not session.is_training
    for n in range(4):
        widget.answer({"do": "tell", "id": widget.shown["id"], "label": CLASSES[n % 2]})
    while session.is_training or session.refit_is_due():
        session.wait()
    assert any("computing features, 13 of 13" in words for words in said)
    assert session.fits[-1]["n_labels"] == 4
    assert not session.has_failed


def test_the_models_opinion_is_hidden_until_somebody_asks_and_is_that_of_the_network(start):
    session = start(**HEAD)
    widget = labelling.LabelWidget(session)
    widget.answer({"do": "opinion"})
    assert (widget.shows_opinion, widget.opinion) == (True, {})
    widget.answer({"do": "opinion"})
    label(session, 6)
    session.refit()
    id_ = session.ask()[0].id
    assert widget.opinion == {}
    again = labelling.LabelWidget(session)
    again.answer({"do": "opinion"})
    head = LinearHead(session.collection, session.config)
    head.fit(np.array([session.collection.row[i] for i in decisions(session)]), None)
    probs = head.predict_probs("pool", np.array([session.collection.row[id_]]))[0]
    assert list(again.opinion) == CLASSES
    assert list(again.opinion.values()) == pytest.approx(probs.tolist())


def test_predictions_that_no_longer_move_say_that_one_could_stop_and_how_many_moved(tmp_path):
    rng = np.random.default_rng(0)
    truths = rng.integers(0, 2, 400)
    # classes that overlap: the model is never sure of all that is left
    features = rng.normal(size=(400, 2)) + 2 * truths[:, None]
    np.save(tmp_path / "x.npy", features)
    write_texts(tmp_path / "t.csv", [f"text {i}" for i in range(400)])
    protocol = {"seed_set_size": 4, "query_batch_size": 20}
    model = f"features:{tmp_path / 'x.npy'}"
    session = open_texts(tmp_path, model=model, protocol=protocol, acquisition="random")
    opinions = []
    while not (advice := session.stopping_advice()):
        for item in session.ask(20):
            session.tell(item.id, CLASSES[truths[int(item.text.split()[1])]])
        session.refit()
        left = [item.id for item in session.ask(400)]
        opinions.append({id_: max(op, key=op.get) for id_ in left if (op := session.opinion(id_))})
        assert len(opinions) < 15
    assert len(opinions) > 3
    now = opinions[-1]
    changed = np.mean([opinions[-3][id_] != label for id_, label in now.items()])
    assert advice == f"the last 40 answers changed {changed:.1%} of its predictions: you could stop"
    assert advice in session.progress().status or "at random" in session.progress().status
    session.close()


# ---- sources that are not as they should be


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
    in_check = start(check={"tall/0.png": "tall"})
    assert "tall/again.png" not in [item.id for item in in_check.ask(99)]


def test_what_is_no_picture_is_named_with_the_decoders_reason_and_left_out(start, pictures):
    for name in ("tall/broken\x1b.png", "phone.HEIC", "notes.txt", ".hidden.png", "other/a.txt"):
        (pictures / name).parent.mkdir(exist_ok=True)
        (pictures / name).write_text(f"no image: {name}")
    (pictures / "tall" / "parent").symlink_to(pictures)
    session = start()
    reason = "UnidentifiedImageError: cannot identify image file"
    broken = "tall/broken\x1b.png"
    with pytest.raises(LabelError, match=rf"\\x1b.png cannot be read as an image \({reason}\); it"):
        session.collection.picture(broken)
    assert session.notes[0] == "files that are no images, left out (2): 2 x .txt"
    assert r"broken\x1b.png (Unid" in session.notes[1]
    assert "\x1b" not in session.notes[1]
    again = start()
    pngs = [f"{name}/{i}.png" for i, name in enumerate(CLASSES * 6)]
    for id_ in pngs[:4]:
        again.tell(id_, truth(id_))
    assert again.refit()
    assert again.collection.unreadable[broken] == reason
    assert ".heic" in again.collection.unreadable["phone.HEIC"]
    assert {*decisions(again), *(item.id for item in again.ask(99))} == set(pngs)
    with pytest.raises(LabelError, match=r"holds no images, only 1 x .txt; images end in .jpg"):
        start(source=pictures / "other")


def test_a_name_that_is_no_text_is_left_out(start, pictures):
    try:
        shutil.copy(pictures / "tall" / "0.png", os.fsencode(pictures) + b"/tall/\xff.png")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    session = start()
    assert len(session.collection.ids) == 12
    assert "its name is no valid UTF-8" in session.notes[0]


@pytest.mark.parametrize(
    ("whites", "kind", "suffix", "said"),
    [
        ([0.5, 1, 900, 0.7], np.float32, ".tif", "0 to 1 (3), 0 to 65535 (1)"),
        # of 12 bits, in files of 16
        ([4095, 900, 65535, 20], np.uint16, ".png", "0 to 65535, though none reaches 4096 (3)"),
    ],
)
def test_what_is_assumed_of_deep_greys_is_said_on_opening_and_when_preparing(
    start, tmp_path, capsys, whites, kind, suffix, said
):
    for i, most in enumerate(whites):
        grey = np.linspace(0, most, 64).reshape(8, 8).astype(kind)
        (tmp_path / "grey" / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(grey).save(tmp_path / "grey" / "ab"[i % 2] / f"{i}{suffix}")
    said = f"do not say what black and white are; taken as black to white: {said}"
    assert said in start(source=tmp_path / "grey").notes[0]
    your_dataset.main(["--images", str(tmp_path / "grey"), "--out", str(tmp_path / "out")])
    assert said in capsys.readouterr().out


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ("id,text\na,one\na,two\n", "ids must be there and unique; 1 are not, first 'a' in row 1"),
        ("file,text\na.png,1\nb.png,2\n", r"has images \(file\) and texts \(text\): say which"),
        ("a,b\n1,2\n", "which column holds the texts"),
        ("text\na\nb,c\n", "line 3 has 2 fields"),
        ("file,text\ndoc0.txt,one\ndoc1.txt,two\n", ["one", "two"]),
        ("text;label\nVery good, really;wide\n<b>;tall\n", ["<b>", "Very good, really"]),
        ("Text\none\n \n\n", ["one"]),
    ],
)
def test_a_table_of_texts_is_read_as_its_writer_meant_or_refused(tmp_path, table, expected):
    (tmp_path / "t.csv").write_text(table)
    if isinstance(expected, str):
        with pytest.raises(CompanionError, match=expected):
            open_texts(tmp_path)
        return
    session = open_texts(tmp_path)
    assert sorted(item.text for item in session.ask(9)) == expected
    session.close()


def test_the_person_sees_what_the_model_sees_scaled_once(start, tmp_path):
    (tmp_path / "large").mkdir()
    upside = Image.Exif()
    upside[0x112] = 3
    picture = Image.new("RGB", (4000, 3000))
    picture.paste((200, 30, 30), (0, 0, 2000, 1500))
    picture.save(tmp_path / "large" / "phone.jpg", exif=upside)
    Image.new("RGBA", (40, 40), (0, 0, 0, 0)).save(tmp_path / "large" / "transparent.png")
    Image.fromarray(np.full((40, 40), 30_000, np.uint16)).save(tmp_path / "large" / "deep.png")
    collection = start(source=tmp_path / "large").collection
    for id_ in collection.ids:
        shown = Image.open(io.BytesIO(collection.picture(id_)[0]))
        seen = np.asarray(shown.convert("RGB").resize((8, 8), Image.Resampling.BOX), dtype=int)
        assert np.abs(seen - inputs.decode(collection.file(id_), 8))[1:3, 1:3].max() < 9
    content, kind = collection.picture("phone.jpg")
    assert (kind, len(content) < 40_000) == ("jpeg", True)
    started = time.monotonic()
    assert collection.picture("phone.jpg") == (content, kind)
    assert time.monotonic() - started < 0.05


# ---- the widget, without a browser


def test_the_widget_tells_what_was_answered_and_ends_with_where_the_labels_are(start, pictures):
    (pictures / "tall" / "broken.png").write_bytes(b"no image")
    session = start()
    widget = labelling.LabelWidget(session)
    shown = widget.shown["id"]
    widget.answer({"do": "tell", "id": "another", "label": "tall"})  # a page that is behind
    widget.answer({"do": "tell", "id": shown, "label": "no class"})
    assert widget.problem.startswith("unknown class 'no class'")
    assert (widget.shown["id"], session.labels.rows) == (shown, [])
    widget.answer({"do": "tell", "id": shown, "label": "tall"})
    assert [(row.id, row.label) for row in session.labels.rows] == [(shown, "tall")]
    assert widget.state["n_labels"] == 1
    widget.answer({"do": "undo"})
    captions = []
    while widget.shown["kind"] != "done":
        shown = widget.shown["id"]
        captions.append(widget.shown["caption"].removeprefix(f"{shown} · "))
        widget.answer({"do": "tell", "id": shown, "label": truth(shown)})
        session.wait()
    assert session.progress().n_labels == len(captions) == 12
    assert widget.notes == [
        "cannot be read, left out (1): tall/broken.png (UnidentifiedImageError: cannot identify "
        "image file)"
    ]
    assert captions[0] == "asked at random"
    assert re.fullmatch(r"the model is (over )?\d+\.\d% sure", captions[-1])
    assert f"12 labels are in {session.place}/labels.csv" in widget.shown["text"]
    assert "--table labelled.csv" in widget.shown["text"]


def test_a_page_without_a_kernel_shows_a_picture_and_a_table_and_text_stays_text(tmp_path):
    write_texts(tmp_path / "t.csv", ["<script>alert(1)</script>", "two"])
    session = open_texts(tmp_path)
    pages = set()
    for _ in range(2):
        bundle = labelling.LabelWidget(session)._repr_mimebundle_()
        pages.add((bundle[0] if isinstance(bundle, tuple) else bundle)["text/html"])
        session.tell(session.ask()[0].id, "tall")
    assert all("<table>" in page and "<script>" not in page for page in pages)
    assert any("&lt;script&gt;" in page for page in pages)
    session.close()
