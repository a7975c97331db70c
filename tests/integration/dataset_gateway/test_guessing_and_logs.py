"""Who guesses tokens is slowed, and no token is in any log, whatever goes wrong; redirect mode."""

from urllib.parse import parse_qs, urlsplit

import httpx

from stoker.stack.standalone import RunningObjectStore
from stoker_shared.tokens import mint_token
from tests.integration.dataset_gateway.conftest import ROWS, World, jsonl

SETTINGS = {"free_tries": "5", "first_wait": "PT2S", "longest_wait": "PT2S"}


async def test_no_token_is_in_the_log_of_requests_that_fail(
    world: World, object_store_server: RunningObjectStore
) -> None:
    minted, access = await world.mint(await world.stored(jsonl([{"prompt": "logged", "completion": "c"}, *ROWS])))
    object_store_server.kill()
    failed = await world.http.get(minted.download_url)
    assert failed.status_code == 503
    object_store_server.start()
    token = minted.download_url.partition("token=")[2]
    for path in (f"/v1/datasets/{token}", f"/v1/datasets/download/{token}?token={token}", f"/{token}?key={token}"):
        assert (await world.http.get(f"{world.gateway.url}{path}")).status_code == 404
    await world.http.request("PATCH", minted.download_url)
    await world.http.put(
        f"{world.gateway.url}/v1/jobs/{access.job_id}/artifacts/{access.token}",
        content=b"x",
        headers={"Authorization": f"Bearer {access.token}", "X-Content-SHA256": "no"},
    )
    log = world.gateway.log()
    assert log.count("\n") > 5  # there is one, and the fixture looks for every token in it
    for secret in (token, access.token):
        assert secret not in log


async def test_in_redirect_mode_the_store_serves_the_bytes_under_the_right_name(world: World) -> None:
    content = jsonl([{"prompt": "redirected", "completion": "c"}, *ROWS])
    minted, _ = await world.mint(await world.stored(content, filename="größe.jsonl"))
    gateway = world.gateway
    gateway.stop()
    gateway.start(**SETTINGS, redirect_endpoint=f"http://{world.servers.bucket.endpoint}", redirect_lifetime="PT5M")
    try:
        redirect = await world.http.get(minted.download_url)
        assert (redirect.status_code, redirect.headers["cache-control"]) == (307, "no-store")
        address = urlsplit(redirect.headers["location"])
        assert address.netloc == world.servers.bucket.endpoint
        assert int(parse_qs(address.query)["X-Amz-Expires"][0]) <= 300
        async with httpx.AsyncClient(follow_redirects=True) as http:
            whole = await http.get(minted.download_url, headers={"Accept-Encoding": "identity"})
            part = await http.get(minted.download_url, headers={"Range": "bytes=3-9"})
        assert whole.content == content
        assert whole.headers["content-disposition"].endswith("filename*=UTF-8''gr%C3%B6%C3%9Fe.jsonl")
        assert whole.headers["cache-control"] == "no-store"
        assert (part.status_code, part.content) == (206, content[3:10])
        head = await world.http.head(minted.download_url)
        assert (head.status_code, head.headers["content-length"]) == (200, str(len(content)))
        assert (await world.http.get(f"{gateway.url}/v1/datasets/download?token={'x' * 43}")).status_code == 401
        await world.until_sql(f"SELECT use_count = 3 FROM download_tokens WHERE sha256 = '{minted.sha256}'")
    finally:
        gateway.stop()
        gateway.start(**SETTINGS)


async def test_guessing_is_slowed_and_a_token_that_was_good_is_not_locked_out(world: World) -> None:
    minted, _ = await world.mint(await world.stored())
    assert (await world.http.head(minted.download_url)).status_code == 200
    statuses = []
    for number in range(9):
        guess = mint_token().get_secret_value()
        world.gateway.secrets.append(guess)
        answer = await world.http.get(
            f"{world.gateway.url}/v1/datasets/download?token={guess}", headers={"X-Forwarded-For": f"192.0.2.{number}"}
        )
        statuses.append(answer.status_code)
    assert statuses == [401] * 6 + [429] * 3
    assert int(answer.headers["retry-after"]) >= 1
    assert "trace_id" in answer.json()
    assert (await world.http.get(minted.download_url)).status_code == 200
