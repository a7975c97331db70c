"""A GET from the store on a connection of its own, for whoever wants its bare socket."""

import http.client
import socket
from urllib.parse import urlsplit

from stoker_dataset_gateway.errors import ObjectMissing, StoreUnavailable

_CONNECT_SECONDS = 3.0
_ANSWER_SECONDS = 60.0


class ObjectSocket:
    """An answer whose head was read. `first_bytes` came with the head; the rest waits in the socket."""

    def __init__(self, connection: socket.socket, answer: http.client.HTTPResponse, first_bytes: bytes) -> None:
        self._connection = connection
        self._answer = answer
        self.first_bytes = first_bytes

    def fileno(self) -> int:
        """The non-blocking socket."""
        return self._connection.fileno()

    def close(self) -> None:
        """Cut the connection; the store stops sending."""
        self._answer.close()
        self._connection.close()


def open_socket(url: str, *, offset: int, length: int) -> ObjectSocket:
    """GET `length` bytes from `offset` on from a plain-HTTP address. Blocks until the head is there.

    Raises:
        ObjectMissing; StoreUnavailable: any other answer, or none.
    """
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=_CONNECT_SECONDS)
    try:
        connection.connect()
        connection.sock.settimeout(_ANSWER_SECONDS)
        sent_range = {"Range": f"bytes={offset}-{offset + length - 1}"}
        connection.request("GET", f"{parts.path}?{parts.query}", headers={"Accept-Encoding": "identity", **sent_range})
        return _opened(connection, length=length)
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        raise StoreUnavailable(type(error).__name__) from error
    except BaseException:
        connection.close()
        raise


def _opened(connection: http.client.HTTPConnection, *, length: int) -> ObjectSocket:
    # Taken before the answer is read: if the store wants to close afterwards, the connection forgets its socket.
    bare: socket.socket = connection.sock
    answer = connection.getresponse()
    if answer.status == 404:
        raise ObjectMissing("")
    if answer.status not in {200, 206} or answer.length != length:
        raise StoreUnavailable(f"status {answer.status}, {answer.length} bytes for {length}")
    waiting = answer.fp.peek()
    first_bytes = answer.fp.read1(min(len(waiting), length)) if waiting else b""
    bare.setblocking(False)
    return ObjectSocket(bare, answer, first_bytes)
