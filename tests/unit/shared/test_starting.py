"""A start waits for what is not there yet, and only for that."""

from datetime import timedelta
from functools import partial

import pytest

from stoker_shared.errors import ServiceUnavailable
from stoker_shared.starting import with_patience


class Server:
    """Answers from the nth call on."""

    def __init__(self, *, answers_at: int, fault: Exception | None = None) -> None:
        self._answers_at = answers_at
        self._fault = fault or ServiceUnavailable("PostgreSQL", "TimeoutError")
        self.calls = 0
        self.pauses: list[float] = []

    async def call(self) -> str:
        self.calls += 1
        if self.calls < self._answers_at:
            raise self._fault
        return "there"

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)


async def test_it_calls_until_it_is_answered_with_growing_pauses() -> None:
    server = Server(answers_at=6)
    answer = await with_patience(partial(server.call), patience=timedelta(hours=1), sleep=server.sleep)
    assert (answer, server.calls) == ("there", 6)
    assert server.pauses == [0.25, 0.5, 1.0, 2.0, 2.0]


async def test_when_the_patience_is_over_the_last_reason_is_told() -> None:
    server = Server(answers_at=100)
    with pytest.raises(ServiceUnavailable, match="PostgreSQL does not answer"):
        await with_patience(server.call, patience=timedelta(0), sleep=server.sleep)
    assert server.calls == 1


async def test_what_no_waiting_mends_is_told_at_once() -> None:
    server = Server(answers_at=100, fault=RuntimeError("broken"))
    with pytest.raises(RuntimeError, match="broken"):
        await with_patience(server.call, patience=timedelta(hours=1), sleep=server.sleep)
    assert server.calls == 1
