"""Targets of owners. An address is opened once, to see whether it has the form of its kind, and forgotten."""

from collections.abc import Sequence
from datetime import timedelta

from pydantic import SecretStr

from stoker_metrics.notifications.boxes import Boxes
from stoker_metrics.notifications.courier import Courier
from stoker_metrics.notifications.deliveries.schemas import SealedBox
from stoker_metrics.notifications.errors import (
    SigningSecretInvalid,
    TargetNameTaken,
    TargetUnknown,
    TooManyTargets,
)
from stoker_metrics.notifications.signing import demand_signing_secret
from stoker_metrics.notifications.tables import TargetRow
from stoker_metrics.notifications.targets.repository import TargetRepository
from stoker_shared.clock import Clock
from stoker_shared.database import Database
from stoker_shared.logging import get_logger
from stoker_shared.rpc.notifications import (
    ADDRESS_NAME,
    SIGNING_NAME,
    AddTarget,
    OwnerQuery,
    RotateSigning,
    SetTargetState,
    TargetFacts,
    TargetList,
    TargetQuery,
)

logger = get_logger(__name__)

MOST_TARGETS = 50
_HINT = 4
_LONG_ENOUGH_FOR_A_HINT = 24


class Targets:
    """Every method asks whose the target is."""

    def __init__(self, database: Database, boxes: Boxes, courier: Courier, *, clock: Clock) -> None:
        self._database = database
        self._boxes = boxes
        self._courier = courier
        self._clock = clock
        self._rows = TargetRepository()

    async def add(self, asked: AddTarget) -> TargetFacts:
        """Keep a target. The same name, address and signing secret again are the same target.

        Raises:
            UrlRefused, TargetAddressInvalid, SigningSecretInvalid, NotificationsClosed: it cannot be one.
            TargetNameTaken, TooManyTargets.
            SealedBoxUnreadable, SealingKeyUnknown, SealingKeysClosed: it cannot be opened here.
        """
        box = SealedBox(asked.sealed_address, asked.key_id)
        address = self._boxes.opened(box, owner=asked.owner, target_id=asked.target_id, what=ADDRESS_NAME)
        place = self._courier.place_of(asked.kind, address.get_secret_value())
        signing = self._checked_signing(asked.kind, asked.sealed_signing, asked)
        values = {
            **asked.model_dump(exclude={"key_id"}),
            "address_key_id": asked.key_id,
            "signing_key_id": asked.key_id if asked.sealed_signing else None,
            "place": place,
            "hint": _hint(address.get_secret_value()),
            "created_at": self._clock.now(),
        }
        async with self._database.transaction() as session:
            await self._rows.lock(session, asked.owner)
            known = await self._rows.of_owner(session, asked.owner)
            if (same := self._same(known, asked, address=address, signing=signing)) is not None:
                return self._facts(same)
            if len(known) >= MOST_TARGETS:
                raise TooManyTargets("targets", MOST_TARGETS)
            if not await self._rows.add(session, values):
                raise TargetNameTaken(asked.name)
        logger.info("notification target added", owner=asked.owner, target_id=asked.target_id, kind=asked.kind)
        return await self._one(asked.owner, asked.target_id)

    async def targets(self, query: OwnerQuery) -> TargetList:
        """All of an owner, oldest first."""
        async with self._database.transaction() as session:
            rows = await self._rows.of_owner(session, query.owner)
        return TargetList(targets=[self._facts(row) for row in rows])

    async def set_state(self, asked: SetTargetState) -> TargetFacts:
        """Pause, or use again what was paused or gone; what waits is sent then.

        Raises:
            TargetUnknown.
        """
        detail = "paused by its owner" if asked.state == "paused" else ""
        async with self._database.transaction() as session:
            if not await self._rows.set_state(
                session, owner=asked.owner, target_id=asked.target_id, state=asked.state, detail=detail
            ):
                raise TargetUnknown(asked.target_id)
        return await self._one(asked.owner, asked.target_id)

    async def rotate(self, asked: RotateSigning) -> TargetFacts:
        """Sign with another secret; for some time with the old one as well. The present one again changes nothing.

        Raises:
            SigningSecretInvalid; TargetUnknown: no such webhook.
        """
        signing = self._checked_signing("webhook", asked.sealed_signing, asked)
        until = self._clock.now() + timedelta(seconds=asked.overlap_seconds)
        async with self._database.transaction() as session:
            await self._rows.lock(session, asked.owner)
            present = await self._rows.one(session, owner=asked.owner, target_id=asked.target_id)
            if present is not None and signing is not None and self._signing_of(present) == signing:
                return self._facts(present)
            if not await self._rows.rotate(
                session,
                owner=asked.owner,
                target_id=asked.target_id,
                sealed=asked.sealed_signing,
                key_id=asked.key_id,
                until=until,
            ):
                raise TargetUnknown(asked.target_id)
        return await self._one(asked.owner, asked.target_id)

    async def remove(self, query: TargetQuery) -> TargetList:
        """Delete a target with its secrets, rules and deliveries.

        Raises:
            TargetUnknown.
        """
        async with self._database.transaction() as session:
            if not await self._rows.remove(session, owner=query.owner, target_id=query.target_id):
                raise TargetUnknown(query.target_id)
        return await self.targets(OwnerQuery(owner=query.owner))

    def _checked_signing(self, kind: str, sealed: str | None, asked: AddTarget | RotateSigning) -> SecretStr | None:
        if (kind == "webhook") != (sealed is not None):
            raise SigningSecretInvalid
        if sealed is None:
            return None
        box = SealedBox(sealed, asked.key_id)
        signing = self._boxes.opened(box, owner=asked.owner, target_id=asked.target_id, what=SIGNING_NAME)
        demand_signing_secret(signing)
        return signing

    def _same(
        self, known: Sequence[TargetRow], asked: AddTarget, *, address: SecretStr, signing: SecretStr | None
    ) -> TargetRow | None:
        """The target that an earlier call made of the same request; its answer was lost.

        Raises:
            TargetNameTaken: there is one of that name that is another.
        """
        named = next((row for row in known if row.name == asked.name), None)
        if named is None:
            return None
        box = SealedBox(named.sealed_address, named.address_key_id)
        theirs = self._boxes.kept(box, owner=named.owner, target_id=named.target_id, what=ADDRESS_NAME)
        if named.kind != asked.kind or theirs != address or self._signing_of(named) != signing:
            raise TargetNameTaken(asked.name)
        return named

    def _signing_of(self, row: TargetRow) -> SecretStr | None:
        if row.sealed_signing is None or row.signing_key_id is None:
            return None
        box = SealedBox(row.sealed_signing, row.signing_key_id)
        return self._boxes.kept(box, owner=row.owner, target_id=row.target_id, what=SIGNING_NAME)

    async def _one(self, owner: str, target_id: str) -> TargetFacts:
        async with self._database.transaction() as session:
            row = await self._rows.one(session, owner=owner, target_id=target_id)
        if row is None:
            raise TargetUnknown(target_id)
        return self._facts(row)

    def _facts(self, row: TargetRow) -> TargetFacts:
        is_rotating = row.previous_until is not None and row.previous_until > self._clock.now()
        return TargetFacts.model_validate(
            {
                **{name: getattr(row, name) for name in TargetFacts.model_fields if hasattr(row, name)},
                "rotating_until": row.previous_until if is_rotating else None,
            }
        )


def _hint(address: str) -> str:
    return address[-_HINT:] if len(address) >= _LONG_ENOUGH_FOR_A_HINT else ""
