"""SQL of artifacts."""

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from stoker_dataset_gateway.artifacts.tables import Artifact, ArtifactCounter


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
