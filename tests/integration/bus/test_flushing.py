"""Waiting until the server has seen what was said."""

from collections.abc import Iterable
from typing import Any

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from stoker.stack.standalone import RunningNats
from stoker_shared.bus.flushing import until_server_has_read
from stoker_shared.subjects import inbox_prefix
from tests.support.bus import raw_client

SUBJECTS = [f"{inbox_prefix('api')}.{number}" for number in range(30)]


def recorded(client: Client, monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What goes to the client's socket from now on, in its order."""
    said: list[bytes] = []
    transport: Any = client._transport
    write, writelines = transport.write, transport.writelines

    def note(payload: bytes) -> None:
        said.append(payload)
        write(payload)

    def note_all(payload: Iterable[bytes]) -> None:
        lines = list(payload)
        said.extend(lines)
        writelines(lines)

    monkeypatch.setattr(transport, "write", note)
    monkeypatch.setattr(transport, "writelines", note_all)
    return said


async def ignore(_message: Msg) -> None:
    """Nothing is sent here."""


async def test_the_server_is_asked_after_the_last_subscription(
    clean_bus: RunningNats, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with raw_client(clean_bus, "api") as client:
        said = recorded(client, monkeypatch)
        for subject in SUBJECTS:
            await client.subscribe(subject, cb=ignore)
        await until_server_has_read(client)
        last_ping = max(index for index, line in enumerate(said) if line.startswith(b"PING"))
        last_subscription = max(index for index, line in enumerate(said) if line.startswith(b"SUB"))
    assert len([line for line in said if line.startswith(b"SUB")]) == len(SUBJECTS)
    assert last_ping > last_subscription
