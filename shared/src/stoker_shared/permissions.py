"""What each principal may say and hear on the broker, derived from the contracts. Rendered into nats.conf."""

from dataclasses import dataclass

from stoker_shared.rpc import ALL_RPCS
from stoker_shared.subjects import inbox_prefix
from stoker_shared.topology import BUCKETS, CONSUMERS, STREAMS

SERVICES = ("api", "deployer", "dataset_gateway", "metrics")
PRINCIPALS = (*SERVICES, "topology", "operator")


@dataclass(frozen=True, slots=True)
class Permission:
    """Subjects a principal may publish to and subscribe to. `allow_responses` lets it answer requests."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]
    allow_responses: bool = True


_PUBLISHES: dict[str, tuple[str, ...]] = {
    "api": ("cmd.deployer.>",),
    "deployer": ("evt.job.>",),
    "dataset_gateway": ("evt.dataset.>", "evt.artifact.>"),
    "metrics": ("evt.pod.>", "tel.>"),
}
_CONSUMES: dict[str, tuple[str, ...]] = {
    "api": ("api_job_events",),
    "deployer": ("deployer_launch", "deployer_cancel", "deployer_pod_events"),
    "dataset_gateway": (),
    "metrics": ("metrics_store", "metrics_job_ends", "metrics_notify_jobs", "metrics_notify_pods"),
}
_HEARS: dict[str, tuple[str, ...]] = {
    # The live view: what is shown in a browser need not be consumed durably.
    "api": ("tel.>",),
}

_LOOKING = (
    "INFO",
    "ACCOUNT.INFO",
    "STREAM.NAMES",
    "STREAM.LIST",
    "STREAM.INFO.*",
    "STREAM.MSG.GET.*",
    "DIRECT.GET.>",
    "CONSUMER.NAMES.*",
    "CONSUMER.LIST.*",
    "CONSUMER.INFO.>",
)


def _service(name: str) -> Permission:
    publish = [*_PUBLISHES[name]]
    for spec in CONSUMERS:
        if spec.name in _CONSUMES[name]:
            publish += [
                f"$JS.API.CONSUMER.INFO.{spec.stream}.{spec.name}",
                f"$JS.API.CONSUMER.MSG.NEXT.{spec.stream}.{spec.name}",
                # Version 2 of the ack subject has more tokens between ACK and the stream.
                f"$JS.ACK.{spec.stream}.{spec.name}.>",
                f"$JS.ACK.*.*.{spec.stream}.{spec.name}.>",
                f"dead.{spec.filter_subject}",
            ]
    buckets = [f"$KV.{bucket.name}.>" for bucket in BUCKETS if bucket.service == name]
    publish += buckets
    publish += [rpc.subject for rpc in ALL_RPCS if name in rpc.callers]
    publish += [
        f"$JS.API.STREAM.INFO.{stream.name}" for stream in STREAMS
    ]  # the relay asks whether the broker lost any
    publish += ["$JS.API.INFO", "$JS.API.STREAM.NAMES", "$JS.FC.>"]
    answers = [rpc.subject for rpc in ALL_RPCS if rpc.service == name]
    subscribe = (f"{inbox_prefix(name)}.>", *answers, *buckets, *_HEARS.get(name, ()))
    return Permission(publish=tuple(publish), subscribe=subscribe)


PERMISSIONS: dict[str, Permission] = {
    **{name: _service(name) for name in SERVICES},
    "topology": Permission(publish=("$JS.API.>",), subscribe=(f"{inbox_prefix('topology')}.>",), allow_responses=False),
    # People who look: everything is readable, nothing can be told, changed or deleted.
    "operator": Permission(
        publish=tuple(f"$JS.API.{question}" for question in _LOOKING),
        subscribe=(f"{inbox_prefix('operator')}.>", "evt.>", "cmd.>", "tel.>", "dead.>"),
        allow_responses=False,
    ),
}
