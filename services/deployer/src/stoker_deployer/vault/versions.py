"""Which version of a secret serves whom. Pure: rows in, rows out."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from stoker_shared.sealing import StoredBox


@dataclass(frozen=True, slots=True)
class SecretVersion:
    """A row. `sealed` None: wiped, nobody needs it any more. `account_id`: whose it is at the provider, "" unknown."""

    owner: str
    name: str
    version: int
    sealed: str | None = field(repr=False)
    key_id: str
    created_at: datetime
    checked_at: datetime | None = None
    state: str = "unchecked"
    hint: str = ""
    account_id: str = ""
    retired_at: datetime | None = None

    @property
    def box(self) -> StoredBox:
        """What there is to open; nothing that opens if it was wiped."""
        return StoredBox(self.owner, self.name, self.key_id, self.sealed or "")

    @property
    def account(self) -> str:
        """The account that it opens, as far as can be told: one of its own, if the provider does not say."""
        return f"{self.owner}/{self.account_id or f'version {self.version}'}"


def current(rows: Iterable[SecretVersion]) -> SecretVersion | None:
    """The one that the next attempt takes."""
    return max((row for row in rows if _is_live(row)), key=lambda row: row.version, default=None)


def opener(rows: Sequence[SecretVersion], version: int) -> SecretVersion | None:
    """The one to use for what was begun with `version`: of the same account the newest live one, else the newest kept.

    Never one of another account, whose provider would deny that the machine exists.
    """
    begun = next((row for row in rows if row.version == version), None)
    if begun is None:
        return None
    able = [row for row in rows if row.sealed is not None and row.account == begun.account]
    return max(able, key=lambda row: (_is_live(row), row.version), default=None)


def accounts(rows: Sequence[SecretVersion]) -> list[tuple[SecretVersion, frozenset[int]]]:
    """Each account that can still be opened: with what, and all versions that were ever of it."""
    found: dict[str, tuple[SecretVersion, frozenset[int]]] = {}
    for row in rows:
        able = opener(rows, row.version)
        if able is not None:
            versions = frozenset(other.version for other in rows if other.account == row.account)
            found[row.account] = (able, versions)
    return list(found.values())


def needless(rows: Sequence[SecretVersion], *, used: Collection[int]) -> list[SecretVersion]:
    """Retired ones that still have their box, and of whose account no version is used."""
    needed = {row.account for row in rows if row.version in used}
    return [row for row in rows if row.retired_at and row.sealed is not None and row.account not in needed]


def _is_live(row: SecretVersion) -> bool:
    return row.retired_at is None and row.sealed is not None
