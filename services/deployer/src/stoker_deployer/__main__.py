"""`python -m stoker_deployer serve | migrate | add-vault-key | reseal-secrets`."""

import sys
from collections.abc import Sequence

from stoker_deployer import MIGRATIONS
from stoker_deployer.settings import DeployerSettings
from stoker_shared.process import run_command


def main(arguments: Sequence[str]) -> int:
    """Run one command. Returns the exit code."""
    commands = {"serve": _serve, "migrate": _migrate, "add-vault-key": _add_vault_key, "reseal-secrets": _reseal}
    usage = " | ".join(commands)
    return run_command(arguments, service="deployer", settings=DeployerSettings, commands=commands, usage=usage)


def _serve(settings: DeployerSettings) -> None:
    # Only the command that is asked for pays for its imports.
    from stoker_deployer.main import application
    from stoker_shared.web import serve

    serve(application(settings), host=settings.host, port=settings.port)


def _migrate(settings: DeployerSettings) -> None:
    from stoker_shared.database import migrate_up

    migrate_up(MIGRATIONS, database_url=settings.database_url)


def _add_vault_key(settings: DeployerSettings) -> None:
    from stoker_deployer.vault.rotating import add_vault_key

    sys.stdout.write(f"new key {add_vault_key(settings)}; seal all secrets with it: reseal-secrets\n")


def _reseal(settings: DeployerSettings) -> None:
    import asyncio

    from stoker_deployer.vault.rotating import reseal_secrets

    sys.stdout.write(f"{asyncio.run(reseal_secrets(settings))} secrets sealed with the newest key\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
