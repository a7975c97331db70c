"""A world for histories: real rows, hostile clouds, any number of deployers, and a clock that only we move.

`Ground` lives as long as the test, `World` as long as one history.
"""

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import asyncpg
import uvloop

from stoker_shared.clock import ManualClock
from stoker_shared.commands import CancelJob, Command, LaunchJob, PlannedOffer
from stoker_shared.database import Database
from stoker_shared.errors import ProviderError, TransientError
from stoker_shared.money import ONE_USD
from stoker_shared.recipe import DataFormat, ModelChoice, Recipe
from tests.property.checks import ALWAYS, AT_THE_END, wrongs
from tests.property.keys import KEYED, OWNER, change_key
from tests.property.picture import Picture, read_rows
from tests.property.replica import Replica, Surroundings, deployer_settings
from tests.simulators.hostile.cloud import Cloud, CloudMachine
from tests.simulators.hostile.faults import Operation
from tests.simulators.hostile.line import Fate, Killed, Work
from tests.simulators.hostile.peers import Peers
from tests.support.servers import TestDatabase

ResultT = TypeVar("ResultT")

START = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
CLOUDS = ("north", "south")
PROJECT = "default"
REPLICAS = 3
_BETWEEN_HISTORIES = timedelta(days=2)
_MOMENT = timedelta(milliseconds=1)
# Longer and longer: what waits for its next look, for a late machine, for a pod that never speaks, for the budget.
_RUN_ON = [timedelta(seconds=seconds) for seconds in (3, 6, 6, 21, 31, 31, 61, 130, 310, *[310, 1000] * 20)]


class Broken(AssertionError):
    """A check failed."""


@dataclass
class Ground:
    """What is too dear to make anew for each history."""

    loop: asyncio.AbstractEventLoop
    database: Database
    reader: asyncpg.Connection
    around: Surroundings
    clock: ManualClock
    replicas: list[Replica]

    def run(self, work: Coroutine[Any, Any, ResultT]) -> ResultT:
        """Run to its end."""
        return self.loop.run_until_complete(work)


@contextmanager
def prepared_ground(database: TestDatabase, *, seed_file: Path) -> Iterator[Ground]:
    """A ground on a migrated database."""
    url = database.url("deployer")
    settings = deployer_settings(url, seed_file=seed_file, MAX_ACTIVE_JOBS="2")
    loop = uvloop.new_event_loop()
    reader = loop.run_until_complete(asyncpg.connect(database.url("deployer", driver="postgresql")))
    connected = Database(settings.database_url)
    # Nobody restarts this server, and asking each connection whether it lives costs as much as what it is for.
    connected.engine.pool._pre_ping = False
    try:
        clock = ManualClock(START)
        clouds = {name: Cloud(clock, names_are_unique=False, exited_machines_cost=name == "south") for name in CLOUDS}
        around = Surroundings(clock, connected, clouds, Peers(clock), settings, keyed=frozenset({KEYED}))
        yield Ground(loop, connected, reader, around, clock, [Replica(around) for _ in range(REPLICAS)])
    finally:
        loop.run_until_complete(reader.close())
        loop.run_until_complete(connected.close())
        loop.close()


class World:
    """One history."""

    def __init__(self, ground: Ground, *, boots_for: timedelta = timedelta(0)) -> None:
        self.ground = ground
        self.clock = ground.clock
        self.clock.advance(_BETWEEN_HISTORIES)
        self.clouds, self.peers, self.replicas = ground.around.clouds, ground.around.peers, ground.replicas
        self.commands: dict[str, LaunchJob] = {}
        self.inbox: list[Command] = []
        self.stalled: list[tuple[Replica, Work]] = []
        self.diary: list[str] = []
        self.was_set_back = False
        self.serial = 0
        self._clear(boots_for)
        change_key(self, "set")

    # What the outside does.

    def order(self, **changes: Any) -> LaunchJob:
        """The api sends a launch command."""
        command = launch_command(f"job-{len(self.commands) + 1:016x}", self._next_id(), self.clock.now(), **changes)
        self.commands[command.job_id] = command
        self.inbox.append(command)
        return command

    def order_cancel(self, job_id: str) -> CancelJob:
        """The api sends a cancel command."""
        command = CancelJob(
            event_id=self._next_id(), occurred_at=self.clock.now(), job_id=job_id, requested_by="user", why="test"
        )
        self.inbox.append(command)
        return command

    def speak(self, machine: CloudMachine, word: str) -> bool:
        """The pod of a machine says a word, and if it was its last one, ends. False if it is not heard."""
        if not machine.is_running or machine.is_dumb:
            return False
        was_heard = self.peers.hear(machine, word)
        if word in LAST_WORDS and was_heard:
            code = 0 if word.startswith(("success", "landed")) else 1
            self._cloud_of(machine).exit(machine.handle, code, self.clock.now())
        return was_heard

    def pass_time(self, by: timedelta) -> None:
        """The clock moves, for all alike."""
        self.was_set_back = self.was_set_back or by < timedelta(0)
        self.clock.advance(by)
        for cloud in self.clouds.values():
            cloud.catch_up()

    def machines(self) -> list[CloudMachine]:
        """Those that are there, in the order in which they were made."""
        return [machine for cloud in self.clouds.values() for machine in cloud.living()]

    def break_next(self, cloud: str, how: tuple[Operation, str]) -> None:
        """A call will go wrong."""
        self.clouds[cloud].break_next(*how)

    def speak_and_nudge(self, number: int, word: str, is_heard: bool) -> None:  # noqa: FBT001 - drawn
        """A pod reports, and the nudge arrives or is lost."""
        machines = self.machines()
        if machines and self.speak(machine := machines[number % len(machines)], word) and is_heard:
            self.nudge(machine.order.environment["JOB_ID"], number % REPLICAS)

    def cancel_any(self, number: int) -> None:
        """A user cancels a job."""
        if self.commands:
            self.order_cancel(sorted(self.commands)[number % len(self.commands)])
            self.deliver(-1, number % REPLICAS)

    def misfortune(self, number: int, what: str) -> None:
        """A machine vanishes, exits without a word, comes back from an exit, or falls silent."""
        machines = self.machines()
        if not machines:
            return
        machine, now = machines[number % len(machines)], self.clock.now()
        cloud = self._cloud_of(machine)
        match what:
            case "vanish":
                cloud.end(machine.handle, now)
            case "exit":
                cloud.exit(machine.handle, 137, now)
            case "restart" if machine.exited_at:
                cloud.start(machine.handle, now)
            case "fall silent":
                machine.is_dumb = True

    def limit(self, kind: str, amount: int | None) -> None:
        """A user limits what all jobs, or those of the project, may cost; or takes the limit away."""
        self.ground.run(_limit(self.ground.reader, kind, amount))

    def outage(self, who: str, is_away: bool) -> None:  # noqa: FBT001 - drawn
        """A cloud or a peer goes away or comes back."""
        if who in self.clouds:
            self.clouds[who].is_away = is_away
        elif is_away:
            self.peers.away.add(who)
        else:
            self.peers.away.discard(who)

    # What deployers do.

    def deliver(self, number: int, to: int, fate: Fate | None = None, *, again: bool = False) -> None:
        """The broker delivers a command; what is not acknowledged, or is delivered twice, stays."""
        command, replica = self.inbox[number], self.replicas[to]
        deed = replica.launch(command) if isinstance(command, LaunchJob) else replica.cancel(command)  # type: ignore[arg-type]
        if self.do(to, deed, fate) and not again:
            self.inbox.remove(command)

    def work(self, by: int = 0, fate: Fate | None = None) -> None:
        """A deployer works on what is due."""
        self.do(by, self.replicas[by].work(), fate)

    def sweep(self, by: int = 0, fate: Fate | None = None) -> None:
        """A deployer looks for orphans."""
        self.do(by, self.replicas[by].sweep(), fate)

    def renew(self, by: int = 0) -> None:
        """A deployer renews its leases."""
        self.do(by, self.replicas[by].renew(), None)

    def nudge(self, job_id: str, to: int = 0) -> None:
        """A pod event arrives."""
        self.do(to, self.replicas[to].nudge(job_id), None)

    def resume_any(self, number: int) -> None:
        """An answer comes at last, or a process wakes up."""
        if self.stalled:
            self.resume(number % len(self.stalled))

    def resume(self, number: int) -> None:
        """What stalled goes on."""
        replica, work = self.stalled.pop(number)
        if self.ground.run(work.resume()):
            self._outcome(replica, work)
        else:
            self.stalled.append((replica, work))

    def kill(self, number: int) -> None:
        """A deployer dies where it stands; another one is started."""
        replica = self.replicas[number]
        replica.line.is_dead = True
        self.replicas[number] = Replica(self.ground.around)
        for mine in [entry for entry in self.stalled if entry[0] is replica]:
            self.stalled.remove(mine)
            self.ground.run(mine[1].resume())
            self._outcome(*mine)

    def abandon(self) -> None:
        """Whatever broke: nothing of this history goes on."""
        for number in range(REPLICAS if self.stalled else 0):
            self.kill(number)

    # What must hold.

    def check(self) -> None:
        """All that must hold at every moment.

        Raises:
            Broken: something does not.
        """
        self._demand(wrongs(ALWAYS, self.picture()))

    def run_on(self) -> Picture:
        """No more faults: the clock runs on until all is over.

        Raises:
            Broken: it does not come to an end, or to a wrong one.
        """
        self._calm_down()
        change_key(self, "set")
        for span in _RUN_ON:
            self.pass_time(span)
            for machine in self.machines():
                self.speak(machine, "success")
            while self.inbox:
                self.deliver(0, 0)
            self.work()
            if self._is_over():
                break
            self.sweep()
        picture = self.picture()
        self._demand(wrongs(ALWAYS | AT_THE_END, picture))
        return picture

    def picture(self) -> Picture:
        """How all stands now."""
        rows = self.ground.run(read_rows(self.ground.reader))
        return Picture(
            now=self.clock.now(),
            commands=self.commands,
            clouds=self.clouds,
            peers=self.peers,
            was_set_back=self.was_set_back,
            last_look=self.ground.around.looked,
            settings=self.ground.around.settings,
            **rows,
        )

    def _clear(self, boots_for: timedelta) -> None:
        for cloud in self.clouds.values():
            cloud.clear(boots_for=boots_for)
        self.peers.clear()
        self.ground.around.looked.clear()
        self.ground.run(_empty(self.ground.reader))

    def do(self, number: int, deed: Coroutine[Any, Any, None], fate: Fate | None) -> bool:
        """A deployer does something, to its end unless it meets its fate. True if it is done."""
        # Two things never happen at exactly the same moment, so that every order by time is certain.
        self.clock.advance(_MOMENT)
        work, replica = Work(fate), self.replicas[number]
        self._end_listings(replica)
        is_done = self.ground.run(work.begin(deed))
        if work.waiting:  # perhaps only a task that was begun and that nobody waits for
            self.stalled.append((replica, work))
        return is_done and self._outcome(replica, work)

    def _end_listings(self, replica: Replica) -> None:
        # All who look share a listing. A real one ends by its own time limit, before anybody waits for ever.
        for entry in [entry for entry in self.stalled if entry[0] is replica]:
            if any(place.startswith("list ") for place in entry[1].stalled_at) and entry in self.stalled:
                self.resume(self.stalled.index(entry))

    def _outcome(self, replica: Replica, work: Work) -> bool:
        assert work.task is not None
        if fate := next((place for place in work.places if place in ("kill", "cut", "stall")), None):
            before = work.places[work.places.index(fate) - 1]
            self.diary.append(f"{fate} at {before}")
        try:
            work.task.result()
        except Killed:
            if replica in self.replicas:
                self.kill(self.replicas.index(replica))
            return False
        except (ProviderError, TransientError):
            return False
        return True

    def _calm_down(self) -> None:
        for cloud in self.clouds.values():
            cloud.behave()
        self.peers.away.clear()
        for kind in ("user", "project"):
            self.limit(kind, None)
        while self.stalled:
            self.resume(0)

    def _is_over(self) -> bool:
        picture = self.picture()
        are_idle = all(cloud.is_idle for cloud in self.clouds.values())
        return are_idle and not wrongs(AT_THE_END, picture)

    def _demand(self, found: list[str]) -> None:
        if found:
            raise Broken("\n".join([*found, "", "what broke off, in this order:", *self.diary]))

    def _cloud_of(self, machine: CloudMachine) -> Cloud:
        return next(cloud for cloud in self.clouds.values() if machine.handle in cloud.machines)

    def _next_id(self) -> UUID:
        self.serial += 1
        return UUID(int=self.serial)


LAST_WORDS = (
    "success",
    "success_unstored",
    "trainer_error",
    "out_of_memory",
    "artifact_upload_failed",
    "terminated",
    "landed",
    "landed_unstored",
)


def launch_command(job_id: str, event_id: UUID, now: datetime, **changes: Any) -> LaunchJob:
    """A launch with two offers, one at each cloud, at one dollar an hour."""
    offers = [
        PlannedOffer(provider=name, gpu_type="cpu", gpu_count=0, price_micro_usd_per_hour=ONE_USD) for name in CLOUDS
    ]
    fields: dict[str, Any] = {
        "event_id": event_id,
        "occurred_at": now,
        "job_id": job_id,
        "owner": OWNER,
        "project": PROJECT,
        "plan_id": "plan-00000000000000aa",
        "plan_hash": "0" * 64,
        "dataset_version_id": "dataset-00000000000000aa",
        "data_format": DataFormat.MESSAGES,
        "recipe": Recipe(model=ModelChoice(name_or_path="tiny")),
        "offers": offers,
        "budget_micro_usd": ONE_USD,
        "max_attempts": 2,
    }
    return LaunchJob(**(fields | changes))


async def _limit(connection: asyncpg.Connection, kind: str, amount: int | None) -> None:
    await connection.execute(
        """INSERT INTO budgets (kind, owner, name, limit_micro_usd, committed_micro_usd, updated_at)
        VALUES ($1, $2, $3, $4, 0, now())
        ON CONFLICT (kind, owner, name) DO UPDATE SET limit_micro_usd = excluded.limit_micro_usd""",
        *(kind, OWNER, "" if kind == "user" else PROJECT, amount),
    )


async def _empty(connection: asyncpg.Connection) -> None:
    # Whatever tables there are: those that point at others first.
    tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = current_schema()")
    names = {row["tablename"] for row in tables} - {"alembic_version", "jobs"}
    await connection.execute("; ".join(f'DELETE FROM "{name}"' for name in [*sorted(names), "jobs"]))
