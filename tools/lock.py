"""Writes `requirements.lock` from the environment that it runs in: `python -m tools.lock > requirements.lock`.

The lock holds what our distributions (with all extras) and the group `dev` of the root pyproject.toml need,
transitively. What else happens to be installed is named on stderr and left out.
"""

import sys
import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution, distributions
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

DISTRIBUTIONS = ("shared", "services/*", "trainer", "cli")
IGNORED = frozenset({"pip", "wheel"})

HEADER = """\
# Exact versions of everything that runs, tests and checks Stoker. Made by `python -m tools.lock`, not by hand.
# `make` installs this with pip and then our own distributions without their dependencies.
"""
NOTES = {"torch": "any build of it; on Linux the one for CPU alone is far smaller"}


def main() -> int:
    """Print the lock. Returns 1 if something that is needed is not installed."""
    root = Path(__file__).parent.parent
    ours = {canonicalize_name(project["name"]): project for project in _projects(root)}
    pinned, missing = closure(list(_roots(root, ours.values())), leaving_out=frozenset(ours))
    sys.stdout.write(HEADER + "".join(_line(name, version) for name, version in sorted(pinned.items())))
    _tell("not installed, though needed", missing)
    _tell("installed, but nothing needs it", _installed() - pinned.keys() - ours.keys() - IGNORED)
    return 1 if missing else 0


def _projects(root: Path) -> Iterator[dict[str, Any]]:
    for pattern in DISTRIBUTIONS:
        for path in sorted(root.glob(f"{pattern}/pyproject.toml")):
            yield tomllib.loads(path.read_text())["project"]


def _roots(root: Path, projects: Iterable[dict[str, Any]]) -> Iterator[Requirement]:
    settings = tomllib.loads((root / "pyproject.toml").read_text())
    lines = list(settings["dependency-groups"]["dev"])
    for project in projects:
        lines += project.get("dependencies", [])
        for extra in project.get("optional-dependencies", {}).values():
            lines += extra
    for line in lines:
        yield Requirement(line)


def closure(wanted: list[Requirement], *, leaving_out: frozenset[str]) -> tuple[dict[str, Version], set[str]]:
    """Name and version of all that is needed, and names of what is not installed."""
    pinned: dict[str, Version] = {}
    missing: set[str] = set()
    seen: set[tuple[str, str]] = set()
    while wanted:
        requirement = wanted.pop()
        name = canonicalize_name(requirement.name)
        for extra in ("", *requirement.extras):
            if name in leaving_out or (name, extra) in seen:
                continue
            seen.add((name, extra))
            try:
                found = distribution(name)
            except PackageNotFoundError:
                missing.add(name)
                continue
            pinned[name] = Version(found.version)
            wanted += _needs(found, extra)
    return pinned, missing


def _needs(found: Distribution, extra: str) -> Iterator[Requirement]:
    for line in found.requires or ():
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
            yield requirement


def _line(name: str, version: Version) -> str:
    note = f"  # {NOTES[name]}" if name in NOTES else ""
    return f"{name}=={version.public}{note}\n"  # without `+cpu` and the like, which only one index has


def _installed() -> set[str]:
    return {canonicalize_name(found.name) for found in distributions()}


def _tell(what: str, names: set[str]) -> None:
    if names:
        print(f"{what}: {', '.join(sorted(names))}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
