"""constraints.txt pins what pyproject.toml asks for."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CONSTRAINTS = (ROOT / "constraints.txt").read_text(encoding="utf-8")
ENTRIES = re.findall(r"^[a-z0-9][^\n]*(?:\n    [^\n]*)*", CONSTRAINTS, re.MULTILINE)


def canonical(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def pinned():
    """The pinned versions by name; some packages have one per Python version."""
    versions: dict[str, list[Version]] = {}
    for entry in ENTRIES:
        name, version = re.match(r"([^=\s]+)==([^\s;]+)", entry).groups()
        versions.setdefault(canonical(name), []).append(Version(version))
    return versions


def wanted():
    """The direct requirements of the package and of its tests, with the extras that they name."""
    pending, found = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["test"]], []
    while pending:
        requirement = Requirement(pending.pop())
        if canonical(requirement.name) == PROJECT["name"]:
            pending += [line for extra in requirement.extras for line in PROJECT["optional-dependencies"][extra]]
        else:
            found.append(requirement)
    return found


@pytest.mark.parametrize("requirement", sorted(wanted(), key=str), ids=str)
def test_every_requirement_is_pinned_to_a_version_that_it_allows(requirement):
    versions = pinned()[canonical(requirement.name)]
    assert all(requirement.specifier.contains(version) for version in versions)


def test_every_pin_has_hashes():
    assert len(ENTRIES) > 100
    assert [entry.split()[0] for entry in ENTRIES if "--hash=sha256:" not in entry] == []


def test_no_place_is_named_from_which_packages_come():
    assert not re.search(r"://|--(extra-)?index|--find-links|file:", CONSTRAINTS)


def test_what_builds_the_package_has_a_bound():
    build = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["build-system"]["requires"]
    assert all(Requirement(line).specifier for line in build)
