"""SQL of trainer bundles."""

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from stoker_dataset_gateway.trainer_bundles.tables import TrainerBundle


class TrainerBundleRepository:
    """Every method runs in the caller's transaction."""

    async def find(self, session: AsyncSession, *, version: str, sha256: str) -> TrainerBundle | None:
        """One bundle by what names it."""
        found = await session.execute(
            select(TrainerBundle).where(col(TrainerBundle.sha256) == sha256, col(TrainerBundle.version) == version)
        )
        return found.scalars().first()

    async def add(self, session: AsyncSession, bundle: TrainerBundle) -> bool:
        """Store it; false if another replica was first."""
        result = await session.execute(
            insert(TrainerBundle)
            .values(**bundle.model_dump())
            .on_conflict_do_nothing()
            .returning(col(TrainerBundle.sha256))
        )
        return result.first() is not None
