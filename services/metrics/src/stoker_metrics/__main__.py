"""`python -m stoker_metrics serve | migrate | add-sealing-key | reseal-targets`."""

import sys
from collections.abc import Sequence

from stoker_metrics import MIGRATIONS
from stoker_metrics.settings import MetricsSettings
from stoker_shared.process import run_command


def main(arguments: Sequence[str]) -> int:
    """Run one command. Returns the exit code."""
    commands = {"serve": _serve, "migrate": _migrate, "add-sealing-key": _add_key, "reseal-targets": _reseal}
    usage = " | ".join(commands)
    return run_command(arguments, service="metrics", settings=MetricsSettings, commands=commands, usage=usage)


def _serve(settings: MetricsSettings) -> None:
    # Only the command that is asked for pays for its imports.
    from stoker_metrics.main import build
    from stoker_shared.web import serve

    serve(build(settings), host=settings.host, port=settings.port)


def _migrate(settings: MetricsSettings) -> None:
    from stoker_shared.database import migrate_up

    migrate_up(MIGRATIONS, database_url=settings.database_url)


def _add_key(settings: MetricsSettings) -> None:
    from stoker_metrics.notifications.rotating import add_sealing_key

    sys.stdout.write(f"new key {add_sealing_key(settings)}; seal all targets with it: reseal-targets\n")


def _reseal(settings: MetricsSettings) -> None:
    import asyncio

    from stoker_metrics.notifications.rotating import reseal_targets

    sys.stdout.write(f"{asyncio.run(reseal_targets(settings))} targets sealed with the newest key\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
