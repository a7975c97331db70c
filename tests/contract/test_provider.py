"""What each provider must do. To add one: a fixture that yields a `Subject`, and its name in `SUBJECTS`."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import httpx
import numpy as np
import pytest
from pydantic import SecretStr
from safetensors.numpy import save_file

from stoker_deployer.providers import Alive, Exited, Gone, MachineState, Provider, Unknown
from stoker_deployer.providers.errors import ModelNotFound
from stoker_deployer.providers.local import LocalProvider
from stoker_shared.clock import SystemClock
from stoker_shared.errors import AuthFailed, NoCapacity, ProviderError, RateLimited, UnknownOutcome
from stoker_shared.identifiers import new_identifier
from stoker_shared.rpc.deployer import OffersQuery
from tests.contract.subject import Subject, an_order
from tests.simulators.hostile.cloud import Cloud
from tests.simulators.hostile.provider import KNOWN_MODEL, HostileProvider
from tests.simulators.running import RunningSimulator, running_simulator
from tests.simulators.training_server import KEY
from tests.support.ports import free_port

TIMEOUT = timedelta(seconds=2)
GONE_WITHIN_SECONDS = 40.0


def _local(url: str, key: str) -> LocalProvider:
    return LocalProvider(url, api_key=SecretStr(key), timeout=TIMEOUT, launch_timeout=TIMEOUT)


def _local_subject(url: str, key: str, *, known_model: str, end_work: Callable[[str], None]) -> Subject:
    return Subject(
        provider=_local(url, key),
        with_wrong_key=_local(url, "not-the-key-at-all"),
        with_nobody_there=_local(f"http://127.0.0.1:{free_port()}", key),
        known_model=known_model,
        end_work=end_work,
    )


@contextmanager
def _simulated(_folder: Path) -> Iterator[Callable[[], Subject]]:
    with running_simulator() as running:
        yield lambda: _local_subject(running.url, KEY, known_model="tiny", end_work=lambda name: _move(running, name))


def _move(running: RunningSimulator, name: str) -> None:
    running.simulator.move(name, "exited", exit_code=2)


def _ends_by_itself(_name: str) -> None:
    """Without a control plane to speak to, a real pod ends with an error."""


@contextmanager
def _real(folder: Path) -> Iterator[Callable[[], Subject]]:
    port, key = free_port(), "real-training-server-key"
    model = _model_folder(folder / "models" / "tiny")
    own = {
        "STOKER_TRAINING_SERVER_PORT": str(port),
        "STOKER_TRAINING_SERVER_API_KEY": key,
        "STOKER_TRAINING_SERVER_DATA_DIR": str(folder / "data"),
        "STOKER_TRAINING_SERVER_MODEL_ROOTS": str(model.parent),
        "STOKER_TRAINING_SERVER_TERMINATE_GRACE": "2",
        "STOKER_TRAINING_SERVER_CPU_SLOTS": "2",
    }
    with (folder / "log").open("wb") as log:
        command = [sys.executable, "-m", "stoker_trainer.server"]
        process = subprocess.Popen(command, env={**os.environ, **own}, stdout=log, stderr=log)
        try:
            _wait_until_it_listens(process, port, folder / "log")
            url = f"http://127.0.0.1:{port}"
            yield lambda: _local_subject(url, key, known_model=str(model), end_work=_ends_by_itself)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=20)


def _model_folder(folder: Path) -> Path:
    folder.mkdir(parents=True)
    sizes = {"hidden_size": 4, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 8}
    (folder / "config.json").write_text(json.dumps({"architectures": ["LlamaForCausalLM"], **sizes}))
    save_file({"weight": np.zeros((8, 4), dtype=np.float32)}, folder / "model.safetensors")
    return folder


def _wait_until_it_listens(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=2).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError(f"not ready:\n{log.read_text()}")


@contextmanager
def _hostile(_folder: Path) -> Iterator[Callable[[], Subject]]:
    # The simulator of the property tests, when it behaves: what it breaks on purpose, it keeps here.
    cloud = Cloud(SystemClock())
    nowhere = Cloud(SystemClock(), is_away=True)
    yield lambda: Subject(
        provider=HostileProvider(cloud),
        with_wrong_key=HostileProvider(cloud, key="not-the-key-at-all"),
        with_nobody_there=HostileProvider(nowhere),
        known_model=KNOWN_MODEL,
        end_work=lambda handle: cloud.exit(handle, 2, cloud.clock.now()),
    )


@contextmanager
def _runpod(folder: Path) -> Iterator[Callable[[], Subject]]:
    # Imported here: its simulator is a package of its own, which the others do not need.
    from tests.contract.runpod_accounts import runpod_subjects

    _model_folder(folder / "models" / "tiny")
    with runpod_subjects(folder, known_model="tiny") as make:
        yield make


SUBJECTS = {"local, simulated": _simulated, "local, real": _real, "hostile": _hostile, "runpod, simulated": _runpod}


@pytest.fixture(scope="module", params=list(SUBJECTS), ids=list(SUBJECTS))
def _make_subject(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[], Subject]]:
    with SUBJECTS[request.param](tmp_path_factory.mktemp("provider")) as make:
        yield make


@pytest.fixture
async def subject(_make_subject: Callable[[], Subject]) -> AsyncIterator[Subject]:
    """The provider, with connections that belong to this test's event loop."""
    made = _make_subject()
    yield made
    for provider in (made.provider, made.with_wrong_key, made.with_nobody_there):
        await provider.close()
    if made.close is not None:
        await made.close()


async def _until(question: Callable[[], Awaitable[MachineState]], wanted: type[MachineState]) -> MachineState:
    async with asyncio.timeout(GONE_WITHIN_SECONDS):
        while True:
            state = await question()
            if isinstance(state, wanted):
                return state
            await asyncio.sleep(0.05)


async def test_offers_are_priced_and_sorted(subject: Subject) -> None:
    offers = await subject.provider.offers(OffersQuery())
    assert offers
    assert all(offer.provider == subject.provider.name for offer in offers)
    assert [offer.price_micro_usd_per_hour for offer in offers] == sorted(o.price_micro_usd_per_hour for o in offers)


async def test_offers_of_a_gpu_type_that_nobody_has_are_empty(subject: Subject) -> None:
    assert await subject.provider.offers(OffersQuery(gpu_type="no-such-gpu")) == []


async def test_a_machine_without_gpu_is_no_answer_to_a_question_for_gpus(subject: Subject) -> None:
    offers = await subject.provider.offers(OffersQuery(gpu_count=1))
    assert all(offer.gpu_count == 1 for offer in offers)


async def test_a_known_model_is_described(subject: Subject) -> None:
    facts = await subject.provider.inspect_model(subject.known_model)
    assert facts.parameters > 0
    assert facts.layers > 0


async def test_an_unknown_model_is_not_found(subject: Subject) -> None:
    with pytest.raises(ModelNotFound):
        await subject.provider.inspect_model("/nowhere/no-such-model")


async def test_a_launched_machine_is_found_by_its_name_and_described_by_its_handle(subject: Subject) -> None:
    order = subject.order()
    launched = await subject.provider.launch(order)
    assert launched.name == order.name
    assert [found.handle for found in await subject.provider.find(order.name)] == [launched.handle]
    assert launched.handle in [machine.handle for machine in await subject.provider.list_machines()]
    assert isinstance(await subject.provider.describe(launched.handle), Alive | Exited)
    await subject.provider.terminate(launched.handle)


async def test_launching_a_name_again_makes_no_second_machine(subject: Subject) -> None:
    order = subject.order()
    first = await subject.provider.launch(order)
    try:
        second = await subject.provider.launch(order)
    except ProviderError:
        second = first
    assert second.handle == first.handle
    assert len(await subject.provider.find(order.name)) == 1
    await subject.provider.terminate(first.handle)


async def test_a_name_taken_with_other_content_is_a_reason_to_look(subject: Subject) -> None:
    order = subject.order(JOB_TOKEN="one")
    launched = await subject.provider.launch(order)
    with pytest.raises(UnknownOutcome):
        await subject.provider.launch(subject.order(order.name, JOB_TOKEN="another"))
    await subject.provider.terminate(launched.handle)


async def test_a_terminated_machine_is_gone_in_the_end_and_can_be_terminated_again(subject: Subject) -> None:
    launched = await subject.provider.launch(subject.order())
    await subject.provider.terminate(launched.handle)
    await subject.provider.terminate(launched.handle)
    gone = await _until(lambda: subject.provider.describe(launched.handle), Gone)
    assert isinstance(gone, Gone)
    await subject.provider.terminate(launched.handle)


async def test_the_end_of_a_machine_that_ran_is_dated(subject: Subject) -> None:
    launched = await subject.provider.launch(subject.order())
    await _until(lambda: _started(subject.provider, launched.handle), Alive)
    await subject.provider.terminate(launched.handle)
    gone = await _until(lambda: subject.provider.describe(launched.handle), Gone)
    assert isinstance(gone, Gone)
    if subject.tells_ends:
        assert gone.started_at is not None
        assert gone.ended_at is not None
        assert gone.ended_at >= gone.started_at
    else:
        assert gone.ended_at is None


async def _started(provider: Provider, handle: str) -> MachineState:
    state = await provider.describe(handle)
    has_started = isinstance(state, Alive | Exited) and state.started_at is not None
    return Alive(state.kind) if has_started and isinstance(state, Alive) else Unknown("not started")


async def test_a_machine_whose_work_has_ended_says_so_and_can_be_terminated(subject: Subject) -> None:
    launched = await subject.provider.launch(subject.order())
    subject.end_work(launched.handle)
    exited = await _until(lambda: subject.provider.describe(launched.handle), Exited)
    assert isinstance(exited, Exited)
    assert (exited.exit_code is None) != subject.tells_ends
    assert exited.exit_code != 0
    assert (exited.ended_at is None) != subject.tells_ends
    await subject.provider.terminate(launched.handle)
    await _until(lambda: subject.provider.describe(launched.handle), Gone)


async def test_an_unknown_machine_is_gone_and_terminating_it_is_no_error(subject: Subject) -> None:
    nobody = f"{new_identifier('job')}-1"
    assert await subject.provider.find(nobody) == []
    assert isinstance(await subject.provider.describe(nobody), Gone)
    await subject.provider.terminate(nobody)


async def test_logs_continue_from_an_offset(subject: Subject) -> None:
    launched = await subject.provider.launch(subject.order())
    piece = await subject.provider.logs(launched.handle, offset=0)
    after = await subject.provider.logs(launched.handle, offset=piece.next_offset)
    assert after.next_offset >= piece.next_offset >= len(piece.text.encode())
    await subject.provider.terminate(launched.handle)


async def test_logs_of_an_unknown_machine_are_empty(subject: Subject) -> None:
    piece = await subject.provider.logs(f"{new_identifier('job')}-1", offset=7)
    assert (piece.text, piece.next_offset) == ("", 7)


async def test_health_is_good(subject: Subject) -> None:
    assert (await subject.provider.health()).is_usable


async def test_a_wrong_key_is_told_from_an_absent_machine(subject: Subject) -> None:
    wrong = subject.with_wrong_key
    with pytest.raises(AuthFailed):
        await wrong.launch(subject.order())
    with pytest.raises(AuthFailed):
        await wrong.find("job-0000000000000000-1")
    assert isinstance(await wrong.describe("job-0000000000000000-1"), Unknown)
    health = await wrong.health()
    assert not health.is_usable
    assert health.next_step


async def test_a_provider_that_does_not_answer_is_unknown_and_never_gone(subject: Subject) -> None:
    absent = subject.with_nobody_there
    assert isinstance(await absent.describe("job-0000000000000000-1"), Unknown)
    assert not (await absent.health()).is_usable
    for call in (absent.launch(subject.order()), absent.find("x"), absent.list_machines(), absent.terminate("x")):
        with pytest.raises(UnknownOutcome):
            await call


async def test_an_order_does_not_show_its_secrets() -> None:
    assert "hidden" not in repr(an_order(JOB_TOKEN="hidden"))


FAULTS = {
    "server_error": UnknownOutcome,
    "done_then_500": UnknownOutcome,
    "lose_answer": UnknownOutcome,
    "hang": UnknownOutcome,
    "no_capacity": NoCapacity,
    "rate_limited": RateLimited,
}


@pytest.fixture
def broken() -> Iterator[RunningSimulator]:
    """A training server that can be made to fail."""
    with running_simulator() as running:
        yield running


@pytest.mark.parametrize(("kind", "error"), FAULTS.items())
async def test_a_failed_launch_is_told_apart_and_never_tried_twice(
    broken: RunningSimulator, kind: str, error: type[ProviderError]
) -> None:
    provider, order = _local(broken.url, KEY), an_order()
    broken.simulator.break_next("launch", kind)  # type: ignore[arg-type]
    with pytest.raises(error):
        await provider.launch(order)
    was_made = kind in ("done_then_500", "lose_answer")
    assert len(await provider.find(order.name)) == int(was_made)
    assert len(broken.simulator.launches(order.name)) == 1
    await provider.close()


@pytest.mark.parametrize("kind", ["server_error", "hang", "rate_limited", "lose_answer"])
async def test_a_failed_look_is_unknown(broken: RunningSimulator, kind: str) -> None:
    provider, order = _local(broken.url, KEY), an_order()
    await provider.launch(order)
    broken.simulator.break_next("describe", kind)  # type: ignore[arg-type]
    assert isinstance(await provider.describe(order.name), Unknown)
    await provider.close()


async def test_an_answer_that_makes_no_sense_is_unknown(broken: RunningSimulator) -> None:
    elsewhere = _local(f"{broken.url}/admin", KEY)  # answers, but is no training server
    assert isinstance(await elsewhere.describe("job-0000000000000000-1"), Unknown)
    with pytest.raises(ProviderError):
        await elsewhere.list_machines()
    await elsewhere.close()
