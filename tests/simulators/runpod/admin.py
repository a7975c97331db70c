"""`/_admin`: trouble to order, fate to deal, and the truth about what happened. No key; it listens on loopback only.

| | |
|---|---|
| `POST`, `DELETE /_admin/faults` | order a fault (faults.py); take all back |
| `PUT /_admin/stock` `{gpu, cloud, data_center, count}` | GPUs that there are; `*` is any |
| `PUT /_admin/accounts/{name}` `{balance?, used_up?}` | its money left; no call left in a window |
| `POST /_admin/pods/{id}/fate` `{kind, ...}` | `host_death`, `eviction`, `vanish`, `container_error`, or `release` |
| `DELETE /_admin/keys` `{key}` | a key is taken back |
| `GET /_admin/pods` | every pod there ever was: status, who ended it, cost, starts, exit codes, living processes |
| `GET /_admin/pods/{id}/order` | the body that ordered it, with its environment |
| `GET /_admin/pods/{id}/log` | its lines, without following |
| `GET /_admin/accounts` | balance, spent, spending per hour |
| `GET /_admin/calls` | every call of the API, and the fault that it met |
"""

from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.simulators.runpod.cloud import Cloud
from tests.simulators.runpod.door import Door
from tests.simulators.runpod.faults import Fault
from tests.simulators.runpod.meter import total
from tests.simulators.runpod.pod import Pod, Status
from tests.simulators.runpod.problems import Problem, contract_broken, not_found
from tests.simulators.runpod.rules import StockRules, Window


class _Order(BaseModel):
    model_config = ConfigDict(extra="forbid")


class AccountChange(_Order):
    """Other money, or a window without calls left."""

    balance: Decimal | None = None
    used_up: Window | None = None


class Fate(_Order):
    """`shows`: what the API says of a pod whose host is dead. `grace` seconds pass between SIGTERM and SIGKILL."""

    kind: Literal["host_death", "eviction", "vanish", "container_error", "release"]
    shows: Status = "RUNNING"
    grace: float | None = Field(default=None, ge=0)


class TakenKey(_Order):
    """A key."""

    key: str


class Admin:
    """Orders and answers."""

    def __init__(self, cloud: Cloud, door: Door) -> None:
        self._cloud, self._door = cloud, door

    def routes(self) -> list[Route]:
        """Where they are."""
        table: tuple[tuple[str, str, Callable[[Request], Awaitable[Response]]], ...] = (
            ("POST", "/faults", self.order_fault),
            ("DELETE", "/faults", self.heal),
            ("PUT", "/stock", self.set_stock),
            ("PUT", "/accounts/{name}", self.change_account),
            ("GET", "/accounts", self.show_accounts),
            ("POST", "/pods/{id}/fate", self.deal_fate),
            ("GET", "/pods", self.show_pods),
            ("GET", "/pods/{id}/order", self.show_order),
            ("GET", "/pods/{id}/log", self.show_log),
            ("DELETE", "/keys", self.take_key),
            ("GET", "/calls", self.show_calls),
        )
        return [Route(f"/_admin{path}", _answering(handler), methods=[verb]) for verb, path, handler in table]

    async def order_fault(self, request: Request) -> Response:
        """204."""
        self._door.faults.order(Fault.model_validate(await request.json()))
        return Response(status_code=204)

    async def heal(self, _request: Request) -> Response:
        """204."""
        self._door.faults.heal()
        return Response(status_code=204)

    async def set_stock(self, request: Request) -> Response:
        """How many entries changed."""
        wish = StockRules.model_validate(await request.json())
        changed = self._cloud.catalogue.set_stock(wish.gpu, wish.cloud, wish.data_center, wish.count)
        return JSONResponse({"changed": changed})

    async def change_account(self, request: Request) -> Response:
        """The account as it is now."""
        account = self._cloud.accounts.by_name.get(request.path_params["name"])
        if account is None:
            raise not_found()
        change = AccountChange.model_validate(await request.json())
        if change.balance is not None:
            account.deposited += change.balance - self._cloud.balance(account)
        if change.used_up is not None:
            account.quotas.use_up(change.used_up, self._cloud.clock.now())
        return JSONResponse(self._account(account.name))

    async def show_accounts(self, _request: Request) -> Response:
        """All accounts."""
        return JSONResponse([self._account(name) for name in self._cloud.accounts.by_name])

    async def deal_fate(self, request: Request) -> Response:
        """The pod afterwards."""
        pod, fate = self._pod(request), Fate.model_validate(await request.json())
        if fate.kind == "host_death":
            self._cloud.lose_host(pod, fate.shows)
        elif fate.kind == "eviction":
            self._cloud.stop(pod, self._cloud.rules.eviction_grace if fate.grace is None else fate.grace)
        elif fate.kind == "vanish":
            self._cloud.vanish(pod, by="fate")
        elif fate.kind == "container_error":
            self._cloud.fail(pod)
        else:
            pod.stuck = None
        return JSONResponse(self._shown(pod))

    async def show_pods(self, _request: Request) -> Response:
        """Every pod there ever was."""
        return JSONResponse([self._shown(pod) for pod in self._cloud.pods.values()])

    async def show_order(self, request: Request) -> Response:
        """What was asked for."""
        return JSONResponse(self._pod(request).order.model_dump(mode="json", exclude_unset=True))

    async def show_log(self, request: Request) -> Response:
        """Its lines."""
        lines = self._pod(request).log.lines()
        return JSONResponse([{"at": line.at.isoformat(), "source": line.source, "line": line.text} for line in lines])

    async def take_key(self, request: Request) -> Response:
        """204, or 404: there is no such key."""
        if not self._cloud.accounts.revoke(TakenKey.model_validate(await request.json()).key):
            raise not_found()
        return Response(status_code=204)

    async def show_calls(self, _request: Request) -> Response:
        """Every call."""
        return JSONResponse([{**vars(call), "at": call.at.isoformat()} for call in self._door.calls])

    def _pod(self, request: Request) -> Pod:
        pod = self._cloud.pods.get(request.path_params["id"])
        if pod is None:
            raise not_found()
        return pod

    def _account(self, name: str) -> dict[str, Any]:
        account, now = self._cloud.accounts.by_name[name], self._cloud.clock.now()
        spent = total(pod.meter.until(now) for pod in self._cloud.pods.values() if pod.account is account)
        return {
            "name": name,
            "balance": float(self._cloud.balance(account)),
            "spent": float(spent.total),
            "spending_per_hour": float(self._cloud.spending_per_hour(account)),
        }

    def _shown(self, pod: Pod) -> dict[str, Any]:
        container = pod.container
        may_run = not pod.log.is_closed  # closed last, when all is ended
        return {
            "id": pod.id,
            "name": pod.order.name,
            "account": pod.account.name,
            "status": pod.status,
            "gpu": pod.order.gpu.id if pod.order.gpu else None,
            "gpu_count": pod.gpu_count,
            "cloud": pod.order.cloud,
            "data_center": pod.data_center,
            "created_at": pod.created_at.isoformat(),
            "started_at": pod.started_at.isoformat() if pod.started_at else None,
            "ended_at": pod.ended_at.isoformat() if pod.ended_at else None,
            "ended_by": pod.ended_by,
            "is_lost": pod.is_lost,
            "spent": float(pod.meter.until(self._cloud.clock.now()).total),
            "starts": pod.restarts_before + (container.starts if container else 0),
            "exit_codes": container.exit_codes if container else [],
            "processes": [process.pid for process in container.processes()] if container and may_run else [],
            "folder": str(pod.folder),
        }


def _answering(handler: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        try:
            return await handler(request)
        except Problem as problem:
            return problem.response()
        except ValidationError as fault:
            return contract_broken(fault, None).response()

    return answer
