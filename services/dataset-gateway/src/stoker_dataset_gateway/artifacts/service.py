"""Taking artifacts in and letting their owner fetch them."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import PurePosixPath

from stoker_dataset_gateway.artifacts.checkpoints import PREFIX, superseded
from stoker_dataset_gateway.artifacts.names import checked_name
from stoker_dataset_gateway.artifacts.recording import ArtifactRecorder
from stoker_dataset_gateway.artifacts.repository import ArtifactRepository
from stoker_dataset_gateway.artifacts.tables import Artifact
from stoker_dataset_gateway.foundation import Foundation
from stoker_dataset_gateway.objects.incoming import Digest
from stoker_dataset_gateway.tokens.repository import TokenRepository
from stoker_dataset_gateway.tokens.tables import DownloadToken, JobToken
from stoker_shared.errors import Forbidden, NotFound
from stoker_shared.identifiers import new_identifier
from stoker_shared.rpc.contract import Empty
from stoker_shared.rpc.dataset_gateway import (
    ArtifactFacts,
    ArtifactList,
    ArtifactOpened,
    DeleteArtifact,
    ListArtifacts,
    OpenArtifact,
)
from stoker_shared.tokens import mint_token, token_hash

ARTIFACT_DOWNLOAD = "artifact"


@dataclass(frozen=True, slots=True)
class IncomingArtifact:
    """What a trainer announces. `size_bytes` None: it does not say."""

    job_id: str
    name: str
    sha256: str
    size_bytes: int | None


@dataclass(frozen=True, slots=True)
class ArtifactRules:
    """Where users fetch from, for how long a download URL works, and what one file may take."""

    public_url: str
    download_lifetime: timedelta
    max_artifact_bytes: int


class ArtifactService:
    """Artifacts of jobs."""

    def __init__(self, foundation: Foundation, recorder: ArtifactRecorder, *, rules: ArtifactRules) -> None:
        self._database = foundation.database
        self._writer = foundation.writer
        self._token_service = foundation.tokens
        self._recorder = recorder
        self._clock = foundation.clock
        self._rules = rules
        self._artifacts = ArtifactRepository()
        self._tokens = TokenRepository()

    async def receive(
        self, incoming: IncomingArtifact, *, token: str, blocks: AsyncIterator[bytes]
    ) -> tuple[ArtifactFacts, bool]:
        """Store a file and tell whether it is new.

        The same name with the same content counts as stored, with other content it takes the earlier one's place:
        a trainer that repeats an upload always gets through, and what it sent last is what is there.

        Raises:
            TokenRefused, Forbidden, RequestInvalid, JobStorageFull: before a byte is read.
            ChecksumMismatch, UploadInterrupted, StoreUnavailable, StoreFull: nothing stored.
        """
        attempt = await self.attempt_of(token, incoming.job_id)
        name = checked_name(incoming.name)
        stored = await self._look(attempt, incoming)
        if stored is not None:
            return facts_of(stored), False
        digest = Digest()
        async with self._writer.writing(
            # The write's own id keeps two senders of one name from mixing their bytes.
            key=object_key(attempt, name),
            purpose=f"artifact:{attempt.job_id}:{attempt.attempt}:{name}",
        ) as writing:
            size_hint = self._rules.max_artifact_bytes if incoming.size_bytes is None else incoming.size_bytes
            await writing.store(_verified(blocks, digest, sha256=incoming.sha256), size_hint=size_hint)
            artifact = new_artifact(
                attempt,
                name=name,
                sha256=incoming.sha256,
                size_bytes=digest.size_bytes,
                key=writing.key,
                now=self._clock.now(),
            )
            recorded, is_new = await self._recorder.record(artifact, token)
        return facts_of(recorded), is_new

    async def attempt_of(self, token: str, job_id: str) -> JobToken:
        """The attempt of a job token, for a request about this job.

        Raises:
            TokenRefused, Forbidden.
        """
        attempt = await self._token_service.attempt_of(token)
        if attempt.job_id != job_id:
            raise Forbidden("The job token belongs to another job.", next_step="Use the token of this job.")
        return attempt

    async def prune_checkpoints(self, token: str, *, job_id: str, keep: int) -> int:
        """Delete the job's checkpoints but the newest `keep` whole ones, for its trainer. Returns how many files.

        Raises:
            TokenRefused, Forbidden.
        """
        attempt = await self.attempt_of(token, job_id)
        async with self._database.transaction() as session:
            found = await self._artifacts.beginning_with(session, PREFIX, job_id=attempt.job_id)
        old = superseded(found, keep=keep)
        return await self._recorder.remove(old, why="superseded") if old else 0

    async def delete(self, request: DeleteArtifact) -> Empty:
        """Delete one file for its owner.

        Raises:
            NotFound: none, or somebody else's.
        """
        async with self._database.transaction() as session:
            found = await self._artifacts.of_owner(session, request.artifact_id, owner=request.owner)
        if found is None:
            raise NotFound("artifact", request.artifact_id, next_step="List the artifacts of the job.")
        await self._recorder.remove([found], why="owner")
        return Empty()

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

    async def _look(self, attempt: JobToken, incoming: IncomingArtifact) -> Artifact | None:
        """The same content, if it is stored under this name; else the job must have room for it."""
        wanted = new_artifact(
            attempt,
            name=incoming.name,
            sha256=incoming.sha256,
            size_bytes=incoming.size_bytes or 0,
            key="",
            now=self._clock.now(),
        )
        async with self._database.transaction() as session:
            stored = await self._artifacts.named(
                session, job_id=attempt.job_id, attempt=attempt.attempt, name=incoming.name
            )
            if stored is not None and stored.sha256 == incoming.sha256:
                return stored
            await self._recorder.ensure_room(session, wanted)
        return None


def new_artifact(attempt: JobToken, *, name: str, sha256: str, size_bytes: int, key: str, now: datetime) -> Artifact:
    """A file of this attempt, not stored yet."""
    return Artifact(
        id=new_identifier("artifact"),
        job_id=attempt.job_id,
        attempt=attempt.attempt,
        owner=attempt.owner,
        name=name,
        sha256=sha256,
        size_bytes=size_bytes,
        object_key=key,
        created_at=now,
    )


def object_key(attempt: JobToken, name: str) -> str:
    """A key that no other write has or will have."""
    return f"artifacts/{attempt.job_id}/{attempt.attempt}/{new_identifier('object')}/{name}"


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


async def _verified(blocks: AsyncIterator[bytes], digest: Digest, *, sha256: str) -> AsyncIterator[bytes]:
    async for block in blocks:
        digest.take(block)
        yield block
    digest.compare(sha256=sha256)
