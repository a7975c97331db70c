"""The network between the deployer and each of its peers breaks for a while; the job ends once nevertheless.

The deployer speaks to metrics service and dataset gateway through the broker, so these are the broker's cases.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest

from stoker.stack.services import SERVICES, ServiceSpec, StackFacts
from stoker.stack.standalone import LoopThread
from tests.chaos.holds import until
from tests.chaos.outcomes import Outcome, examine, model_is_whole
from tests.support.live_stack import LiveStack, live_stack, tiny_recipe
from tests.support.tcp_proxy import TcpProxy, Weather

STEPS = 240
SECONDS = 15
# Which of the deployer's settings leads to whom.
PEERS = {
    "nats": "STOKER_DEPLOYER_NATS_URL",
    "postgres": "STOKER_DEPLOYER_DATABASE_URL",
    "training-server": "STOKER_DEPLOYER_LOCAL_URL",
}
WEATHERS: tuple[Weather, ...] = ("slow", "stalled", "reset", "half-open")

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]


@dataclass(frozen=True)
class Broken:
    """A stack whose deployer reaches each peer through a proxy."""

    stack: LiveStack
    proxies: Mapping[str, TcpProxy]


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broken]:
    loop = LoopThread()
    proxies = {peer: TcpProxy(loop) for peer in PEERS}
    services = tuple(through(spec, proxies) if spec.name == "deployer" else spec for spec in SERVICES)
    try:
        with live_stack(tmp_path_factory.mktemp("network") / "data", services=services) as running:
            yield Broken(running, proxies)
    finally:
        for proxy in proxies.values():
            proxy.close()
        loop.close()


def through(deployer: ServiceSpec, proxies: Mapping[str, TcpProxy]) -> ServiceSpec:
    """The deployer with the proxies' addresses in the place of its peers'."""

    def environment(facts: StackFacts) -> dict[str, str]:
        values = deployer.environment(facts)
        for peer, name in PEERS.items():
            parts = urlsplit(values[name])
            assert parts.hostname
            assert parts.port
            proxies[peer].target = (parts.hostname, parts.port)
            netloc = parts.netloc.replace(f":{parts.port}", f":{proxies[peer].port}")
            values[name] = urlunsplit(parts._replace(netloc=netloc))
        return values

    return replace(deployer, environment=environment)


@pytest.mark.parametrize("weather", WEATHERS)
@pytest.mark.parametrize("peer", list(PEERS))
def test_a_broken_network_ends_no_job_and_doubles_none(  # noqa: PLR0917 - fixtures
    broken: Broken,
    tiny_model: Path,
    rows: Path,
    record: Callable[[Outcome], None],
    tmp_path: Path,
    peer: str,
    weather: Weather,
) -> None:
    started, stack = time.monotonic(), broken.stack
    dataset = stack.client.upload_dataset(rows).dataset_version_id
    recipe = tiny_recipe(tiny_model, steps=STEPS)
    plan = stack.client.plan(dataset, recipe=recipe, provider="local", budget_usd="1.00")
    job_id = stack.client.launch(plan).job_id
    until(stack, job_id, "training")
    assert broken.proxies[peer].connections > 0, "the deployer does not speak through the proxy"
    broken.proxies[peer].set(weather)
    time.sleep(SECONDS)
    broken.proxies[peer].set("pass")
    outcome = examine(stack, job_id, where=f"{peer} network", when=weather, steps=STEPS, started=started)
    record(outcome)
    assert outcome.is_sound, outcome.line()
    assert outcome.attempts == 1, outcome.line()
    assert model_is_whole(stack, job_id, tmp_path)
