"""The world of the histories, played by hand: a day on which nothing goes wrong, and faults that were found."""

from datetime import timedelta

import pytest

from stoker_deployer.providers import MachineOrder
from stoker_shared.commands import LaunchJob
from stoker_shared.job_state import EndReason
from stoker_shared.money import ONE_USD
from tests.property.world import CLOUDS, Ground, World
from tests.simulators.hostile.cloud import Cloud, CloudMachine
from tests.simulators.hostile.faults import LATE

NORTH, SOUTH = CLOUDS


def _seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


def _training(world: World, *, at: str = NORTH, **changes: object) -> tuple[LaunchJob, CloudMachine]:
    """A job whose pod trains at one cloud."""
    command = world.order(**changes)
    offers = [offer for offer in command.offers if offer.provider == at]
    world.inbox[-1] = world.commands[command.job_id] = command.model_copy(update={"offers": offers})
    world.deliver(-1, 0)
    (machine,) = world.clouds[at].named(f"{command.job_id}-1")
    world.speak(machine, "training")
    _work(world)
    return command, machine


def _work(world: World, *, after: float = 3) -> None:
    world.pass_time(_seconds(after))
    world.work()
    world.check()


def _sweep_twice(world: World) -> None:
    # One look is not enough to call a machine an orphan.
    world.sweep()
    world.pass_time(_seconds(6))
    world.sweep()


def _cloud(world: World) -> Cloud:
    return world.clouds[NORTH]


def test_without_faults_a_job_completes_on_one_machine(ground: Ground) -> None:
    world = World(ground)
    command, _ = _training(world)
    picture = world.run_on()
    assert picture.jobs[command.job_id]["end_reason"] == EndReason.SUCCESS
    assert len(picture.machines()) == 1


def test_a_budget_is_kept_to_the_tick_while_somebody_looks(ground: Ground) -> None:
    world = World(ground)
    command, machine = _training(world, budget_micro_usd=ONE_USD // 60)
    while machine.is_alive:
        world.speak(machine, "step")
        _work(world, after=2)
    picture = world.run_on()
    assert picture.jobs[command.job_id]["end_reason"] == EndReason.BUDGET_EXHAUSTED
    assert picture.spent(command.job_id) <= command.budget_micro_usd


def test_gone_is_not_believed_at_the_first_word_when_nobody_asked_for_the_end(ground: Ground) -> None:
    world = World(ground)
    command, machine = _training(world)
    world.cancel_any(0)
    # The look that hears of the cancel is answered honestly, the next one is not.
    _cloud(world).break_next("describe", "")
    _cloud(world).break_next("describe", "gone_lie")
    _work(world)
    assert not machine.is_alive
    assert world.run_on().jobs[command.job_id]["end_reason"] == EndReason.CANCELLED_BY_USER


def test_a_lie_about_the_end_of_a_machine_does_not_end_its_cost(ground: Ground) -> None:
    world = World(ground)
    command, machine = _training(world)
    world.cancel_any(0)
    _cloud(world).break_next("describe", "gone_lie")
    _cloud(world).break_next("terminate", "away", times=3)
    for _ in range(6):
        _work(world, after=100)
    assert not machine.is_alive
    world.run_on()
    assert world.picture().spent(command.job_id) > ONE_USD * 100 // 3600


@pytest.mark.parametrize("away", ["dataset_gateway", "metrics"])
def test_while_a_peer_is_away_a_machine_whose_work_has_ended_does_not_eat_more_than_the_budget(
    ground: Ground, away: str
) -> None:
    world = World(ground)
    command, machine = _training(world, at=SOUTH, budget_micro_usd=ONE_USD // 20)
    world.speak(machine, "success")
    world.outage(away, True)
    for _ in range(80):
        _work(world, after=3)
    assert not machine.is_alive
    assert world.run_on().spent(command.job_id) <= command.budget_micro_usd


def test_a_refusal_does_not_undo_an_order_whose_outcome_nobody_knows(ground: Ground) -> None:
    world = World(ground)
    world.outage(SOUTH, True)
    command = world.order(max_attempts=1)
    cloud = _cloud(world)
    cloud.break_next("launch", "lost_answer")
    cloud.break_next("launch", "no_capacity")
    # Its machine is there, but not in the lists that are looked at before the second order.
    cloud.break_next("list", "stale", times=2)
    world.deliver(0, 0)
    for _ in range(6):
        _work(world, after=6)
    refused = world.picture().attempts[command.job_id, 1]
    assert (refused["handle"] is not None, refused["end_reason"]) == (True, EndReason.NO_CAPACITY)
    assert not [machine for machine in cloud.living() if machine.name == f"{command.job_id}-1"]


def test_an_orphan_that_cannot_be_ended_does_not_keep_the_others(ground: Ground) -> None:
    world = World(ground)
    command, _ = _training(world)
    world.run_on()
    cloud = _cloud(world)
    order = MachineOrder(name=f"{command.job_id}-1", gpu_type="cpu", gpu_count=0)
    first, second = cloud.create(order, world.clock.now()), cloud.create(order, world.clock.now())
    cloud.break_next("terminate", "away")
    _sweep_twice(world)
    assert (first.is_alive, second.is_alive) == (True, False)
    world.sweep()
    assert not first.is_alive
    world.check()
    told = world.picture().told[command.job_id]
    assert [event["type"] for event in told[-2:]] == ["orphan_cost_booked", "orphan_cost_booked"]
    assert told[-1]["spent_micro_usd"] == world.picture().spent(command.job_id)


def test_a_machine_that_comes_long_after_its_order_is_swept(ground: Ground) -> None:
    world = World(ground)
    command = world.order()
    _cloud(world).break_next("launch", "late")
    world.deliver(0, 0)
    for _ in range(3):
        _work(world, after=6)
    world.pass_time(LATE)
    assert len(_cloud(world).living()) == 2
    _sweep_twice(world)
    assert len(_cloud(world).living()) == 1
    assert world.run_on().jobs[command.job_id]["end_reason"] == EndReason.SUCCESS
