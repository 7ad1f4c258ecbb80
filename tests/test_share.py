"""How results leave: one frame, csv and parquet with a data dictionary, TensorBoard."""

import json
import sys

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from alpt_lib import datasets, errors
from alpt_lib.errors import CompanionError, ConfigError
from companion.report import export, study
from companion.runs import store, upkeep


@pytest.fixture
def study(birds_folder, home) -> study.Study:
    """Two stored runs, random and least confidence."""
    return study.run(
        "01_accuracy_curves",
        {
            "datasets": [str(birds_folder)],
            "models": ["bit-m-np"],
            "seeds": [1],
            "workers": 1,
            "recipe": {"max_steps": 2},
        },
    )


@pytest.mark.parametrize("what", ["metrics", "acquisitions"])
def test_load_gives_the_rows_that_notebooks_have(study, what):
    by = (
        ["run_id", "round", "metric", "subgroup"]
        if what == "metrics"
        else ["run_id", "round", "rank"]
    )
    theirs = (
        getattr(study, what).drop(columns=["dataset", "model"]).sort_values(by, ignore_index=True)
    )
    ours = store.all_runs(what).sort_values(by, ignore_index=True)
    assert_frame_equal(ours[theirs.columns], theirs)
    assert set(ours["model"]) == {"mini-bit-m-np"}
    assert set(ours["n_rounds"]) == {3}


def test_load_filters_by_any_column(study):
    rows = store.all_runs(acquisition="random", metric=["accuracy", "accuracy_minority"], round=3)
    expected = study.metrics.query(
        "acquisition == 'random' and metric in ['accuracy', 'accuracy_minority'] and round == 3"
    )
    assert len(rows) == len(expected) > 0
    assert store.all_runs(seed=99).empty
    with pytest.raises(
        ConfigError,
        match=r"unknown column 'sead' \(did you mean 'seed'\?\); known: run_id, dataset",
    ):
        store.all_runs(sead=1)
    with pytest.raises(ConfigError, match="unknown table 'runs'; known: metrics, acquisitions"):
        store.all_runs("runs")


def test_an_empty_store_loads_as_a_frame_without_rows(home):
    assert list(store.all_runs()) == [*store.RUN_COLUMNS, *store.METRIC_COLUMNS]


def test_acquisitions_of_data_that_have_changed_are_not_given_other_names(birds_copy, home):
    study.run(
        "01",
        {
            "datasets": [str(birds_copy)],
            "models": ["bit-m-np"],
            "acquisitions": ["random"],
            "seeds": [1],
            "workers": 1,
            "recipe": {"max_steps": 1},
        },
    )
    pd.read_csv(birds_copy / "manifest.csv")[1:].to_csv(birds_copy / "manifest.csv", index=False)
    datasets.read_dataset.cache_clear()
    with pytest.raises(errors.DataError, match="was done on other data"):
        store.all_runs("acquisitions")
    assert len(store.all_runs())
    assert store.all_runs("acquisitions", dataset="another").empty


@pytest.mark.parametrize("what", export.TABLES)
@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_an_export_reads_back_and_every_column_is_described(study, tmp_path, what, ending):
    file = tmp_path / "new" / f"table.{ending}"
    said = export.export(file, what)
    back = pd.read_csv(file) if ending == "csv" else pd.read_parquet(file)
    assert_frame_equal(
        *(t.astype(object).where(t.notna(), None) for t in (back, export.table(what))),
        check_dtype=False,
    )
    described = json.loads((tmp_path / "new" / "table.columns.json").read_text())
    assert [entry["column"] for entry in described] == list(back)
    assert all(entry["meaning"] and entry["type"] for entry in described)
    assert f"{len(back):,} rows" in said


def test_the_dictionary_knows_every_column_that_is_not_an_attribute():
    known = set(export.dictionary().index)
    assert {
        *store.RUN_COLUMNS,
        *store.METRIC_COLUMNS,
        *store.ACQUISITION_COLUMNS,
        *upkeep.COLUMNS,
    } <= known
    assert export.dictionary().index.is_unique


def test_an_export_that_cannot_be_is_one_line(study, tmp_path, home):
    with pytest.raises(CompanionError, match=r"ends in \.csv or \.parquet; got .*table\.xlsx"):
        export.export(tmp_path / "table.xlsx", "metrics")
    with pytest.raises(CompanionError, match="nothing to export: no stored run has runs where"):
        export.export(tmp_path / "table.csv", "runs", {"seed": 5})
    (tmp_path / "file").touch()
    with pytest.raises(CompanionError, match="cannot write"):
        export.export(tmp_path / "file" / "table.csv", "metrics")


def test_runs_can_be_chosen_for_an_export(study):
    assert export.table("runs", {"acquisition": "random"})["acquisition"].tolist() == ["random"]


def test_event_files_hold_every_value_at_its_number_of_labels(study, tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    export.tensorboard(tmp_path)
    (tmp_path / "toybirds" / "note.txt").touch()
    export.tensorboard(tmp_path)  # replaces, does not add
    folders = sorted({file.parent for file in tmp_path.rglob("events.out.tfevents.*")})
    assert [folder.parent.name for folder in folders] == ["least_confidence", "random"]
    assert len(list(tmp_path.rglob("events.out.tfevents.*"))) == 2
    assert (tmp_path / "toybirds" / "note.txt").exists()
    events = accumulator.EventAccumulator(str(folders[0]), size_guidance={"scalars": 0}).Reload()
    expected = study.metrics.query(
        "acquisition == 'least_confidence' and metric == 'accuracy' and subgroup == 'tall/green'"
    )
    found = events.Scalars("val/accuracy/tall_green")
    assert [event.step for event in found] == expected["n_labels"].tolist() == [8, 12, 16, 20]
    assert [event.value for event in found] == pytest.approx(expected["value"].tolist())
    assert [event.value for event in events.Scalars("fit/n_steps")] == [2, 2, 2, 2]


def test_without_tensorboard_one_line_says_what_to_install(study, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(CompanionError, match=r"pip install -e '\.\[tensorboard\]'"):
        export.tensorboard(tmp_path)
