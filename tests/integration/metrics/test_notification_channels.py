"""E-mail to a real server, services by apprise, sealed keys, replicas and kills."""

import asyncio
import json
import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from apprise.plugins.slack import NotifySlack
from pydantic import SecretStr

from stoker.stack.standalone import RunningNats
from stoker_metrics.notifications.channels import CHANNELS, channel_plugin
from stoker_metrics.notifications.errors import TargetAddressInvalid, TargetUnreadable
from stoker_metrics.notifications.rotating import add_sealing_key, reseal_targets
from stoker_metrics.settings import MetricsSettings
from stoker_shared.bus import RpcClient
from stoker_shared.clock import SystemClock
from stoker_shared.errors import RemoteRefusal
from stoker_shared.events import JobCompleted
from stoker_shared.job_state import EndReason, JobStatus
from stoker_shared.rpc import notifications as rpc
from stoker_shared.sealing import seal
from stoker_shared.settings import read_settings
from tests.support.bus import bus_of, started, until, until_true
from tests.support.metrics import JOB as REPORTING_JOB
from tests.support.metrics import MetricsProcess, World, alert
from tests.support.notifications import JOB, OWNER, Owner, job_event, key_file, notifying, queued, tell
from tests.support.ports import free_port
from tests.support.receivers import HANG, OK, answer, receiving

REASON = next(iter(EndReason))
GOOD = {
    "slack": "https://hooks.slack.com/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ",
    "discord": "https://discord.com/api/webhooks/4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js",
    "teams": "https://prod-12.westus.logic.azure.com:443/workflows/0123456789abcdef0123456789abcdef"
    "/triggers/manual/paths/invoke?api-version=2016-06-01&sp=%2Ftriggers%2Fmanual%2Frun&sv=1.0&sig=abc_DEF-123",
    "telegram": "tgram://123456789:ABCdefGHIjklMNOpqrSTUvwxYZ123456789/-1001234",
    "pushover": "pover://" + "u" * 30 + "@" + "t" * 30,
    "ntfy": "https://ntfy.sh/my_topic",
    "google_chat": "https://chat.googleapis.com/v1/spaces/AAAA/messages?key=abc&token=def%3D",
}


def event(job_id: str = JOB) -> Any:
    return job_event(JobCompleted, 9, JobStatus.COMPLETED, job_id=job_id, reason=REASON, detail="done")


@pytest.mark.parametrize("kind", sorted(CHANNELS))
def test_what_a_service_shows_its_users_is_taken(kind: str) -> None:
    plugin = channel_plugin(kind, GOOD[kind])
    assert plugin.verify_certificate
    assert not plugin.redirects


BAD = [
    *(
        f"{good}{more}"
        for good in GOOD.values()
        for more in ("?verify=no", "?template=/etc/passwd", "/../x", "\n", "#x")
    ),
    *(f" {good}" for good in GOOD.values()),
    *(good.replace("https://", "http://") for good in GOOD.values() if good.startswith("https")),
    *(good.replace("https://", "https://a@") for good in GOOD.values() if good.startswith("https")),
    *(good.replace(".com", ".com.evil.example") for good in GOOD.values() if ".com" in good),
    *(good.replace("https://", "https://127.0.0.1/") for good in GOOD.values() if good.startswith("https")),
    *("json://127.0.0.1/", "https://127.0.0.1/", "tgram://127.0.0.1/1", "ntfy://127.0.0.1/x", "slack://a/b/c", ""),
]


@pytest.mark.parametrize("address", BAD)
def test_no_other_address_is_taken_by_any_service(address: str) -> None:
    for kind in CHANNELS:
        with pytest.raises(TargetAddressInvalid) as refusal:
            channel_plugin(kind, address)
        assert not address.strip() or address.strip() not in str(refusal.value)


class Mailbox:
    """What the mail server got."""

    def __init__(self) -> None:
        self.mails: list[tuple[list[str], str]] = []
        self.says = "250 OK"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        self.mails.append((envelope.rcpt_tos, envelope.content.decode()))
        return self.says


@pytest.fixture
def mailbox() -> Iterator[tuple[Mailbox, int]]:
    box = Mailbox()
    controller = Controller(box, hostname="127.0.0.1", port=free_port())
    controller.start()
    yield box, controller.port
    controller.stop()


async def test_mail_goes_through_the_operators_server_and_is_tried_again(
    metrics_variables: dict[str, str], clean_bus: RunningNats, tmp_path: Path, mailbox: tuple[Mailbox, int]
) -> None:
    box, port = mailbox
    changes = {
        "smtp_host": "127.0.0.1",
        "smtp_port": port,
        "smtp_security": "none",
        "smtp_sender": "stoker@example.com",
        "smtp_domains": ("example.org",),
        "notify_retry_schedule": (timedelta(milliseconds=100), timedelta(seconds=60)),
    }
    box.says = "451 try later"
    async with (
        notifying(metrics_variables, clock=SystemClock(), keys=key_file(tmp_path), **changes),
        started(bus_of(clean_bus, "api")) as api,
        started(bus_of(clean_bus, "deployer")) as deployer,
    ):
        owner = Owner(RpcClient(api))
        for wrong in ("me@evil.example", "a@example.org, b@example.org", "me@example.org\r\nBcc: x@y.zz", "no"):
            with pytest.raises(RemoteRefusal, match="not an address"):
                await owner.add(wrong, kind="email")
        target = await owner.add("me@example.org", kind="email")
        assert target.place == "example.org"
        await owner.rule(target.target_id, "job.completed")
        await tell(deployer, queued(), event())
        await until_true(lambda: box.mails)
        box.says = "250 OK"

        async def arrived() -> bool:
            return (await owner.log())[0].state == "delivered"

        await until(arrived)
    (first, again) = box.mails
    assert first[0] == ["me@example.org"]
    assert f"Subject: Job completed: {JOB}" in first[1]
    assert "done" in first[1]
    assert [line for line in first[1].splitlines() if line.startswith("Message-ID")] == [
        line for line in again[1].splitlines() if line.startswith("Message-ID")
    ]


async def test_slack_gets_words_and_no_mail_server_is_said(
    metrics_variables: dict[str, str], clean_bus: RunningNats, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        receiving(answer(200, "Content-Type: text/plain", body="ok")) as slack,
        notifying(metrics_variables, clock=SystemClock(), keys=key_file(tmp_path)),
        started(bus_of(clean_bus, "api")) as api,
    ):
        # The service's host is fixed in the plugin; here it is this machine.
        monkeypatch.setattr(NotifySlack, "webhook_url", f"http://127.0.0.1:{slack.port}/services")
        monkeypatch.setitem(os.environ, "NO_PROXY", "127.0.0.1")
        owner = Owner(RpcClient(api))
        target = await owner.add(GOOD["slack"], kind="slack")
        query = rpc.TargetQuery(owner=OWNER, target_id=target.target_id)
        assert (await owner.api.ask(rpc.TEST_TARGET, query)).state == "delivered"
        assert "A test from Stoker" in slack.requests[0].body.decode()
        slack.answers = [answer(403, body="no_token TIiajkdnlazkcOXrIdevi7FQ")]
        failed = await owner.api.ask(rpc.TEST_TARGET, query)
        assert failed.state == "failed"
        assert "TIiajkdnlazkcOXrIdevi7FQ" not in str(failed)
        with pytest.raises(RemoteRefusal, match="SMTP_HOST"):
            await owner.add("me@example.org", kind="email")


async def test_replicas_share_and_each_message_goes_out_once(
    metrics_variables: dict[str, str], clean_bus: RunningNats, tmp_path: Path
) -> None:
    keys, jobs = key_file(tmp_path), [f"job-{number:016x}" for number in range(30)]
    async with (
        receiving() as receiver,
        receiving() as other,
        notifying(metrics_variables, clock=SystemClock(), keys=keys),
        notifying(metrics_variables, clock=SystemClock(), keys=keys),
        started(bus_of(clean_bus, "api")) as api,
        started(bus_of(clean_bus, "deployer")) as deployer,
    ):
        owner = Owner(RpcClient(api))
        for place in (receiver, other):
            target = await owner.add(place.url)
            await owner.rule(target.target_id, "job.completed")
        for job_id in jobs:
            await tell(deployer, queued(job_id=job_id), event(job_id))

        async def all_sent() -> bool:
            return [found.state for found in await owner.log(limit=200)] == ["delivered"] * 60

        await until(all_sent)
    for place in (receiver, other):
        assert sorted(json.loads(request.body)["data"]["job_id"] for request in place.requests) == jobs


async def test_a_receiver_that_hangs_holds_no_other(
    metrics_variables: dict[str, str], clean_bus: RunningNats, tmp_path: Path
) -> None:
    async with (
        receiving(HANG) as slow,
        receiving() as quick,
        notifying(metrics_variables, clock=SystemClock(), keys=key_file(tmp_path), notify_at_once=2),
        started(bus_of(clean_bus, "api")) as api,
        started(bus_of(clean_bus, "deployer")) as deployer,
    ):
        owner = Owner(RpcClient(api))
        for place in (slow, quick):
            target = await owner.add(place.url)
            await owner.rule(target.target_id, "job.completed")
        jobs = [f"job-{number:016x}" for number in range(5)]
        for job_id in jobs:
            await tell(deployer, queued(job_id=job_id), event(job_id))
        # Held: the slow one says nothing until the end of the test, longer than which no attempt takes.
        await until_true(lambda: len(quick.requests) == 5, within=15)
        assert len(slow.requests) == 1


async def test_tests_of_receivers_that_hang_leave_room_for_other_questions(
    metrics_variables: dict[str, str], clean_bus: RunningNats, tmp_path: Path
) -> None:
    changes = {"webhook_timeout": timedelta(seconds=12)}
    async with (
        receiving(HANG) as slow,
        notifying(metrics_variables, clock=SystemClock(), keys=key_file(tmp_path), **changes),
        started(bus_of(clean_bus, "api")) as api,
    ):
        owner = Owner(RpcClient(api))
        target = await owner.add(slow.url)
        query = rpc.TargetQuery(owner=OWNER, target_id=target.target_id)
        held = [asyncio.create_task(owner.api.ask(rpc.TEST_TARGET, query)) for _ in range(4)]
        await until_true(lambda: len(slow.requests) == 4)
        with pytest.raises(RemoteRefusal, match="tests are under way"):
            await owner.api.ask(rpc.TEST_TARGET, query)
        assert len(await owner.targets()) == 1
        assert {(await test).state for test in held} == {"failed"}


async def test_killed_in_mid_delivery_it_is_sent_again_by_the_next_under_the_same_id(
    metrics_variables: dict[str, str], clean_bus: RunningNats, tmp_path: Path
) -> None:
    port = free_port()
    variables = metrics_variables | {
        "STOKER_METRICS_PORT": str(port),
        "STOKER_METRICS_PUBLIC_URL": f"http://127.0.0.1:{port}",
        "STOKER_METRICS_SEALING_KEY_FILE": str(key_file(tmp_path)),
        "STOKER_METRICS_WEBHOOK_ALLOW_HTTP": "true",
        "STOKER_METRICS_WEBHOOK_ALLOWED_NETWORKS": '["127.0.0.1/32"]',
        "STOKER_METRICS_WEBHOOK_TIMEOUT": "PT10S",
        "STOKER_METRICS_NOTIFY_LEASE": "PT11S",
    }
    service = MetricsProcess(variables, tmp_path / "metrics.log")
    async with receiving(HANG, OK) as receiver, started(bus_of(clean_bus, "api")) as api:
        try:
            await service.start()
            owner = Owner(RpcClient(api))
            target = await owner.add(receiver.url)
            await owner.rule(target.target_id, "job.completed")
            async with started(bus_of(clean_bus, "deployer")) as deployer:
                await tell(deployer, queued(), event())
            # The receiver has it and holds its answer back: the sender is in the middle of it for certain.
            await until_true(lambda: receiver.requests)
            service.kill()
            await service.start()

            async def delivered() -> bool:
                return [found.state for found in await owner.log()] == ["delivered"]

            await until(delivered)
        finally:
            service.kill()
    assert len({request.headers["webhook-id"] for request in receiver.requests}) == 1
    assert len(receiver.requests) == 2


async def test_after_a_rotation_of_keys_targets_work_and_the_old_key_may_go(
    metrics_variables: dict[str, str], clean_bus: RunningNats, tmp_path: Path
) -> None:
    keys = key_file(tmp_path)
    variables = metrics_variables | {"STOKER_METRICS_SEALING_KEY_FILE": str(keys)}
    settings = read_settings(MetricsSettings, variables)
    async with (
        receiving() as receiver,
        notifying(metrics_variables, clock=SystemClock(), keys=keys),
        started(bus_of(clean_bus, "api")) as api,
    ):
        owner = Owner(RpcClient(api))
        target = await owner.add(receiver.url)
        await owner.rotate(target.target_id, overlap=timedelta(hours=1))
        add_sealing_key(settings)
        assert await reseal_targets(settings) == 1
        assert await reseal_targets(settings) == 0
        keys.write_text(keys.read_text().splitlines()[0] + "\n")
        query = rpc.TargetQuery(owner=OWNER, target_id=target.target_id)
        assert (await owner.api.ask(rpc.TEST_TARGET, query)).state == "delivered"
        assert " v1," in receiver.requests[0].headers["webhook-signature"]
        keys.write_text(key_file(tmp_path).read_text())
        lost = await owner.api.ask(rpc.TEST_TARGET, query)
        assert lost.state == "failed"
        assert lost.attempts[0].error == "its sealed address cannot be opened; set the target again"
        with pytest.raises(TargetUnreadable):
            await reseal_targets(settings)


async def test_a_box_of_another_target_or_owner_is_refused(
    metrics_variables: dict[str, str], clean_bus: RunningNats, tmp_path: Path
) -> None:
    async with (
        notifying(metrics_variables, clock=SystemClock(), keys=key_file(tmp_path)),
        started(bus_of(clean_bus, "api")) as api,
    ):
        client = RpcClient(api)
        theirs = Owner(client, "user-0000000000000002")
        rotate_for = await theirs.add("https://example.com/hook")
        mine = await Owner(client).add("https://example.com/hook")
        key = await client.ask(rpc.NOTIFY_KEY, rpc.VaultKeyQuery())
        box = seal(
            SecretStr("whsec_" + "a" * 44),
            owner=OWNER,
            name=rpc.box_name(mine.target_id, rpc.SIGNING_NAME),
            public_key=key.public_key,
        )
        asked = rpc.RotateSigning(
            owner=theirs.owner, target_id=rotate_for.target_id, sealed_signing=box, key_id=key.key_id
        )
        with pytest.raises(RemoteRefusal):
            await client.ask(rpc.ROTATE_SIGNING, asked)


def _payload(row: Any) -> Any:
    return json.loads(row["payload"]) if isinstance(row["payload"], str) else row["payload"]


async def test_an_alert_of_the_trainer_becomes_an_event_once(world: World, token: str, clean_bus: RunningNats) -> None:
    for _ in range(2):
        assert (await world.post("alerts", alert(1), token)).status_code == 202
    assert (await world.post("alerts", alert(2, message="Again."), token)).status_code == 202
    await world.until_rows("SELECT * FROM alerts WHERE job_id = $1", REPORTING_JOB, count=2)
    told = await world.until_rows("SELECT * FROM outbox WHERE subject LIKE 'evt.pod.%.alert_raised'", count=2)
    assert [_payload(row)["message"] for row in told] == ["The loss rose.", "Again."]
