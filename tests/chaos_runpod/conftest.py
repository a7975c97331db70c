"""One system for all faults: each case must leave it, and the cloud, as it found them."""

from collections.abc import Callable, Iterator

import pytest

from stoker.stack.standalone import LoopThread
from tests.chaos_runpod.outcomes import Outcome, table
from tests.chaos_runpod.trouble import PATIENCE, Field
from tests.support.runpod_live import runpod_live
from tests.support.tcp_proxy import TcpProxy
from tests.support.tiny_model import conversations, write_rows

OUTCOMES = pytest.StashKey[list[Outcome]]()


@pytest.fixture(scope="session")
def field(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    """The system, with a proxy between pods and each of the two services that they speak to."""
    loop = LoopThread()
    proxies = {name: TcpProxy(loop) for name in ("metrics", "dataset_gateway")}
    # Users and pods reach the services through them; the services' own probes do not.
    public = {
        "metrics_public_url": f"http://127.0.0.1:{proxies['metrics'].port}",
        "gateway_public_url": f"http://127.0.0.1:{proxies['dataset_gateway'].port}",
    }
    try:
        with runpod_live(tmp_path_factory.mktemp("faults"), deployer=PATIENCE, stack_settings=public) as running:
            facts = running.stack.stack.facts
            assert facts is not None
            for name, proxy in proxies.items():
                proxy.target = ("127.0.0.1", facts.ports[name])
            rows = write_rows(tmp_path_factory.mktemp("data") / "code-words.jsonl", conversations())
            yield Field(running, running.stack.client.upload_dataset(rows).dataset_version_id, proxies)
    finally:
        for proxy in proxies.values():
            proxy.close()
        loop.close()


@pytest.fixture
def record(request: pytest.FixtureRequest) -> Callable[[Outcome], None]:
    """Keeps an outcome for the table at the end of the run."""
    return request.config.stash.setdefault(OUTCOMES, []).append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The table of docs/providers/runpod.md."""
    outcomes = config.stash.get(OUTCOMES, [])
    if not outcomes:
        return
    terminalreporter.section("faults of RunPod")
    for line in table(outcomes):
        terminalreporter.write_line(line)
