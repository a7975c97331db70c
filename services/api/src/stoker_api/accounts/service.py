"""Who a key belongs to."""

import re
from datetime import datetime

from pydantic import SecretStr

from stoker_api.accounts.repository import AccountRepository
from stoker_api.accounts.schemas import Account
from stoker_api.accounts.tables import ApiKeyRow, UserRow
from stoker_shared.clock import Clock
from stoker_shared.database import Database
from stoker_shared.errors import Unauthorised
from stoker_shared.identifiers import new_identifier
from stoker_shared.tokens import mint_token, token_hash

KEY_PREFIX = "stk_"
# Fixed, so that a new bootstrap key opens what the old one did.
BOOTSTRAP_USER = "usr-0000000000000001"
_BOOTSTRAP = "bootstrap"
_KEY = re.compile(r"^stk_[A-Za-z0-9_-]{32,128}$")


def key_hash_of(key: str) -> str:
    """The SHA-256 under which a key is stored.

    Raises:
        Unauthorised: this can be no key of ours; the database is not asked.
    """
    if not _KEY.fullmatch(key):
        raise unknown_key()
    return token_hash(key)


def unknown_key() -> Unauthorised:
    """One answer for unknown, expired and revoked: a guesser learns nothing."""
    return Unauthorised(
        "The API key is unknown, expired or revoked.", next_step="Send a key that begins with stk_ and is valid."
    )


def is_usable(*, expires_at: datetime | None, revoked_at: datetime | None, now: datetime) -> bool:
    """Whether a key opens anything now."""
    return revoked_at is None and (expires_at is None or now < expires_at)


class AccountService:
    """Signs users in, and makes them."""

    def __init__(self, database: Database, *, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._rows = AccountRepository()

    async def sign_in(self, key_sha256: str) -> Account:
        """The account of a key.

        Raises:
            Unauthorised: the key is unknown, expired or revoked.
        """
        async with self._database.transaction() as session:
            found = await self._rows.find(session, key_sha256=key_sha256)
        if found is None:
            raise unknown_key()
        key, user = found
        if not is_usable(expires_at=key.expires_at, revoked_at=key.revoked_at, now=self._clock.now()):
            raise unknown_key()
        return Account(
            user_id=user.id, name=user.name, is_admin=user.is_admin, key_name=key.name, key_expires_at=key.expires_at
        )

    async def bootstrap(self, key_sha256: str) -> None:
        """Make the first user with this key; an earlier bootstrap key is revoked. May run at every start."""
        now = self._clock.now()
        user = UserRow(id=BOOTSTRAP_USER, name="operator", is_admin=True, created_at=now)
        key = ApiKeyRow(key_sha256=key_sha256, owner=user.id, name=_BOOTSTRAP, created_at=now)
        async with self._database.transaction() as session:
            await self._rows.add_user(session, user)
            await self._rows.add_key(session, key)
            await self._rows.revoke_keys(session, owner=user.id, name=_BOOTSTRAP, except_sha256=key_sha256, now=now)

    async def create_user(self, name: str, *, expires_at: datetime | None = None) -> tuple[str, SecretStr]:
        """Make a user with a first key. Returns the user's id and the key, which is told only now."""
        now = self._clock.now()
        plain = SecretStr(f"{KEY_PREFIX}{mint_token().get_secret_value()}")
        user = UserRow(id=new_identifier("usr"), name=name, created_at=now)
        key = ApiKeyRow(
            key_sha256=token_hash(plain), owner=user.id, name="first", created_at=now, expires_at=expires_at
        )
        async with self._database.transaction() as session:
            await self._rows.add_user(session, user)
            await self._rows.add_key(session, key)
        return user.id, plain
