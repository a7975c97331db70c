"""The lock holds what the distributions ask for, exactly and from anywhere."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[3]
PROJECTS = sorted([*ROOT.glob("services/*/pyproject.toml"), *(ROOT.glob("[!.]*/pyproject.toml"))])
OURS = {canonicalize_name(tomllib.loads(path.read_text())["project"]["name"]) for path in PROJECTS}
LINE = re.compile(r"(?P<name>[a-z0-9-]+)==(?P<version>[0-9][0-9a-z.]*)(  # .*)?")


def locked() -> dict[str, Version]:
    lines = [line for line in (ROOT / "requirements.lock").read_text().splitlines() if not line.startswith("#")]
    found = [LINE.fullmatch(line) for line in lines]
    assert None not in found, "a line is not name==version"
    return {match["name"]: Version(match["version"]) for match in found if match}


def required() -> list[Requirement]:
    lines = list(tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]["dev"])
    for path in PROJECTS:
        project = tomllib.loads(path.read_text())["project"]
        lines += project.get("dependencies", [])
        lines += [line for extra in project.get("optional-dependencies", {}).values() for line in extra]
    return [Requirement(line) for line in lines]


def test_there_are_seven_distributions() -> None:
    assert len(OURS) == 7


@pytest.mark.parametrize("requirement", sorted({str(item) for item in required()}))
def test_what_is_required_is_locked_in_a_version_that_fits(requirement: str) -> None:
    wanted = Requirement(requirement)
    name = canonicalize_name(wanted.name)
    assert name in OURS or wanted.specifier.contains(locked()[name]), "run python -m tools.lock > requirements.lock"
