"""What stands at the top: environment files, set-up, README and the pages it leads to."""

import html
import os
import re
import shutil
import stat
import subprocess
import tomllib
from pathlib import Path

import pandas as pd
import pytest
import yaml
from conftest import write_birds
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from alpt_lib.files import REPOSITORY
from companion.cli import COMMANDS
from companion.report.readings import answer
from companion.report.reference import read_reference
from companion.report.verdicts import verdict_in_words

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
LOCK = (REPOSITORY / "requirements.lock").read_text().splitlines()
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
CLAIMS = (REPOSITORY / "docs" / "claims.md").read_text(encoding="utf-8")


def test_conda_takes_the_same_lock_and_the_same_python():
    conda = yaml.safe_load((REPOSITORY / "environment.yml").read_text())["dependencies"]
    pip = next(d["pip"] for d in conda if isinstance(d, dict))
    assert pip == ["-r requirements.lock", "-e ."]
    python = next(d for d in conda if isinstance(d, str) and d.startswith("python "))
    assert SpecifierSet(python.removeprefix("python ")) == SpecifierSet(PROJECT["requires-python"])


EXTRAS = PROJECT["optional-dependencies"]
BOUNDS = [
    *PROJECT["dependencies"],
    *(bound for extra in EXTRAS.values() for bound in extra if not bound.startswith("alpt-lib[")),
]


@pytest.mark.parametrize("bound", BOUNDS)
def test_the_lock_pins_every_dependency_within_its_bounds(bound):
    wanted = Requirement(bound)
    name = wanted.name.lower().replace("_", "-")
    pins = [Requirement(line) for line in LOCK if line]
    ours = [pin for pin in pins if pin.name.lower().replace("_", "-") == name]
    assert ours, f"{wanted.name} is not in requirements.lock"
    assert all(next(iter(pin.specifier)).version in wanted.specifier for pin in ours)


def test_the_lock_holds_no_addresses():
    assert not [line for line in LOCK if "://" in line or line.startswith("-")]


# stands for python, pip and uv: writes down what is installed, with which options
STUB = """#!/bin/sh
case "$*" in
    "-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" && cp "$0" "$3/bin/uv" ;;
    "pip compile "*) cat >/dev/null && exit $UNREACHABLE ;;
    "pip install "*) { echo "$*" && cat; } >"$INSTALLED" ;;
esac
"""


@pytest.fixture
def set_up(tmp_path):
    """Call run_all.sh --python in a checkout of its own, with ALPT_TORCH or without."""
    for name in ("run_all.sh", "requirements.lock", "pyproject.toml"):
        shutil.copy(REPOSITORY / name, tmp_path)
    stub = tmp_path / "bin" / "python3.13"
    stub.parent.mkdir()
    stub.write_text(STUB)
    stub.chmod(stub.stat().st_mode | stat.S_IXUSR)
    shutil.copy(stub, stub.with_name("python"))
    installed = tmp_path / "installed"

    def call(unreachable: int = 0, **variables: str) -> tuple[str, str]:
        installed.write_text("")
        own = {"PATH": f"{stub.parent}:{os.environ['PATH']}", "INSTALLED": str(installed)}
        kept = {name: value for name, value in os.environ.items() if name != "ALPT_TORCH"}
        done = subprocess.run(
            [tmp_path / "run_all.sh", "--python"],
            env={**kept, **own, "UNREACHABLE": str(unreachable), **variables},
            capture_output=True,
            text=True,
        )
        return installed.read_text(), done.stdout + done.stderr

    return call


def test_cpu_builds_leave_cuda_out_and_stay_chosen(set_up):
    packages, _ = set_up(ALPT_TORCH="cpu")
    assert "--torch-backend cpu" in packages
    assert "torch==" in packages
    assert not re.search("^(nvidia|cuda|triton)", packages, re.MULTILINE)
    assert set_up()[0] == ""
    packages, _ = set_up(ALPT_TORCH="default")
    assert "--torch-backend" not in packages
    assert "nvidia-cublas" in packages
    assert set_up()[0] == ""


def test_out_of_reach_cpu_builds_give_way_to_the_default_ones_in_one_line(set_up):
    packages, said = set_up(unreachable=2, ALPT_TORCH="cpu")
    assert "--torch-backend" not in packages
    assert "nvidia-cublas" in packages
    assert len([line for line in said.splitlines() if "cannot be reached" in line]) == 1


def test_an_unknown_choice_of_torch_installs_nothing(set_up):
    packages, said = set_up(ALPT_TORCH="cuda")
    assert packages == ""
    assert "must be cpu or default; got cuda" in said


def test_commands_and_options_are_written_down():
    commands = {name: command for group in COMMANDS.values() for name, command in group.items()}
    page = (REPOSITORY / "docs" / "commands.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `alpt (\w+)", page, re.MULTILINE) == list(commands)
    header = (REPOSITORY / "run_all.sh").read_text(encoding="utf-8").partition("set -e")[0]
    assert [
        flag for flags, _ in commands["run"].options for flag in flags if flag not in header
    ] == []


def test_the_readme_is_one_page():
    assert len(README.encode()) <= 9000


def test_the_ten_lines_of_the_readme_run(tmp_path, monkeypatch, capsys):
    (lines,) = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert len([line for line in lines.splitlines() if line]) <= 10
    (folder,) = re.findall(r'read_dataset\("(.+?)"\)', lines)
    write_birds(tmp_path / folder)
    monkeypatch.chdir(tmp_path)
    exec(lines, {})
    assert "20 labels: accuracy " in capsys.readouterr().out


def test_the_claims_tables_are_those_of_the_reference_run():
    reference = pd.read_csv(REPOSITORY / "figures" / "reference" / "mini" / "claims.csv")
    rows = [_row(claim) for claim in reference.itertuples()]
    assert _rows(CLAIMS) == rows
    assert set(_rows(README)) <= set(rows)


def _row(claim) -> str:
    interval = f"{_signed(claim.ci_low)} to {_signed(claim.ci_high)}"
    verdict = verdict_in_words(claim.verdict, claim.seeds_needed)
    cells = [
        f"{claim.claim} ({claim.source})",
        _signed(claim.paper) + (f" (ours {claim.size})" if isinstance(claim.size, str) else ""),
        _signed(claim.ours),
        interval if claim.n_seeds else "–",
        str(claim.n_seeds or "–"),
        verdict if claim.verdict == "supported" else f"**{verdict}**",
    ]
    return f"| {' | '.join(cells)} |"


def _signed(value: float) -> str:
    return "–" if pd.isna(value) else f"{value:+.3f}".replace("-", "−")


def _rows(page: str) -> list[str]:
    table = page.partition("| claim | paper |")[2].partition("\n\n")[0]
    return table.splitlines()[2:]


def _tracked() -> set[str]:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    return set(listed.stdout.splitlines())


TRACKED = _tracked()
PAGES = [
    *("README.md", "CONTRIBUTING.md", "CHANGELOG.md"),
    *sorted(path for path in TRACKED if re.fullmatch(r"docs/.+\.md", path)),
    *("data_prep/README.md", "benchmarks/README.md"),
]


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page):
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    text = re.sub(r"^```.*?^```|`[^`\n]*`", "code", text, flags=re.MULTILINE | re.DOTALL)
    for link in re.findall(r'\]\(([^)\s]+)\)|src="([^"]+)"', text):
        target, _, anchor = "".join(link).partition("#")
        if "://" in target:
            continue
        path = os.path.normpath(Path(page).parent / target) if target else page
        is_folder = any(file.startswith(f"{path}/") for file in TRACKED)
        assert path in TRACKED or is_folder, f"{page} links to {target}, which is not in git"
        assert not anchor or anchor in _anchors(path), f"{page}: no heading #{anchor} in {path}"


def _anchors(path: str) -> set[str]:
    """The names that GitHub gives to headings."""
    text = (REPOSITORY / path).read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", ["mini", "real"])
def test_the_reference_names_no_folder_of_the_machine_that_drew_it(name):
    pages = (REPOSITORY / "figures" / "reference" / name).rglob("*.*")
    texts = [page for page in pages if page.suffix in (".html", ".ipynb", ".csv", ".svg")]
    assert len(texts) > 10
    somewhere = re.compile(r"""["' ]/(home|root|Users|tmp|mnt|work|data)/\w""")
    assert [page.name for page in texts if somewhere.search(page.read_text("utf-8"))] == []


def test_the_fine_tuned_photographs_are_quoted_as_their_reference_has_them():
    claims = read_reference("real")
    page = REPOSITORY / "figures" / "reference" / "mini" / "index.html"
    quoted = re.sub(r"<[^>]+>", "", html.unescape(page.read_text(encoding="utf-8")))
    numbers = re.findall(r"[+−][\d.]+ \(.*?\)", answer(claims, "fine-tuned"))
    assert len(numbers) >= 2
    assert [number for number in numbers if number not in quoted] == []
    gain = claims.set_index("claim").loc["Waterbirds: accuracy above random"]
    ours, low, high = (f"{gain[c]:+.3f}".replace("-", "−") for c in ("ours", "ci_low", "ci_high"))
    assert f"{ours} ({low} to {high})" in README
