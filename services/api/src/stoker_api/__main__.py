"""`python -m stoker_api serve | migrate | openapi | add-user NAME`."""

import asyncio
import json
import sys
from collections.abc import Callable, Sequence
from functools import partial

from stoker_api import MIGRATIONS
from stoker_api.settings import ApiSettings
from stoker_shared.process import run_command

USAGE = "serve | migrate | openapi | add-user NAME"


def main(arguments: Sequence[str]) -> int:
    """Run one command. Returns the exit code.

    `openapi` prints the document and needs no settings; `add-user` prints a new user's id and key.
    """
    if list(arguments) == ["openapi"]:
        return _print_openapi()
    commands: dict[str, Callable[[ApiSettings], None]] = {"serve": _serve, "migrate": _migrate}
    if len(arguments) == 2 and arguments[0] == "add-user":
        commands = {"add-user": partial(_add_user, name=arguments[1])}
        arguments = arguments[:1]
    return run_command(arguments, service="api", settings=ApiSettings, commands=commands, usage=USAGE)


def _serve(settings: ApiSettings) -> None:
    # Only the command that is asked for pays for its imports.
    from stoker_api.main import create_api
    from stoker_shared.web import serve

    serve(create_api(settings), host=settings.host, port=settings.port)


def _migrate(settings: ApiSettings) -> None:
    from stoker_shared.database import migrate_up

    migrate_up(MIGRATIONS, database_url=settings.database_url)


def _print_openapi() -> int:
    from stoker_api.application import openapi_document

    sys.stdout.write(json.dumps(openapi_document(), indent=1, sort_keys=True) + "\n")
    return 0


def _add_user(settings: ApiSettings, *, name: str) -> None:
    from stoker_api.main import add_user

    user_id, key = asyncio.run(add_user(settings, name))
    sys.stdout.write(f"{user_id} {key.get_secret_value()}\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
