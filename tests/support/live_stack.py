"""The whole system for end-to-end and chaos tests: every service as a process, driven through the Python client."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from stoker.client import Client
from stoker.stack.keys import load_or_make_keys
from stoker.stack.postgres_roles import role_of
from stoker.stack.services import SERVICES, ServiceSpec
from stoker.stack.settings import StackSettings
from stoker.stack.stack import Stack
from stoker.stack.standalone import LoopThread
from stoker_shared.recipe import Batch, HeldOut, Length, ModelChoice, Optimiser, Recipe
from tests.support.ports import free_port


@dataclass(frozen=True, slots=True)
class LiveStack:
    """A running stack and a client of it."""

    stack: Stack
    loop: LoopThread
    client: Client

    @property
    def folder(self) -> Path:
        """The data folder."""
        return self.stack.layout.root

    @property
    def api_headers(self) -> dict[str, str]:
        """What signs a request of the first user."""
        return {"Authorization": f"Bearer {self.stack.layout.api_key_file.read_text().strip()}"}

    def database_url(self, service: str) -> str:
        """The address of the database for a service's role."""
        assert self.stack.facts is not None
        return self.stack.facts.postgres.url(role_of(service))

    def kill(self, name: str) -> None:
        """SIGKILL to one process; the supervisor starts it again."""
        self.loop.run(_call(lambda: self.stack.kill(name)))

    def signal(self, name: str, number: int) -> None:
        """A signal to one process; SIGSTOP holds it, SIGCONT lets it go on. Nothing if it is not running."""
        pid = next(status.pid for status in self.stack.statuses if status.name == name)
        if pid is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def restart(self, name: str) -> None:
        """An orderly stop and a start; returns when it is ready again."""
        self.loop.run(self.stack.restart(name))

    def restarts(self, name: str) -> int:
        """How often the supervisor has started a process again."""
        return next(status.restarts for status in self.stack.statuses if status.name == name)

    def has_machine(self, name: str) -> bool:
        """Whether the training server knows a machine of that name."""
        return self._ask_training_server(f"/v1/machines/{name}").status_code == httpx.codes.OK

    def machines(self, job_id: str) -> list[dict[str, Any]]:
        """What the training server knows of a job: one entry for each machine that it ever started."""
        answer = self._ask_training_server("/v1/machines")
        answer.raise_for_status()
        return [machine for machine in answer.json()["machines"] if machine["name"].startswith(f"{job_id}-")]

    def _ask_training_server(self, path: str) -> httpx.Response:
        key = load_or_make_keys(self.stack.layout).training_server_key.get_secret_value()
        url = f"{self.stack.urls['training_server']}{path}"
        return httpx.get(url, headers={"Authorization": f"Bearer {key}"}, timeout=10)


@contextmanager
def live_stack(folder: Path, *, services: Sequence[ServiceSpec] = SERVICES, **settings: Any) -> Iterator[LiveStack]:
    """A stack on a data folder, stopped at the end; `settings` are of `StackSettings`."""
    loop = LoopThread()
    values: dict[str, Any] = {"data_dir": folder, "min_free_disk_bytes": 0, "port": free_port(), **settings}
    stack = Stack(StackSettings(**values), services=services)
    try:
        loop.run(stack.start())
        api_key = stack.layout.api_key_file.read_text().strip()
        with Client(url=stack.urls["api"], api_key=api_key) as client:
            yield LiveStack(stack, loop, client)
    finally:
        loop.run(stack.stop())
        loop.close()


def tiny_recipe(model: Path, *, steps: int, checkpoint_every: int = 0) -> Recipe:
    """A recipe for the tiny model: every step is logged, so every step must arrive."""
    return Recipe(
        model=ModelChoice(name_or_path=str(model)),
        held_out=HeldOut(fraction=0.2, max_rows=16),
        lora=None,
        optimiser=Optimiser(learning_rate=3e-3),
        batch=Batch(per_device=8, max_length=64),
        length=Length(max_steps=steps),
        checkpoint_every_steps=checkpoint_every,
        log_every_steps=1,
        sample_prompts=["What is the code word for bear?"],
        sample_max_new_tokens=12,
    )


async def _call(function: Any) -> None:
    function()
