"""The dry run: what a preset would run and cost, with and without data; real networks, small."""

import pytest
from conftest import write_birds
from toy_runs import do

from companion.cli import main
from companion.runs import dry_run, steps, store
from companion.runs.plan import PAPER_DATA, plan_runs

SMALL = "{recipe: {resize: 32, crop: 32, micro_batch_size: 0}}"
RUN = ["run", "--dry-run", "--quiet", "--only"]


def table(output: str) -> dict[str, list[str]]:
    return {
        line.split()[0]: line.split()[1:]
        for line in output.splitlines()
        if line[:2].isdigit() or line.startswith("all ")
    }


def test_the_paper_preset_is_planned_without_its_data_and_says_what_is_missing(home, capsys):
    only = "02,04,05,06,07,08,09"
    assert main([*RUN, only, "--preset", "paper", "--set", SMALL]) == 0
    said = capsys.readouterr().out
    runs = {name: [int(n) for n in counts[:3]] for name, counts in table(said).items()}
    # random trains in the 38 evaluated of 74 rounds; all four start from one seed-set fit
    assert runs["02_acquisition_functions"] == [64, 64, 16 * (1 + 37 + 3 * 73)]
    # S, M and deep M of R50 and R101, two of them not pretrained, on three datasets; iWildCam's M
    # is 02's already
    assert runs["04_pretraining"][:2] == [3 * 5 * 2 * 16, 3 * 5 * 2 * 16 - 32]
    assert runs["07_ambiguity_sweep"] == [6 * 2 * 16, 6 * 2 * 16, 6 * 16 * (1 + 32 + 64)]
    # both of its runs are among those of 04
    assert runs["06_tsne"][1] == 0
    missing = [line for line in said.splitlines() if line.startswith("missing:")]
    for piece in (
        "camelyon17.py",
        "fmow.py",
        "iwildcam.py",
        "treeperson.py",
        "waterbirds.py",
        "BiT-S-R50x1.npz",
        "timm:resnetv2_101x1_bit.goog_in21k",
        "waterbirds_50, waterbirds_60, waterbirds_70",
    ):
        assert any(piece in line for line in missing), piece
    assert not (home / "runs").exists()


def test_an_embedded_dataset_is_not_taken_for_the_published_one_of_its_name(home):
    write_birds(home / "data" / "mini" / "waterbirds")
    published = dry_run.absent([{"preset": "paper", "datasets": ["waterbirds"]}])
    given = {"datasets": ["waterbirds"], "models": ["bit-m-np"]}
    for planned in plan_runs(given, published):
        assert len(planned.data.rows("pool")) == 100


@pytest.mark.parametrize(
    ("how", "n_fits", "n_scored"),
    [
        ("", 6, 5 * 48 + 3 * 100),
        # every step of a fit looks at the validation images
        (", stopping: early_stopping, check_every: 1", 6, 5 * 48 + 3 * 100 + 6 * 5 * 48),
        # there random fits in all rounds, too, and no seed-set fit is shared
        (", fidelity: released", 8, 6 * 48 + 3 * 100),
    ],
)
def test_times_are_those_of_the_probe_times_what_runs_do(
    home, monkeypatch, capsys, how, n_fits, n_scored
):
    folder = write_birds(home / "birds", n_pool=100, n_val=48)
    cost = dry_run.Cost(training=3.0, scoring=1.0, machine="a stopwatch")
    monkeypatch.setattr(dry_run, "cost_of_an_example", lambda run: cost)
    change = (
        f"{{datasets: [{folder}], models: [bit-m-np], seeds: [1], recipe: {{max_steps: 5, "
        f"train_batch_size: 2{how}}}, protocol: {{seed_set_size: 8, budget: 12, "
        "query_batch_size: 4, eval_every: 2}}"
    )
    assert main([*RUN, "01", "--set", change]) == 0
    said = capsys.readouterr().out
    # rounds 0 to 3, evaluated in 0, 2 and 3, in which random fits; least confidence fits in all
    # of them and scores the pool in the first three; round 0 is the same for both
    *counts, minutes = table(said)["01_accuracy_curves"][:4]
    assert counts == ["2", "2", str(n_fits)]
    seconds = n_fits * 5 * 2 * 3.0 + n_scored
    assert float(minutes) == pytest.approx(seconds / 60, abs=0.005)
    assert "a stopwatch" in said


def test_every_published_dataset_says_what_it_makes_and_any_run_on_it_is_well_formed(home):
    parameters = {"preset": "paper", "datasets": list(PAPER_DATA)}
    expected = dry_run.absent([parameters])
    assert list(expected) == sorted(PAPER_DATA)
    assert expected["iwildcam"].sizes == {"pool": 129_809, "val": 14_961, "id_val": 7_314}
    assert expected["waterbirds_70"].sizes == {"pool": 4_195, "val": 1_799}
    planned = plan_runs({**parameters, "models": []}, expected)
    protocols = {each.dataset: each.config.protocol for each in planned}
    labels = {name: p.seed_set_size + p.budget for name, p in protocols.items()}
    assert labels["waterbirds"] == labels["treeperson"] == 40 + 320
    assert labels["iwildcam"] == 182 + 1_456


def test_a_published_dataset_that_is_not_prepared_is_one_line_before_anything_runs(home, capsys):
    assert main(["run", "--quiet", "--preset", "paper", "--only", "02"]) == 1
    said = capsys.readouterr().err
    start = "error: iwildcam is not prepared: run python data_prep/iwildcam.py --root FOLDER"
    assert said.startswith(start)
    assert said.count("\n") == 1


def test_fits_take_the_steps_that_stored_ones_took(home, monkeypatch, capsys):
    folder = write_birds(home / "birds", n_pool=60, n_val=48)
    cost = dry_run.Cost(training=1.0, scoring=0.0, machine="a stopwatch", flops=1e12)
    monkeypatch.setattr(dry_run, "cost_of_an_example", lambda run: cost)
    monkeypatch.setattr(dry_run, "LONG", 0)
    change = (
        f"{{datasets: [{folder}], models: [bit-m-np], seeds: %s, acquisitions: [random], "
        "recipe: {max_steps: 40, loss_ratio: 0.9, train_batch_size: 10}, "
        "protocol: {seed_set_size: 8, budget: 4, query_batch_size: 4}}"
    )
    assert main(["execute", "--quiet", "--only", "01", "--set", change % "[1]"]) == 0
    stored = store.stored_runs()[0].fits()["n_steps"]
    assert 0 < stored.mean() < 40
    capsys.readouterr()
    assert main([*RUN, "01", "--set", change % "[2]"]) == 0
    said = capsys.readouterr().out
    n_examples = 2 * round(stored.mean(), 1) * 10
    assert f"{n_examples:,.0f} to train on" in said
    # both rounds are evaluated
    flops = (3 * n_examples + 2 * 48) * 1e12
    assert f"on a GPU: {flops:.1e} floating-point operations" in said


def test_the_features_of_a_frozen_network_are_computed_once(home, monkeypatch, capsys):
    folder = write_birds(home / "birds", n_pool=60, n_val=48)
    cost = dry_run.Cost(training=1.0, scoring=1.0, machine="a stopwatch")
    monkeypatch.setattr(dry_run, "cost_of_an_example", lambda run: cost)
    change = (
        f"{{datasets: [{folder}], models: [bit-m-np], seeds: [1, 2], recipe: {{backbone: frozen}}}}"
    )
    assert main([*RUN, "01", "--set", change]) == 0
    assert "examples: 0 to train on, 108 to score" in capsys.readouterr().out


def test_steps_of_other_notebooks_stay_beside_the_figures(birds_folder, home, tmp_path):
    """A figure folder drawn notebook by notebook knows as much as one drawn at once."""
    parts = [do(birds_folder, seeds=[1], recipe={"max_steps": n}) for n in (6, 3)]
    steps.write_steps([run for part in parts for run in part], tmp_path / "at once")
    (tmp_path / "one by one").mkdir()
    (tmp_path / "one by one" / steps.FILE).write_text("spoilt")
    for part in parts:
        steps.write_steps(part, tmp_path / "one by one")
    at_once, one_by_one = (
        (tmp_path / folder / steps.FILE).read_text() for folder in ("at once", "one by one")
    )
    assert at_once.count("\n") == 3
    assert one_by_one == at_once
