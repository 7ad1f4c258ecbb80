"""Embeddings of a person's own become a dataset of features, whatever file they come in."""

import embed
import matplotlib as mpl
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import your_dataset
from PIL import Image
from pyarrow import parquet

from alpt_lib.config import Recipe, RunConfig
from alpt_lib.datasets import read_dataset
from alpt_lib.embeddings import read_embeddings
from alpt_lib.errors import CompanionError, DataError, ModelError
from alpt_lib.models import create_model
from alpt_lib.registry import FEATURES
from companion import labelling
from companion.labelling import simulated
from companion.report import contact_sheets
from companion.report.study import run_study
from companion.runs.execute import execute
from companion.runs.plan import plan_runs

mpl.use("Agg")
N = 60
LABELS = np.array(["cat", "dog"])[np.arange(N) % 2]


@pytest.fixture
def vectors():
    """60 embeddings of 6 numbers; what is a dog lies elsewhere."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(N, 6)) + np.outer(np.arange(N) % 2, np.eye(6)[0] * 3)


@pytest.fixture
def table():
    return pd.DataFrame({"id": [f"item {i}" for i in range(N)], "label": LABELS})


def as_npy(folder, table, vectors):
    np.save(folder / "x.npy", vectors.astype(np.float32))
    table.to_csv(folder / "t.csv", index=False)
    return ["--table", folder / "t.csv", "--features", folder / "x.npy"]


def as_half_npz(folder, table, vectors):
    np.savez_compressed(folder / "x.npz", ids=np.arange(3), emb=vectors.astype(np.float16))
    table.to_csv(folder / "t.csv", index=False)
    given = ["--features", folder / "x.npz", "--features-column", "emb"]
    return ["--table", folder / "t.csv", *given]


def as_parquet(folder, table, vectors, kind=None):
    column = pa.array(vectors.tolist(), kind or pa.list_(pa.float64()))
    columns = pa.Table.from_pandas(table).append_column("embedding", column)
    parquet.write_table(columns, folder / "t.parquet")
    return ["--table", folder / "t.parquet", "--features-column", "embedding"]


def as_fixed_lists(folder, table, vectors):
    return as_parquet(folder, table, vectors.astype(np.float32), pa.list_(pa.float32(), 6))


def prepare(folder, *given) -> str:
    """The command line: "", or the line with which it ends."""
    line = ""
    try:
        your_dataset.main([str(word) for word in (*given, "--out", folder / "mine")])
    except SystemExit as stop:
        line = str(stop.code)
    assert "\n" not in line
    return line


def study_of(folder):
    protocol = {"seed_set_size": 6, "budget": 12, "query_batch_size": 6}
    given = {"preset": "mini", "datasets": [str(folder)], "models": [], "seeds": [1], "workers": 1}
    more = {"acquisitions": ["random", "least_confidence"], "output": "figures/custom"}
    more |= {"weights": None, "recipe": {}, "protocol": protocol}
    return run_study("10_your_dataset", {**given, **more})


@pytest.mark.parametrize("store", [as_npy, as_half_npz, as_parquet, as_fixed_lists])
def test_embeddings_of_every_kind_go_through_to_a_contact_sheet(tmp_path, table, vectors, store):
    assert prepare(tmp_path, *store(tmp_path, table, vectors)) == ""
    data = read_dataset(tmp_path / "mine")
    stored = np.load(tmp_path / "mine" / "features" / "mine.npy")
    assert stored.dtype.kind == "f"
    for split in ("pool", "val"):
        of_split = data.features("mine", split)
        places = [int(name.removeprefix("item ")) for name in data.rows(split)["id"]]
        np.testing.assert_allclose(of_split, vectors[places], rtol=2e-3, atol=2e-3)
    study = study_of(tmp_path / "mine")
    final = study.main.query("metric == 'accuracy' and subgroup == 'all'")["value"].iloc[-1]
    assert final > 0.8
    first = study.acquisitions[study.acquisitions["round"] > 0]
    figure = contact_sheets.sheet_grid(study, first.assign(subgroup=""))
    words = [text.get_text() for ax in figure.axes for text in ax.texts]
    assert any(word.startswith("id: item") for word in words)
    mpl.pyplot.close("all")


@pytest.mark.parametrize("n_missing", [0, 5])
def test_pictures_are_shown_where_they_are_and_names_where_not(tmp_path, table, vectors, n_missing):
    (tmp_path / "photos").mkdir()
    for i in range(n_missing, N):
        Image.new("RGB", (8, 8), (4 * i,) * 3).save(tmp_path / "photos" / f"{i}.png")
    table["path"] = [f"photos/{i}.png" for i in range(N)]
    assert prepare(tmp_path, *as_npy(tmp_path, table, vectors)) == ""
    data = read_dataset(tmp_path / "mine")
    asked = pd.DataFrame({"index": range(len(data.rows("pool")))})
    asked = asked.assign(rank=asked.index % 3, round=1 + asked.index // 3, subgroup="")
    figure, ax = mpl.pyplot.subplots()
    contact_sheets.contact_sheet(ax, data, asked)
    mpl.pyplot.close(figure)
    assert bool(ax.images) == (n_missing == 0)
    assert any("path:" in text.get_text() for text in ax.texts) == (n_missing > 0)


def test_people_label_the_pictures_of_embeddings_and_a_head_learns_from_these(
    tmp_path, table, vectors
):
    table["text"] = [f"number {i}" for i in range(N)]
    assert prepare(tmp_path, *as_npy(tmp_path, table, vectors)) == ""
    data = read_dataset(tmp_path / "mine")
    source, check, truth = simulated.as_collection(data, tmp_path / "session")
    settings = {"model": "features:mine", "protocol": {"seed_set_size": 6}, "check": check}
    session = labelling.open_session(source, data.classes, tmp_path / "labels", **settings)
    for item in session.ask(20):
        assert item.text.startswith("number ")
        session.tell(item.id, truth[item.id])
    assert session.refit()
    assert session.progress().check_accuracy > 0.8
    session.close()
    with pytest.raises(CompanionError, match="there are no features 'yours'"):
        labelling.open_session(source, data.classes, tmp_path / "l", model="features:yours")


# ---- what is refused, in a line


def odd(value):
    def spoil(vectors):
        vectors[[7, 9], 2] = value
        return vectors

    return spoil


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda v: v[:-1], "must hold 60 rows of floats, one for each row of t.csv; it is float64"),
        (odd(np.nan), "2 of 60 rows hold NaN or infinite values, first rows 7, 9; leave them out"),
        (odd(np.inf), "2 of 60 rows hold NaN or infinite values, first rows 7, 9; leave them out"),
        (lambda v: v.astype(object), "it holds Python objects: save np.stack(rows) as floats"),
        (lambda v: v.astype(int), "must hold rows of floats (float16, float32 or float64)"),
        (lambda v: v[:, 0], "one row an example; it is float64 of shape (60,)"),
    ],
)
def test_embeddings_that_cannot_be_right_are_one_line(tmp_path, table, vectors, spoil, said):
    given = as_npy(tmp_path, table, vectors)
    np.save(tmp_path / "x.npy", spoil(vectors), allow_pickle=True)
    assert said in prepare(tmp_path, *given)
    assert not (tmp_path / "mine" / "dataset.yaml").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda given: [*given, "--model", "timm:resnet18"], "a network that reads pixels or"),
        (lambda given: given[2:], "one of the arguments --images --table"),
        (lambda given: [*given[:3], "y.npy"], "y.npy does not exist"),
        (lambda given: [*given[:2], "--features-column", "emb"], "cannot be read"),
        (lambda given: [*given, "--label-column", "animal"], "no label column 'animal'"),
    ],
)
def test_a_command_that_does_not_fit_embeddings_is_one_line(
    tmp_path, table, vectors, change, said, capsys
):
    line = prepare(tmp_path, *change(as_npy(tmp_path, table, vectors)))
    assert said in line + capsys.readouterr().err


def test_lists_of_other_lengths_or_without_numbers_are_named(tmp_path, table, vectors):
    rows = [list(row) for row in vectors]
    rows[3], rows[5] = rows[3][:2], None
    file = as_parquet(tmp_path, table, np.array(rows, dtype=object))[1]
    with pytest.raises(DataError, match=r"2 of 60 rows are not of 6 numbers .* first rows 3, 5"):
        read_embeddings(file, "embedding")
    with pytest.raises(DataError, match=r"no column of lists called 'label'; .*: embedding"):
        read_embeddings(file, "label")


def test_a_network_that_wants_pixels_has_nothing_to_read_in_features(tmp_path, table, vectors):
    assert prepare(tmp_path, *as_npy(tmp_path, table, vectors)) == ""
    with pytest.raises(ModelError, match="reads images; dataset mine holds features of mine"):
        create_model("mini-bit-m", read_dataset(tmp_path / "mine"), None, 1)
    with pytest.raises(ModelError, match="holds features, not images or texts, of: mine"):
        plan_runs({"datasets": [str(tmp_path / "mine")], "models": ["bit-m"]})


# ---- a folder of features made by embed.py is the frozen network that made it


def rows_of(folder, **given):
    runs = plan_runs({"datasets": [str(folder)], "recipe": {"backbone": "frozen"}, **given})
    execute([each.run for each in runs], workers=1, quiet=True)
    return [(each.run.metrics(), each.run.acquisitions()) for each in runs]


def test_embedded_images_give_the_runs_of_the_frozen_network(birds_folder, tmp_path):
    data = read_dataset(birds_folder)
    recipe = Recipe(backbone="frozen")
    config = RunConfig(str(birds_folder), "mini-bit-m", "random", 1, recipe=recipe)
    embed.embed(data, config, "bit", tmp_path / "embedded")
    frozen = rows_of(birds_folder, models=["bit-m"], probe=["background"])
    stored = rows_of(tmp_path / "embedded", models=[FEATURES + "bit"], probe=["background"])
    for of_network, of_features in zip(frozen, stored, strict=True):
        for ours, theirs in zip(of_network, of_features, strict=True):
            shared = [name for name in ours if name in theirs and name != "path"]
            assert len(shared) > 5
            pd.testing.assert_frame_equal(ours[shared], theirs[shared])


def test_embedded_images_stay_to_be_seen_and_a_second_network_joins_them(birds_folder, tmp_path):
    out = tmp_path / "embedded"
    for name in ("one", "two"):
        given = ["--model", "bit-m-np", "--name", name, "--out", str(out)]
        assert embed.main([str(birds_folder), *given]) == 0
    data = read_dataset(out)
    assert data.feature_names() == ["one", "two"]
    assert data.picture_file("pool", 0).samefile(read_dataset(birds_folder).files("pool")[0])


def test_more_components_than_the_pool_has_examples_are_refused(birds_folder, tmp_path, capsys):
    given = ["--model", "bit-m-np", "--name", "x", "--out", str(tmp_path / "out"), "--dims", "101"]
    assert embed.main([str(birds_folder), *given]) == 1
    said = capsys.readouterr().err
    assert "asked for 101 components of 100 pool examples with 256 features; --dims takes" in said
    assert not (tmp_path / "out").exists()
