"""`python -m stoker_metrics serve | migrate`."""

import sys
from collections.abc import Sequence

from stoker_metrics import MIGRATIONS
from stoker_metrics.settings import MetricsSettings
from stoker_shared.process import run_command


def main(arguments: Sequence[str]) -> int:
    """Run one command. Returns the exit code."""
    commands = {"serve": _serve, "migrate": _migrate}
    return run_command(arguments, service="metrics", settings=MetricsSettings, commands=commands)


def _serve(settings: MetricsSettings) -> None:
    # Only the command that is asked for pays for its imports.
    from stoker_metrics.main import build
    from stoker_shared.web import serve

    serve(build(settings), host=settings.host, port=settings.port)


def _migrate(settings: MetricsSettings) -> None:
    from stoker_shared.database import migrate_up

    migrate_up(MIGRATIONS, database_url=settings.database_url)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
