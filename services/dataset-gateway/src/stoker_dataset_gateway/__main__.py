"""`python -m stoker_dataset_gateway serve | migrate`."""

import sys
from collections.abc import Sequence

from stoker_dataset_gateway import MIGRATIONS
from stoker_dataset_gateway.settings import Settings
from stoker_shared.process import run_command


def main(arguments: Sequence[str]) -> int:
    """Run one command. Returns the exit code."""
    commands = {"serve": _serve, "migrate": _migrate}
    return run_command(arguments, service="dataset_gateway", settings=Settings, commands=commands)


def _serve(settings: Settings) -> None:
    # Only the command that is asked for pays for its imports.
    from stoker_dataset_gateway.main import build_application
    from stoker_shared.web import serve

    serve(
        build_application(settings),
        host=settings.host,
        port=settings.port,
        trusted_proxies=settings.trusted_proxies,
        lends_sockets=True,
    )


def _migrate(settings: Settings) -> None:
    from stoker_shared.database import migrate_up

    migrate_up(MIGRATIONS, database_url=settings.database_url)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
