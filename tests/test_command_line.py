import errno
import io
import os
import subprocess
import sys

import pandas as pd
import pytest

from alpt_lib.files import REPOSITORY
from alpt_lib.progress import QUIET
from companion import listings
from companion.cli import COMMANDS, VERDICT_COLOURS, claims_table, has_colours, main
from companion.report import claims

TINY = [
    "--only",
    "00",
    "--workers",
    "1",
    "--set",
    "{datasets: [squares_circles], seeds: [1], protocol: {budget: 0}, recipe: {max_steps: 1}}",
]


def test_run_all_finds_its_python_from_any_folder(tmp_path):
    done = subprocess.run(
        [REPOSITORY / "run_all.sh", "--python"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    found = done.stdout.strip()
    assert subprocess.run([found, "-c", "import alpt_lib, papermill"], cwd=tmp_path).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--preset", "big"], "error: unknown preset 'big'; known: smoke, mini, paper"),
        (["--only", "42"], "error: unknown notebook '42'"),
        (["--workers", "-3"], "error: parameter workers takes a number of processes"),
    ],
)
def test_a_bad_argument_is_one_line_and_exit_1(arguments, message):
    done = subprocess.run(
        [sys.executable, "-m", "alpt_lib", "run", *arguments],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(message)
    assert done.stderr.count("\n") == 1


def test_a_disk_that_refuses_is_one_line_and_exit_1(monkeypatch, capsys):
    def refused():
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), "/store/lock")

    monkeypatch.setattr(store, "verify", refused)
    assert main(["verify"]) == 1
    assert capsys.readouterr().err == "error: [Errno 30] Read-only file system: '/store/lock'\n"


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
    change = (
        "{datasets: [squares_circles], seeds: [1], protocol: {budget: 0}, recipe: {max_steps: 1}}"
    )
    assert main(["execute", "--only", "00", "--workers", "1", "--set", change]) == 0
    capsys.readouterr()
    assert main(["verify"]) == 0
    assert "2 stored runs, nothing wrong" in capsys.readouterr().out
    assert main(["prune", "--only", "00", "--set", change, "--yes"]) == 0
    assert "0 runs removed" in capsys.readouterr().out  # the plan needs both
    assert main(["prune", "--only", "00", "--set", "{seeds: [2]}"]) == 0
    assert (
        capsys.readouterr().out.count("squares_circles")
        == len(list((home / "runs").glob("*/config.json")))
        == 2
    )
    assert main(["prune", "--only", "00", "--set", "{seeds: [2]}", "--yes"]) == 0
    assert not list((home / "runs").glob("*/config.json"))


def test_help_leads_to_every_command_and_each_has_its_own(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    overview = capsys.readouterr().out
    for group, commands in COMMANDS.items():
        assert f"{group}:\n" in overview
        for name, does in commands.items():
            assert f"  {name} " in overview
            assert does in overview
            with pytest.raises(SystemExit, match="0"):
                main([name, "--help"])
            assert capsys.readouterr().out.startswith(f"usage: python -m alpt_lib {name} ")


@pytest.mark.parametrize("what", list(listings.LISTS))
def test_everything_can_be_listed(home, capsys, what):
    assert main(["list", what]) == 0
    assert capsys.readouterr().out.count("\n") > 1 or what == "runs"


def test_one_run_from_listing_to_export(home, tmp_path, capsys):
    assert main(["execute", *TINY]) == 0
    assert main(["list", "runs"]) == 0
    one, other = (line.split()[0] for line in capsys.readouterr().out.splitlines()[-2:])
    assert main(["show", one]) == 0
    assert f"run          {one}" in capsys.readouterr().out
    assert main(["explain", one, other]) == 0
    assert "least_confidence" in capsys.readouterr().out
    assert main(["check", "squares_circles"]) == 0
    assert "nothing wrong with it" in capsys.readouterr().out
    assert (
        main(["export", "--to", str(tmp_path / "a.csv"), "--where", "{acquisition: random}"]) == 0
    )
    assert pd.read_csv(tmp_path / "a.csv")["acquisition"].unique().tolist() == ["random"]
    assert main(["show", "x"]) == 1
    assert capsys.readouterr().err.startswith("error: none of the 2 runs")


def test_verbose_says_what_is_planned_and_stored_and_quiet_says_nothing(home, capsys, monkeypatch):
    monkeypatch.setenv(QUIET, "")
    monkeypatch.delenv(QUIET)
    assert main(["execute", "--verbose", *TINY]) == 0
    assert [
        line.split()[-1]
        for line in capsys.readouterr().out.splitlines()
        if "squares_circles" in line
    ] == ["no", "no"]
    assert main(["execute", "--verbose", *TINY]) == 0
    assert [
        line.split()[-1]
        for line in capsys.readouterr().out.splitlines()
        if "squares_circles" in line
    ] == ["yes", "yes"]
    assert main(["execute", "--quiet", *TINY[:-1], TINY[-1].replace("[1]", "[2]")]) == 0
    assert capsys.readouterr() == ("", "")


def test_verdicts_are_coloured_in_a_terminal_only_and_not_against_the_users_wish(
    tmp_path, monkeypatch
):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    terminal = io.StringIO()
    assert not has_colours(terminal)
    terminal.isatty = lambda: True
    assert has_colours(terminal)
    monkeypatch.setenv("NO_COLOR", "1")
    assert not has_colours(terminal)
    rows = [("c", "s", None, 0.1, 0.0, 0.2, 5, verdict) for verdict in VERDICT_COLOURS]
    pd.DataFrame(rows, columns=claims.COLUMNS).to_csv(tmp_path / "claims.csv", index=False)
    assert "\033" not in claims_table(tmp_path)
    assert claims_table(tmp_path, in_colour=True).count("\033[0m") == len(VERDICT_COLOURS)


def test_a_pipe_that_closes_early_is_no_traceback(home):
    done = subprocess.run(
        f"{sys.executable} -m alpt_lib list notebooks | true",
        shell=True,
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    assert "Traceback" not in done.stderr
