"""The calls of the client that are about notifications."""

from collections.abc import Sequence
from typing import Any

from pydantic import SecretStr

from stoker.client.calls import Calls, segment
from stoker.client.http import parsed
from stoker.client.models import TargetMade
from stoker_shared.rpc.notifications import (
    DeliveryFacts,
    DeliveryList,
    RuleFacts,
    RuleList,
    TargetFacts,
    TargetList,
)
from stoker_shared.signing_secrets import new_signing_secret

_BASE = "/v1/notifications"


class NotificationCalls(Calls):
    """A part of `stoker.client.Client`."""

    def notification_targets(self) -> list[TargetFacts]:
        """Where you are told, oldest first; never the addresses."""
        return self._get(TargetList, f"{_BASE}/targets").targets

    def add_notification_target(
        self, name: str, kind: str, address: SecretStr, *, signing_secret: SecretStr | None = None
    ) -> TargetMade:
        """Keep where to send. The signing secret of a webhook is told in the answer, once.

        A secret that is left out is made here, so that the call, sent again after a lost answer, is the same call.

        Raises:
            InvalidRequest: not an address of this kind.
            Conflicting: the name is taken.
        """
        content: dict[str, Any] = {"name": name, "kind": kind, "address": address.get_secret_value()}
        if signing_secret is None and kind == "webhook":
            signing_secret = new_signing_secret()
        if signing_secret is not None:
            content["signing_secret"] = signing_secret.get_secret_value()
        return self._post(TargetMade, f"{_BASE}/targets", content)

    def set_notification_target_state(self, target_id: str, state: str) -> TargetFacts:
        """`paused` or `active`."""
        return parsed(TargetFacts, self._call("PATCH", f"{_BASE}/targets/{segment(target_id)}", json={"state": state}))

    def rotate_signing_secret(self, target_id: str, *, overlap_seconds: int = 86_400) -> TargetMade:
        """Sign with another secret; for some time with the old one as well."""
        # Made here: sent again after a lost answer it must not rotate twice, or the old secret would sign no more.
        signing = new_signing_secret().get_secret_value()
        content = {"overlap_seconds": overlap_seconds, "signing_secret": signing}
        return self._post(TargetMade, f"{_BASE}/targets/{segment(target_id)}/signing-secret", content)

    def test_notification_target(self, target_id: str) -> DeliveryFacts:
        """Send one message now and tell what came of it."""
        return self._post(DeliveryFacts, f"{_BASE}/targets/{segment(target_id)}/test", None)

    def remove_notification_target(self, target_id: str) -> list[TargetFacts]:
        """Delete it with its rules and deliveries. Returns what is left."""
        return parsed(TargetList, self._call("DELETE", f"{_BASE}/targets/{segment(target_id)}")).targets

    def notification_rules(self) -> list[RuleFacts]:
        """Of what your targets are told."""
        return self._get(RuleList, f"{_BASE}/rules").rules

    def add_notification_rule(self, target_id: str, events: Sequence[str], **limits: Any) -> RuleFacts:
        """Tell a target of these events. `limits`: `project`, `budget_share`, `queued_after_seconds`."""
        content = {"target_id": target_id, "events": list(events), **limits}
        return self._post(RuleFacts, f"{_BASE}/rules", content)

    def remove_notification_rule(self, rule_id: str) -> list[RuleFacts]:
        """Returns what is left."""
        return parsed(RuleList, self._call("DELETE", f"{_BASE}/rules/{segment(rule_id)}")).rules

    def deliveries(self, **filters: Any) -> list[DeliveryFacts]:
        """What was sent, newest first. `filters`: `target_id`, `job_id`, `state`, `before`, `limit`."""
        wanted = {name: value for name, value in filters.items() if value is not None}
        return self._get(DeliveryList, f"{_BASE}/deliveries", params=wanted).deliveries

    def resend_delivery(self, delivery_id: str) -> DeliveryFacts:
        """Have it sent again, under the same id."""
        return self._post(DeliveryFacts, f"{_BASE}/deliveries/{segment(delivery_id)}/resend", None)
