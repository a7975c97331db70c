"""Provider `runpod`: the pods of one account. A handle is a pod's id; names are ours and not kept unique."""

import asyncio
from decimal import Decimal

import httpx
from pydantic import SecretStr

from stoker_deployer.pods.release import RunpodRelease
from stoker_deployer.providers.base import (
    Alive,
    Bills,
    Gone,
    LogPiece,
    Machine,
    MachineOrder,
    MachineState,
    Provider,
    RunsContainers,
    Unknown,
)
from stoker_deployer.providers.hub import Hub
from stoker_deployer.providers.runpod.client import RunpodClient
from stoker_deployer.providers.runpod.errors import PROVIDER
from stoker_deployer.providers.runpod.logs import LogPatience, PodLogs
from stoker_deployer.providers.runpod.offers import offers_of
from stoker_deployer.providers.runpod.orders import is_as_ordered, pod_request, volume_gb
from stoker_deployer.providers.runpod.pacing import Urgency
from stoker_deployer.providers.runpod.recent import Recent
from stoker_deployer.providers.runpod.schemas import Pod
from stoker_deployer.providers.runpod.settings import RunpodSettings
from stoker_deployer.providers.runpod.states import machine_of, state_of
from stoker_shared.clock import Clock
from stoker_shared.errors import AuthFailed, InvalidRequest, ProviderError, UnknownOutcome
from stoker_shared.logging import get_logger
from stoker_shared.money import MicroUsd, show_usd, usd
from stoker_shared.rpc.deployer import ModelFacts, Offer, OffersQuery, ProviderHealth

logger = get_logger(__name__)


class RunpodProvider(Provider, Bills, RunsContainers):
    """One key's account. The HTTP client is shared and belongs to whoever made it."""

    name = PROVIDER

    def __init__(
        self,
        key: SecretStr,
        *,
        settings: RunpodSettings,
        http: httpx.AsyncClient,
        clock: Clock,
        hub: Hub,
        log_patience: LogPatience | None = None,
    ) -> None:
        self.launch_timeout = settings.launch_timeout
        self._settings = settings
        self._client = RunpodClient(key, settings=settings, http=http, clock=clock)
        self._logs = PodLogs(self._client, patience=log_patience)
        self._recent = Recent(clock)
        self._hub = hub

    @property
    def release(self) -> RunpodRelease:
        """With the key that RunPod puts into each pod, which holds for that pod only."""
        return RunpodRelease(self._settings.url)

    @property
    def hub_url(self) -> str:
        """The Hugging Face Hub, or a mirror."""
        return self._hub.url

    async def offers(self, query: OffersQuery) -> list[Offer]:
        """Each GPU type in each cloud with its disks priced in; what is out of stock is there, and marked."""
        count = 1 if query.gpu_count is None else query.gpu_count
        if count < 1:
            return []
        clouds = self._settings.clouds
        asked = [self._client.gpu_types(cloud=cloud, count=count, min_cuda=self._settings.min_cuda) for cloud in clouds]
        return offers_of(zip(clouds, await asyncio.gather(*asked), strict=True), query, self._settings)

    async def inspect_model(self, name_or_path: str, *, hub_token: SecretStr | None = None) -> ModelFacts:
        """What the Hugging Face Hub says: pods load models from there."""
        return await self._hub.inspect(name_or_path, token=hub_token)

    async def launch(self, order: MachineOrder) -> Machine:
        """Look for a pod of that name, and order one if there is none. The order goes out once."""
        body = pod_request(order, self._settings)
        try:
            # One deadline for both calls: whoever asked holds its claim no longer.
            async with asyncio.timeout(self.launch_timeout.total_seconds()):
                existing = await self._existing(order, body)
                return machine_of(existing or await self._ordered(order.name, body))
        except TimeoutError as error:
            raise UnknownOutcome(PROVIDER, "no answer to a launch in time", next_step="Stoker looks.") from error

    async def describe(self, handle: str) -> MachineState:
        """The state of one pod. One that has no address and is not in the list is gone, unless it is new."""
        try:
            pod = await self._client.get_pod(handle)
            if pod is None:
                pod = next((listed for listed in await self._client.list_pods() if handle == listed.id), None)
        except ProviderError as error:
            return Unknown(error.detail)
        if pod is not None:
            return self._with_note(pod)
        if self._recent.is_young(handle):
            return Unknown(f"{PROVIDER}: pod {handle} was made a moment ago and is not told of yet")
        return Gone()

    async def find(self, name: str) -> list[Machine]:
        """All pods of that name. While an order for it has no answer, that there is none is not believed."""
        found = [machine for machine in await self.list_machines() if machine.name == name]
        if found:
            self._recent.order_answered(name)
        elif self._recent.is_unanswered(name):
            raise UnknownOutcome(
                PROVIDER, f"an order for {name} was not answered and may still become a pod", next_step="Stoker looks."
            )
        return found

    async def list_machines(self) -> list[Machine]:
        """All pods of the account."""
        return [machine_of(pod) for pod in await self._client.list_pods()]

    async def terminate(self, handle: str) -> None:
        """Delete a pod, by its id or, where that was never learnt, by its name."""
        if await self._is_released(handle):
            self._recent.released(handle)
            return
        # Pods' ids have no hyphen, our names have.
        for machine in await self._of_name(handle) if "-" in handle else []:
            await self._is_released(machine.id)
            self._recent.released(machine.id)

    async def logs(self, handle: str, *, offset: int) -> LogPiece:
        """What RunPod kept of the container's and the system's output; it is not the only record."""
        return await self._logs.piece(handle, offset=offset)

    async def health(self) -> ProviderHealth:
        """Whether the key is accepted and there is money left."""
        try:
            await self._client.check_key()
        except ProviderError as error:
            return self._health(is_usable=False, detail=error.detail, next_step=error.next_step)
        balance = await self.balance()
        if balance is None:
            return self._health(is_usable=True, detail="balance unknown")
        is_usable = balance > 0
        return self._health(
            is_usable=is_usable,
            detail=f"balance {show_usd(balance, places=2)}",
            next_step="" if is_usable else "Add funds to the RunPod account.",
            balance=balance,
        )

    def _health(
        self, *, is_usable: bool, detail: str, next_step: str = "", balance: MicroUsd | None = None
    ) -> ProviderHealth:
        return ProviderHealth(
            provider=self.name,
            is_usable=is_usable,
            detail=detail,
            next_step=next_step,
            balance_micro_usd=balance,
            machines_are_here=self._settings.is_here,
            default_volume_gb=volume_gb(None, self._settings),
        )

    async def balance(self) -> MicroUsd | None:
        """What is left in the account; None if RunPod does not tell (any more)."""
        try:
            told = await self._client.balance()
        except ProviderError as error:
            logger.info("balance not known", provider=self.name, code=error.code, reason=error.detail)
            return None
        return None if told is None else usd(told)

    async def account_id(self) -> str:
        """The id of the key's account, once v2 has taken the key; empty if RunPod does not tell whose it is."""
        await self._client.check_key()
        try:
            told = await self._client.account_id()
        except ProviderError as error:
            logger.info("account not known", provider=self.name, code=error.code, reason=error.detail)
            return ""
        return told or ""

    async def billed(self, handle: str) -> MicroUsd | None:
        """The sum of the books for a pod, once it has not changed for a while: they are written after the fact."""
        records = await self._client.bill_of(handle)
        if not records:
            return None
        amount = usd(sum((record.total_amount for record in records), Decimal(0)))
        is_settled = self._recent.bill_is_settled(handle, amount, after=self._settings.bill_settles_after)
        return amount if is_settled else None

    async def _existing(self, order: MachineOrder, body: dict[str, object]) -> Pod | None:
        pods = await self._of_name(order.name)
        if not pods and self._recent.is_unanswered(order.name):
            raise UnknownOutcome(
                PROVIDER, f"an earlier order for {order.name} was not answered", next_step="Stoker looks."
            )
        if not pods:
            return None
        if len(pods) == 1 and is_as_ordered(pods[0], body):
            return pods[0]
        handles = ", ".join(pod.id for pod in pods)
        raise UnknownOutcome(
            PROVIDER, f"the name {order.name} is taken by other pods ({handles})", next_step="Stoker looks."
        )

    async def _of_name(self, name: str) -> list[Pod]:
        pods = await self._client.list_pods(urgency=Urgency.ORDER)
        return [pod for pod in pods if pod.name == name and not isinstance(state_of(pod), Gone)]

    async def _ordered(self, name: str, body: dict[str, object]) -> Pod:
        self._recent.order_sent(name)
        try:
            pod = await self._client.create_pod(body)
        except UnknownOutcome:
            raise
        except ProviderError:
            self._recent.order_answered(name)
            raise
        self._recent.order_answered(name, handle=pod.id)
        return pod

    async def _is_released(self, handle: str) -> bool:
        try:
            is_known = await self._client.delete_pod(handle)
        except (InvalidRequest, AuthFailed) as error:
            # The other way to the same end is refused for other reasons, and rights may differ.
            logger.warning("a pod could not be deleted, terminating it", handle=handle, reason=error.detail)
            is_known = False
        return is_known or await self._client.act(handle, "terminate")

    def _with_note(self, pod: Pod) -> MachineState:
        state = state_of(pod)
        restarts, is_news = self._recent.restarts(pod)
        if is_news:
            logger.warning("a pod's container was started again", handle=pod.id, machine=pod.name, restarts=restarts)
        if not restarts or not isinstance(state, Alive):
            return state
        return Alive(state.kind, state.started_at, note=f"its container was started again {restarts} times")
