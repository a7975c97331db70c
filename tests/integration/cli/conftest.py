"""A server that keeps the contracts, and a client of it."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from stoker.client import Client, RetryPolicy
from tests.integration.cli.contract_server import KEY, ContractServer, running

QUICK = RetryPolicy(
    give_up_after=timedelta(seconds=1), first_wait=timedelta(milliseconds=5), longest_wait=timedelta(milliseconds=50)
)


@pytest.fixture
def server() -> Iterator[ContractServer]:
    """A server of this test."""
    with running(ContractServer()) as started:
        yield started


@pytest.fixture
def client(server: ContractServer) -> Iterator[Client]:
    """A client with short patience."""
    with Client(server.url, KEY, retry=QUICK) as made:
        yield made
