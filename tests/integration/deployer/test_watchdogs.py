"""Watchdogs on a deployer that runs: what wakes it, how the job ends, and what is told of a machine that stays."""

from typing import Literal

import pytest

from stoker_shared.events import TerminationStalled
from stoker_shared.job_state import EndReason, JobStatus
from tests.integration.deployer.world import World

S, R = JobStatus, EndReason


@pytest.mark.parametrize(("kind", "reason"), [("diverging", R.LOSS_DIVERGED), ("non_finite", R.NON_FINITE_LOSS)])
async def test_a_loss_in_trouble_wakes_the_deployer_which_ends_the_machine(
    world: World, kind: Literal["diverging", "non_finite"], reason: EndReason
) -> None:
    # Without the event it would be looked at again in ten minutes.
    await world.start_deployer(ACTIVE_CHECK="600")
    job_id = (await world.launch()).job_id
    await world.peers.until_told(job_id, "machine_provisioned")
    await world.peers.say(job_id, "training")
    await world.peers.until_told(job_id, "training_started")
    await world.peers.trouble(job_id, kind)
    failed = await world.peers.until_told(job_id, "failed")
    assert (failed.reason, failed.detail) == (reason, f"the loss is {kind}")  # type: ignore[attr-defined]
    await world.assert_sound(job_id, status=S.FAILED)


async def test_a_machine_that_does_not_go_is_told_of_again_and_again_and_the_job_stays(world: World) -> None:
    await world.start_deployer(TERMINATE_STALLED_AFTER="0.3", TERMINATE_STALLED_EVERY="0.3")
    job_id = (await world.launch()).job_id
    await world.peers.until_told(job_id, "machine_provisioned")
    world.simulator.break_next("terminate", "server_error", times=10_000)
    await world.cancel(job_id)
    first = await world.peers.until_told(job_id, "termination_stalled")
    second = await world.peers.until_told(job_id, "termination_stalled", times=2)
    assert isinstance(first, TerminationStalled)
    assert (first.status, first.reason) == (S.TERMINATING, R.CANCELLED_BY_USER)
    assert f"Machine {job_id}-1 at local is not known to be gone" in first.detail
    assert second.sequence > first.sequence
    assert (await world.row(job_id))["status"] == S.TERMINATING
    world.simulator.heal()
    await world.peers.until_told(job_id, "cancelled")
    await world.assert_sound(job_id, status=S.CANCELLED)
