"""Admission, revocation, and whether a silent pod may be called silent."""

from datetime import UTC, datetime, timedelta

import pytest

from stoker_shared.errors import RemoteRefusal, ServiceUnavailable
from stoker_shared.rpc.metrics import REPORTS, AttemptReport, ReportRequest, ReportsRequest
from stoker_shared.tokens import mint_token
from tests.support.metrics import JOB, World, ending, heartbeat

ASKED = ReportRequest(job_id=JOB, attempt=1)
NEVER_HEARD = ReportRequest(job_id=JOB, attempt=7)


async def test_an_attempt_that_has_not_spoken_has_an_empty_report(world: World, token: str) -> None:
    for attempt in (1, 7):  # admitted, and never heard of
        report = await world.report(attempt=attempt)
        assert report == AttemptReport(job_id=JOB, attempt=attempt)


async def test_admitting_again_changes_nothing_but_prolongs(world: World) -> None:
    token = mint_token().get_secret_value()
    for hours in (2, 1, 3):
        await world.plane.admit(token=token, expires_at=datetime.now(UTC) + timedelta(hours=hours))
    (row,) = await world.rows("SELECT expires_at FROM job_tokens")
    assert row["expires_at"] - datetime.now(UTC) > timedelta(hours=2, minutes=50)


@pytest.mark.parametrize("was_known", [True, False])
async def test_a_revoked_attempt_cannot_be_admitted_again(world: World, *, was_known: bool) -> None:
    if was_known:
        await world.plane.admit()
    await world.plane.revoke()
    await world.plane.revoke()
    with pytest.raises(RemoteRefusal) as refusal:  # also when the revoke overtook the admit
        await world.plane.admit()
    assert refusal.value.remote_status == 409
    await world.plane.admit(attempt=2)


async def test_a_token_or_an_attempt_of_another_is_refused(world: World) -> None:
    token = await world.plane.admit()
    with pytest.raises(RemoteRefusal, match="belongs to another attempt"):
        await world.plane.admit(attempt=2, token=token)
    with pytest.raises(RemoteRefusal, match="another owner"):
        await world.plane.admit(owner="user-0000000000000002")


async def test_only_the_hash_of_a_token_is_stored(world: World) -> None:
    token = await world.plane.admit()
    stored = [*await world.rows("SELECT job_tokens::text AS row FROM job_tokens")]
    assert all(token not in row["row"] for row in stored)


async def test_silence_is_told_when_the_service_could_hear_and_not_before(world: World, token: str) -> None:
    await world.post("heartbeat", heartbeat(1), token)
    await world.until_rows("SELECT * FROM attempt_reports WHERE heartbeat_sequence = 1")
    # The broker stamps with its own clock; ours stands a minute later.
    await world.rows("UPDATE attempt_reports SET last_heard_at = $1", world.clock.now())
    world.clock.advance(timedelta(minutes=5))
    assert (await world.report()).last_heard_at == world.clock.now() - timedelta(minutes=5)


async def test_after_a_start_a_silent_pod_gets_time_to_be_heard(world: World, token: str) -> None:
    await world.post("heartbeat", heartbeat(1), token)
    await world.until_rows("SELECT * FROM attempt_reports WHERE heartbeat_sequence = 1")
    await world.rows("UPDATE attempt_reports SET last_heard_at = $1", world.clock.now() - timedelta(minutes=5))
    world.clock.advance(timedelta(seconds=-50))  # ten seconds after the start
    with pytest.raises(ServiceUnavailable, match="could not hear"):
        await world.report()
    await world.post("exit", ending(), token)
    await world.until_rows("SELECT * FROM attempt_reports WHERE exit_facts IS NOT NULL")
    assert (await world.report()).exit is not None, "whoever said good-bye is not silent"


async def test_many_reports_in_one_answer_are_those_of_single_questions(world: World, token: str) -> None:
    await world.post("heartbeat", heartbeat(1), token)
    await world.until_rows("SELECT * FROM attempt_reports WHERE heartbeat_sequence = 1")
    told = await world.plane.deployer.ask(REPORTS, ReportsRequest(attempts=[ASKED, NEVER_HEARD]))
    assert told.exited == []
    assert told.reports == [await world.report(), await world.report(attempt=7)]


async def test_what_is_not_known_or_long_is_left_out_of_an_answer_for_many(world: World, token: str) -> None:
    await world.post("heartbeat", heartbeat(1), token)
    await world.until_rows("SELECT * FROM attempt_reports WHERE heartbeat_sequence = 1")
    await world.rows("UPDATE attempt_reports SET last_heard_at = $1", world.clock.now() - timedelta(minutes=5))
    world.clock.advance(timedelta(seconds=-50))  # ten seconds after the start
    told = await world.plane.deployer.ask(REPORTS, ReportsRequest(attempts=[ASKED]))
    assert (told.reports, told.exited) == ([], []), "silence that is not proven"
    await world.post("exit", ending(), token)
    await world.until_rows("SELECT * FROM attempt_reports WHERE exit_facts IS NOT NULL")
    told = await world.plane.deployer.ask(REPORTS, ReportsRequest(attempts=[ASKED]))
    assert (told.reports, told.exited) == ([], [ASKED])
