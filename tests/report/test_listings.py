"""What the command line says of datasets, runs, ids and claims."""

import json
from pathlib import Path

import pandas as pd
import pytest
import yaml

from alpt_lib.acquisition import acquisition_names
from alpt_lib.errors import CompanionError, ConfigError, DataError
from companion import listings, notebook_text
from companion.explain import explain
from companion.report.study import run_study
from companion.runs.parameters import PRESETS
from companion.runs.plan import PAPER_DATA, plan_runs
from companion.runs.store import StoredRun, all_runs


def parameters(folder: Path, **changes) -> dict:
    given = {"datasets": [str(folder)], "models": ["bit-m-np"], "seeds": [1], "workers": 1}
    return {**given, "recipe": {"max_steps": 2}, **changes}


def ids(folder: Path, **changes) -> list[str]:
    return [planned.run.run_id for planned in plan_runs(parameters(folder, **changes))]


@pytest.fixture
def runs(birds_folder, home) -> list[str]:
    """Ids of two stored runs, random and least confidence."""
    run_study("01_accuracy_curves", parameters(birds_folder))
    return ids(birds_folder)


def test_the_lists_hold_all_that_can_be_named(home):
    assert listings.list_acquisitions()["acquisition"].tolist() == acquisition_names()
    assert listings.list_notebooks()["notebook"].tolist() == notebook_text.notebook_names()
    assert listings.list_presets()["preset"].tolist() == list(PRESETS)
    assert {"bit-m", "roberta-m", "timm:NAME", "hf:NAME"} <= set(listings.list_models()["model"])
    named = listings.list_datasets().set_index("dataset")
    assert {"waterbirds_85", "squares_circles", *PAPER_DATA} <= set(named.index)
    assert named.loc["fmow"].iloc[-1] == "python data_prep/fmow.py"


def test_a_prepared_dataset_is_listed_with_its_size_a_broken_one_with_its_fault(home, birds_copy):
    (home / "data" / "mini" / "empty").mkdir(parents=True)
    birds_copy.rename(home / "data" / "mini" / "toybirds")
    (home / "data" / "mini" / "empty" / "dataset.yaml").write_text("name: empty")
    listed = listings.list_datasets().set_index("dataset").iloc[:, -1]
    assert "pool 100, val 48" in listed["toybirds"]
    assert listed["empty"].startswith("broken: ")


def test_tables_are_aligned_and_empty_ones_say_so():
    table = pd.DataFrame({"name": ["a", "long name"], "n": [5, 10], "share": [0.25, float("nan")]})
    assert listings.text(table) == "name        n  share\na           5  0.250\nlong name  10"
    assert listings.text(table[:0]) == "none"


def test_a_run_is_shown_by_how_its_id_starts_and_says_why_it_failed(runs, home):
    table = all_runs(run_id=runs[1], metric="accuracy", subgroup="all", round=3)
    accuracy = f"{table['value'].item():.3f}"
    content = json.dumps({"reason": "ValueError: the loss is nan"})
    (home / "runs" / runs[1] / "failed.json").write_text(content)
    shown = listings.show_run(runs[1][:9])
    for piece in (runs[1], "least_confidence", "4 of 4", "max_steps", accuracy, "tall/green"):
        assert piece in shown
    assert "failed       ValueError: the loss is nan" in shown


@pytest.mark.parametrize(
    ("asked", "said"), [("zz", "none of the 2 runs"), ("", "2 runs start with ''")]
)
def test_an_id_that_names_no_run_or_several_is_refused(runs, asked, said):
    with pytest.raises(CompanionError, match=said):
        listings.show_run(asked)


def test_ids_are_explained_by_what_is_hashed_of_several_what_differs(runs, birds_folder, tmp_path):
    identity = StoredRun.at(listings.find_run(runs[0]).folder).identity
    explained = explain([runs[0]])
    settings = [line.split()[:2] for line in explained.splitlines()]
    assert ["recipe.lr", str(identity["recipe"]["lr"])] in settings
    assert ["dataset", identity["dataset"]] in settings
    assert explain([runs[0], runs[0]]) == explained
    lines = explain(runs).splitlines()
    assert [line.split()[0] for line in lines[2:4]] == ["setting", "acquisition"]
    assert lines[4] == ""
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(parameters(birds_folder, seeds=[1, 2])))
    rows = [line.split() for line in explain([str(file)]).splitlines()[3:7]]
    others = ids(birds_folder, seeds=[2])
    stored = dict.fromkeys(runs, "yes") | dict.fromkeys(others, "no")
    assert {row[0]: row[-1] for row in rows} == stored


@pytest.mark.parametrize(
    ("content", "said"),
    [("seeds: [1]", "at least `datasets"), ("{", "cannot read"), (None, "cannot read")],
)
def test_a_yaml_file_that_plans_nothing_is_refused(home, tmp_path, content, said):
    if content:
        (tmp_path / "mine.yaml").write_text(content)
    with pytest.raises(CompanionError, match=said):
        explain([str(tmp_path / "mine.yaml")])


def test_a_dataset_folder_is_checked_and_counted(birds_folder):
    checked = listings.check_folder(str(birds_folder))
    counts = pd.read_csv(birds_folder / "manifest.csv").groupby(["label", "split"]).size()
    expected = ["tall", str(counts["tall", "pool"]), str(counts["tall", "val"]), "0.500"]
    assert expected in [line.split() for line in checked.splitlines()]
    assert checked.endswith("nothing wrong with it")


def test_the_first_thing_wrong_with_a_folder_is_an_error(birds_copy, tmp_path):
    with pytest.raises(DataError, match=r"dataset\.yaml is missing"):
        listings.check_folder(str(tmp_path))
    described = yaml.safe_load((birds_copy / "dataset.yaml").read_text())
    described["protocol"] = {"budget": 500}
    (birds_copy / "dataset.yaml").write_text(yaml.safe_dump(described))
    with pytest.raises(ConfigError, match="asked for 540 labels"):
        listings.check_folder(str(birds_copy))
