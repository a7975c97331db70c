"""Webhooks over real connections: what is reached, and what never is."""

import asyncio
import os
import ssl
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path

import pytest
import trustme

from stoker_metrics.notifications.addresses import AddressRules
from stoker_metrics.notifications.errors import AddressRefused, TargetUnreachable, UrlRefused
from stoker_metrics.notifications.reaching import Reach, ReachRules
from tests.support.receivers import HANG, Names, answer, receiving

LOOPBACK = AddressRules(allowed=(ip_network("127.0.0.1/32"),))
OPEN = ReachRules(addresses=LOOPBACK, allows_http=True)
CLOSED = ReachRules(allows_http=True)


async def post(reach: Reach, url: str) -> int:
    return (await reach.post(url, body=b"{}", headers={"content-type": "application/json"})).status


async def test_what_is_sent_arrives_whole_and_under_its_name() -> None:
    async with receiving() as receiver:
        reach = Reach(OPEN, resolver=Names(hooks_example=[["127.0.0.1"]]))
        status = await reach.post(
            f"http://hooks.example:{receiver.port}/a/b?c=d", body=b'{"x":1}', headers={"webhook-id": "msg_1"}
        )
    assert status.status == 204
    [request] = receiver.requests
    assert (request.line, request.body) == ("POST /a/b?c=d HTTP/1.1", b'{"x":1}')
    assert request.headers["host"] == f"hooks.example:{receiver.port}"
    assert request.headers["webhook-id"] == "msg_1"


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "0x7f.1", "2130706433", "127.1", "[::1]", "[::ffff:127.0.0.1]", "0", "0177.0.0.1"],
)
async def test_no_spelling_of_this_machine_is_reached(host: str) -> None:
    async with receiving() as receiver:
        with pytest.raises((AddressRefused, TargetUnreachable, UrlRefused)):
            await post(Reach(CLOSED), f"http://{host}:{receiver.port}/hook")
    assert receiver.connections == 0


async def test_a_name_that_rebinds_after_the_check_leads_to_the_address_that_was_checked() -> None:
    """The first answer is permitted, any second one is the forbidden receiver: it must never be asked for."""
    names = Names(rebinds_example=[["127.0.0.2"], ["127.0.0.1"]])
    rules = ReachRules(
        addresses=AddressRules(allowed=(ip_network("127.0.0.2/32"),)),
        allows_http=True,
        timeout=timedelta(seconds=20),
    )
    async with receiving() as forbidden:
        with pytest.raises(TargetUnreachable):
            await post(Reach(rules, resolver=names), f"http://rebinds.example:{forbidden.port}/hook")
        assert names.asked == ["rebinds.example"]
        with pytest.raises(AddressRefused):
            await post(Reach(rules, resolver=names), f"http://rebinds.example:{forbidden.port}/hook")
    assert forbidden.connections == 0


async def test_one_forbidden_address_among_good_ones_spoils_the_name() -> None:
    async with receiving() as receiver:
        for found in (["127.0.0.1", "10.0.0.1"], ["10.0.0.1", "127.0.0.1"], ["127.0.0.1", "::ffff:127.0.0.1"]):
            with pytest.raises(AddressRefused):
                await post(Reach(OPEN, resolver=Names(a_example=[found])), f"http://a.example:{receiver.port}/")
    assert receiver.connections == 0


async def test_a_redirect_to_this_machine_is_not_followed() -> None:
    async with receiving() as inner:
        async with receiving(answer(307, f"Location: {inner.url}")) as outer:
            assert await post(Reach(OPEN), outer.url) == 307
        assert inner.connections == 0


async def test_no_proxy_is_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    async with receiving() as proxy, receiving() as receiver:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setitem(os.environ, name, f"http://127.0.0.1:{proxy.port}")
        assert await post(Reach(OPEN), receiver.url) == 204
    assert (proxy.connections, receiver.connections) == (0, 1)


async def test_a_receiver_that_hangs_is_given_up() -> None:
    rules = ReachRules(addresses=LOOPBACK, allows_http=True, timeout=timedelta(seconds=0.3))
    async with receiving(HANG) as receiver:
        with pytest.raises(TargetUnreachable, match="no answer within"):
            await post(Reach(rules), receiver.url)
    assert len(receiver.requests) == 1


@pytest.mark.parametrize(
    "said",
    [
        b"no http at all\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: " + b"a" * 1_000_000,
        b"HTTP/1.1 200 OK\r\n" * 3 + b"\r\n",
        b"\x00\xff" * 100 + b"\r\n\r\n",
    ],
)
async def test_an_answer_that_is_none_is_a_failure_in_our_words(said: bytes) -> None:
    async with receiving(said) as receiver:
        with pytest.raises(TargetUnreachable) as failure:
            await post(Reach(OPEN), receiver.url)
    assert len(str(failure.value)) < 100


async def test_the_body_of_an_answer_is_not_waited_for() -> None:
    endless = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n" + b"a" * 100_000
    async with receiving(endless) as receiver:
        assert await post(Reach(OPEN), receiver.url) == 200


async def test_what_a_busy_receiver_asks_for_is_told() -> None:
    async with receiving(answer(503, "Retry-After: 120")) as receiver:
        told = await Reach(OPEN).post(receiver.url, body=b"", headers={})
    assert (told.status, told.retry_after) == (503, "120")


async def test_nobody_there_is_a_failure() -> None:
    server = await asyncio.start_server(lambda _r, _w: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    with pytest.raises(TargetUnreachable, match="no connection"):
        await post(Reach(OPEN), f"http://127.0.0.1:{port}/")
    with pytest.raises(TargetUnreachable, match="cannot be resolved"):
        await post(Reach(OPEN, resolver=Names()), "http://nowhere.example/")


async def test_over_tls_the_certificate_must_be_of_the_name_not_of_the_address(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("hooks.example").configure_cert(tls)
    names = Names(hooks_example=[["127.0.0.1"]], other_example=[["127.0.0.1"]])
    trusting = ReachRules(addresses=LOOPBACK, ca_file=tmp_path / "ca.pem")
    async with receiving(tls=tls) as receiver:
        assert await post(Reach(trusting, resolver=names), f"https://hooks.example:{receiver.port}/") == 204
        with pytest.raises(TargetUnreachable, match="certificate"):
            await post(Reach(trusting, resolver=names), f"https://other.example:{receiver.port}/")
        with pytest.raises(TargetUnreachable, match="certificate"):
            await post(Reach(ReachRules(addresses=LOOPBACK), resolver=names), f"https://hooks.example:{receiver.port}/")
    assert len(receiver.requests) == 1
