"""SQL of artifacts."""

from datetime import datetime

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from stoker_dataset_gateway.artifacts.tables import Artifact, ArtifactCounter
from stoker_dataset_gateway.tokens.tables import Attempt, JobToken


class ArtifactRepository:
    """Every method runs in the caller's transaction."""

    async def named(self, session: AsyncSession, *, job_id: str, attempt: int, name: str) -> Artifact | None:
        """What an attempt has stored under this name."""
        found = await session.execute(
            select(Artifact).where(
                col(Artifact.job_id) == job_id, col(Artifact.attempt) == attempt, col(Artifact.name) == name
            )
        )
        return found.scalars().first()

    async def of_owner(self, session: AsyncSession, identifier: str, *, owner: str) -> Artifact | None:
        """One artifact if it belongs to this owner."""
        found = await session.execute(
            select(Artifact).where(col(Artifact.id) == identifier, col(Artifact.owner) == owner)
        )
        return found.scalars().first()

    async def of_job(self, session: AsyncSession, job_id: str, *, owner: str, attempt: int | None) -> list[Artifact]:
        """What a job has stored, by name, then attempt."""
        statement = select(Artifact).where(col(Artifact.job_id) == job_id, col(Artifact.owner) == owner)
        if attempt is not None:
            statement = statement.where(col(Artifact.attempt) == attempt)
        found = await session.execute(statement.order_by(col(Artifact.name), col(Artifact.attempt)))
        return list(found.scalars())

    async def beginning_with(self, session: AsyncSession, prefix: str, *, job_id: str) -> list[Artifact]:
        """What all attempts of a job have stored under names that begin like this."""
        found = await session.execute(
            select(Artifact).where(
                col(Artifact.job_id) == job_id, col(Artifact.name).startswith(prefix, autoescape=True)
            )
        )
        return list(found.scalars())

    async def stored_bytes(self, session: AsyncSession, artifact: Artifact) -> int:
        """Bytes that the artifact's job has stored, without what has the artifact's own name and attempt."""
        found = await session.execute(
            select(func.coalesce(func.sum(col(Artifact.size_bytes)), 0)).where(
                col(Artifact.job_id) == artifact.job_id,
                (col(Artifact.attempt) != artifact.attempt) | (col(Artifact.name) != artifact.name),
            )
        )
        return int(found.scalar_one())

    async def of_jobs_ended_before(
        self, session: AsyncSession, moment: datetime, *, prefix: str, has_prefix: bool, limit: int
    ) -> list[Artifact]:
        """Artifacts, oldest first, that are older than this, of jobs without any attempt since.

        An attempt lasts until its token is revoked or expires, whichever comes first. A job that waits for its next
        attempt has not ended, however long it waits.
        """
        is_named_so = col(Artifact.name).startswith(prefix, autoescape=True)
        attempts_since = (
            select(JobToken)
            .where(
                col(JobToken.job_id) == col(Artifact.job_id),
                func.least(col(JobToken.revoked_at), col(JobToken.expires_at)) > moment,
            )
            .exists()
        )
        ended_since = (
            select(Attempt)
            .where(col(Attempt.job_id) == col(Artifact.job_id), col(Attempt.revoked_at) > moment)
            .exists()
        )
        awaits_next = (
            select(Attempt).where(col(Attempt.job_id) == col(Artifact.job_id), col(Attempt.awaits_next)).exists()
        )
        found = await session.execute(
            select(Artifact)
            .where(
                col(Artifact.created_at) < moment,
                is_named_so if has_prefix else ~is_named_so,
                ~attempts_since,
                ~ended_since,
                ~awaits_next,
            )
            # What says that a checkpoint is whole goes first.
            .order_by(col(Artifact.name).endswith("/complete.json").desc(), col(Artifact.created_at))
            .limit(limit)
        )
        return list(found.scalars())

    async def delete(self, session: AsyncSession, object_keys: list[str]) -> list[Artifact]:
        """Take rows away by their objects; returns those that were there."""
        result = await session.execute(
            delete(Artifact).where(col(Artifact.object_key).in_(object_keys)).returning(Artifact)
        )
        return list(result.scalars())

    async def put(self, session: AsyncSession, artifact: Artifact) -> None:
        """Store it, new or in the place of the one with its id."""
        await session.merge(artifact)

    async def next_sequence(self, session: AsyncSession, job_id: str) -> int:
        """The number of the job's next artifact event; its row stays locked until the transaction ends."""
        result = await session.execute(
            insert(ArtifactCounter)
            .values(job_id=job_id, event_sequence=1)
            .on_conflict_do_update(
                index_elements=["job_id"], set_={"event_sequence": ArtifactCounter.event_sequence + 1}
            )
            .returning(col(ArtifactCounter.event_sequence))
        )
        return int(result.scalar_one())
