"""RunPod at its worst: what the provider says of it, and how many pods there are afterwards."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from stoker_deployer.providers import Alive, Gone, MachineOrder, Unknown
from stoker_deployer.providers.runpod import RunpodProvider
from stoker_shared.errors import (
    AuthFailed,
    InsufficientFunds,
    InvalidRequest,
    NoCapacity,
    ProviderError,
    RateLimited,
    UnknownOutcome,
)
from stoker_shared.identifiers import new_identifier
from stoker_shared.rpc.deployer import OffersQuery
from tests.contract.runpod_accounts import COMMAND, GPU_TYPE, RunpodAccounts, eventually, running_accounts
from tests.simulators.runpod.rules import RIGHTS, AccountRules, KeyRules
from tests.simulators.runpod.running import QUICK


@pytest.fixture(scope="module")
def accounts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunpodAccounts]:
    """One simulator for all; each test heals what it broke."""
    folder: Path = tmp_path_factory.mktemp("runpod")
    with running_accounts(folder) as made:
        yield made


@pytest.fixture
async def provider(accounts: RunpodAccounts) -> AsyncIterator[RunpodProvider]:
    """A provider with connections of this test's event loop."""
    opened = accounts.open()
    yield opened.provider()
    accounts.runpod.heal()
    await opened.close()


def _order(command: str = COMMAND) -> MachineOrder:
    return MachineOrder(
        name=f"{new_identifier('job')}-1",
        gpu_type=GPU_TYPE,
        gpu_count=1,
        place="secure",
        environment={"JOB_TOKEN": "the-token-of-this-job"},
        command=command,
    )


def _pods(accounts: RunpodAccounts, name: str) -> list[str]:
    return [pod["id"] for pod in accounts.runpod.pods() if pod["name"] == name]


FAULTS: dict[str, tuple[type[ProviderError], int]] = {
    "server_error": (UnknownOutcome, 0),
    "unavailable": (UnknownOutcome, 0),
    "bad_gateway": (UnknownOutcome, 0),
    "cloudflare": (UnknownOutcome, 0),
    "unauthorized": (AuthFailed, 0),
    "forbidden": (AuthFailed, 0),
    "not_found": (InvalidRequest, 0),
    "rate_limited": (RateLimited, 0),
    "insufficient_balance": (InsufficientFunds, 0),
    "bad_request": (InvalidRequest, 0),
    "no_capacity": (NoCapacity, 0),
    "hang": (UnknownOutcome, 0),
    "done_then_500": (UnknownOutcome, 1),
    "lost_answer": (UnknownOutcome, 1),
    "nonsense": (UnknownOutcome, 1),
}


@pytest.mark.parametrize(("kind", "expected"), FAULTS.items(), ids=FAULTS.keys())
async def test_a_failed_order_is_told_apart_and_never_sent_twice(
    accounts: RunpodAccounts, provider: RunpodProvider, kind: str, expected: tuple[type[ProviderError], int]
) -> None:
    error, made = expected
    order = _order()
    accounts.runpod.break_next(kind, operation="create")
    with pytest.raises(error) as refused:
        await provider.launch(order)
    assert "the-token-of-this-job" not in str(refused.value)
    assert len(_pods(accounts, order.name)) == made


@pytest.mark.parametrize("kind", ["done_then_500", "lost_answer", "nonsense"])
async def test_a_pod_whose_order_had_no_answer_is_found_and_not_ordered_again(
    accounts: RunpodAccounts, provider: RunpodProvider, kind: str
) -> None:
    order = _order()
    accounts.runpod.break_next(kind, operation="create")
    with pytest.raises(UnknownOutcome):
        await provider.launch(order)
    (found,) = await provider.find(order.name)
    assert (await provider.launch(order)).handle == found.handle
    assert _pods(accounts, order.name) == [found.handle]
    await provider.terminate(found.handle)


async def test_an_order_that_is_carried_out_after_nobody_waits_any_more_makes_one_pod(
    accounts: RunpodAccounts, provider: RunpodProvider
) -> None:
    order = _order()
    accounts.runpod.break_next("late", operation="create", seconds=5)
    for _ in range(2):
        with pytest.raises(UnknownOutcome):
            await provider.launch(order)
    assert _pods(accounts, order.name) == []

    async def found() -> str:
        return (await provider.find(order.name))[0].handle

    handle = await eventually(found, raising=UnknownOutcome)
    assert _pods(accounts, order.name) == [handle]
    await provider.terminate(handle)


async def test_a_pod_that_cannot_be_seen_yet_is_not_gone(accounts: RunpodAccounts, provider: RunpodProvider) -> None:
    accounts.runpod.break_next("invisible", seconds=3)
    launched = await provider.launch(_order())
    assert isinstance(await provider.describe(launched.handle), Unknown)
    await eventually(lambda: _is(provider, launched.handle, Alive))
    await provider.terminate(launched.handle)


async def test_a_pod_that_vanished_is_gone(accounts: RunpodAccounts, provider: RunpodProvider) -> None:
    launched = await provider.launch(_order())
    other = accounts.open()
    accounts.runpod.deal(launched.handle, "vanish")
    # A process that does not remember when it was made.
    await eventually(lambda: _is(other.provider(), launched.handle, Gone))
    await other.close()


async def test_a_container_that_ends_is_started_again_and_that_is_noted(accounts: RunpodAccounts) -> None:
    opened = accounts.open()
    provider = opened.provider()
    launched = await provider.launch(_order("bash -c 'echo once more; sleep 3'"))

    async def note() -> str:
        state = await provider.describe(launched.handle)
        return state.note if isinstance(state, Alive) else ""

    assert "started again" in await eventually(note)
    await provider.terminate(launched.handle)
    await opened.close()


async def test_what_a_pod_prints_is_its_log(accounts: RunpodAccounts, provider: RunpodProvider) -> None:
    launched = await provider.launch(_order())

    async def text() -> str:
        piece = await provider.logs(launched.handle, offset=0)
        return piece.text if "the work has begun" in piece.text else ""

    whole = await eventually(text)
    middle = await provider.logs(launched.handle, offset=10)
    assert middle.text.encode().startswith(whole.encode()[10:])
    await provider.terminate(launched.handle)


async def test_what_a_pod_cost_is_billed_when_it_is_gone(accounts: RunpodAccounts, provider: RunpodProvider) -> None:
    launched = await provider.launch(_order())
    # Until it has cost a millionth of a dollar: a quick machine ends it after some milliseconds.
    so_far = await eventually(lambda: provider.billed(launched.handle))
    await provider.terminate(launched.handle)
    await eventually(lambda: _is(provider, launched.handle, Gone))
    billed = await eventually(lambda: provider.billed(launched.handle))
    assert 0 < so_far <= billed < 100_000


async def test_offers_know_clouds_stock_and_prices(accounts: RunpodAccounts, provider: RunpodProvider) -> None:
    accounts.runpod.set_stock(GPU_TYPE, 0, cloud="COMMUNITY")
    offers = {offer.place: offer for offer in await provider.offers(OffersQuery(gpu_type=GPU_TYPE))}
    assert offers["secure"].is_available
    assert offers["secure"].data_centres
    assert not offers["community"].is_available
    with pytest.raises(NoCapacity):
        await provider.launch(MachineOrder(f"{new_identifier('job')}-1", GPU_TYPE, 1, place="community"))


async def test_the_balance_is_known(accounts: RunpodAccounts, provider: RunpodProvider) -> None:
    health = await provider.health()
    assert health.is_usable
    assert health.balance_micro_usd is not None
    assert health.balance_micro_usd > 0


async def test_keys_of_one_account_are_known_to_be_of_one_account(tmp_path: Path) -> None:
    keys = {name: f"rpa_{name}KEYOFATEST" for name in ("FIRST", "SECOND", "NARROW", "STRANGE")}
    annas = AccountRules(
        name="anna",
        keys=(
            KeyRules(key=SecretStr(keys["FIRST"])),  # the simulator gives it a value of its own
            KeyRules(key=SecretStr(keys["SECOND"])),
            KeyRules(key=SecretStr(keys["NARROW"]), rights=RIGHTS - {"account"}),
        ),
    )
    bertas = AccountRules(name="berta", keys=(KeyRules(key=SecretStr(keys["STRANGE"])),))
    with running_accounts(tmp_path, rules=QUICK.model_copy(update={"accounts": (annas, bertas)})) as two:
        opened = two.open()
        first = await opened.provider().account_id()
        assert first
        assert await opened.provider(key=keys["SECOND"]).account_id() == first
        assert await opened.provider(key=keys["NARROW"]).account_id() == ""
        assert await opened.provider(key=keys["STRANGE"]).account_id() not in ("", first)
        await opened.close()


async def test_looks_end_before_runpod_must_refuse_them_and_an_end_is_still_taken(tmp_path: Path) -> None:
    with running_accounts(tmp_path, rules=QUICK.model_copy(update={"quotas": {"minute": 40}})) as scarce:
        opened = scarce.open()
        provider = opened.provider()
        launched = await provider.launch(_order())
        with pytest.raises(RateLimited) as refused:
            for _ in range(50):
                await provider.list_machines()
        assert refused.value.retry_after
        assert isinstance(await provider.describe(launched.handle), Unknown)
        await provider.terminate(launched.handle)
        assert scarce.runpod.pod(launched.handle)["ended_by"]
        assert 429 not in {call["status"] for call in scarce.runpod.calls()}
        await opened.close()


async def _is(provider: RunpodProvider, handle: str, kind: type[object]) -> bool:
    return isinstance(await provider.describe(handle), kind)
