"""Finding the checkpoints of a job for the holder of its token."""

from pathlib import PurePosixPath

from stoker_dataset_gateway.artifacts.checkpoints import PREFIX, whole_checkpoints
from stoker_dataset_gateway.artifacts.repository import ArtifactRepository
from stoker_dataset_gateway.artifacts.service import ArtifactService
from stoker_dataset_gateway.checkpoints.schemas import CheckpointFacts, CheckpointFile
from stoker_dataset_gateway.downloads.conditions import Validators
from stoker_dataset_gateway.downloads.service import ServedFile
from stoker_dataset_gateway.foundation import Foundation
from stoker_shared.errors import NotFound


class CheckpointService:
    """What one attempt may know of the attempts before it."""

    def __init__(self, foundation: Foundation, *, artifacts: ArtifactService) -> None:
        self._database = foundation.database
        self._access = artifacts
        self._artifacts = ArtifactRepository()

    async def latest(self, token: str, *, job_id: str, skip: int) -> CheckpointFacts:
        """The newest whole checkpoint of the job, or the one that comes after the `skip` newest.

        Raises:
            TokenRefused, Forbidden; NotFound: there are not so many.
        """
        attempt = await self._access.attempt_of(token, job_id)
        async with self._database.transaction() as session:
            found = await self._artifacts.beginning_with(session, PREFIX, job_id=attempt.job_id)
        whole = whole_checkpoints(found)[skip:]
        if not whole:
            raise NotFound("checkpoint", f"of {attempt.job_id}", next_step="Train from the beginning.")
        (number, step), files = whole[0]
        folder = f"{PREFIX}{step}/"
        return CheckpointFacts(
            job_id=attempt.job_id,
            attempt=number,
            step=step,
            files=[
                CheckpointFile(name=file.name.removeprefix(folder), sha256=file.sha256, size_bytes=file.size_bytes)
                for file in files
            ],
        )

    async def file(self, token: str, *, job_id: str, attempt: int, step: int, name: str) -> ServedFile:
        """One file of a checkpoint that any attempt of the token's job has stored.

        Raises:
            TokenRefused, Forbidden, NotFound.
        """
        access = await self._access.attempt_of(token, job_id)
        full_name = f"{PREFIX}{step}/{name}"
        async with self._database.transaction() as session:
            found = await self._artifacts.named(session, job_id=access.job_id, attempt=attempt, name=full_name)
        if found is None:
            raise NotFound("file", full_name[:200], next_step="Ask for the latest checkpoint again.")
        return ServedFile(
            token_hash=access.token_hash,
            key=found.object_key,
            filename=PurePosixPath(found.name).name,
            size_bytes=found.size_bytes,
            expires_at=access.expires_at,
            validators=Validators(found.sha256, found.created_at),
        )
