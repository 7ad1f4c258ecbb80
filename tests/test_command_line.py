import subprocess
import sys

import pytest

from alpt_lib.__main__ import main
from alpt_lib.paths import REPOSITORY


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
