"""Carries one message to one target, by whatever kind of target it is. Knows no table."""

from datetime import datetime

from pydantic import SecretStr

from stoker_metrics.notifications.boxes import Boxes
from stoker_metrics.notifications.channels import channel_plugin, send_by_channel
from stoker_metrics.notifications.deliveries.schemas import Claimed, Outcome
from stoker_metrics.notifications.errors import (
    AddressRefused,
    NotificationsClosed,
    TargetAddressInvalid,
    TargetUnreachable,
    TargetUnreadable,
    UrlRefused,
)
from stoker_metrics.notifications.mail import MailRules, demand_mail_address, send_mail
from stoker_metrics.notifications.payloads import words
from stoker_metrics.notifications.reaching import Reach
from stoker_metrics.notifications.signing import signed_headers
from stoker_shared.rpc.notifications import ADDRESS_NAME, SIGNING_NAME

_USER_AGENT = "Stoker-Webhooks/1"
_FAULTS = (AddressRefused, TargetUnreachable, TargetUnreadable, UrlRefused, TargetAddressInvalid, NotificationsClosed)


class Courier:
    """Sends, and tells what came of it in a few words of ours."""

    def __init__(self, boxes: Boxes, reach: Reach, *, mail: MailRules | None) -> None:
        self._boxes = boxes
        self._reach = reach
        self._mail = mail

    def place_of(self, kind: str, address: str) -> str:
        """Where an address leads, without what is secret of it.

        Raises:
            UrlRefused, TargetAddressInvalid: it does not have the form of its kind.
            NotificationsClosed: no mail server is set up.
        """
        if kind == "webhook":
            return str(self._reach.check(address).host)
        if kind == "email":
            demand_mail_address(address, self._mail_rules())
            return address.rpartition("@")[2]
        channel_plugin(kind, address)
        return kind

    async def send(self, claimed: Claimed, *, at: datetime) -> Outcome:
        """One attempt. `at` is signed.

        Raises:
            SealingKeysClosed: there is no key to open the address with; nothing was tried.
        """
        try:
            return await self._sent(claimed, at=at)
        except _FAULTS as error:
            return Outcome(is_delivered=False, error=error.detail)

    async def _sent(self, claimed: Claimed, *, at: datetime) -> Outcome:
        theirs = {"owner": claimed.owner, "target_id": claimed.target_id}
        address = self._boxes.kept(claimed.address, **theirs, what=ADDRESS_NAME).get_secret_value()
        if claimed.kind == "webhook":
            signing = [self._boxes.kept(box, **theirs, what=SIGNING_NAME) for box in claimed.signing]
            return await self._post(claimed, address, signing, at=at)
        if claimed.kind == "email":
            await send_mail(address, words(claimed.payload), self._mail_rules(), message_id=claimed.delivery_id)
            return Outcome(is_delivered=True)
        if await send_by_channel(claimed.kind, address, words(claimed.payload)):
            return Outcome(is_delivered=True)
        return Outcome(is_delivered=False, error=f"{claimed.kind} did not take it, or was not reached")

    async def _post(self, claimed: Claimed, url: str, signing: list[SecretStr], *, at: datetime) -> Outcome:
        body = claimed.payload.encode()
        headers = {
            "Content-Type": "application/json",
            "User-Agent": _USER_AGENT,
            **signed_headers(body, message_id=claimed.delivery_id, at=at, signing=signing),
        }
        answer = await self._reach.post(url, body=body, headers=headers)
        if 200 <= answer.status < 300:
            return Outcome(is_delivered=True, status=answer.status)
        return Outcome(
            is_delivered=False,
            status=answer.status,
            error=f"it answered {answer.status}",
            retry_after=answer.retry_after,
        )

    def _mail_rules(self) -> MailRules:
        if self._mail is None:
            raise NotificationsClosed("email", "STOKER_METRICS_SMTP_HOST")
        return self._mail
