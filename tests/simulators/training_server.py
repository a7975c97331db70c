"""An honest small training server: the API of the real one, machines that run at once, and faults on demand.

    python -m tests.simulators.training_server --port 28790 --key simulated-key

Faults are ordered at `POST /admin/faults` `{"operation", "kind", "times", "seconds"}`; the next calls of that operation
meet them. Machines are moved by `POST /admin/machines/{name}` and forgotten by `DELETE /admin/machines/{name}`.
`GET /admin/calls` tells every call that arrived, and what came of it.
"""

import argparse
import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, Field

KEY = "simulated-training-server-key"
State = Literal["queued", "starting", "running", "exited", "terminated"]
Operation = Literal["launch", "describe", "list", "terminate", "logs", "offers", "inspect"]
# lose_answer: done, then the connection breaks. late: done after `seconds`. hang: not done, no answer for `seconds`.
Kind = Literal["server_error", "done_then_500", "lose_answer", "hang", "late", "no_capacity", "rate_limited", "refuse"]


class Machine(BaseModel):
    """As the API shows it; what it bills only if it does, null until that is known."""

    name: str
    state: State = "running"
    exit_code: int | None = None
    created_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    slot: int | None = 0
    price_micro_usd_per_hour: int
    queue_position: int | None = None
    does_bill: bool = Field(default=False, exclude=True)
    billed_micro_usd: int | None = None


class Order(BaseModel):
    """What a machine is asked for with."""

    name: str = Field(pattern=r"^[a-z0-9-]{1,80}$")
    env: dict[str, str] = {}
    gpu_count: int = Field(default=0, ge=0, le=1)


class Fault(BaseModel):
    """What goes wrong with the next `times` calls of an operation."""

    operation: Operation
    kind: Kind
    times: int = 1
    seconds: float = 30.0


class Move(BaseModel):
    """Another state for a machine."""

    state: State
    exit_code: int | None = None


class ModelQuestion(BaseModel):
    """A base model."""

    name_or_path: str


@dataclass
class Call:
    """A call that arrived. `outcome` is a status, or the kind of the fault it met."""

    operation: str
    name: str
    at: datetime
    outcome: str = ""


@dataclass
class Simulator:
    """The state of the server; tests may touch it directly."""

    key: str = KEY
    price_micro_usd_per_hour: int = 1_000_000
    starts_as: State = "running"
    does_bill: bool = False
    ignored_terminations: int = 0
    machines: dict[str, Machine] = field(default_factory=dict)
    orders: dict[str, Order] = field(default_factory=dict)
    unlisted: set[str] = field(default_factory=set)
    retired: set[str] = field(default_factory=set)
    faults: list[Fault] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)

    def listed(self) -> list[Machine]:
        """What a list shows; all of it is left out while `unlisted` holds a star."""
        return [machine for name, machine in self.machines.items() if not self.unlisted & {"*", name}]

    def launches(self, name: str | None = None) -> list[Call]:
        """The calls that asked for a machine."""
        return [call for call in self.calls if call.operation == "launch" and name in (None, call.name)]

    def living(self) -> list[Machine]:
        """Machines that cost money."""
        return [machine for machine in self.machines.values() if machine.state != "terminated"]

    def move(self, name: str, state: State, *, exit_code: int | None = None) -> Machine:
        """Let a machine start, end or be terminated."""
        machine, now = self.machines[name], datetime.now(UTC)
        machine.state, machine.exit_code = state, exit_code if exit_code is not None else machine.exit_code
        if state == "running":
            machine.started_at = machine.started_at or now
        if state in ("exited", "terminated"):
            machine.ended_at = machine.ended_at or now
        return machine

    def break_next(self, operation: Operation, kind: Kind, *, times: int = 1, seconds: float = 30.0) -> None:
        """Order a fault."""
        self.faults.append(Fault(operation=operation, kind=kind, times=times, seconds=seconds))

    def heal(self) -> None:
        """Take all faults back."""
        self.faults.clear()

    def create(self, order: Order) -> tuple[int, Any]:
        """201 new, 200 the same again, 409 the name with other content, 410 the name of an ended machine."""
        if order.name in self.retired:
            return _problem(410, "name_retired")
        if order.name in self.machines:
            is_same = self.orders[order.name] == order
            return (200, self.machines[order.name]) if is_same else _problem(409, "name_taken")
        machine = Machine(
            name=order.name,
            state=self.starts_as,
            created_at=datetime.now(UTC),
            price_micro_usd_per_hour=self.price_micro_usd_per_hour,
            does_bill=self.does_bill,
        )
        self.machines[order.name], self.orders[order.name] = machine, order
        if self.starts_as == "running":
            self.move(order.name, "running")
        return 201, machine

    def terminate(self, name: str) -> tuple[int, Any]:
        """202 and in the end `terminated`; an unknown name is retired."""
        self.retired.add(name)
        if name not in self.machines:
            return _problem(404, "machine_not_found")
        if self.ignored_terminations > 0:
            self.ignored_terminations -= 1
            return 202, self.machines[name]
        return 202, self.move(name, "terminated")

    def next_fault(self, operation: str) -> Fault | None:
        """The fault that the next call of an operation meets, taken off the list."""
        for fault in self.faults:
            if fault.operation == operation and fault.times > 0:
                fault.times -= 1
                return fault
        return None


def create_app(simulator: Simulator) -> FastAPI:
    """The HTTP application."""
    app = FastAPI(title="Simulated training server")
    app.state.simulator = simulator

    def require_key(request: Request) -> None:
        if request.headers.get("Authorization") != f"Bearer {simulator.key}":
            raise HTTPException(401)

    key = [Depends(require_key)]

    @app.exception_handler(HTTPException)
    async def not_authorised(_request: Request, _error: Exception) -> Response:
        return _answer(_problem(401, "not_authorised"))

    @app.post("/v1/machines", dependencies=key)
    async def launch(order: Order) -> Response:
        return await _perform(simulator, "launch", order.name, lambda: simulator.create(order))

    @app.get("/v1/machines", dependencies=key)
    async def list_machines() -> Response:
        return await _perform(simulator, "list", "", lambda: (200, {"machines": simulator.listed()}))

    @app.get("/v1/machines/{name}", dependencies=key)
    async def describe(name: str) -> Response:
        known = simulator.machines
        return await _perform(
            simulator,
            "describe",
            name,
            lambda: (200, known[name]) if name in known else _problem(404, "machine_not_found"),
        )

    @app.delete("/v1/machines/{name}", dependencies=key)
    async def terminate(name: str) -> Response:
        return await _perform(simulator, "terminate", name, lambda: simulator.terminate(name))

    @app.get("/readyz")
    async def readyz() -> dict[str, str]:
        return {"status": "ready"}

    _add_logs(app, simulator, key)
    _add_questions(app, simulator, key)
    _add_admin(app, simulator)
    return app


def _add_logs(app: FastAPI, simulator: Simulator, key: list[Any]) -> None:
    @app.get("/v1/machines/{name}/logs", dependencies=key)
    async def logs(name: str, offset: Annotated[int, Query(ge=0)] = 0, limit: int = 65_536) -> Response:
        def piece() -> tuple[int, Any]:
            if name not in simulator.machines:
                return _problem(404, "machine_not_found")
            text = f"hello from {name}\n".encode()[offset : offset + limit].decode()
            return 200, {"offset": offset, "next_offset": offset + len(text), "text": text}

        return await _perform(simulator, "logs", name, piece)


def _add_questions(app: FastAPI, simulator: Simulator, key: list[Any]) -> None:
    @app.get("/v1/offers", dependencies=key)
    async def offers() -> Response:
        offer = {
            "gpu_type": "cpu",
            "gpu_count_max": 0,
            "vram_bytes": None,
            "memory_bytes": 8 * 2**30,
            "price_micro_usd_per_hour": simulator.price_micro_usd_per_hour,
            "slots_total": 64,
            "slots_free": 64,
        }
        return await _perform(simulator, "offers", "", lambda: (200, {"offers": [offer]}))

    @app.post("/v1/models/inspect", dependencies=key)
    async def inspect(question: ModelQuestion) -> Response:
        names = ("hidden_size", "layers", "attention_heads", "key_value_heads", "intermediate_size", "vocabulary")
        facts: dict[str, Any] = dict.fromkeys(names, 64) | {
            "name_or_path": question.name_or_path,
            "architecture": "LlamaForCausalLM",
            "parameters": 800_000,
            "max_position": 512,
            "has_chat_template": True,
            "weights_bytes": 3_200_000,
        }
        is_known = "nowhere" not in question.name_or_path
        found = (200, facts) if is_known else _problem(404, "model_not_found")
        return await _perform(simulator, "inspect", question.name_or_path, lambda: found)


def _add_admin(app: FastAPI, simulator: Simulator) -> None:
    @app.post("/admin/faults", status_code=204)
    async def order_fault(fault: Fault) -> None:
        simulator.faults.append(fault)

    @app.delete("/admin/faults", status_code=204)
    async def heal() -> None:
        simulator.heal()

    @app.post("/admin/machines/{name}")
    async def move(name: str, move: Move) -> Machine:
        return simulator.move(name, move.state, exit_code=move.exit_code)

    @app.delete("/admin/machines/{name}", status_code=204)
    async def forget(name: str) -> None:
        simulator.machines.pop(name, None)

    @app.get("/admin/calls")
    async def calls() -> list[Call]:
        return simulator.calls


async def _perform(simulator: Simulator, operation: Operation, name: str, act: Any) -> Response:
    call = Call(operation, name, datetime.now(UTC))
    simulator.calls.append(call)
    fault = simulator.next_fault(operation)
    if fault is None:
        status, body = act()
        call.outcome = str(status)
        return _answer((status, body))
    call.outcome = fault.kind
    answer: Response = await _FAULTS[fault.kind](fault, act)
    return answer


async def _server_error(_fault: Fault, _act: Any) -> Response:
    return Response("something broke", status_code=500)


async def _done_then_500(_fault: Fault, act: Any) -> Response:
    act()
    return Response("something broke", status_code=500)


async def _lose_answer(_fault: Fault, act: Any) -> Response:
    act()

    async def broken() -> AsyncIterator[bytes]:
        yield b"{"
        raise ConnectionAbortedError

    return StreamingResponse(broken(), headers={"Content-Length": "4096"})


async def _hang(fault: Fault, _act: Any) -> Response:
    await asyncio.sleep(fault.seconds)
    return Response("too late", status_code=504)


async def _late(fault: Fault, act: Any) -> Response:
    # Shielded by a task of its own: the caller hangs up long before.
    async def later() -> None:
        await asyncio.sleep(fault.seconds)
        act()

    task = asyncio.get_running_loop().create_task(later())
    await asyncio.shield(task)
    return Response(status_code=504)


async def _no_capacity(_fault: Fault, _act: Any) -> Response:
    return _answer(_problem(507, "disk_full"))


async def _rate_limited(_fault: Fault, _act: Any) -> Response:
    return Response(status_code=429, headers={"Retry-After": "1"})


async def _refuse(_fault: Fault, _act: Any) -> Response:
    return _answer(_problem(422, "no_such_slot"))


_FAULTS: dict[Kind, Any] = {
    "server_error": _server_error,
    "done_then_500": _done_then_500,
    "lose_answer": _lose_answer,
    "hang": _hang,
    "late": _late,
    "no_capacity": _no_capacity,
    "rate_limited": _rate_limited,
    "refuse": _refuse,
}


def _problem(status: int, code: str) -> tuple[int, dict[str, Any]]:
    return status, {"title": code, "status": status, "detail": f"simulated: {code}", "code": code}


def _answer(said: tuple[int, Any]) -> Response:
    status, body = said
    if isinstance(body, Machine):
        body = _shown(body)
    if isinstance(body, dict) and "machines" in body:
        body = {"machines": [_shown(machine) for machine in body["machines"]]}
    media_type = "application/json" if status < 400 else "application/problem+json"
    return JSONResponse(body, status_code=status, media_type=media_type)


def _shown(machine: Machine) -> dict[str, Any]:
    return machine.model_dump(mode="json", exclude=set() if machine.does_bill else {"billed_micro_usd"})


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--key", default=KEY)
    arguments = parser.parse_args()
    simulator = Simulator(key=arguments.key)
    uvicorn.run(create_app(simulator), host="127.0.0.1", port=arguments.port, log_level="warning")


if __name__ == "__main__":
    main()
