"""What lives as long as the process, made once from the settings."""

from dataclasses import dataclass

from stoker_dataset_gateway.artifact_uploads.completing import CompletingRules, UploadCompleter
from stoker_dataset_gateway.artifact_uploads.service import ArtifactUploadService, PartRules
from stoker_dataset_gateway.artifacts.recording import ArtifactRecorder
from stoker_dataset_gateway.artifacts.retention import Retention
from stoker_dataset_gateway.artifacts.service import ArtifactRules, ArtifactService
from stoker_dataset_gateway.checking.checker import Checker
from stoker_dataset_gateway.checkpoints.service import CheckpointService
from stoker_dataset_gateway.downloads.limits import TokenLimits
from stoker_dataset_gateway.downloads.service import DownloadRules, DownloadService
from stoker_dataset_gateway.foundation import Foundation
from stoker_dataset_gateway.lengths.service import LengthService
from stoker_dataset_gateway.objects.service import ObjectWriter
from stoker_dataset_gateway.settings import Settings
from stoker_dataset_gateway.storage import ObjectStore, PublicStore
from stoker_dataset_gateway.sweeping import Sweeper
from stoker_dataset_gateway.tokens.service import TokenService
from stoker_dataset_gateway.tokens.usage import UsageLedger
from stoker_dataset_gateway.trainer_bundles.service import TrainerBundleService, read_bundle
from stoker_dataset_gateway.uploads.checks import CheckRules, CheckRunner
from stoker_dataset_gateway.uploads.holding import Holding
from stoker_dataset_gateway.uploads.receiving import Receiver
from stoker_dataset_gateway.uploads.remains import Remains
from stoker_dataset_gateway.uploads.service import UploadDesk, UploadRules, UploadService
from stoker_dataset_gateway.uploads.verdicts import News, Verdicts
from stoker_shared.bus import Bus, BusSettings
from stoker_shared.clock import Clock
from stoker_shared.database import Database, Statements
from stoker_shared.outbox import Relay

SERVICE = "dataset_gateway"


@dataclass(frozen=True, slots=True)
class DatasetParts:
    """The way in of datasets: their bytes, their check, their verdict."""

    uploads: UploadService
    verdicts: Verdicts
    checks: CheckRunner
    lengths: LengthService


@dataclass(frozen=True, slots=True)
class ArtifactParts:
    """The ways in which results come in, and what is kept of them; and the trainer, which goes out."""

    whole: ArtifactService
    by_parts: ArtifactUploadService
    completer: UploadCompleter
    checkpoints: CheckpointService
    retention: Retention
    bundles: TrainerBundleService


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything that starts and stops with the process."""

    ground: Foundation
    statements: Statements
    bus: Bus
    relay: Relay
    usage: UsageLedger
    checker: Checker
    datasets: DatasetParts
    downloads: DownloadService
    artifacts: ArtifactParts
    sweeper: Sweeper


def make_parts(settings: Settings, *, clock: Clock) -> Parts:
    """Make everything; nothing is connected yet."""
    database = Database(settings.database_url, pool_size=settings.database_pool_size)
    statements = Statements(settings.database_url)
    store = ObjectStore(settings.store_address)
    bus = Bus(BusSettings(url=settings.nats_url, service=SERVICE, seed_file=settings.nats_seed_file))
    relay = Relay(database, bus.publisher, clock=clock)
    ground = Foundation(
        database=database,
        store=store,
        writer=ObjectWriter(database, store, clock=clock, lease=settings.write_lease),
        tokens=TokenService(
            database,
            statements,
            clock=clock,
            public_url=public_url(settings),
            longest_download=settings.download_lifetime,
        ),
        clock=clock,
    )
    usage = UsageLedger(statements, clock=clock, every=settings.write_use_every)
    # One more than checks: a plan that asks for token counts must not wait for the check of a large file.
    checker = Checker(limits=settings.check_limits, processes=settings.checks_at_once + 1)
    datasets = _dataset_parts(ground, relay, checker, settings)
    artifacts = _artifact_parts(ground, relay, settings)
    return Parts(
        ground=ground,
        statements=statements,
        bus=bus,
        relay=relay,
        usage=usage,
        checker=checker,
        datasets=datasets,
        downloads=_downloads(ground, statements, usage, settings),
        artifacts=artifacts,
        sweeper=Sweeper(
            ground,
            datasets.verdicts,
            artifacts.retention,
            every=settings.sweep_every,
            keep_expired=settings.keep_expired,
        ),
    )


def public_url(settings: Settings) -> str:
    """Under which users and pods reach this service; no slash at its end."""
    return settings.public_url.rstrip("/")


def _dataset_parts(ground: Foundation, relay: Relay, checker: Checker, settings: Settings) -> DatasetParts:
    database, clock = ground.database, ground.clock
    news = News()
    verdicts = Verdicts(database, Remains(ground.writer), clock=clock, wake_relay=relay.wake, news=news)
    check_rules = CheckRules(
        address=settings.store_address, lease=settings.upload_lease, at_once=settings.checks_at_once
    )
    checks = CheckRunner(database, ground.store, checker, verdicts, clock=clock, rules=check_rules)
    lifetime = settings.upload_lifetime
    desk = UploadDesk(
        holding=Holding(database, clock=clock, lease=settings.upload_lease),
        receiver=Receiver(database, ground.store, ground.writer, clock=clock, lifetime=lifetime),
        verdicts=verdicts,
        news=news,
        wake_checks=checks.wake,
    )
    rules = UploadRules(public_url=public_url(settings), max_upload_bytes=settings.max_upload_bytes, lifetime=lifetime)
    return DatasetParts(
        uploads=UploadService(database, desk, clock=clock, rules=rules),
        verdicts=verdicts,
        checks=checks,
        lengths=LengthService(database, checker, address=settings.store_address, rules=settings.counting_rules),
    )


def _downloads(ground: Foundation, statements: Statements, usage: UsageLedger, settings: Settings) -> DownloadService:
    public_store = settings.public_store_address
    return DownloadService(
        statements,
        ground.store,
        clock=ground.clock,
        limits=TokenLimits(settings.token_allowance, clock=ground.clock),
        usage=usage,
        rules=DownloadRules(
            idle_timeout=settings.idle_timeout,
            redirect_lifetime=settings.redirect_lifetime,
            public_store=PublicStore(public_store) if public_store else None,
        ),
    )


def _artifact_parts(ground: Foundation, relay: Relay, settings: Settings) -> ArtifactParts:
    recorder = ArtifactRecorder(ground, max_job_bytes=settings.max_job_bytes, wake_relay=relay.wake)
    artifact_rules = ArtifactRules(public_url(settings), settings.download_lifetime, settings.max_artifact_bytes)
    whole = ArtifactService(ground, recorder, rules=artifact_rules)
    part_rules = PartRules(settings.max_artifact_bytes, settings.artifact_upload_lifetime)
    by_parts = ArtifactUploadService(ground, artifacts=whole, recorder=recorder, rules=part_rules)
    return ArtifactParts(
        whole=whole,
        by_parts=by_parts,
        completer=UploadCompleter(
            ground,
            uploads=by_parts,
            artifacts=whole,
            recorder=recorder,
            rules=CompletingRules(lease=settings.write_lease),
        ),
        checkpoints=CheckpointService(ground, artifacts=whole),
        retention=Retention(ground, recorder, rules=settings.retention_rules),
        bundles=TrainerBundleService(
            ground, public_url=public_url(settings), file=read_bundle(settings.trainer_bundle)
        ),
    )
