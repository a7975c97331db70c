"""`python -m stoker_guard watch | fetch URL SHA256 FILE | reach NAME URL ...`."""

import os
import sys
from pathlib import Path

from .fetching import fetch
from .reaching import reach
from .settings import Settings, read_settings
from .watching import Guard


def main(arguments: list[str]) -> int:
    """Run a command. 0: done."""
    command, *rest = arguments
    settings = read_settings(os.environ)
    return COMMANDS[command](settings, rest)


def _watch(settings: Settings, _rest: list[str]) -> int:
    Guard(settings).run()
    return 0


def _fetch(settings: Settings, rest: list[str]) -> int:
    url, sha256, path = rest
    return 0 if fetch(url, token=settings.job_token, sha256=sha256, path=Path(path), agent=settings.agent) else 1


def _reach(settings: Settings, rest: list[str]) -> int:
    targets = dict(zip(rest[::2], rest[1::2], strict=True))
    return 0 if reach(targets, agent=settings.agent, pause_seconds=settings.reach_pause) else 1


COMMANDS = {"watch": _watch, "fetch": _fetch, "reach": _reach}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
