"""The proxy of the chaos tests breaks what it says, and nothing else."""

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from stoker.stack.standalone import LoopThread
from tests.support.tcp_proxy import SLOW_SECONDS, TcpProxy

PATIENCE = 30.0


@pytest.fixture
def echo() -> Iterator[tuple[str, int]]:
    """A server that answers each piece with itself."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_serve, args=(server,), daemon=True).start()
        yield server.getsockname()


def _serve(server: socket.socket) -> None:
    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        threading.Thread(target=_echo, args=(connection,), daemon=True).start()


def _echo(connection: socket.socket) -> None:
    try:
        while piece := connection.recv(1024):
            connection.sendall(piece)
    except OSError:
        return


@pytest.fixture
def proxy(echo: tuple[str, int]) -> Iterator[TcpProxy]:
    loop = LoopThread()
    made = TcpProxy(loop, target=echo)
    yield made
    made.close()
    loop.close()


def connect(proxy: TcpProxy) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", proxy.port), timeout=PATIENCE)
    connection.sendall(b"hello")
    assert connection.recv(5) == b"hello"
    return connection


def test_it_passes_on(proxy: TcpProxy) -> None:
    connect(proxy).close()


def test_slow_is_late_and_whole(proxy: TcpProxy) -> None:
    connection = connect(proxy)
    proxy.set("slow")
    started = time.monotonic()
    connection.sendall(b"hello")
    assert connection.recv(5) == b"hello"
    assert time.monotonic() - started >= SLOW_SECONDS


def test_a_stall_loses_nothing(proxy: TcpProxy) -> None:
    connection = connect(proxy)
    proxy.set("stalled")
    connection.sendall(b"hello")
    connection.settimeout(0.3)
    with pytest.raises(TimeoutError):
        connection.recv(5)
    proxy.set("pass")
    connection.settimeout(PATIENCE)
    assert connection.recv(5) == b"hello"


def test_a_reset_breaks_connections_and_refuses_new_ones(proxy: TcpProxy) -> None:
    connection = connect(proxy)
    proxy.set("reset")
    assert _is_broken(connection)
    assert _is_broken(socket.create_connection(("127.0.0.1", proxy.port), timeout=PATIENCE))
    proxy.set("pass")
    connect(proxy).close()


def test_a_half_open_connection_swallows_and_is_dead_afterwards(proxy: TcpProxy) -> None:
    connection = connect(proxy)
    proxy.set("half-open")
    connection.sendall(b"hello")
    connection.settimeout(0.3)
    with pytest.raises(TimeoutError):
        connection.recv(5)
    proxy.set("pass")
    connection.settimeout(PATIENCE)
    assert _is_broken(connection)
    connect(proxy).close()


def _is_broken(connection: socket.socket) -> bool:
    try:
        connection.sendall(b"hello")
        # An end of file is no reset, but the connection is as dead.
        return connection.recv(5) == b""
    except TimeoutError:
        return False
    except OSError:
        return True
