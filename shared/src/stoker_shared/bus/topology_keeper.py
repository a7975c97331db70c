"""Keeps the broker's streams and consumers as `topology` says, from start and every 30 s. Runs as its own process.

It alone holds the rights to make them. A consumer that somebody deleted comes back here; without it a pull loop asks
thousands of times a second and never recovers.
"""

import asyncio
import signal
from datetime import timedelta
from pathlib import Path

import nats
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.api import AckPolicy, ConsumerConfig, DiscardPolicy, RetentionPolicy, StorageType, StreamConfig
from nats.js.client import JetStreamContext
from nats.js.errors import APIError, BadRequestError
from nats.js.errors import Error as JetStreamError
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from stoker_shared.errors import StokerError
from stoker_shared.logging import configure_logging, get_logger
from stoker_shared.settings import read_settings
from stoker_shared.subjects import inbox_prefix
from stoker_shared.topology import TOPOLOGY, BucketSpec, ConsumerSpec, StreamSpec, Topology

logger = get_logger(__name__)

_STREAM_NAME_IN_USE = 10058
_UNLIMITED = -1


class TopologyRefused(StokerError):
    """The broker refuses a stream or a consumer as the topology wants it."""

    def __init__(self, refused: dict[str, str]) -> None:
        super().__init__(
            f"The broker refuses {', '.join(f'{name} ({reason})' for name, reason in refused.items())}.",
            next_step="Change it by hand, or delete it so that it is made anew.",
            fields=refused,
        )


class TopologySettings(BaseSettings):
    """`STOKER_TOPOLOGY_*`."""

    model_config = SettingsConfigDict(env_prefix="STOKER_TOPOLOGY_", extra="ignore")

    nats_url: str = Field(pattern=r"^(nats|tls)://")
    nats_seed_file: Path
    every: timedelta = timedelta(seconds=30)
    ready_file: Path | None = None


async def ensure_topology(jetstream: JetStreamContext, topology: Topology = TOPOLOGY) -> None:
    """Create what is missing and change what differs. Never deletes.

    One that the broker refuses (a change of retention, say) does not keep the others from being brought up to date.

    Raises:
        TopologyRefused: names what the broker refused.
    """
    refused: dict[str, str] = {}
    for stream in topology.streams:
        try:
            await _ensure_stream(jetstream, _stream_config(stream))
        except APIError as error:
            refused[stream.name] = _reason(error)
    for bucket in topology.buckets:
        try:
            await _ensure_stream(jetstream, _bucket_config(bucket))
        except APIError as error:
            refused[bucket.name] = _reason(error)
    for spec in topology.consumers:
        try:
            await jetstream.add_consumer(spec.stream, _consumer_config(spec))  # creates or updates
        except APIError as error:
            refused[spec.name] = _reason(error)
    if refused:
        raise TopologyRefused(refused)


def _reason(error: APIError) -> str:
    return f"{error.err_code} {error.description}"


async def keep(settings: TopologySettings) -> None:
    """Reconcile until cancelled."""
    client = await _connect(settings)
    try:
        while True:
            await _reconcile_once(client, settings)
            await asyncio.sleep(settings.every.total_seconds())
    finally:
        await client.close()


async def _reconcile_once(client: Client, settings: TopologySettings) -> None:
    try:
        await ensure_topology(client.jetstream(timeout=5.0))
    except TopologyRefused as error:
        logger.error("the broker refuses the topology", refused=error.fields, next_step=error.next_step)  # noqa: TRY400
        return
    except (NatsError, JetStreamError, TimeoutError, OSError) as error:
        logger.warning("topology not checked", reason=f"{type(error).__name__}: {error}")
        return
    if settings.ready_file is not None:
        settings.ready_file.touch(mode=0o600)


async def _ensure_stream(jetstream: JetStreamContext, config: StreamConfig) -> None:
    try:
        await jetstream.add_stream(config)
    except BadRequestError as error:
        if error.err_code != _STREAM_NAME_IN_USE:
            raise
        await jetstream.update_stream(config)


def _stream_config(spec: StreamSpec) -> StreamConfig:
    return StreamConfig(
        name=spec.name,
        subjects=list(spec.subjects),
        retention=RetentionPolicy.WORK_QUEUE if spec.retention == "workqueue" else RetentionPolicy.LIMITS,
        max_age=spec.max_age.total_seconds(),
        max_bytes=spec.max_bytes,
        discard=DiscardPolicy.NEW if spec.discard == "new" else DiscardPolicy.OLD,
        duplicate_window=spec.duplicate_window.total_seconds(),
        storage=StorageType.FILE,
        allow_atomic=spec.allow_atomic,
    )


def _bucket_config(spec: BucketSpec) -> StreamConfig:
    """As every client library makes a bucket."""
    return StreamConfig(
        name=f"KV_{spec.name}",
        subjects=[f"$KV.{spec.name}.>"],
        max_msgs_per_subject=1,
        max_age=spec.max_age.total_seconds(),
        max_bytes=spec.max_bytes,
        discard=DiscardPolicy.NEW,
        duplicate_window=timedelta(minutes=2).total_seconds(),
        storage=StorageType.FILE,
        allow_rollup_hdrs=True,
        allow_direct=True,
        deny_delete=True,
    )


def _consumer_config(spec: ConsumerSpec) -> ConsumerConfig:
    return ConsumerConfig(
        durable_name=spec.name,
        filter_subject=spec.filter_subject,
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=spec.ack_wait.total_seconds(),
        # Deliveries are counted by the consuming side (bus/retry.py), which dead-letters the message after the last.
        max_deliver=_UNLIMITED,
        max_ack_pending=spec.max_ack_pending,
    )


async def _connect(settings: TopologySettings) -> Client:
    return await nats.connect(
        settings.nats_url,
        nkeys_seed=str(settings.nats_seed_file),
        inbox_prefix=inbox_prefix("topology").encode(),
        max_reconnect_attempts=-1,
        name="topology",
    )


async def _main() -> None:
    settings = read_settings(TopologySettings)
    configure_logging(service="topology", level="INFO")
    task = asyncio.create_task(keep(settings))
    for signum in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(signum, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        logger.info("topology keeper ends")


if __name__ == "__main__":
    asyncio.run(_main())
