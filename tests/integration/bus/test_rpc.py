"""Questions and answers: who is not there, who is too late, and errors that cross the wire whole."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import pytest
import structlog.testing

from stoker.stack.standalone import RunningNats
from stoker_shared.bus import RpcClient, answer
from stoker_shared.errors import Conflict, RemoteRefusal, ServiceUnavailable
from stoker_shared.rpc.metrics import REPORT, AttemptReport, ReportRequest
from stoker_shared.trace import current_trace_id, enter_trace
from tests.support.bus import bus_of, kill, raw_client, start, started, until

JOB = "job-0000000000000001"
QUESTION = ReportRequest(job_id=JOB, attempt=1)
IMPATIENT = replace(REPORT, timeout=timedelta(seconds=0.5))

Handler = Callable[[ReportRequest], Awaitable[AttemptReport]]


@asynccontextmanager
async def asking(server: RunningNats, handler: Handler) -> AsyncIterator[RpcClient]:
    metrics = bus_of(server, "metrics")
    answer(metrics, REPORT, handler)
    async with started(metrics), started(bus_of(server, "deployer")) as deployer:
        yield RpcClient(deployer)


async def report(request: ReportRequest) -> AttemptReport:
    return AttemptReport(job_id=request.job_id, attempt=request.attempt, step=7)


async def test_an_answer_comes_back(clean_bus: RunningNats) -> None:
    async with asking(clean_bus, report) as client:
        assert await client.ask(REPORT, QUESTION) == AttemptReport(job_id=JOB, attempt=1, step=7)


async def test_nobody_there_is_told_at_once(clean_bus: RunningNats) -> None:
    async with started(bus_of(clean_bus, "deployer")) as deployer:
        async with asyncio.timeout(2):
            with pytest.raises(ServiceUnavailable, match="it is not running"):
                await RpcClient(deployer).ask(REPORT, QUESTION)


async def test_no_answer_in_time_is_unavailable(clean_bus: RunningNats) -> None:
    may_end = asyncio.Event()

    async def slow(request: ReportRequest) -> AttemptReport:
        await may_end.wait()
        return await report(request)

    async with asking(clean_bus, slow) as client:
        with pytest.raises(ServiceUnavailable, match="Timeout"):
            await client.ask(IMPATIENT, QUESTION)
        may_end.set()


async def test_a_slow_answer_does_not_hold_up_the_next(clean_bus: RunningNats) -> None:
    may_end = asyncio.Event()

    async def sometimes_slow(request: ReportRequest) -> AttemptReport:
        if request.attempt == 1:
            await may_end.wait()
        return await report(request)

    async with asking(clean_bus, sometimes_slow) as client:
        first = asyncio.create_task(client.ask(REPORT, QUESTION))
        assert (await client.ask(IMPATIENT, ReportRequest(job_id=JOB, attempt=2))).attempt == 2
        may_end.set()
        assert (await first).attempt == 1


async def test_a_refusal_crosses_with_code_status_and_words(clean_bus: RunningNats) -> None:
    async def refuse(_request: ReportRequest) -> AttemptReport:
        raise Conflict("The attempt is over.", next_step="Admit the next.")

    async with asking(clean_bus, refuse) as client:
        with pytest.raises(RemoteRefusal) as refusal:
            await client.ask(REPORT, QUESTION)
    error = refusal.value
    assert (error.remote_code, error.remote_status, error.remote_title) == ("conflict", 409, Conflict.title)
    assert (error.detail, error.next_step) == ("The attempt is over.", "Admit the next.")


async def test_what_may_pass_stays_what_may_pass(clean_bus: RunningNats) -> None:
    async def away(_request: ReportRequest) -> AttemptReport:
        raise ServiceUnavailable("PostgreSQL", "ConnectionRefusedError")

    async with asking(clean_bus, away) as client:
        with pytest.raises(ServiceUnavailable, match="PostgreSQL"):
            await client.ask(REPORT, QUESTION)


@pytest.mark.parametrize("fault", [ZeroDivisionError("secret 42"), ValueError("secret 42")])
async def test_an_error_inside_is_told_without_its_words_and_logged_with_them(
    clean_bus: RunningNats, fault: Exception
) -> None:
    async def broken(_request: ReportRequest) -> AttemptReport:
        raise fault

    async with asking(clean_bus, broken) as client:
        with structlog.testing.capture_logs() as logs, pytest.raises(RemoteRefusal) as refusal:
            await client.ask(REPORT, QUESTION)
    assert (refusal.value.remote_code, refusal.value.remote_status) == ("internal_error", 500)
    assert "secret" not in str(refusal.value)
    assert [line["event"] for line in logs if line["log_level"] == "error"] == ["rpc failed"]


async def test_an_answer_that_breaks_its_own_contract_is_not_the_askers_fault(clean_bus: RunningNats) -> None:
    async def broken(request: ReportRequest) -> AttemptReport:
        return AttemptReport(job_id="nonsense", attempt=request.attempt)

    async with asking(clean_bus, broken) as client:
        with pytest.raises(RemoteRefusal) as refusal:
            await client.ask(REPORT, QUESTION)
    assert refusal.value.remote_status == 500


async def test_a_question_that_breaks_the_contract_is_refused(clean_bus: RunningNats) -> None:
    async with asking(clean_bus, report), raw_client(clean_bus, "deployer") as client:
        reply = await client.request(REPORT.subject, b'{"job_id": 3}', timeout=5)
    assert b'"request_invalid"' in reply.data


async def test_the_trace_travels_along(clean_bus: RunningNats) -> None:
    traces: list[str] = []

    async def note(request: ReportRequest) -> AttemptReport:
        traces.append(current_trace_id())
        return await report(request)

    async with asking(clean_bus, note) as client:
        trace = enter_trace(None)
        await client.ask(REPORT, QUESTION)
    assert traces == [trace]


async def test_answers_go_on_after_a_restart_of_the_broker(clean_bus: RunningNats) -> None:
    async with asking(clean_bus, report) as client:
        await kill(clean_bus)
        with pytest.raises(ServiceUnavailable):
            await client.ask(IMPATIENT, QUESTION)
        await start(clean_bus)

        async def answered() -> bool:
            try:
                await client.ask(IMPATIENT, QUESTION)
            except ServiceUnavailable:
                return False
            return True

        await until(answered)


async def test_a_stop_lets_a_running_answer_end(clean_bus: RunningNats) -> None:
    entered, may_end = asyncio.Event(), asyncio.Event()

    async def slow(request: ReportRequest) -> AttemptReport:
        entered.set()
        await may_end.wait()
        return await report(request)

    metrics = bus_of(clean_bus, "metrics")
    answer(metrics, REPORT, slow)
    await metrics.start()
    async with started(bus_of(clean_bus, "deployer")) as deployer:
        asked = asyncio.create_task(RpcClient(deployer).ask(REPORT, QUESTION))
        await entered.wait()
        stopping = asyncio.create_task(metrics.stop())
        await asyncio.sleep(0.2)
        assert not stopping.done()
        may_end.set()
        assert (await asked).step == 7
        await stopping
