"""What the command line says of datasets, runs and ids."""

import json
from pathlib import Path

import pandas as pd
import pytest
import yaml

from alpt_lib.acquisition import ACQUISITION_FUNCTIONS
from alpt_lib.errors import CompanionError, ConfigError, DataError
from companion import listings, notebook_text
from companion.report import study
from companion.runs import plan, store
from companion.runs.parameters import PRESETS
from companion.runs.plan import PAPER_DATA, plan_runs


def plan(folder: Path, **changes) -> dict:
    return {
        "datasets": [str(folder)],
        "models": ["bit-m-np"],
        "seeds": [1],
        "workers": 1,
        "recipe": {"max_steps": 2},
        **changes,
    }


def ids(folder: Path, **changes) -> list[str]:
    return [store.run_id(p.config) for p in plan_runs(plan(folder, **changes))]


@pytest.fixture
def runs(birds_folder, home) -> list[str]:
    """Ids of two stored runs, random and least confidence."""
    study.run("01_accuracy_curves", plan(birds_folder))
    return ids(birds_folder)


def test_the_lists_hold_all_that_can_be_named(home):
    assert set(listings.list_acquisitions()["acquisition"]) == set(ACQUISITION_FUNCTIONS)
    assert listings.list_notebooks()["notebook"].tolist() == notebook_text.notebook_names()
    assert listings.list_presets()["preset"].tolist() == list(PRESETS)
    assert {"bit-m", "roberta-m", "timm:NAME", "hf:NAME"} <= set(listings.list_models()["model"])
    named = listings.list_datasets().set_index("dataset")
    assert {"waterbirds_85", "squares_circles", *PAPER_DATA} <= set(named.index)
    assert named.loc["fmow"].iloc[-1] == "python data_prep/fmow.py"


def test_a_prepared_dataset_is_listed_with_its_size_and_a_broken_one_with_what_is_wrong(
    home, birds_copy
):
    (home / "data" / "mini").mkdir()
    birds_copy.rename(home / "data" / "mini" / "toybirds")
    (home / "data" / "mini" / "empty").mkdir()
    (home / "data" / "mini" / "empty" / "dataset.yaml").write_text("name: empty")
    listed = listings.list_datasets().set_index("dataset").iloc[:, -1]
    assert "pool 100, val 48" in listed["toybirds"]
    assert listed["empty"].startswith("broken: ")


def test_tables_are_aligned_and_empty_ones_say_so():
    table = pd.DataFrame({"name": ["a", "long name"], "n": [5, 10], "share": [0.25, float("nan")]})
    assert listings.text(table) == "name        n  share\na           5  0.250\nlong name  10"
    assert listings.text(table[:0]) == "none"


def test_a_run_is_shown_by_how_its_id_starts(runs):
    shown = listings.show(runs[1][:9])
    table = store.all_runs(run_id=runs[1], metric="accuracy", subgroup="all", round=3)
    for piece in (
        runs[1],
        "least_confidence",
        "4 of 4",
        "max_steps",
        f"{table['value'].item():.3f}",
        "tall/green",
    ):
        assert piece in shown


def test_a_run_that_failed_says_why(runs, home):
    (home / "runs" / runs[0] / "failed.json").write_text(
        json.dumps({"reason": "ValueError: the loss is nan"})
    )
    assert "failed       ValueError: the loss is nan" in listings.show(runs[0])


@pytest.mark.parametrize(
    ("asked", "said"), [("zz", "none of the 2 runs"), ("", "2 runs start with ''")]
)
def test_an_id_that_names_no_run_or_several_is_refused(runs, asked, said):
    with pytest.raises(CompanionError, match=said):
        listings.show(asked)


def test_an_id_is_explained_by_what_is_hashed(runs):
    content = json.loads((store.runs_folder() / runs[0] / "config.json").read_text())["identity"]
    explained = listings.explain([runs[0]])
    assert f"recipe.lr                  {content['recipe']['lr']}" in explained
    assert content["dataset"] in explained


def test_of_two_runs_only_what_differs_is_said(runs):
    lines = listings.explain(runs).splitlines()
    assert [line.split()[0] for line in lines[2:4]] == ["setting", "acquisition"]
    assert lines[4] == ""
    assert listings.explain([runs[0], runs[0]]).startswith(runs[0])


def test_a_yaml_file_tells_the_ids_it_plans_and_which_are_stored(runs, birds_folder, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(plan(birds_folder, seeds=[1, 2])))
    states = {
        line.split()[0]: line.split()[-1]
        for line in listings.explain([str(file)]).splitlines()[3:7]
    }
    assert states == dict.fromkeys(runs, "yes") | dict.fromkeys(ids(birds_folder, seeds=[2]), "no")


@pytest.mark.parametrize(
    ("content", "said"),
    [("seeds: [1]", "at least `datasets"), ("{", "cannot read"), (None, "cannot read")],
)
def test_a_yaml_file_that_plans_nothing_is_refused(home, tmp_path, content, said):
    if content:
        (tmp_path / "mine.yaml").write_text(content)
    with pytest.raises(CompanionError, match=said):
        listings.explain([str(tmp_path / "mine.yaml")])


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
    (birds_copy / "dataset.yaml").write_text(
        yaml.safe_dump({**described, "protocol": {"budget": 500}})
    )
    with pytest.raises(ConfigError, match="asked for 540 labels"):
        listings.check_folder(str(birds_copy))
