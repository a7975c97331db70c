"""Waiting until the server has seen what was said."""

from nats.aio.client import Client


async def until_server_has_read(client: Client) -> None:
    """Wait until the server has read all that this client said before, its subscriptions too.

    One flush of the client is not enough: its PING goes to the socket at once, past what still waits in the client's
    own buffer, so the PONG may come before the server has seen a subscription, and a peer that asks in that moment
    is told that nobody answers. By the time the first PONG is here the buffer has been written; the second PING is
    behind it.

    Raises:
        nats.errors.Error: the server does not answer, or the connection is closed.
    """
    await client.flush()
    await client.flush()
