"""How results leave: one frame, csv and parquet with a data dictionary, TensorBoard."""

import json
import sys

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from alpt_lib.errors import CompanionError, ConfigError
from companion.report import export
from companion.report.study import Study, run_study
from companion.runs import store, upkeep


@pytest.fixture
def study(birds_folder, home) -> Study:
    """Two stored runs, random and least confidence."""
    given = {"datasets": [str(birds_folder)], "models": ["bit-m-np"], "seeds": [1], "workers": 1}
    return run_study("01_accuracy_curves", {**given, "recipe": {"max_steps": 2}})


@pytest.mark.parametrize(
    ("what", "by"),
    [
        ("metrics", ["run_id", "round", "metric", "subgroup"]),
        ("acquisitions", ["run_id", "round", "rank"]),
    ],
)
def test_all_runs_gives_the_rows_that_notebooks_have(study, what, by):
    theirs = getattr(study, what).drop(columns=["dataset", "model"])
    theirs = theirs.sort_values(by, ignore_index=True)
    ours = store.all_runs(what).sort_values(by, ignore_index=True)
    assert_frame_equal(ours[theirs.columns], theirs)
    assert set(ours["model"]) == {"mini-bit-m-np"}
    assert set(ours["n_rounds"]) == {3}


def test_all_runs_filters_by_any_column(study):
    metrics = ["accuracy", "accuracy_minority"]
    rows = store.all_runs(acquisition="random", metric=metrics, round=3)
    expected = study.metrics.query("acquisition == 'random' and metric in @metrics and round == 3")
    assert len(rows) == len(expected) > 0
    assert store.all_runs(seed=99).empty
    said = r"unknown column 'sead' \(did you mean 'seed'\?\); known: run_id, dataset"
    with pytest.raises(ConfigError, match=said):
        store.all_runs(sead=1)
    with pytest.raises(ConfigError, match="unknown table 'runs'; known: metrics, acquisitions"):
        store.all_runs("runs")


@pytest.mark.parametrize("what", export.TABLES)
@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_an_export_reads_back_and_every_column_is_described(study, tmp_path, what, ending):
    file = tmp_path / "new" / f"table.{ending}"
    said = export.export(file, what)
    back = pd.read_csv(file) if ending == "csv" else pd.read_parquet(file)
    tables = [t.astype(object).where(t.notna(), None) for t in (back, export.stored_table(what))]
    assert_frame_equal(*tables, check_dtype=False)
    described = json.loads((tmp_path / "new" / "table.columns.json").read_text())
    assert [entry["column"] for entry in described] == list(back)
    assert all(entry["meaning"] and entry["type"] for entry in described)
    assert f"{len(back):,} rows" in said


def test_a_spreadsheet_runs_nothing_of_an_exported_csv(tmp_path):
    texts = ["=1+1", "+cmd", "-x", "@sum", "-0.5", "plain"]
    export.write_csv(pd.DataFrame({"=HYPERLINK()": texts, "value": -1.5}), tmp_path / "a.csv")
    back = pd.read_csv(tmp_path / "a.csv")
    assert back["'=HYPERLINK()"].tolist() == ["'=1+1", "'+cmd", "'-x", "'@sum", "-0.5", "plain"]
    assert set(back["value"]) == {-1.5}


def test_the_dictionary_knows_every_column_that_is_not_an_attribute():
    known = export.dictionary().index
    assert known.is_unique
    tables = (store.RUN_COLUMNS, store.METRIC_COLUMNS, store.ACQUISITION_COLUMNS, upkeep.COLUMNS)
    assert set().union(*tables) <= set(known)


def test_runs_can_be_chosen_and_an_export_that_cannot_be_is_one_line(study, tmp_path):
    runs = export.stored_table("runs", {"acquisition": "random"})
    assert runs["acquisition"].tolist() == ["random"]
    with pytest.raises(CompanionError, match=r"ends in \.csv or \.parquet; got .*table\.xlsx"):
        export.export(tmp_path / "table.xlsx", "metrics")
    with pytest.raises(CompanionError, match="nothing to export: no stored run has runs where"):
        export.export(tmp_path / "table.csv", "runs", {"seed": 5})
    (tmp_path / "file").touch()
    with pytest.raises(CompanionError, match="cannot write"):
        export.export(tmp_path / "file" / "table.csv", "metrics")


def test_event_files_hold_every_value_at_its_number_of_labels(study, tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    export.tensorboard(tmp_path)
    (tmp_path / "toybirds" / "note.txt").touch()
    export.tensorboard(tmp_path)  # replaces, does not add
    files = sorted(tmp_path.rglob("events.out.tfevents.*"))
    assert [file.parent.parent.name for file in files] == ["least_confidence", "random"]
    assert (tmp_path / "toybirds" / "note.txt").exists()
    folder = str(files[0].parent)
    events = accumulator.EventAccumulator(folder, size_guidance={"scalars": 0}).Reload()
    arm = study.metrics.query("acquisition == 'least_confidence' and metric == 'accuracy'")
    expected = arm.query("subgroup == 'tall/green'")
    shown = events.Scalars("val/accuracy/tall_green")
    assert [event.step for event in shown] == expected["n_labels"].tolist() == [8, 12, 16, 20]
    assert [event.value for event in shown] == pytest.approx(expected["value"].tolist())
    assert [event.value for event in events.Scalars("fit/n_steps")] == [2, 2, 2, 2]


def test_without_tensorboard_one_line_says_what_to_install(study, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(CompanionError, match=r"pip install -e '\.\[tensorboard\]'"):
        export.tensorboard(tmp_path)
