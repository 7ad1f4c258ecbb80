"""environment.yml, requirements.lock and pyproject.toml say the same."""

import tomllib

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from alpt_lib.files import REPOSITORY

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
LOCK = (REPOSITORY / "requirements.lock").read_text().splitlines()


def test_conda_takes_the_same_lock_and_the_same_python():
    conda = yaml.safe_load((REPOSITORY / "environment.yml").read_text())["dependencies"]
    pip = next(d["pip"] for d in conda if isinstance(d, dict))
    assert pip == ["-r requirements.lock", "-e ."]
    python = next(d for d in conda if isinstance(d, str) and d.startswith("python "))
    assert SpecifierSet(python.removeprefix("python ")) == SpecifierSet(PROJECT["requires-python"])


EXTRAS = PROJECT["optional-dependencies"]
BOUNDS = [
    *PROJECT["dependencies"],
    *EXTRAS["ray"],
    *(bound for bound in EXTRAS["dev"] if not bound.startswith("alpt-lib[")),
]


@pytest.mark.parametrize("bound", BOUNDS)
def test_the_lock_pins_every_dependency_within_its_bounds(bound):
    wanted = Requirement(bound)
    pins = [Requirement(line) for line in LOCK if line]
    found = [
        p for p in pins if p.name.lower().replace("_", "-") == wanted.name.lower().replace("_", "-")
    ]
    assert found, f"{wanted.name} is not in requirements.lock"
    assert all(next(iter(p.specifier)).version in wanted.specifier for p in found)


def test_the_lock_holds_no_addresses():
    assert not [line for line in LOCK if "://" in line or line.startswith("-")]
