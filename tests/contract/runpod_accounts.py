"""Providers of one simulated RunPod account, for the contract and for what RunPod breaks."""

import asyncio
import shlex
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import httpx
from pydantic import SecretStr

from stoker_deployer.providers.hub import Hub
from stoker_deployer.providers.runpod import RunpodProvider, RunpodSettings, runpod_http_client
from stoker_deployer.providers.runpod.logs import LogPatience
from stoker_shared.clock import SystemClock
from tests.contract.subject import Subject
from tests.simulators.hub import running_hub
from tests.simulators.runpod.rules import Rules
from tests.simulators.runpod.running import QUICK, RunningRunpod, running_runpod
from tests.support.ports import free_port

T = TypeVar("T")

GPU_TYPE = "NVIDIA RTX A5000"
COMMAND = shlex.join(["bash", "-c", "echo the work has begun; exec sleep 600"])
_PATIENCE = LogPatience(timedelta(milliseconds=500), timedelta(milliseconds=100), timedelta(seconds=2))


@dataclass
class OpenAccount:
    """Connections that belong to one event loop."""

    http: httpx.AsyncClient
    url: str
    key: str
    hub_url: str

    def provider(self, *, key: str | None = None, url: str | None = None) -> RunpodProvider:
        """A provider of this account, or of a key or at an address that is wrong."""
        settings = RunpodSettings(
            url=url or f"{self.url}/v2",
            graphql_url=f"{self.url}/graphql",
            timeout=timedelta(seconds=5),
            launch_timeout=timedelta(seconds=3),
            bill_settles_after=timedelta(0),
        )
        return RunpodProvider(
            SecretStr(key or self.key),
            settings=settings,
            http=self.http,
            clock=SystemClock(),
            hub=Hub(self.http, provider="runpod", url=self.hub_url),
            log_patience=_PATIENCE,
        )

    async def close(self) -> None:
        """Close the connections."""
        await self.http.aclose()


@dataclass
class RunpodAccounts:
    """A running simulator and a hub."""

    runpod: RunningRunpod
    hub_url: str

    def open(self) -> OpenAccount:
        """Connections of the calling event loop."""
        settings = RunpodSettings(url=self.runpod.url)
        return OpenAccount(runpod_http_client(settings), self.runpod.url, self.runpod.key, self.hub_url)

    def end_work(self, handle: str) -> None:
        """A container that ends is started again by RunPod: only one that cannot be is at its end."""
        self.runpod.deal(handle, "container_error")


@contextmanager
def running_accounts(folder: Path, *, rules: Rules = QUICK) -> Iterator[RunpodAccounts]:
    """A simulator of RunPod, and a hub of the models in `folder`/models."""
    (folder / "models").mkdir(exist_ok=True)
    with running_hub(folder / "models") as hub_url, running_runpod(folder / "runpod", rules) as runpod:
        yield RunpodAccounts(runpod, hub_url)


@contextmanager
def runpod_subjects(folder: Path, *, known_model: str) -> Iterator[Callable[[], Subject]]:
    """Ways to make the subject of the contract; the model is in `folder`/models."""
    with running_accounts(folder) as accounts:
        yield lambda: _subject(accounts, known_model=known_model)


def _subject(accounts: RunpodAccounts, *, known_model: str) -> Subject:
    opened = accounts.open()
    return Subject(
        provider=opened.provider(),
        with_wrong_key=opened.provider(key="rpa_NOTTHEKEYATALL"),
        with_nobody_there=opened.provider(url=f"http://127.0.0.1:{free_port()}/v2"),
        known_model=known_model,
        end_work=accounts.end_work,
        gpu_type=GPU_TYPE,
        gpu_count=1,
        tells_ends=False,
        command=COMMAND,
        close=opened.close,
    )


async def eventually(
    question: Callable[[], Awaitable[T | None]], *, raising: type[Exception] | tuple[()] = (), seconds: float = 90
) -> T:
    """Ask until there is an answer that counts. The limit is there for what never comes."""
    async with asyncio.timeout(seconds):
        while True:
            try:
                if answer := await question():
                    return answer
            except raising:
                pass  # not yet
            await asyncio.sleep(0.1)
