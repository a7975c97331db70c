"""Writes what is generated for pods: `python -m tools.pods`. The trainer's lock, and the golden scripts of the tests.

The lock is the part of requirements.lock that the trainer needs, transitively, as this environment resolves it. What
only other platforms need (CUDA's libraries) is pinned by torch itself.
"""

import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from stoker_deployer.pods.script import render, trainer_lock
from tests.support.pod_scripts import GOLDEN_SCRIPTS
from tools.lock import closure

ROOT = Path(__file__).parent.parent
LOCK = ROOT / "services/deployer/src/stoker_deployer/pods/trainer.lock"
GOLDEN = ROOT / "tests/unit/deployer/golden"
HEADER = "# Exact versions of what the trainer needs. Made by `python -m tools.pods`, not by hand.\n"


def main() -> int:
    """Bring the files up to date. Returns 1 if something that the trainer needs is not installed."""
    text, missing = lock()
    if missing:
        print(f"not installed, though needed: {', '.join(sorted(missing))}", file=sys.stderr)
        return 1
    LOCK.write_text(text)
    GOLDEN.mkdir(exist_ok=True)
    for name, script in GOLDEN_SCRIPTS.items():
        (GOLDEN / name).write_text(render(script(trainer_lock())))
    print(f"written: {LOCK.name}, {', '.join(GOLDEN_SCRIPTS)}")
    return 0


def lock() -> tuple[str, set[str]]:
    """The trainer's lock, and what is needed but not installed."""
    project = tomllib.loads((ROOT / "trainer/pyproject.toml").read_text())["project"]
    needed, missing = closure([Requirement(line) for line in project["dependencies"]], leaving_out=frozenset())
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    pinned: dict[str, str] = {
        canonicalize_name(line.partition("==")[0]): line.split("#")[0].strip() for line in lines if "==" in line
    }
    missing |= {str(name) for name in needed} - pinned.keys()
    return HEADER + "".join(
        f"{pinned[name]}\n" for name in sorted({str(name) for name in needed} & pinned.keys())
    ), missing


if __name__ == "__main__":
    sys.exit(main())
