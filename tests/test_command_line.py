import subprocess
import sys

import pytest

from alpt_lib.paths import REPOSITORY
from companion.command_line import main


def test_run_all_finds_its_python_from_any_folder(tmp_path):
    done = subprocess.run([REPOSITORY / "run_all.sh", "--python"], cwd=tmp_path, capture_output=True, text=True, check=True)
    found = done.stdout.strip()
    assert subprocess.run([found, "-c", "import alpt_lib, papermill"], cwd=tmp_path).returncode == 0


@pytest.mark.parametrize(("arguments", "message"), [
    (["--preset", "big"], "error: unknown preset 'big'; known: smoke, mini, paper"),
    (["--only", "42"], "error: unknown notebook '42'"),
    (["--workers", "-3"], "error: parameter workers takes a number of processes"),
])
def test_a_bad_argument_is_one_line_and_exit_1(arguments, message):
    done = subprocess.run([sys.executable, "-m", "alpt_lib", "run", *arguments], capture_output=True, text=True, cwd=REPOSITORY)
    assert done.returncode == 1
    assert done.stderr.startswith(message)
    assert done.stderr.count("\n") == 1


def test_dry_run_counts_shared_runs_once_and_trains_nothing(home, capsys):
    assert main(["run", "--preset", "smoke", "--only", "01,03", "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    counts = {line.split()[0]: line.split()[1:3] for line in lines if line.startswith("0")}
    assert int(counts["01_accuracy_curves"][1]) == int(counts["01_accuracy_curves"][0]) > 0
    assert counts["03_subgroup_upsampling"][1] == "0"  # all of its runs are among those of 01
    assert not (home / "runs").exists()


def test_stored_runs_are_listed_verified_and_pruned(home, capsys):
    assert main(["list"]) == 0
    assert capsys.readouterr().out == "no stored runs\n"
    change = "{datasets: [squares_circles], seeds: [1], protocol: {budget: 0}, recipe: {max_steps: 1}}"
    assert main(["execute", "--only", "00", "--workers", "1", "--set", change]) == 0
    capsys.readouterr()
    assert main(["verify"]) == 0
    assert "2 stored runs, nothing wrong" in capsys.readouterr().out
    assert main(["prune", "--only", "00", "--set", change, "--yes"]) == 0
    assert "0 runs removed" in capsys.readouterr().out  # the plan needs both
    assert main(["prune", "--only", "00", "--set", "{seeds: [2]}"]) == 0
    assert capsys.readouterr().out.count("squares_circles") == len(list((home / "runs").glob("*/config.json"))) == 2
    assert main(["prune", "--only", "00", "--set", "{seeds: [2]}", "--yes"]) == 0
    assert not list((home / "runs").glob("*/config.json"))
