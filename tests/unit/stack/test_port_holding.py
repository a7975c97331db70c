"""A held port is for the server that it is held for, and for nobody else."""

import socket
from pathlib import Path

import pytest

from stoker.stack.port_holding import LOOPBACK, HeldPorts
from stoker.stack.ports import choose_ports
from tests.support.ports import free_port


@pytest.fixture
def port() -> int:
    """A port that is held already, by the test's own process."""
    return free_port()


def listening(port: int) -> socket.socket:
    """A server as servers are: with SO_REUSEADDR."""
    return socket.create_server((LOOPBACK, port))


def test_its_server_listens_and_listens_again_after_its_end(port: int) -> None:
    for _ in range(2):
        with listening(port) as server, socket.create_connection((LOOPBACK, port)) as client:
            peer, _address = server.accept()
            peer.close()  # the side that closes first keeps the port in TIME_WAIT
            assert client.recv(1) == b""


def test_nobody_else_takes_it_while_its_server_does_not_listen(port: int) -> None:
    with HeldPorts() as others:
        assert not others.take(port)


def test_who_had_it_earlier_may_hold_it_too(port: int) -> None:
    with HeldPorts() as again:
        assert again.take_over(port)
        assert again.take_over(port)
        assert not again.take(port)


def test_a_port_with_a_listening_server_is_nobodys(port: int) -> None:
    with listening(port), HeldPorts() as others:
        assert not others.take(port)
        assert not others.take_over(port)


def test_a_released_port_is_free(tmp_path: Path) -> None:
    with HeldPorts() as first, HeldPorts() as second:
        port = choose_ports(tmp_path / "ports.json", ("nats",), held=first).ports["nats"]
        assert not second.take(port)
        first.release()
        assert second.take(port)


def test_nobody_is_answered_on_it_while_its_server_does_not_listen(port: int) -> None:
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((LOOPBACK, port))
