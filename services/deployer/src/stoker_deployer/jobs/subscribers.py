"""What the bus tells the deployer: commands, and pod events as nudges."""

from stoker_deployer.jobs.intake import Intake
from stoker_deployer.pipeline.workers import Pipeline
from stoker_shared.bus import Bus, MessageContext, consume
from stoker_shared.commands import CancelJob, LaunchJob
from stoker_shared.events import AnyPodEvent, PodEvent


def subscribe(bus: Bus, intake: Intake, pipeline: Pipeline) -> None:
    """Register the consumers."""

    async def launch(command: LaunchJob, _context: MessageContext) -> None:
        claim = await intake.launch(command)
        if claim is not None:
            pipeline.hand_over(claim)
        pipeline.after_commit()

    async def cancel(command: CancelJob, _context: MessageContext) -> None:
        await intake.cancel(command)
        pipeline.wake()

    async def pod_event(event: PodEvent, _context: MessageContext) -> None:
        # Only the id is used: what the pod said is asked for.
        await intake.wake(event.job_id)
        pipeline.wake()

    consume(bus, "deployer_launch", LaunchJob, launch)
    consume(bus, "deployer_cancel", CancelJob, cancel)
    consume(bus, "deployer_pod_events", AnyPodEvent, pod_event)
