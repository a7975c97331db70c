"""Sends a webhook over HTTP to an address that was checked, and to that very address.

The name is resolved once; every address it has is checked; the connection goes to one of those, by its number. So a
name that resolves differently the next moment (DNS rebinding) leads nowhere. TLS and `Host` keep the name. No
redirect is followed, no proxy is taken from the environment, the body of the answer is not read.
"""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import certifi
import httpcore
import httpx

from stoker_metrics.notifications.addresses import Address, AddressRules
from stoker_metrics.notifications.errors import AddressRefused, TargetUnreachable, UrlRefused

Resolver = Callable[[str, int], Awaitable[Sequence[Address]]]
"""All addresses of a name. Raises `OSError` if it has none."""

LONGEST_URL = 2048
_PORTS = range(1, 65_536)


@dataclass(frozen=True, slots=True)
class ReachRules:
    """What the operator permits. `timeout` is for all of it: resolving, connecting, sending, the answer's headers."""

    addresses: AddressRules = field(default_factory=AddressRules)
    allows_http: bool = False
    timeout: timedelta = timedelta(seconds=20)
    ca_file: Path | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What a receiver answered; of its headers only `Retry-After`."""

    status: int
    retry_after: str | None = None


async def system_resolver(host: str, port: int) -> Sequence[Address]:
    """The resolver of the machine."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(ip_address(str(place[0])) for *_, place in found))


def checked_url(url: str, *, allows_http: bool) -> httpx.URL:
    """The address of a webhook, if it has the right form. Where its name leads to is checked when it is sent.

    Raises:
        UrlRefused: it has not; says why, without the address.
    """
    if len(url) > LONGEST_URL or not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise UrlRefused(f"it is longer than {LONGEST_URL} characters, or has characters that an address cannot have")
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        raise UrlRefused("it is no address") from None
    if parsed.scheme not in (("https", "http") if allows_http else ("https",)):
        raise UrlRefused("it must begin with https://")
    if not parsed.host:
        raise UrlRefused("it names no host")
    authority = url.partition("://")[2].partition("/")[0]
    if parsed.userinfo or "@" in authority:
        raise UrlRefused("it holds a user or a password")
    if parsed.port is not None and parsed.port not in _PORTS:
        raise UrlRefused("it names no port that there is")
    if parsed.fragment:
        raise UrlRefused("it has a fragment (#), which is never sent")
    return parsed


class Reach:
    """Sends requests of users to addresses of users."""

    def __init__(self, rules: ReachRules, *, resolver: Resolver = system_resolver) -> None:
        self._rules = rules
        self._backend = _CheckedBackend(rules.addresses, resolver)
        # Demands a certificate of the host's name. A context of our own: authorities of an operator are put into it.
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._tls.load_verify_locations(certifi.where())
        if rules.ca_file is not None:
            self._tls.load_verify_locations(rules.ca_file)

    def check(self, url: str) -> httpx.URL:
        """The parsed address.

        Raises:
            UrlRefused: it does not have the right form.
        """
        return checked_url(url, allows_http=self._rules.allows_http)

    async def post(self, url: str, *, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Send `body` and return the status of the answer, whatever it is.

        Raises:
            UrlRefused, AddressRefused: nothing was sent.
            TargetUnreachable: no answer; whether it was received is unknown.
        """
        parsed = self.check(url)
        sent = [(b"Host", parsed.netloc), *((name.encode(), value.encode()) for name, value in headers.items())]
        sent.append((b"Content-Length", str(len(body)).encode()))
        try:
            async with (
                asyncio.timeout(self._rules.timeout.total_seconds()),
                # Nothing is kept open: another request may have to go to another address.
                httpcore.AsyncConnectionPool(
                    ssl_context=self._tls, max_keepalive_connections=0, network_backend=self._backend
                ) as pool,
                pool.stream("POST", str(parsed), headers=sent, content=body) as response,
            ):
                return Answer(response.status, _retry_after(response.headers))
        except TimeoutError:
            raise TargetUnreachable(f"no answer within {self._rules.timeout.total_seconds():g} s") from None
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, OSError) as error:
            raise TargetUnreachable(_words(error)) from error


class _CheckedBackend(httpcore.AsyncNetworkBackend):
    """Every connection of the pool goes through here: what is not checked cannot be reached."""

    def __init__(self, rules: AddressRules, resolver: Resolver) -> None:
        self._rules = rules
        self._resolver = resolver
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the form of httpcore
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        addresses = await self._checked(host, port)
        refusal: httpcore.NetworkError | httpcore.TimeoutException | None = None
        for address in addresses:
            try:
                return await self._network.connect_tcp(
                    str(address), port, timeout=timeout, local_address=local_address, socket_options=socket_options
                )
            except (httpcore.NetworkError, httpcore.TimeoutException) as error:
                refusal = error
        raise refusal or httpcore.ConnectError("the name has no address")

    async def sleep(self, seconds: float) -> None:
        await self._network.sleep(seconds)

    async def _checked(self, host: str, port: int) -> Sequence[Address]:
        try:
            addresses = await self._resolver(host.strip("[]"), port)
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError("the name cannot be resolved") from error
        # One bad address spoils the name: whoever mixes them waits for us to take the other one.
        if not all(self._rules.permit(address) for address in addresses):
            raise AddressRefused
        return addresses


def _retry_after(headers: Sequence[tuple[bytes, bytes]]) -> str | None:
    return next((value.decode("latin-1")[:64] for name, value in headers if name.lower() == b"retry-after"), None)


def _words(error: Exception) -> str:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return "its certificate is not trusted, or is for another name"
        if isinstance(cause, ssl.SSLError):
            return "no secure connection could be made"
        cause = cause.__cause__ or cause.__context__
    known = {
        httpcore.ConnectError: f"no connection: {error}" if "name" in str(error) else "no connection",
        httpcore.ProtocolError: "what it answered is no HTTP",
        httpcore.TimeoutException: "no answer in time",
    }
    return next((words for kind, words in known.items() if isinstance(error, kind)), "the connection broke")
