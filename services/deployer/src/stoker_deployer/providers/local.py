"""Provider `local`: a training server of ours, on this machine or another one."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Literal, TypeVar

import httpx
from pydantic import AwareDatetime, BaseModel, SecretStr, ValidationError

from stoker_deployer.providers.base import (
    Alive,
    AliveKind,
    Bills,
    Exited,
    Gone,
    LogPiece,
    Machine,
    MachineOrder,
    MachineState,
    Provider,
    Unknown,
)
from stoker_deployer.providers.errors import HubUnreachable, ModelNotFound, NotBilled
from stoker_deployer.providers.http_errors import no_answer, problem_code, refusal
from stoker_shared.errors import ProviderError, UnknownOutcome
from stoker_shared.money import MicroUsd
from stoker_shared.rpc.deployer import ModelFacts, Offer, OffersQuery, ProviderHealth

_LOG_PIECE_BYTES = 256 * 1024
# Reading a model's configuration from the hub takes longer than asking for a state.
_INSPECT_SECONDS = 25.0
_KEEPALIVE_SECONDS = 2.0

ModelT = TypeVar("ModelT", bound=BaseModel)


class _Machine(BaseModel):
    name: str
    state: Literal["queued", "starting", "running", "exited", "terminated"]
    exit_code: int | None = None
    started_at: AwareDatetime | None = None
    ended_at: AwareDatetime | None = None
    price_micro_usd_per_hour: int | None = None
    billed_micro_usd: int | None = None


class _MachineList(BaseModel):
    machines: list[_Machine]


class _Offer(BaseModel):
    gpu_type: str
    gpu_count_max: int
    vram_bytes: int | None = None
    memory_bytes: int | None = None
    price_micro_usd_per_hour: int


class _OfferList(BaseModel):
    offers: list[_Offer]


class _Logs(BaseModel):
    text: str
    next_offset: int


class LocalProvider(Provider, Bills):
    """HTTP client of the training server. A machine's handle is its name.

    A training server of one's own sends no bills; one that does says so in the facts about a machine.
    """

    name = "local"

    def __init__(
        self,
        url: str,
        *,
        api_key: SecretStr,
        timeout: timedelta = timedelta(seconds=5),
        launch_timeout: timedelta = timedelta(seconds=10),
    ) -> None:
        self.launch_timeout = launch_timeout
        self._client = httpx.AsyncClient(
            base_url=url,
            headers={"Authorization": f"Bearer {api_key.get_secret_value()}"},
            timeout=httpx.Timeout(timeout.total_seconds()),
            # Shorter than the server keeps idle connections: a launch on one that it is just closing is lost.
            limits=httpx.Limits(keepalive_expiry=_KEEPALIVE_SECONDS),
            # A training server stands in our own network; a proxy of the surroundings must not come between.
            trust_env=False,
        )

    async def offers(self, query: OffersQuery) -> list[Offer]:
        """What the training server offers; it queues what does not run at once, so all of it is available."""
        listed = _parse(_OfferList, await self._get("/v1/offers"))
        found = [made for offer in listed.offers if (made := _as_offer(offer, query, provider=self.name))]
        return sorted(found, key=lambda offer: offer.price_micro_usd_per_hour)

    async def inspect_model(
        self,
        name_or_path: str,
        *,
        hub_token: SecretStr | None = None,  # noqa: ARG002 - the contract
    ) -> ModelFacts:
        """What the training server finds under that name, with what it has itself: a token is not sent there."""
        response = await self._ask(
            "POST",
            "/v1/models/inspect",
            json={"name_or_path": name_or_path},
            timeout=httpx.Timeout(_INSPECT_SECONDS),
        )
        if response.status_code == 404 and problem_code(response) == "model_not_found":
            raise ModelNotFound(self.name, name_or_path)
        if response.status_code == 503 and problem_code(response) == "hub_unreachable":
            raise HubUnreachable(self.name, "the model hub does not answer the training server")
        return _parse(ModelFacts, self._accepted(response))

    async def launch(self, order: MachineOrder) -> Machine:
        """Ask the training server for a machine."""
        body = {"name": order.name, "env": dict(order.environment), "gpu_count": order.gpu_count}
        seconds = self.launch_timeout.total_seconds()
        try:
            # One deadline for the whole call: the client's own timeouts count each read anew.
            async with asyncio.timeout(seconds):
                response = await self._ask("POST", "/v1/machines", json=body, timeout=httpx.Timeout(seconds))
        except TimeoutError as error:
            raise UnknownOutcome(self.name, "no answer to a launch in time", next_step="Stoker looks.") from error
        return _as_machine(_parse(_Machine, self._accepted(response)))

    async def describe(self, handle: str) -> MachineState:
        """The state of one machine; a name the training server does not know is gone."""
        try:
            found = await self.find(handle)
        except ProviderError as error:
            return Unknown(error.detail)
        return found[0].state if found else Gone()

    async def find(self, name: str) -> list[Machine]:
        """The machine of that name, if the training server knows it."""
        machine = await self._machine(name)
        return [] if machine is None else [_as_machine(machine)]

    async def billed(self, handle: str) -> MicroUsd | None:
        """What the training server charges, if it does."""
        machine = await self._machine(handle)
        if machine is None or "billed_micro_usd" not in machine.model_fields_set:
            raise NotBilled(self.name, f"no bill is kept of {handle}", next_step="Nothing is to be done.")
        return None if machine.billed_micro_usd is None else MicroUsd(machine.billed_micro_usd)

    async def _machine(self, name: str) -> _Machine | None:
        response = await self._ask("GET", f"/v1/machines/{name}")
        # Another 404 comes from something that is not the training server.
        if response.status_code == 404 and problem_code(response) == "machine_not_found":
            return None
        if response.status_code == 404:
            raise UnknownOutcome(self.name, "a 404 that is not the training server's", next_step="Check LOCAL_URL.")
        return _parse(_Machine, self._accepted(response))

    async def list_machines(self) -> list[Machine]:
        """All machines that the training server remembers."""
        listed = _parse(_MachineList, await self._get("/v1/machines"))
        return [_as_machine(machine) for machine in listed.machines]

    async def terminate(self, handle: str) -> None:
        """Tell the training server to end the machine."""
        response = await self._ask("DELETE", f"/v1/machines/{handle}")
        if response.status_code != 404:
            self._accepted(response)

    async def logs(self, handle: str, *, offset: int) -> LogPiece:
        """The machine's output as the training server kept it."""
        response = await self._ask(
            "GET", f"/v1/machines/{handle}/logs", params={"offset": offset, "limit": _LOG_PIECE_BYTES}
        )
        if response.status_code == 404:
            return LogPiece(text="", next_offset=offset)
        piece = _parse(_Logs, self._accepted(response))
        return LogPiece(text=piece.text, next_offset=piece.next_offset)

    async def health(self) -> ProviderHealth:
        """Whether the training server answers and accepts the key."""
        try:
            await self._get("/v1/offers")
        except ProviderError as error:
            return ProviderHealth(
                provider=self.name,
                is_usable=False,
                detail=error.detail,
                next_step=error.next_step,
                machines_are_here=True,
            )
        return ProviderHealth(provider=self.name, is_usable=True, machines_are_here=True)

    async def close(self) -> None:
        """Close connections."""
        await self._client.aclose()

    async def _get(self, path: str) -> httpx.Response:
        return self._accepted(await self._ask("GET", path))

    async def _ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            return await self._client.request(method, path, **options)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise no_answer(self.name, error) from error

    def _accepted(self, response: httpx.Response) -> httpx.Response:
        if response.is_success:
            return response
        raise refusal(self.name, response)


def _as_offer(offer: _Offer, query: OffersQuery, *, provider: str) -> Offer | None:
    # Asking for no number means one GPU, or none where there is none.
    wanted = min(1, offer.gpu_count_max) if query.gpu_count is None else query.gpu_count
    has_another_kind = (wanted == 0) != (offer.gpu_count_max == 0)
    if has_another_kind or wanted > offer.gpu_count_max or query.gpu_type not in (None, offer.gpu_type):
        return None
    return Offer(
        provider=provider,
        gpu_type=offer.gpu_type,
        gpu_count=wanted,
        vram_bytes=offer.vram_bytes,
        memory_bytes=offer.memory_bytes,
        price_micro_usd_per_hour=offer.price_micro_usd_per_hour,
    )


def _as_machine(machine: _Machine) -> Machine:
    return Machine(
        name=machine.name,
        handle=machine.name,
        state=_STATES[machine.state](machine),
        price_micro_usd_per_hour=machine.price_micro_usd_per_hour,
    )


_STATES: dict[str, Callable[[_Machine], MachineState]] = {
    "queued": lambda machine: Alive(AliveKind.QUEUED, machine.started_at),
    "starting": lambda machine: Alive(AliveKind.STARTING, machine.started_at),
    "running": lambda machine: Alive(AliveKind.RUNNING, machine.started_at),
    "exited": lambda machine: Exited(machine.exit_code, machine.started_at, machine.ended_at),
    "terminated": lambda machine: Gone(machine.started_at, machine.ended_at),
}


def _parse(model: type[ModelT], response: httpx.Response) -> ModelT:
    try:
        return model.model_validate_json(response.content)
    except ValidationError as error:
        where = f"{response.request.method} {response.request.url.path}"
        raise UnknownOutcome(
            LocalProvider.name,
            f"the answer to {where} does not have the form it should ({error.error_count()} faults)",
            next_step="Check that LOCAL_URL is a training server of the same version.",
        ) from error
