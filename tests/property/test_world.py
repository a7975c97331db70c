"""The world of the histories, played by hand: what happens when nothing goes wrong, and single faults that were found."""

from stoker_shared.job_state import EndReason
from tests.property.world import Ground, World


def test_without_faults_a_job_completes_at_once(ground: Ground) -> None:
    world = World(ground)
    job_id = world.order().job_id
    world.deliver(0, 0)
    picture = world.run_on()
    assert picture.jobs[job_id]["end_reason"] == EndReason.SUCCESS
    assert len(picture.machines()) == 1
