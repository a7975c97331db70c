"""All boxes of older keys sealed with the newest, one row after the other."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeVar

from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncSession

from stoker_shared.database import Database
from stoker_shared.errors import StokerError
from stoker_shared.rpc.deployer import VaultKey
from stoker_shared.sealing.boxes import StoredBox, seal
from stoker_shared.sealing.errors import SealedBoxUnreadable, SealingKeyUnknown
from stoker_shared.sealing.keys import SealingKeyFile

RowT = TypeVar("RowT")


class BoxRepository(Protocol[RowT]):
    """Rows that hold boxes, each under a name of its own within the row. Methods run in the caller's transaction."""

    async def sealed_otherwise(self, session: AsyncSession, key_id: str) -> Sequence[RowT]:
        """Rows of which any box was sealed with another key than this one."""
        ...

    def boxes_of(self, row: RowT) -> Mapping[str, StoredBox]:
        """All boxes of a row."""
        ...

    async def reseal(self, session: AsyncSession, row: RowT, sealed: Mapping[str, str], *, key_id: str) -> bool:
        """Put boxes of another key in the place of these. False: the row has changed meanwhile."""
        ...


async def reseal_all(
    database_url: SecretStr,
    rows: BoxRepository[RowT],
    keys: SealingKeyFile,
    *,
    unreadable: Callable[[RowT, StokerError], None],
) -> int:
    """Seal every box of an older key with the newest. Returns how many rows were.

    A row with a box that does not open is left as it is and told to `unreadable`, which may end all by raising;
    rows before it are sealed anew.

    Raises:
        ServiceUnavailable: PostgreSQL or the key file is away.
    """
    database = Database(database_url, pool_size=1)
    try:
        return await _reseal_all(database, rows, keys, unreadable=unreadable)
    finally:
        await database.close()


async def _reseal_all(
    database: Database,
    rows: BoxRepository[RowT],
    keys: SealingKeyFile,
    *,
    unreadable: Callable[[RowT, StokerError], None],
) -> int:
    newest, done = keys.newest(), 0
    async with database.transaction() as session:
        found = await rows.sealed_otherwise(session, newest.key_id)
    for row in found:
        try:
            sealed = {place: _resealed(box, keys, newest) for place, box in rows.boxes_of(row).items()}
        except (SealedBoxUnreadable, SealingKeyUnknown) as error:
            unreadable(row, error)
            continue
        async with database.transaction() as session:
            done += await rows.reseal(session, row, sealed, key_id=newest.key_id)
    return done


def _resealed(box: StoredBox, keys: SealingKeyFile, newest: VaultKey) -> str:
    return seal(keys.opened(box), owner=box.owner, name=box.name, public_key=newest.public_key)
