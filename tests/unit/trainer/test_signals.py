"""SIGTERM and SIGUSR1 in whatever order they come."""

import os
import signal
from collections.abc import Iterator

import pytest

from stoker_trainer.errors import Terminated
from stoker_trainer.signals import TerminationWatch


@pytest.fixture
def watch() -> Iterator[TerminationWatch]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)}
    moments = iter([100.0, 130.0])
    installed = TerminationWatch(clock=lambda: next(moments))
    installed.install()
    yield installed
    for number, handler in before.items():
        signal.signal(number, handler)


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


def test_sigusr1_is_only_noted_and_leaves_time(watch: TerminationWatch) -> None:
    send(signal.SIGUSR1)
    assert (watch.is_requested, watch.has_time) == (True, True)
    assert watch.seconds_since_request == 30.0


def test_a_sigterm_after_it_counts_and_takes_the_time_away(watch: TerminationWatch) -> None:
    send(signal.SIGUSR1)
    with pytest.raises(Terminated):
        send(signal.SIGTERM)
    assert not watch.has_time
    send(signal.SIGTERM)  # told once is enough


def test_while_deferred_a_sigterm_after_it_is_noted(watch: TerminationWatch) -> None:
    with watch.deferred():
        send(signal.SIGUSR1)
        send(signal.SIGTERM)
    assert (watch.is_requested, watch.has_time) == (True, False)


def test_a_sigusr1_after_a_sigterm_gives_no_time_back(watch: TerminationWatch) -> None:
    with watch.deferred():
        send(signal.SIGTERM)
        send(signal.SIGUSR1)
    assert not watch.has_time
