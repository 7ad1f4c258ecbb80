"""Parameters of notebooks, and the runs that they name."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import write_birds
from toy_runs import plan

from alpt_lib.datasets import read_dataset
from alpt_lib.errors import ConfigError
from companion.runs import plan as planning
from companion.runs.parameters import check_parameters, read_parameters

TAGGED = 'preset = "mini"\ndatasets = ["waterbirds"]\nseeds = [1]'


def notebook(injected: str) -> dict:
    """A notebook's globals() after papermill injected a cell."""
    namespace = {"In": ["", TAGGED, injected]}
    exec(TAGGED, namespace)
    exec(injected, namespace)
    return namespace


def test_an_injected_parameter_overrides_the_tagged_one():
    assert read_parameters(notebook("# Parameters\nseeds = [3, 4]\n"))["seeds"] == [3, 4]


def test_a_parameter_the_notebook_does_not_define_stops_with_the_valid_ones():
    said = r"parameter 'seed' \(did you mean 'seeds'\?\); known: datasets, preset, seeds"
    with pytest.raises(ConfigError, match=said):
        read_parameters(notebook("# Parameters\nseed = 3\n"))


def test_other_names_in_the_notebook_are_left_alone():
    namespace = notebook("# Parameters\nseeds = [3]\n") | {"ax": 1, "models": lambda: None}
    assert read_parameters(namespace)["models"] == []


def test_lists_and_mappings_that_arrive_as_text_are_read():
    read = check_parameters({"datasets": "[a, b]", "seeds": "[1, 2]", "recipe": "{lr: 0.1}"})
    assert (read["datasets"], read["seeds"], read["recipe"]) == (["a", "b"], [1, 2], {"lr": 0.1})


def test_settings_are_further_runs_with_some_parameters_changed(birds_folder, tmp_path):
    by_one = {"protocol": {"query_batch_size": 1}, "acquisitions": ["margin"], "seeds": [1, 2, 3]}
    base = {"datasets": [str(birds_folder)], "protocol": {"budget": 6, "eval_every": 2}}
    planned = planning.plan_runs({**base, "seeds": [1], "settings": {"by 1": by_one}})
    assert [each.setting for each in planned] == ["", "", "by 1", "by 1", "by 1"]
    protocols = [(p.budget, p.eval_every, p.query_batch_size) for p in map(protocol_of, planned)]
    assert protocols == [(6, 2, 4)] * 2 + [(6, 2, 1)] * 3
    assert {each.config.acquisition for each in planned[2:]} == {"margin"}


def protocol_of(planned):
    return planned.config.protocol


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sead": [1]}, r"settings by 1: unknown parameter 'sead' \(did you mean 'seeds'"),
        ({"seeds": "many"}, "parameter seeds takes a list of whole numbers"),
        ({"settings": {}}, "settings by 1: unknown parameter 'settings'"),
    ],
)
def test_a_setting_that_means_nothing_is_refused_by_its_name(changes, said):
    with pytest.raises(ConfigError, match=said):
        check_parameters({"datasets": ["a"], "settings": {"by 1": changes}})


def test_two_dataset_folders_of_one_name_are_refused_for_figures_would_take_them_for_one(tmp_path):
    folders = [write_birds(tmp_path / day / "data", 4, 2) for day in ("monday", "tuesday")]
    said = rf"called 'toybirds': {folders[0]} and {folders[1]}; leave one out, or give it another"
    with pytest.raises(ConfigError, match=said):
        plan(tmp_path, datasets=list(map(str, folders)))
    described = folders[1] / "dataset.yaml"
    described.write_text(described.read_text().replace("toybirds", "others"))
    both = plan(tmp_path, datasets=list(map(str, folders)))
    assert [run.data.name for run in both] == ["toybirds"] * 2 + ["others"] * 2
    # one folder by two names would count each run twice
    (tmp_path / "again").symlink_to(folders[0])
    with pytest.raises(ConfigError, match="two datasets are called 'toybirds'"):
        plan(tmp_path, datasets=[str(folders[0]), str(tmp_path / "again")])


def test_what_is_made_of_another_dataset_is_made_when_it_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(planning, "GENERATORS", ())
    source = write_birds(tmp_path / "toybirds")
    # as a process leaves it that was killed while it wrote
    (tmp_path / "toybirds_wrong_20").mkdir()
    planning.generate(tmp_path, [str(source), "toybirds_wrong_20", "nothing_wrong_20"])
    made = read_dataset(tmp_path / "toybirds_wrong_20").rows("pool")
    assert (made["label"] != made["true_label"]).mean() == 0.2
    assert not (tmp_path / "toybirds_copies_2").exists()
    assert not (tmp_path / "nothing_wrong_20").exists()


def test_what_was_deleted_is_generated_again_and_else_only_what_is_missing(tmp_path, monkeypatch):
    prepared = []
    monkeypatch.setattr(planning, "_prepare", lambda target, *given: prepared.append(given[0]))
    for name in ("a", "b"):
        write_birds(tmp_path / name)
    for named, scripts in [
        (["a"], planning.GENERATORS),
        (["b", "a_matched_50"], [planning.VARIANTS]),
        (["gone"], planning.GENERATORS),
    ]:
        prepared.clear()
        planning.generate(tmp_path, named)
        assert sorted(prepared) == sorted(scripts)


def test_two_processes_at_once_generate_one_after_the_other(tmp_path, monkeypatch):
    (tmp_path / "data_prep").mkdir()
    (tmp_path / "data_prep" / planning.VARIANTS).touch()
    (tmp_path / "data_prep" / "alone.py").write_text(
        "import os, sys, time\nbusy = sys.argv[2] + '/busy'\n"
        "os.mkdir(busy)\ntime.sleep(0.3)\nos.rmdir(busy)\n"
    )
    monkeypatch.setattr(planning, "REPOSITORY", tmp_path)
    monkeypatch.setattr(planning, "GENERATORS", ("alone.py",))
    with ThreadPoolExecutor() as threads:
        assert list(threads.map(planning.generate, [tmp_path / "mini"] * 3)) == [None] * 3
