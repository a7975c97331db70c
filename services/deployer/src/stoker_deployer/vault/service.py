"""The vault: takes sealed secrets, and opens them for the deployer alone."""

import re
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import cast

from pydantic import SecretStr

from stoker_deployer.providers.accounts import HeldKey
from stoker_deployer.vault.checking import Check, Verdict
from stoker_deployer.vault.errors import SecretMalformed, SecretNameUnknown, SecretNotSet
from stoker_deployer.vault.repository import SecretRepository
from stoker_deployer.vault.versions import SecretVersion, accounts, current, needless, opener
from stoker_shared.clock import Clock
from stoker_shared.database import Database
from stoker_shared.errors import StokerError
from stoker_shared.logging import get_logger
from stoker_shared.rpc.deployer import (
    RemoveSecret,
    SecretFacts,
    SecretList,
    SecretsQuery,
    SecretState,
    SetSecret,
    VaultKey,
    VaultKeyQuery,
)
from stoker_shared.sealing import SealedBoxUnreadable, SealingKeysClosed, SealingKeyUnknown, StoredBox
from stoker_shared.sealing.keys import SealingKeyFile

logger = get_logger(__name__)

POD_VARIABLES: Mapping[str, str] = {"huggingface": "HF_TOKEN", "wandb": "WANDB_API_KEY"}
"""Secrets that a launch may ask for, and what a pod sees them as. No provider's key is among them."""

KEPT_AFTER_THE_END = timedelta(hours=1)
"""A machine of an order whose outcome is unknown may turn up for so long after its attempt."""

_VALUE = re.compile(r"[\x21-\x7e]+")
_LENGTHS = range(8, 4097)
_HINT = 4
_LONG_ENOUGH_FOR_A_HINT = 16


class Vault:
    """Every method leaves the clear text where it found it: in the caller's hands, or nowhere."""

    def __init__(self, database: Database, keys: SealingKeyFile, *, checks: Mapping[str, Check], clock: Clock) -> None:
        self._database = database
        self._keys = keys
        self._checks = checks
        self._clock = clock
        self._rows = SecretRepository()

    # Answers.

    async def vault_key(self, _question: VaultKeyQuery) -> VaultKey:
        """What to seal with."""
        return self._keys.newest()

    async def set_secret(self, asked: SetSecret) -> SecretFacts:
        """Check a secret and keep its box as the newest version.

        Raises:
            SecretNameUnknown, SecretMalformed, SecretRefused: nothing is stored.
            SealingKeyUnknown, SealedBoxUnreadable: it is not sealed for this owner and name with a key of here.
            SealingKeysClosed: there is no key to open it with.
        """
        check = self._checks.get(asked.name)
        if check is None:
            raise SecretNameUnknown(asked.name, settable=self._checks)
        secret = self._keys.opened(StoredBox(asked.owner, asked.name, asked.key_id, asked.sealed))
        _demand_a_key(asked.name, secret)
        stored = await self._store(asked, await check(secret), hint=_hint(secret))
        logger.info("secret set", owner=stored.owner, name=stored.name, version=stored.version, state=stored.state)
        return _facts(stored)

    async def secrets(self, asked: SecretsQuery) -> SecretList:
        """What an owner has set, without the secrets."""
        async with self._database.transaction() as session:
            rows = await self._rows.of_owner(session, asked.owner)
        return SecretList(secrets=[_facts(row) for row in rows], settable=sorted(self._checks))

    async def remove_secret(self, asked: RemoveSecret) -> SecretList:
        """Retire the live version; wipe what no attempt needs. Answers with what is kept.

        Raises:
            SecretNotSet: there is none.
        """
        now = self._clock.now()
        async with self._database.transaction() as session:
            await self._rows.lock(session, owner=asked.owner, name=asked.name)
            if not await self._rows.retire(session, owner=asked.owner, name=asked.name, now=now):
                raise SecretNotSet(asked.name)
        await self._wipe(asked.owner, asked.name)
        logger.info("secret removed", owner=asked.owner, name=asked.name)
        return await self.secrets(SecretsQuery(owner=asked.owner))

    # For the deployer itself.

    async def key(self, owner: str, name: str, *, version: int | None = None) -> HeldKey | None:
        """A provider's key of an owner: the one for the next attempt, or for what was launched with `version`.

        None if there is none, or it cannot be opened.

        Raises:
            ServiceUnavailable: PostgreSQL is away.
        """
        async with self._database.transaction() as session:
            rows = await self._rows.versions(session, owner=owner, name=name)
        found = current(rows) if version is None else opener(rows, version)
        if found is None:
            return None
        versions = frozenset(row.version for row in rows if row.account == found.account)
        return self._held(found, versions)

    async def all_keys(self, names: Collection[str]) -> list[HeldKey]:
        """One key for each account of each owner at these providers. Those that cannot be opened are left out.

        Raises:
            ServiceUnavailable: PostgreSQL is away.
        """
        if not names:
            return []
        async with self._database.transaction() as session:
            rows = await self._rows.of_names(session, names)
        by_secret: dict[tuple[str, str], list[SecretVersion]] = {}
        for row in rows:
            by_secret.setdefault((row.owner, row.name), []).append(row)
        found = [(able, versions) for theirs in by_secret.values() for able, versions in accounts(theirs)]
        return [held for able, versions in found if (held := self._held(able, versions))]

    async def pod_environment(self, owner: str, names: Sequence[str]) -> dict[str, str]:
        """The variables with the secrets that a launch asked for. Hand them to the provider and to nobody else.

        Raises:
            SecretNotSet: one of them is not there (any more), or cannot be opened.
            SecretNameUnknown: pods never get one of that name.
            ServiceUnavailable: PostgreSQL or the key file is away.
        """
        found: dict[str, str] = {}
        for name in names:
            if name not in POD_VARIABLES:
                raise SecretNameUnknown(name, settable=POD_VARIABLES)
            held = await self.key(owner, name)
            if held is None:
                raise SecretNotSet(name)
            found[POD_VARIABLES[name]] = held.secret.get_secret_value()
        return found

    async def wipe_needless(self) -> None:
        """Wipe boxes that were kept for machines that are gone by now.

        Raises:
            ServiceUnavailable: PostgreSQL is away.
        """
        async with self._database.transaction() as session:
            found = await self._rows.with_retired(session)
        for owner, name in found:
            await self._wipe(owner, name)

    async def _store(self, asked: SetSecret, verdict: Verdict, *, hint: str) -> SecretVersion:
        now = self._clock.now()
        async with self._database.transaction() as session:
            await self._rows.lock(session, owner=asked.owner, name=asked.name)
            rows = await self._rows.versions(session, owner=asked.owner, name=asked.name, is_locked=True)
            await self._rows.retire(session, owner=asked.owner, name=asked.name, now=now)
            made = SecretVersion(
                owner=asked.owner,
                name=asked.name,
                version=max((row.version for row in rows), default=0) + 1,
                sealed=asked.sealed,
                key_id=asked.key_id,
                created_at=now,
                checked_at=now if verdict.state == "valid" else None,
                state=verdict.state,
                hint=hint,
                account_id=verdict.account_id,
            )
            await self._rows.insert(session, made)
        await self._wipe(asked.owner, asked.name)
        return made

    async def _wipe(self, owner: str, name: str) -> None:
        since: datetime = self._clock.now() - KEPT_AFTER_THE_END
        async with self._database.transaction() as session:
            await self._rows.lock(session, owner=owner, name=name)
            # Locked before attempts are read: one that begins just now holds its version, and is seen afterwards.
            rows = await self._rows.versions(session, owner=owner, name=name, is_locked=True)
            used = await self._rows.used(session, owner=owner, name=name, since=since)
            await self._rows.wipe(session, needless(rows, used=used))

    def _held(self, row: SecretVersion, versions: frozenset[int]) -> HeldKey | None:
        try:
            secret = self._keys.opened(row.box)
        except (SealingKeysClosed, SealingKeyUnknown, SealedBoxUnreadable) as error:
            tell_unreadable(row, error)
            return None
        return HeldKey(row.owner, row.name, row.version, row.account, versions, secret)


def tell_unreadable(row: SecretVersion, error: StokerError) -> None:
    """Tell the operator; whoever asked for the secret goes on without it."""
    logger.error("a secret cannot be opened", owner=row.owner, name=row.name, reason=error.detail)


def _demand_a_key(name: str, secret: SecretStr) -> None:
    value = secret.get_secret_value()
    if len(value) not in _LENGTHS:
        raise SecretMalformed(name, f"it has not between {_LENGTHS[0]} and {_LENGTHS[-1]} characters")
    if not _VALUE.fullmatch(value):
        raise SecretMalformed(name, "it has spaces, line ends or characters outside of ASCII")


def _hint(secret: SecretStr) -> str:
    value = secret.get_secret_value()
    return value[-_HINT:] if len(value) >= _LONG_ENOUGH_FOR_A_HINT else ""


def _facts(row: SecretVersion) -> SecretFacts:
    state = "retired" if row.retired_at else row.state
    return SecretFacts(
        name=row.name,
        version=row.version,
        state=cast(SecretState, state),
        hint=row.hint,
        set_at=row.created_at,
        checked_at=row.checked_at,
    )
