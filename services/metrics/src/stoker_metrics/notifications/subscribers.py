"""Questions about notifications and events that give rise to them, from the bus."""

from stoker_metrics.notifications.boxes import Boxes
from stoker_metrics.notifications.deliveries.service import Deliveries
from stoker_metrics.notifications.rules.service import Rules
from stoker_metrics.notifications.targets.service import Targets
from stoker_shared.bus import Bus, MessageContext, answer, consume
from stoker_shared.events import AnyJobEvent, AnyPodEvent, JobEvent, PodEvent
from stoker_shared.rpc import notifications as rpc

JOB_CONSUMER = "metrics_notify_jobs"
POD_CONSUMER = "metrics_notify_pods"


def register(bus: Bus, *, boxes: Boxes, targets: Targets, rules: Rules, deliveries: Deliveries) -> None:
    """Answer what the api asks, and take events one after the other, so that those of a job stay in order."""
    answer(bus, rpc.NOTIFY_KEY, boxes.key)
    answer(bus, rpc.ADD_TARGET, targets.add)
    answer(bus, rpc.TARGETS, targets.targets)
    answer(bus, rpc.SET_TARGET_STATE, targets.set_state)
    answer(bus, rpc.ROTATE_SIGNING, targets.rotate)
    answer(bus, rpc.REMOVE_TARGET, targets.remove)
    answer(bus, rpc.TEST_TARGET, deliveries.test_target)
    answer(bus, rpc.ADD_RULE, rules.add)
    answer(bus, rpc.RULES, rules.rules)
    answer(bus, rpc.REMOVE_RULE, rules.remove)
    answer(bus, rpc.DELIVERIES, deliveries.deliveries)
    answer(bus, rpc.REDELIVER, deliveries.redeliver)

    async def job_event(event: JobEvent, context: MessageContext) -> None:
        await rules.take(event, consumer=JOB_CONSUMER, delivered=context.delivered)

    async def pod_event(event: PodEvent, context: MessageContext) -> None:
        await rules.take(event, consumer=POD_CONSUMER, delivered=context.delivered)

    consume(bus, JOB_CONSUMER, AnyJobEvent, job_event, workers=1)
    consume(bus, POD_CONSUMER, AnyPodEvent, pod_event, workers=1)
