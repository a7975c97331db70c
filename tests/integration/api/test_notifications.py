"""Notifications through the api and the command line, to the real metrics service and a real receiver."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from standardwebhooks import Webhook
from structlog.testing import capture_logs

from stoker.stack.standalone import RunningNats
from stoker_metrics import MIGRATIONS as METRICS_MIGRATIONS
from stoker_shared.clock import SystemClock
from stoker_shared.signing_secrets import new_signing_secret
from tests.integration.api.conftest import Api, User
from tests.support.metrics import environment
from tests.support.notifications import key_file, notifying
from tests.support.receivers import Receiver, receiving
from tests.support.servers import MakeDatabase

TARGETS = "/v1/notifications/targets"


@pytest.fixture
def metrics_variables(clean_bus: RunningNats, migrated_database: MakeDatabase) -> dict[str, str]:
    """Settings of a metrics service whose schema is up to date."""
    return environment(clean_bus, migrated_database("metrics", METRICS_MIGRATIONS).url("metrics"))


@pytest.fixture
async def receiver(metrics_variables: dict[str, str], tmp_path: Path) -> AsyncIterator[Receiver]:
    """A receiver, and the metrics service that reaches it."""
    keys = key_file(tmp_path)
    async with notifying(metrics_variables, clock=SystemClock(), keys=keys), receiving() as place:
        yield place


async def test_a_target_is_made_tested_rotated_and_removed(user: User, stranger: User, receiver: Receiver) -> None:
    address = f"{receiver.url}/0123456789-secret-part"
    with capture_logs() as logs:
        made = await user.http.post(TARGETS, json={"name": "mine", "kind": "webhook", "address": address})
    assert made.status_code == 201, made.text
    target, secret = made.json()["target"], made.json()["signing_secret"]
    path = f"{TARGETS}/{target['target_id']}"
    tested = await user.http.post(f"{path}/test")
    assert (tested.status_code, tested.json()["state"]) == (200, "delivered")
    Webhook(secret).verify(receiver.requests[0].body, receiver.requests[0].headers)
    listed = await user.http.get(TARGETS)
    assert "secret-part" not in f"{made.text} {listed.text} {logs}"
    assert secret not in f"{listed.text} {logs}"
    rotated = (await user.http.post(f"{path}/signing-secret", json={})).json()["signing_secret"]
    assert rotated != secret
    for call in (("POST", f"{path}/test"), ("DELETE", path), ("PATCH", path), ("POST", f"{path}/signing-secret")):
        body = {"state": "paused"} if call[0] == "PATCH" else {}
        refused = await stranger.http.request(*call, json=body)
        assert (refused.status_code, refused.json()["code"]) == (404, "not_found"), call
    assert (await user.http.patch(path, json={"state": "paused"})).json()["state"] == "paused"
    log = (await user.http.get("/v1/notifications/deliveries", params={"state": "delivered"})).json()["deliveries"]
    assert [entry["attempts"][0]["status"] for entry in log] == [204]
    again = await user.http.post(f"/v1/notifications/deliveries/{log[0]['delivery_id']}/resend")
    assert again.status_code == 200
    assert (await user.http.delete(path)).json() == {"targets": []}


async def test_what_is_sent_again_after_a_lost_answer_is_done_once(user: User, receiver: Receiver) -> None:
    secret = new_signing_secret().get_secret_value()
    wanted = {"name": "mine", "kind": "webhook", "address": f"{receiver.url}/a", "signing_secret": secret}
    made = [await user.http.post(TARGETS, json=wanted) for _ in range(2)]
    assert made[0].status_code == 201, made[0].text
    assert made[0].json() == made[1].json()
    for change in ({"address": f"{receiver.url}/b"}, {"signing_secret": new_signing_secret().get_secret_value()}):
        other = await user.http.post(TARGETS, json=wanted | change)
        assert other.status_code == 409, change
    target_id = made[0].json()["target"]["target_id"]
    rule = {"target_id": target_id, "events": ["job.failed", "job.completed"], "budget_share": 0.7}
    rules = [(await user.http.post("/v1/notifications/rules", json=rule)).json() for _ in range(2)]
    assert rules[0] == rules[1]
    another = (await user.http.post("/v1/notifications/rules", json=rule | {"budget_share": 0.6})).json()
    assert another["rule_id"] != rules[0]["rule_id"]
    new = {"signing_secret": new_signing_secret().get_secret_value()}
    for _ in range(2):
        rotated = await user.http.post(f"{TARGETS}/{target_id}/signing-secret", json=new)
        assert rotated.status_code == 200
    await user.http.post(f"{TARGETS}/{target_id}/test")
    Webhook(secret).verify(receiver.requests[0].body, receiver.requests[0].headers)


@pytest.mark.parametrize(
    ("kind", "address", "code"),
    [
        ("webhook", "ftp://example.com/0123456789secret", "webhook_url_refused"),
        ("webhook", "https://user:0123456789secret@example.com/", "webhook_url_refused"),
        ("slack", "https://127.0.0.1/0123456789secret", "target_address_invalid"),
        ("email", "me@example.org", "notifications_closed"),
    ],
)
async def test_what_is_no_target_is_refused_and_not_repeated(
    user: User, receiver: Receiver, kind: str, address: str, code: str
) -> None:
    with capture_logs() as logs:
        refused = await user.http.post(TARGETS, json={"name": "mine", "kind": kind, "address": address})
    assert (refused.status_code in (409, 422), refused.json()["code"]) == (True, code)
    assert refused.json()["next_step"]
    assert "0123456789secret" not in f"{refused.text} {logs}"
    assert receiver.connections == 0


@pytest.mark.parametrize(
    "rule",
    [
        {"events": []},
        {"events": ["job.exploded"]},
        {"events": ["job.failed"], "budget_share": 0},
        {"events": ["job.failed"], "target_id": "target-1"},
        {"events": ["job.failed"], "queued_after_seconds": 1},
    ],
)
async def test_a_rule_that_cannot_be_is_refused_with_the_field(
    user: User, receiver: Receiver, rule: dict[str, object]
) -> None:
    made = await user.http.post(TARGETS, json={"name": "mine", "kind": "webhook", "address": receiver.url})
    known = {"target_id": made.json()["target"]["target_id"]}
    refused = await user.http.post("/v1/notifications/rules", json=known | rule)
    assert refused.status_code == 422
    assert refused.json()["errors"]


async def test_the_command_line_does_all_of_it(api: Api, user: User, receiver: Receiver, tmp_path: Path) -> None:
    surroundings = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "STOKER_URL": api.url,
        "STOKER_API_KEY": user.key,
        "STOKER_DATA": str(tmp_path / "data"),
    }

    async def stoker(*arguments: str, text: str = "", code: int = 0) -> str:
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "stoker.main", "notify", *arguments],
            env=surroundings,
            input=text,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr

    added = json.loads(await stoker("add", "mine", "--stdin", "--json", text=receiver.url + "\n"))
    assert added["signing_secret"].startswith("whsec_")
    assert "delivered" in await stoker("test", "mine")
    Webhook(added["signing_secret"]).verify(receiver.requests[0].body, receiver.requests[0].headers)
    await stoker("rules", "mine", "--event", "job.budget_share", "--budget-share", "0.5", "--project", "p")
    rules = json.loads(await stoker("rules", "--json"))
    assert [rule["events"] for rule in rules] == [
        ["job.cancelled", "job.completed", "job.failed"],
        ["job.budget_share"],
    ]
    assert rules[1]["project"] == "p"
    log = json.loads(await stoker("log", "--target", "mine", "--json"))
    assert [entry["type"] for entry in log] == ["notification.test"]
    await stoker("log", "--resend", log[0]["delivery_id"])
    assert "mine" in await stoker("list")
    assert "no target" in await stoker("test", "other", code=2)
    await stoker("remove", "mine")
    assert json.loads(await stoker("list", "--json")) == []
