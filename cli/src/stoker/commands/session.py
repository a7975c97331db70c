"""What every command needs: where the server is. Kept by the callback of the whole program."""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from stoker.client import Client, RetryPolicy

# Somebody waits at the keyboard.
PATIENCE = RetryPolicy(give_up_after=timedelta(seconds=15))

JsonOption = Annotated[bool, typer.Option("--json", help="JSON for machines instead of text for people.")]
KeepAliveOption = Annotated[
    int | None, typer.Option(metavar="SECONDS", help="How long the machine stays, and costs, after a success.")
]


@dataclass(frozen=True, slots=True)
class Session:
    """The options before the command."""

    url: str | None = None
    api_key: str | None = None
    data_dir: Path | None = None

    def client(self) -> Client:
        """A client of the server that the options or the environment name.

        Raises:
            NoServerKnown, NoApiKey: neither does.
        """
        return Client(self.url, self.api_key, data_dir=self.data_dir, retry=PATIENCE)


def session_of(context: typer.Context) -> Session:
    """The session of a running command."""
    found = context.find_object(Session)
    return found or Session()
