"""The cheapest real pod, for less than a dollar: is RunPod as the simulator says?

The pod runs the script that every pod runs. Nobody is there to report to, so it must say so in its log and end itself
with the key that RunPod gave it: what no document tells for certain. `STOKER_LIVE_RUNPOD_URL` names another RunPod.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

import pytest
from pydantic import SecretStr

from stoker_deployer.pods.release import RunpodRelease
from stoker_deployer.pods.script import PodScript, container_command, render, trainer_lock
from stoker_deployer.providers import Alive, AliveKind, Gone, MachineOrder
from stoker_deployer.providers.hub import Hub
from stoker_deployer.providers.runpod import RunpodProvider, RunpodSettings, runpod_http_client
from stoker_shared.clock import SystemClock
from stoker_shared.identifiers import new_identifier
from stoker_shared.money import ONE_USD, show_usd
from stoker_shared.rpc.deployer import Offer, OffersQuery
from stoker_shared.tokens import mint_token

T = TypeVar("T")

BUDGET = ONE_USD
LONGEST = timedelta(minutes=20)
URL = os.environ.get("STOKER_LIVE_RUNPOD_URL", RunpodSettings().url)
NOBODY = "https://nobody.invalid/v1/jobs/job"

pytestmark = pytest.mark.timeout(LONGEST.total_seconds() + 300)


@pytest.fixture
async def provider() -> AsyncIterator[RunpodProvider]:
    """The account of the key."""
    settings = RunpodSettings(url=URL, graphql_url=f"{URL.removesuffix('/v2')}/graphql", disk_gb=20, volume_gb=10)
    async with runpod_http_client(settings) as http:
        yield RunpodProvider(
            SecretStr(os.environ["RUNPOD_API_KEY"]),
            settings=settings,
            http=http,
            clock=SystemClock(),
            hub=Hub(http, provider="runpod"),
        )


async def test_the_cheapest_pod_tells_why_it_cannot_train_and_ends_itself(provider: RunpodProvider) -> None:
    health = await provider.health()
    assert health.is_usable, health.detail
    offer = await _cheapest(provider)
    assert offer.price_micro_usd_per_hour * (LONGEST / timedelta(hours=1)) < BUDGET, "too dear for this test"
    order = _order(offer)
    print(f"{health.detail}; {offer.gpu_type} in {offer.place} at {show_usd(offer.price_micro_usd_per_hour)} per hour")
    launched = await provider.launch(order)
    try:
        assert [machine.handle for machine in await provider.find(order.name)] == [launched.handle]
        await _until(lambda: _runs(provider, launched.handle), "it runs")
        log = await _until(lambda: _log(provider, launched.handle, "nobody.invalid"), "it tells whom it cannot reach")
        print(log)
        assert order.environment["JOB_TOKEN"] not in log
        await _until(lambda: _is_gone(provider, launched.handle), "it has ended itself")
    finally:
        await provider.terminate(launched.handle)
        await _until(lambda: _is_gone(provider, launched.handle), "it is gone")
    assert launched.handle not in [machine.handle for machine in await provider.list_machines()]


async def _cheapest(provider: RunpodProvider) -> Offer:
    offers = await provider.offers(OffersQuery(gpu_count=1))
    return next(offer for offer in offers if offer.is_available)


def _order(offer: Offer) -> MachineOrder:
    script = PodScript(
        version="live-test",
        lock=trainer_lock(),
        release=RunpodRelease(URL),
        deadline=LONGEST,
        landing=timedelta(minutes=1),
        disk_needed_bytes=1_000_000,
    )
    name = f"{new_identifier('job')}-1"
    return MachineOrder(
        name=name,
        gpu_type=offer.gpu_type,
        gpu_count=offer.gpu_count,
        place=offer.place,
        command=container_command(render(script)),
        environment={
            "JOB_ID": name.rpartition("-")[0],
            "JOB_ATTEMPT": "1",
            "JOB_TOKEN": mint_token().get_secret_value(),
            "METRICS_API_URL": f"{NOBODY}/metrics",
            "ALERT_API_URL": f"{NOBODY}/alerts",
            "ARTIFACTS_API_URL": f"{NOBODY}/artifacts",
            "DATASET_URL": f"{NOBODY}/dataset",
            "TRAINER_BUNDLE_URL": f"{NOBODY}/trainer",
            "TRAINER_BUNDLE_SHA256": "0" * 64,
        },
    )


async def _runs(provider: RunpodProvider, handle: str) -> bool:
    state = await provider.describe(handle)
    return isinstance(state, Alive) and state.kind == AliveKind.RUNNING


async def _log(provider: RunpodProvider, handle: str, expected: str) -> str:
    text = (await provider.logs(handle, offset=0)).text
    return text if expected in text else ""


async def _is_gone(provider: RunpodProvider, handle: str) -> bool:
    return isinstance(await provider.describe(handle), Gone)


async def _until(question: Callable[[], Awaitable[T]], what: str) -> T:
    async with asyncio.timeout(LONGEST.total_seconds()):
        while not (answer := await question()):  # noqa: ASYNC110 - nothing tells of a change
            await asyncio.sleep(2)
    print(f"yes: {what}")
    return answer
