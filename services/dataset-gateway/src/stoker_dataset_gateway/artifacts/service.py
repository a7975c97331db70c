"""Taking artifacts in and letting their owner fetch them."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import PurePosixPath
from uuid import uuid4

from sqlalchemy.ext.asyncio import AsyncSession

from stoker_dataset_gateway.artifacts.names import checked_name
from stoker_dataset_gateway.artifacts.repository import ArtifactRepository
from stoker_dataset_gateway.artifacts.tables import Artifact
from stoker_dataset_gateway.locks import hold_lock
from stoker_dataset_gateway.objects.incoming import Digest
from stoker_dataset_gateway.objects.service import ObjectWriter, ObjectWriting
from stoker_dataset_gateway.tokens.repository import TokenRepository
from stoker_dataset_gateway.tokens.service import TokenService
from stoker_dataset_gateway.tokens.tables import DownloadToken, JobToken
from stoker_shared.clock import Clock
from stoker_shared.database import Database
from stoker_shared.errors import Forbidden, NotFound
from stoker_shared.events import ArtifactStored
from stoker_shared.identifiers import new_identifier
from stoker_shared.outbox import enqueue
from stoker_shared.rpc.dataset_gateway import (
    ArtifactFacts,
    ArtifactList,
    ArtifactOpened,
    ListArtifacts,
    OpenArtifact,
)
from stoker_shared.tokens import mint_token, token_hash

ARTIFACT_DOWNLOAD = "artifact"


@dataclass(frozen=True, slots=True)
class IncomingArtifact:
    """What a trainer announces. `size_hint` need not be exact."""

    job_id: str
    name: str
    sha256: str
    size_hint: int


@dataclass(frozen=True, slots=True)
class ArtifactRules:
    """Where users fetch from, and for how long a download URL works."""

    public_url: str
    download_lifetime: timedelta


class ArtifactService:
    """Artifacts of jobs."""

    def __init__(
        self,
        database: Database,
        writer: ObjectWriter,
        tokens: TokenService,
        *,
        clock: Clock,
        rules: ArtifactRules,
        wake_relay: Callable[[], None],
    ) -> None:
        self._database = database
        self._writer = writer
        self._token_service = tokens
        self._clock = clock
        self._rules = rules
        self._wake_relay = wake_relay
        self._artifacts = ArtifactRepository()
        self._tokens = TokenRepository()

    async def receive(
        self, incoming: IncomingArtifact, *, token: str, blocks: AsyncIterator[bytes]
    ) -> tuple[ArtifactFacts, bool]:
        """Store a file and tell whether it is new.

        The same name with the same content counts as stored, with other content it takes the earlier one's place:
        a trainer that repeats an upload always gets through, and what it sent last is what is there.

        Raises:
            TokenRefused, Forbidden, RequestInvalid: before a byte is read.
            ChecksumMismatch, UploadInterrupted, StoreUnavailable, StoreFull: nothing stored.
        """
        attempt = await self._token_service.attempt_of(token)
        if attempt.job_id != incoming.job_id:
            raise Forbidden("The job token belongs to another job.", next_step="Use the token of this job.")
        name = checked_name(incoming.name)
        stored = await self._stored_before(attempt, name)
        if stored is not None and stored.sha256 == incoming.sha256:
            return facts_of(stored), False
        digest = Digest()
        async with self._writer.writing(
            # The write's own id keeps two senders of one name from mixing their bytes.
            key=f"artifacts/{attempt.job_id}/{attempt.attempt}/{new_identifier('object')}/{name}",
            purpose=_purpose(attempt, name),
            is_exclusive=False,
        ) as writing:
            await writing.store(_verified(blocks, digest, sha256=incoming.sha256), size_hint=incoming.size_hint)
            artifact = Artifact(
                id=new_identifier("artifact"),
                job_id=attempt.job_id,
                attempt=attempt.attempt,
                owner=attempt.owner,
                name=name,
                sha256=incoming.sha256,
                size_bytes=digest.size_bytes,
                object_key=writing.key,
                created_at=self._clock.now(),
            )
            return await self._record(artifact, token, writing)

    async def list(self, request: ListArtifacts) -> ArtifactList:
        """What a job has stored, sorted by name; empty for a job of somebody else."""
        async with self._database.transaction() as session:
            found = await self._artifacts.of_job(session, request.job_id, owner=request.owner, attempt=request.attempt)
        return ArtifactList(artifacts=[facts_of(artifact) for artifact in found])

    async def open(self, request: OpenArtifact) -> ArtifactOpened:
        """A URL for one file.

        Raises:
            NotFound: none, or somebody else's.
        """
        token = mint_token()
        now = self._clock.now()
        expires_at = now + self._rules.download_lifetime
        async with self._database.transaction() as session:
            artifact = await self._artifacts.of_owner(session, request.artifact_id, owner=request.owner)
            if artifact is None:
                raise NotFound("artifact", request.artifact_id, next_step="List the artifacts of the job.")
            download = DownloadToken(
                token_hash=token_hash(token),
                kind=ARTIFACT_DOWNLOAD,
                artifact_id=artifact.id,
                object_key=artifact.object_key,
                filename=PurePosixPath(artifact.name).name,
                sha256=artifact.sha256,
                size_bytes=artifact.size_bytes,
                stored_at=artifact.created_at,
                created_at=now,
                expires_at=expires_at,
            )
            await self._tokens.add_download_token(session, download)
        return ArtifactOpened(
            artifact=facts_of(artifact),
            download_url=f"{self._rules.public_url}/v1/artifacts/download?token={token.get_secret_value()}",
            expires_at=expires_at,
        )

    async def _stored_before(self, attempt: JobToken, name: str) -> Artifact | None:
        async with self._database.transaction() as session:
            return await self._artifacts.named(session, job_id=attempt.job_id, attempt=attempt.attempt, name=name)

    async def _record(self, artifact: Artifact, token: str, writing: ObjectWriting) -> tuple[ArtifactFacts, bool]:
        replaced_key = None
        async with self._database.transaction() as session:
            # The attempt may have ended while the bytes came.
            attempt = await self._token_service.hold_attempt(session, token)
            await hold_lock(session, _purpose(attempt, artifact.name))
            before = await self._artifacts.named(
                session, job_id=artifact.job_id, attempt=artifact.attempt, name=artifact.name
            )
            if before is not None and before.sha256 == artifact.sha256:
                return facts_of(before), False
            if before is not None:
                artifact.id, replaced_key = before.id, before.object_key
                await self._writer.give_up(session, replaced_key)
            await self._artifacts.put(session, artifact)
            await writing.keep(session)
            await self._tell(session, artifact)
        self._wake_relay()
        if replaced_key is not None:
            await self._writer.discard(replaced_key)
        return facts_of(artifact), True

    async def _tell(self, session: AsyncSession, artifact: Artifact) -> None:
        event = ArtifactStored(
            event_id=uuid4(),
            occurred_at=artifact.created_at,
            sequence=await self._artifacts.next_sequence(session, artifact.job_id),
            job_id=artifact.job_id,
            attempt=artifact.attempt,
            artifact_id=artifact.id,
            name=artifact.name,
            sha256=artifact.sha256,
            size_bytes=artifact.size_bytes,
        )
        await enqueue(session, event)


def facts_of(artifact: Artifact) -> ArtifactFacts:
    """An artifact as it is told."""
    return ArtifactFacts(
        artifact_id=artifact.id,
        job_id=artifact.job_id,
        attempt=artifact.attempt,
        name=artifact.name,
        sha256=artifact.sha256,
        size_bytes=artifact.size_bytes,
        created_at=artifact.created_at,
    )


def _purpose(attempt: JobToken, name: str) -> str:
    return f"artifact:{attempt.job_id}:{attempt.attempt}:{name}"


async def _verified(blocks: AsyncIterator[bytes], digest: Digest, *, sha256: str) -> AsyncIterator[bytes]:
    async for block in blocks:
        digest.take(block)
        yield block
    digest.compare(sha256=sha256)
