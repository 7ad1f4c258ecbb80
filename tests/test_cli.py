"""The command line as people type it: what it says, how it ends."""

import errno
import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from alpt_lib.files import REPOSITORY
from alpt_lib.progress import QUIET
from companion.cli import COMMANDS, main
from companion.commands import has_colours, remedy
from companion.listings import LISTS, claims_text
from companion.report import claims, export, reference
from companion.report.verdicts import VERDICTS
from companion.runs import upkeep
from companion.runs.execute import EXECUTORS
from companion.runs.plan import generate

TINY_SET = (
    "{datasets: [squares_circles], seeds: [1], protocol: {budget: 0}, recipe: {max_steps: 1}}"
)
TINY = ["--only", "00", "--workers", "1", "--set", TINY_SET]


def alpt(*arguments: str, **options) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "companion", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, **options)


@pytest.fixture(scope="module")
def generated(tmp_path_factory) -> Path:
    """The embedded datasets, generated once."""
    folder = tmp_path_factory.mktemp("embedded") / "mini"
    generate(folder)
    return folder


@pytest.fixture
def mini(home, generated) -> Path:
    """A home with the embedded datasets."""
    (home / "data" / "mini").symlink_to(generated)
    return home


def test_run_all_finds_its_python_from_any_folder(tmp_path):
    command = [REPOSITORY / "run_all.sh", "--python"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    python = done.stdout.strip()
    works = subprocess.run([python, "-c", "import companion, papermill"], cwd=tmp_path)
    assert works.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--preset", "big"], "error: unknown preset 'big'; known: smoke, mini, thorough, "),
        (["--only", "42"], "error: unknown notebook '42'"),
        (["--workers", "-3"], "error: parameter workers takes a number of processes"),
    ],
)
def test_a_bad_argument_is_one_line_and_exit_1(arguments, message):
    done = alpt("run", *arguments)
    assert done.returncode == 1
    assert done.stderr.startswith(message)
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "--onyl", "01"], "unknown option '--onyl' (did you mean '--only'?)"),
        (["rnu"], "unknown command 'rnu' (did you mean 'run'?)"),
        (["list", "modles"], "invalid choice: 'modles'"),
        (["run", "--set", "[1]"], "takes a yaml mapping such as '{seeds: [1, 2]}'; got '[1]'"),
        ([], "required: COMMAND"),
    ],
)
def test_what_is_mistyped_is_one_line_that_says_what_was_meant(arguments, said, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_a_disk_that_refuses_is_one_line_and_exit_1(monkeypatch, capsys):
    def refused():
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), "/store/lock")

    monkeypatch.setattr(upkeep, "verify", refused)
    assert main(["verify"]) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("error: [Errno 30] Read-only file system: '/store/lock'; make it ")


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("lite0.npy cannot be read: [Errno 24] Too many open files", "; allow more open files: ul"),
        ("[Errno 28] No space left on device: 'x'", "; free some space, then start the same"),
        ("cannot write x: No space left on device; free some space", ""),
        ("ValueError: another thing", ""),
    ],
)
def test_an_error_of_the_system_gets_its_remedy_once(said, expected):
    assert remedy(said).startswith(expected)
    assert bool(remedy(said)) == bool(expected)


RENDER = (
    "import sys; from pathlib import Path; from alpt_lib.errors import CompanionError\n"
    "from companion.report.render import render\n"
    "try: render({'01': {}}, Path(sys.argv[1]), 1)\n"
    "except CompanionError as error: sys.exit(str(error))"
)


FILL = "; dd if=/dev/zero of=/dev/shm/full bs=4k 2>/dev/null || true"


@pytest.mark.parametrize(("options", "fill"), [("ro", ""), ("size=4k", FILL)])
@pytest.mark.parametrize("script", [["data_prep/mini_vision.py", "--out"], ["-c", RENDER]])
def test_without_shared_memory_processes_are_refused_in_one_line(script, options, fill, tmp_path):
    """In a file system of its own, which takes root."""
    mount = f"mount -t tmpfs -o {options} tmpfs /dev/shm{fill}"
    own = ["unshare", "--mount", "sh", "-c"]
    if not shutil.which("unshare") or subprocess.run([*own, mount], capture_output=True).returncode:
        pytest.skip("no file system of one's own here")
    run = [sys.executable, "-W", "ignore", *script, str(tmp_path / "out")]
    command = [*own, f'{mount}; exec "$@"', "sh", *run]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, env=environment)
    assert done.returncode == 1
    assert "cannot use shared memory, /dev/shm: " in done.stderr
    assert "have it mounted, writable" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_dry_run_generates_nothing_and_trains_nothing(home, capsys):
    assert main(["run", "--preset", "smoke", "--only", "01,03", "--dry-run"]) == 0
    assert "\nall " in capsys.readouterr().out
    assert not (home / "data" / "mini").exists()
    assert not (home / "runs").exists()


def test_a_dry_run_counts_shared_runs_once_and_trains_nothing(mini, capsys):
    assert main(["run", "--preset", "smoke", "--only", "01,03", "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    counts = {line.split()[0]: line.split()[1:3] for line in lines if line.startswith("0")}
    n_runs, n_to_do = map(int, counts["01_accuracy_curves"])
    assert n_runs == n_to_do > 0
    assert counts["03_subgroup_upsampling"][1] == "0"  # all of its runs are among those of 01
    assert not (mini / "runs").exists()


def test_stored_runs_are_listed_verified_and_pruned(mini, capsys):
    assert main(["list"]) == 0
    assert capsys.readouterr().out == "no stored runs\n"
    assert main(["execute", *TINY]) == 0
    capsys.readouterr()
    assert main(["verify"]) == 0
    assert "2 stored runs, nothing wrong" in capsys.readouterr().out
    assert main(["prune", "--only", "00", "--set", TINY_SET, "--yes"]) == 0
    assert "0 runs removed" in capsys.readouterr().out  # the plan needs both
    assert main(["prune", "--only", "00", "--set", "{seeds: [2]}"]) == 0
    runs = list((mini / "runs").glob("*/config.json"))
    assert capsys.readouterr().out.count("squares_circles") == len(runs) == 2
    assert main(["prune", "--only", "00", "--set", "{seeds: [2]}", "--yes"]) == 0
    assert not list((mini / "runs").glob("*/config.json"))


def test_help_leads_to_every_command_and_each_has_its_own(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    overview = capsys.readouterr().out
    for group, commands in COMMANDS.items():
        assert f"{group}:\n" in overview
        for name, command in commands.items():
            assert f"  {name} " in overview
            assert command.does in overview
            with pytest.raises(SystemExit, match="0"):
                main([name, "--help"])
            assert capsys.readouterr().out.startswith(f"usage: alpt {name} ")


def test_help_offers_what_there_is():
    offered = {
        name: {flags[-1]: settings for flags, settings in command.options}
        for commands in COMMANDS.values()
        for name, command in commands.items()
    }
    assert offered["list"]["what"]["choices"] == list(LISTS)
    assert tuple(offered["export"]["--what"]["choices"]) == export.TABLES
    assert all(name in offered["run"]["--executor"]["help"] for name in EXECUTORS)


@pytest.mark.parametrize("what", [what for what in LISTS if what != "runs"])
def test_everything_can_be_listed(home, capsys, what):
    assert main(["list", what]) == 0
    assert capsys.readouterr().out.count("\n") > 1


def test_one_run_from_listing_to_export(mini, tmp_path, capsys):
    assert main(["execute", *TINY]) == 0
    assert main(["list", "runs"]) == 0
    one, other = (line.split()[0] for line in capsys.readouterr().out.splitlines()[-2:])
    assert main(["show", one]) == 0
    assert f"run          {one}" in capsys.readouterr().out
    assert main(["explain", one, other]) == 0
    assert "least_confidence" in capsys.readouterr().out
    assert main(["check", "squares_circles"]) == 0
    assert "nothing wrong with it" in capsys.readouterr().out
    table = tmp_path / "a.csv"
    assert main(["export", "--to", str(table), "--where", "{acquisition: random}"]) == 0
    assert pd.read_csv(table)["acquisition"].unique().tolist() == ["random"]
    assert main(["show", "x"]) == 1
    assert "error: none of the 2 runs" in capsys.readouterr().err


def test_verbose_says_what_is_planned_and_stored_and_quiet_says_nothing(mini, capsys, monkeypatch):
    monkeypatch.setenv(QUIET, "")
    monkeypatch.delenv(QUIET)
    for stored in ("no", "yes"):
        assert main(["execute", "--verbose", *TINY]) == 0
        lines = capsys.readouterr().out.splitlines()
        planned = [line.split()[-1] for line in lines if "squares_circles" in line]
        assert planned == [stored, stored]
    other = TINY_SET.replace("[1]", "[2]")
    assert main(["execute", "--quiet", "--only", "00", "--workers", "1", "--set", other]) == 0
    assert capsys.readouterr() == ("", "")


def test_colours_are_for_a_terminal_only_and_not_against_the_users_wish(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    terminal = io.StringIO()
    assert not has_colours(terminal)
    assert not has_colours(None)
    terminal.isatty = lambda: True
    assert has_colours(terminal)
    monkeypatch.setenv("NO_COLOR", "1")
    assert not has_colours(terminal)


def test_the_claims_stand_beside_the_reference_with_both_intervals():
    verdicts = list(VERDICTS)
    rows = [("c", "s", "above 0", 0.3, 0.1, 0.0, 0.2, 5, "", v, 9.0, "") for v in verdicts]
    table = pd.DataFrame(rows, columns=claims.COLUMNS).assign(notebook="01", claim=verdicts)
    alone = reference.compare(table, pd.DataFrame())
    assert "\033" not in claims_text(alone, in_colour=False)
    assert claims_text(alone, in_colour=True).count("\033[0m") == len(verdicts)
    assert "reference" not in claims_text(alone, in_colour=False)
    theirs = table.assign(ours=0.5, ci_low=0.4, ci_high=0.6)
    beside = claims_text(reference.compare(table, theirs), in_colour=False).splitlines()
    for piece in ("+0.300", "+0.100 +0.000 +0.200", "+0.500 +0.400 +0.600", "differs"):
        assert all(piece in line for line in beside[1:])


def test_a_pipe_that_closes_early_is_no_traceback(home):
    done = subprocess.run(
        f"{sys.executable} -m companion list notebooks | true",
        shell=True,
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["list", "models"], ["list", "runs"]])
def test_who_only_looks_waits_neither_for_torch_nor_for_figures(arguments, home):
    heavy = ("torch", "matplotlib", "papermill", "scipy.stats")
    check = f"import sys; sys.exit(', '.join(sys.modules.keys() & set({heavy})) or 0)"
    program = f"import companion.cli as c\ntry:\n c.main({arguments})\nexcept SystemExit: pass\n"
    done = subprocess.run([sys.executable, "-c", program + check], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
