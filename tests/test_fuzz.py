"""Inputs made at random: each ends in the right value, worked out apart, or in one line.

Never another kind of error, a hang, or a change without a word. 590 inputs in all.
"""

import csv
import gzip
import io
import json
import signal
import sys
import warnings
from collections import Counter

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
import yaml
from PIL import Image
from pyarrow import parquet
from safetensors.torch import save_file

from alpt_lib.checkpoints import classifiers, load_backbone
from alpt_lib.datasets import read_dataset
from alpt_lib.embeddings import read_embeddings
from alpt_lib.errors import CompanionError
from alpt_lib.files import REPOSITORY
from alpt_lib.models import build_mini_bit
from alpt_lib.pictures import decode
from alpt_lib.tables import read_table
from companion import labelling

sys.path.insert(0, str(REPOSITORY / "data_prep"))
import your_dataset

BLOCKS = range(4)
HANGS = 20  # s
SIZE = 12  # px
REFUSED = "refused"


@pytest.fixture(autouse=True)
def alarm():
    """What hangs ends the test; a warning of a decoder or of numpy is not the matter here."""

    def ring(*_):
        raise TimeoutError(f"it hung for {HANGS} s")

    signal.signal(signal.SIGALRM, ring)
    signal.alarm(HANGS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    signal.alarm(0)


def cases(block: int, n: int, kind: int):
    """Numbers and generators of a block of n cases."""
    for i in range(block * n, (block + 1) * n):
        yield i, np.random.default_rng([kind, i])


def outcome(function, *arguments):
    """What a function gives, or REFUSED where it says in one line why not."""
    try:
        return function(*arguments)
    except CompanionError as error:
        said = str(error)
    assert said.strip()
    assert not {"\n", "\x1b"} & set(said)
    return REFUSED


def damaged(rng, content: bytes) -> bytes:
    """Cut off, with bytes changed, with bytes taken out or put in, or replaced."""
    at = int(rng.integers(len(content)))
    noise = rng.integers(0, 256, int(rng.integers(1, 9)), dtype=np.uint8).tobytes()
    kinds = [
        content[:at],
        content[:at] + noise + content[at + len(noise) :],
        content[:at] + content[at + 3 :],
        content[:at] + noise + content[at:],
        noise,
        b"",
        b"<html>not found</html>",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
    ]
    return kinds[rng.choice(8, p=[0.2, 0.3, 0.15, 0.15, 0.05, 0.05, 0.05, 0.05])]


# ---- tables

WORDS = ["good", 'he said "no"', "a, b", "x; y", "tab\there", "two\nlines", "über", "日本", "'=1"]
WORDS += [
    "=1+1",
    "'tis",
    "-5",
    "0012",
    "1.0",
    "NA",
    "null",
    " padded ",
    "\u2028",
    "a|b",
    "\x1b[31m",
]
FAULTS = ["none"] * 5 + ["empty lines", "one more", "one less", "nul", "open quote"]


def written(rng, rows, fault) -> tuple[bytes, str]:
    """A table with a fault in it, and the suffix of its name."""
    separator = str(rng.choice([",", ";", "\t", "|"]))
    stream = io.StringIO()
    quoting = csv.QUOTE_ALL if rng.random() < 0.5 else csv.QUOTE_MINIMAL
    end = str(rng.choice(["\n", "\r\n"]))
    writer = csv.writer(stream, delimiter=separator, quoting=quoting, lineterminator=end)
    writer.writerow(["text", "label"])
    odd = int(rng.integers(len(rows)))
    for i, row in enumerate(rows):
        if i == odd and fault == "empty lines":
            stream.write(end)
        changed = {"one more": [*row, "more"], "one less": row[:1]}
        writer.writerow(changed.get(fault, row) if i == odd else row)
        if i == odd and fault == "nul":
            stream.write(f"a\0b{separator}c{end}")
        if i == odd and fault == "open quote":
            stream.write(f'"begins{separator}here{end}')
    text = stream.getvalue()
    codings = ["utf-8", "utf-8", "utf-8-sig", "utf-16"]
    content = text.encode(str(rng.choice(codings)))
    is_packed = rng.random() < 0.2
    suffix = ".tsv" if separator == "\t" else ".csv"
    return (gzip.compress(content), suffix + ".gz") if is_packed else (content, suffix)


@pytest.mark.parametrize("block", BLOCKS)
def test_a_table_is_read_as_it_was_written_or_refused(block, tmp_path):
    for i, rng in cases(block, 30, 1):
        n = int(rng.integers(4, 12))
        rows = [[f"{i} {rng.choice(WORDS)}", str(rng.choice(["pos", "neg"]))] for i in range(n)]
        # one that is nothing but an odd word
        rows[1][0] = str(rng.choice(WORDS[:-1]))
        fault = str(rng.choice(FAULTS))
        content, suffix = written(rng, rows, fault)
        (tmp_path / f"{i}{suffix}").write_bytes(content)
        frame = outcome(read_table, tmp_path / f"{i}{suffix}")
        if fault in ("one more", "one less"):
            assert frame is REFUSED, (i, fault)
        elif frame is not REFUSED:
            bare = [["=1" if text == "'=1" else text, label] for text, label in rows]
            read = frame.to_numpy().tolist()
            notes = " ".join(frame.attrs["notes"])
            exact = [r for r in read if r != ["a\0b", "c"] and r[0] != '"begins']
            assert exact == bare, (i, fault)
            assert bare == rows or "apostrophe" in notes, (i, fault)
            assert fault != "empty lines" or "empty lines left out" in notes, i
        else:
            assert fault in ("nul", "open quote"), (i, fault, content)


# ---- pictures

# mode -> what a person sees of (h, w, channels) numbers, by hand
ORIENTED = [
    lambda a: a,
    lambda a: a[:, ::-1],
    lambda a: a[::-1, ::-1],
    lambda a: a[::-1],
    lambda a: a.swapaxes(0, 1),
    lambda a: a.swapaxes(0, 1)[:, ::-1],
    lambda a: a[::-1, ::-1].swapaxes(0, 1),
    lambda a: a.swapaxes(0, 1)[::-1],
]


def picture(rng) -> tuple[Image.Image, np.ndarray]:
    """A picture of some mode, and (SIZE, SIZE, 3) as seen."""
    values = rng.integers(0, 256, (SIZE, SIZE, 4), dtype=np.uint8)
    grey = np.repeat(values[..., :1], 3, axis=2).astype(float)
    mode = str(rng.choice(["L", "1", "RGB", "RGBA", "LA", "I;16", "F", "I", "P"]))
    alpha = values[..., 3:] / 255
    if mode == "RGB":
        return Image.fromarray(values[..., :3]), values[..., :3]
    if mode == "RGBA":
        return Image.fromarray(values), values[..., :3] * alpha + 255 * (1 - alpha)
    if mode == "LA":
        return Image.fromarray(values[..., [0, 3]], "LA"), grey * alpha + 255 * (1 - alpha)
    if mode == "1":
        is_light = values[..., :1] > 127
        return Image.fromarray(is_light[..., 0]), np.repeat(is_light, 3, axis=2) * 255
    if mode == "I;16":
        return Image.fromarray(values[..., 0].astype(np.uint16) * 257), grey
    if mode == "F":
        values[0, 0, 0] = 255
        grey[0, 0] = 255
        return Image.fromarray(values[..., 0] / np.float32(255)), grey
    if mode == "I":
        return Image.fromarray(values[..., 0].astype(np.int32)), grey
    if mode == "P":
        coarse = Image.fromarray(values[..., :3] // 128 * 255)
        return coarse.quantize(64), np.asarray(coarse)
    return Image.fromarray(values[..., 0]), grey


FORMATS = {
    ".png": ("L", "1", "RGB", "RGBA", "LA", "I;16", "P"),
    ".tif": ("L", "1", "RGB", "RGBA", "LA", "I;16", "F", "I", "P"),
    ".bmp": ("L", "1", "RGB", "P"),
    ".webp": ("RGB", "RGBA"),
    ".ppm": ("L", "1", "RGB"),
}


@pytest.mark.parametrize("block", BLOCKS)
def test_a_picture_is_what_a_person_sees_or_refused(block, tmp_path):
    for i, rng in cases(block, 30, 2):
        image, seen = picture(rng)
        suffix = str(rng.choice([s for s, modes in FORMATS.items() if image.mode in modes]))
        options = {"lossless": True, "exact": True} if suffix == ".webp" else {}
        if suffix in (".png", ".tif", ".webp") and rng.random() < 0.4:
            turn = int(rng.integers(8))
            options["exif"] = Image.Exif()
            options["exif"][0x112] = turn + 1
            seen = ORIENTED[turn](seen)
        # a name may lie about what is in the file
        name = tmp_path / f"{i}{rng.choice([suffix, '.jpg'])}"
        stream = io.BytesIO()
        image.save(stream, {".tif": "TIFF"}.get(suffix, suffix[1:]), **options)
        name.write_bytes(stream.getvalue())
        array = outcome(decode, name, SIZE)
        assert array is not REFUSED, (i, suffix, image.mode)
        assert abs(array - seen).max() <= 1.01, (i, suffix, image.mode)
        name.write_bytes(damaged(rng, stream.getvalue()))
        array = outcome(decode, name, SIZE)
        assert array is REFUSED or array.shape == (SIZE, SIZE, 3), i


# ---- dataset folders

VALUES = [
    None,
    "",
    0,
    -1,
    3.5,
    True,
    [],
    {},
    "x",
    ["a"],
    {"a": 1},
    "a\nb",
    "../x",
    [None],
    float("nan"),
]
KEYS = ["name", "classes", "modality", "subgroups", "minority", "latent", "percentile_over"]
KEYS += ["eval_splits", "image_size", "max_tokens", "figure_metrics", "protocol", "recipe", "titel"]


@pytest.mark.parametrize("block", BLOCKS)
def test_a_dataset_folder_is_read_as_it_stands_or_refused(block, tmp_path):
    for i, rng in cases(block, 25, 3):
        folder = tmp_path / str(i)
        folder.mkdir()
        frame = pd.DataFrame({"text": [f"text {n}" for n in range(12)]})
        frame["label"] = ["a", "b"] * 6
        frame["split"] = ["pool"] * 8 + ["val"] * 4
        frame["place"] = [str(rng.choice(WORDS)) for _ in range(12)]
        described = {"classes": ["a", "b"], "modality": "text", "subgroups": ["place"]}
        as_it_should_be = (frame.copy(), dict(described))
        if rng.random() < 0.7:
            described[str(rng.choice(KEYS))] = VALUES[rng.integers(len(VALUES))]
        if rng.random() < 0.4:
            column = str(rng.choice(["text", "label", "split"]))
            frame.loc[rng.integers(12), column] = str(rng.choice(["", "c", " pool", "NA", "a"]))
        frame.to_csv(folder / "manifest.csv", index=False)
        text = yaml.safe_dump(described).encode()
        is_damaged = rng.random() < 0.2
        (folder / "dataset.yaml").write_bytes(damaged(rng, text) if is_damaged else text)
        data = outcome(read_dataset, folder)
        if data is REFUSED:
            is_right = frame.equals(as_it_should_be[0]) and described == as_it_should_be[1]
            assert is_damaged or not is_right, i
            continue
        for split in ("pool", *data.eval_splits):
            expected = frame[frame["split"] == split]
            assert data.rows(split)["text"].tolist() == expected["text"].tolist(), i
            named = [data.classes[number] for number in data.labels(split)]
            assert named == expected["label"].tolist(), i
            assert "place" in data.rows(split)
            assert data.rows(split)["place"].tolist() == expected["place"].tolist(), i
        assert len(data.fingerprint) == 16


# ---- labels and exports

CLASSES = ["neg", "pos"]
ITEMS = ["bad film", "awful", "poor", "good film", "great", "lovely"]


def truth(text: str) -> str:
    return CLASSES[ITEMS.index(text) >= 3]


def new_session(folder):
    texts = pd.DataFrame({"text": ITEMS})
    texts.to_csv(folder / "t.csv", index=False)
    return labelling.open_session(folder / "t.csv", CLASSES, folder / "labels")


def told(session) -> dict[str, str]:
    content = session.collection.content
    decisions = session.labels.current.items()
    # an id that was damaged is no item's
    return {content.get(id_, id_): row.label for id_, row in decisions if row.label}


@pytest.mark.parametrize("block", BLOCKS)
def test_no_label_is_lost_or_changed_by_damage_without_a_note(block, tmp_path):
    for i, rng in cases(block, 15, 4):
        folder = tmp_path / str(i)
        folder.mkdir()
        session = new_session(folder)
        for item in session.ask(int(rng.integers(2, 7))):
            session.tell(item.id, truth(item.text))
        before = told(session)
        session.close()
        name = str(rng.choice(["labels.csv", "told.jsonl", "asked.jsonl"]))
        file = folder / "labels" / name
        file.write_bytes(damaged(rng, file.read_bytes()))
        again = outcome(new_session, folder)
        if again is not REFUSED:
            assert told(again) == before or again.notes, (i, name)
            if name == "labels.csv":
                assert told(again).keys() >= before.keys(), i
            again.close()


def as_studio(rng, texts) -> list[dict]:
    tasks = []
    for n, text in enumerate(texts):
        choice = {"from_name": "label", "to_name": "text", "type": "choices"}
        choice["value"] = {"choices": [truth(text)]}
        annotation = {"result": [choice], "was_cancelled": False, "created_at": "2026-01-01"}
        if rng.random() < 0.5:
            tasks.append({"id": 1000 + n, "data": {"text": text}, "annotations": [annotation]})
        else:
            tasks.append({"id": 1 + n, "text": text, "label": truth(text), "annotator": 1})
    return tasks


def changed(rng, value):
    """One node, wherever it is, taken out or replaced by an odd value."""
    is_leaf = not isinstance(value, dict | list) or not value or rng.random() < 0.15
    if is_leaf:
        return [None, "", 0, [], {}, "x", True, [1], {"a": 1}, "neg" * 3][rng.integers(10)]
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    key = keys[rng.integers(len(keys))]
    copy = value.copy()
    if rng.random() < 0.2:
        del copy[key]
    else:
        copy[key] = changed(rng, value[key])
    return copy


@pytest.mark.parametrize("block", BLOCKS)
def test_an_export_gives_the_labels_that_it_holds_or_none(block, tmp_path):
    session = new_session(tmp_path)
    for i, rng in cases(block, 25, 5):
        texts = rng.permutation(ITEMS)[: rng.integers(1, 7)].tolist()
        if rng.random() < 0.3:
            rows = [{"text": text, "label": truth(text)} for text in texts]
            file = tmp_path / f"{i}.csv"
            pd.DataFrame(rows).to_csv(file, index=False)
            is_spoilt = rng.random() < 0.6
            if is_spoilt:
                file.write_bytes(damaged(rng, file.read_bytes()))
        else:
            tasks = as_studio(rng, texts)
            is_spoilt = rng.random() < 0.7
            tasks = changed(rng, tasks) if is_spoilt else tasks
            file = tmp_path / f"{i}.json"
            file.write_text(json.dumps(tasks))
        before = told(session)
        n_new = outcome(session.import_labels, file)
        if n_new is REFUSED:
            assert told(session) == before, i
        assert is_spoilt or told(session) == {text: truth(text) for text in texts}, i
        known = {text: (truth(text), labelling.CANNOT_TELL) for text in texts}
        wrong = {t: label for t, label in told(session).items() if label not in known[t]}
        assert not wrong, (i, file.read_bytes())
        for id_ in list(session.labels.current):
            session.tell(id_, labelling.UNDONE)
    session.close()


# ---- checkpoints

NETWORK = build_mini_bit(n_classes=2)
STATE = {name: tensor.clone() for name, tensor in NETWORK.state_dict().items()}
HEAD = {id(p) for head in classifiers(NETWORK) for p in head.parameters()}
BACKBONE = [name for name, p in NETWORK.named_parameters() if id(p) not in HEAD]


def spoiled(rng, state) -> tuple[dict, bool]:
    """A state dict with one thing changed, and whether it must be refused."""
    name = str(rng.choice(BACKBONE))
    tensor = state[name]
    changes = [
        (state, False),
        ({k: t for k, t in state.items() if k != name}, True),
        ({**state, "extra.weight": tensor.clone()}, True),
        ({**state, name: tensor[..., None]}, True),
        ({**state, name: tensor * np.nan}, True),
        ({**state, name: tensor.double()}, False),
        ({f"module.{k}": t for k, t in state.items()}, None),
    ]
    return changes[rng.integers(len(changes))]


@pytest.mark.parametrize("block", BLOCKS)
def test_weights_are_loaded_as_they_are_or_refused(block, tmp_path):
    for i, rng in cases(block, 10, 6):
        torch.manual_seed(i)
        random = {name: torch.randn_like(tensor) for name, tensor in STATE.items()}
        state, is_wrong = spoiled(rng, random)
        suffix = str(rng.choice([".safetensors", ".pth"]))
        file = tmp_path / f"{i}{suffix}"
        if suffix == ".pth":
            torch.save([state, {"model": state}, {"state_dict": state}][rng.integers(3)], file)
        else:
            save_file({name: tensor.contiguous() for name, tensor in state.items()}, file)
        is_damaged = rng.random() < 0.4
        if is_damaged:
            file.write_bytes(damaged(rng, file.read_bytes()))
        NETWORK.load_state_dict(STATE)
        result = outcome(load_backbone, NETWORK, file)
        if result is REFUSED:
            assert is_wrong is not False or is_damaged, (i, suffix)
            now = NETWORK.state_dict()
            assert all(torch.equal(now[name], STATE[name]) for name in BACKBONE), i
        elif not is_damaged:
            assert not is_wrong, (i, suffix)
            now = NETWORK.state_dict()
            assert all(torch.equal(now[name], random[name]) for name in BACKBONE), i


# ---- embeddings


@pytest.mark.parametrize("block", BLOCKS)
def test_embeddings_are_read_as_they_are_or_refused(block, tmp_path):
    for i, rng in cases(block, 10, 7):
        vectors = rng.normal(size=(int(rng.integers(1, 9)), int(rng.integers(1, 5))))
        vectors = vectors.astype(str(rng.choice(["f2", "f4", "f8", ">f4"])))
        kind = str(rng.choice([".npy", ".npz", ".parquet"]))
        file = tmp_path / f"{i}{kind}"
        if kind == ".parquet":
            column = pa.array(vectors.astype(float).tolist(), pa.list_(pa.float64()))
            parquet.write_table(pa.table({"emb": column, "label": ["a"] * len(vectors)}), file)
        else:
            (np.save if kind == ".npy" else np.savez)(file, vectors)
        name = "emb" if kind == ".parquet" else None
        read = outcome(read_embeddings, file, name)
        assert read is not REFUSED, (i, kind)
        assert np.array_equal(np.asarray(read), vectors), (i, kind)
        file.write_bytes(damaged(rng, file.read_bytes()))
        read = outcome(read_embeddings, file, name)
        assert read is REFUSED or read.dtype.kind == "f", (i, kind)


@pytest.mark.parametrize("seed", range(10))
def test_a_command_line_makes_a_dataset_of_its_rows_or_says_why_not(seed, tmp_path, capsys):
    rng = np.random.default_rng([8, seed])
    n = int(rng.integers(3, 25))
    rows = {"text": [f"{i} {rng.choice(WORDS[:-1])}" for i in range(n)]}
    rows["label"] = [
        str(rng.choice(["a", "b", "=c", ""], p=[0.45, 0.45, 0.06, 0.04])) for _ in range(n)
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "t.csv", index=False)
    said = ""
    try:
        your_dataset.main(["--table", str(tmp_path / "t.csv"), "--out", str(tmp_path / "out")])
    except SystemExit as stop:
        said = str(stop.code)
    assert "\n" not in said
    if said:
        counts = Counter(rows["label"])
        assert "" in counts or min(counts.values()) < 2 or len(counts) < 2
        assert said.startswith("your_dataset: ")
        return
    data = read_dataset(tmp_path / "out")
    parts = [data.rows(split) for split in ("pool", *data.eval_splits)]
    read = pd.concat(parts).sort_values("text")[["text", "label"]].to_numpy().tolist()
    assert read == sorted(map(list, zip(rows["text"], rows["label"], strict=True)))
