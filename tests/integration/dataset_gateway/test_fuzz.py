"""Whatever is sent: no 5xx, no traceback. schemathesis walks the OpenAPI of the real process, hypothesis headers."""

from typing import Any
from urllib.parse import quote

import httpx
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.integration.dataset_gateway.conftest import ROWS, Gateway, World, jsonl

SETTINGS = {
    "free_tries": "1000000",
    "token_requests_per_minute": "60000",
    "token_burst": "60000",
    "idle_timeout": "PT2S",
    "log_level": "INFO",
}
CONTENT = jsonl(ROWS * 40)
RELAXED = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much],
)
_minted: dict[str, str] = {}

# The body of a tus PATCH: bytes, under a name of its own.
schemathesis.serializer.alias("application/offset+octet-stream", "application/octet-stream")


def test_no_request_that_the_document_allows_makes_the_gateway_fail(gateway: Gateway) -> None:
    schema = schemathesis.openapi.from_url(f"{gateway.url}/openapi.json")
    walked = set()
    for found in schema.get_all_operations():
        operation = found.ok()
        if operation.path in {"/healthz", "/readyz"}:
            continue
        walked.add(operation.path)

        @given(case=operation.as_strategy())
        @settings(RELAXED, max_examples=15)
        def send(case: Any) -> None:
            response = case.call(timeout=20)
            assert response.status_code < 500, response.text
            if response.status_code >= 400:
                assert response.headers["content-type"][0] == "application/problem+json"
                assert case.method == "HEAD" or response.json()["trace_id"]
            assert "Traceback" not in response.text

        send()
    assert walked >= {"/v1/datasets/download", "/v1/artifacts/download", "/v1/jobs/{job_id}/downloads"}
    assert "Traceback" not in gateway.log()


SPECS = st.lists(st.from_regex(r"[0-9]{0,5}-[0-9]{0,5}", fullmatch=True), max_size=6).map(",".join)
VISIBLE = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=60)
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "Range": st.one_of(SPECS.map(lambda specs: f"bytes={specs}"), VISIBLE),
        "If-Range": st.one_of(st.just("etag"), VISIBLE),
        "If-Match": st.one_of(st.just("etag"), st.just("*"), VISIBLE),
        "If-None-Match": st.one_of(st.just("etag"), st.just("*"), VISIBLE),
        "If-Modified-Since": VISIBLE,
        "Accept-Encoding": st.one_of(st.sampled_from(["gzip", "gzip;q=0", "*", "identity;q=0"]), VISIBLE),
    },
)


@given(headers=HEADERS, method=st.sampled_from(["GET", "HEAD"]))
@RELAXED
async def test_no_headers_of_a_download_make_it_fail_or_give_wrong_bytes(
    world: World, headers: dict[str, str], method: str
) -> None:
    url = await _download_url(world)
    etag = f'"{url.partition("#")[2]}"'
    sent = {name: etag if value == "etag" else value for name, value in headers.items()}
    encoded = {name.encode(): value.strip().encode("latin-1") for name, value in sent.items()}
    response = await world.http.request(method, url.partition("#")[0], headers=encoded)
    assert response.status_code in {200, 206, 304, 412, 416}, response.text
    if method == "GET" and response.status_code == 200:
        assert response.content == CONTENT
    if response.status_code == 206 and "content-range" in response.headers:
        first, last = response.headers["content-range"].removeprefix("bytes ").partition("/")[0].split("-")
        assert response.content == CONTENT[int(first) : int(last) + 1]
    assert "Traceback" not in world.gateway.log()


@given(token=st.text(max_size=80), job=st.text(min_size=1, max_size=20))
@RELAXED
async def test_no_token_and_no_name_of_a_job_makes_the_gateway_fail(world: World, token: str, job: str) -> None:
    quoted = quote(token, safe="", errors="replace")
    for kind in ("datasets", "artifacts"):
        answer = await world.http.get(f"{world.gateway.url}/v1/{kind}/download?token={quoted}")
        assert answer.status_code in {400, 401}, answer.text
    raw = token.encode("utf-8", "replace").replace(b"\r", b"").replace(b"\n", b"").replace(b"\0", b"")
    address = f"{world.gateway.url}/v1/jobs/{quote(job, safe='', errors='replace')}/downloads"
    try:
        renewed = await world.http.post(address, headers={b"Authorization": b"Bearer " + raw})
    except (httpx.LocalProtocolError, httpx.InvalidURL):
        return  # the client itself refuses to send it
    assert 400 <= renewed.status_code < 500
    assert "Traceback" not in world.gateway.log()


async def _download_url(world: World) -> str:
    known = _minted.get(world.gateway.url)
    if known is None:
        minted, _ = await world.mint(await world.stored(CONTENT))
        known = _minted[world.gateway.url] = f"{minted.download_url}#{minted.sha256}"
    return known
