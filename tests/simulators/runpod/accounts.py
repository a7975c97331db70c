"""Accounts and who calls: an account's key with its rights, or the key that was put into one pod."""

import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from tests.simulators.runpod.problems import Problem, forbidden
from tests.simulators.runpod.quotas import Quotas
from tests.simulators.runpod.rules import AccountRules, PodKeyRight, Right, Rules


@dataclass
class Account:
    """One account. What is left of its money is what it had, less what its pods have cost."""

    rules: AccountRules
    quotas: Quotas
    deposited: Decimal = field(init=False)

    def __post_init__(self) -> None:
        self.deposited = self.rules.balance

    @property
    def name(self) -> str:
        """Its name in rules and at /_admin."""
        return self.rules.name


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls. `pod_id`: this is the key of that pod, good for it alone."""

    account: Account
    rights: frozenset[Right] = frozenset()
    pod_id: str | None = None
    pod_rights: frozenset[PodKeyRight] = frozenset()

    def demand(self, right: Right) -> None:
        """See that an account's key may do this.

        Raises:
            Problem: 403.
        """
        if right not in self.rights:
            raise forbidden()

    def demand_for_pod(self, pod_id: str, right: Right, pod_right: PodKeyRight | None) -> None:
        """See that the key may do this to that pod; `pod_right` None: no pod-scoped key may.

        Raises:
            Problem: 403.
        """
        if self.pod_id is None:
            self.demand(right)
        elif self.pod_id != pod_id or pod_right not in self.pod_rights:
            raise forbidden()


class Accounts:
    """All accounts, and the keys that open them."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self.by_name = {entry.name: Account(entry, Quotas(rules.quotas)) for entry in rules.accounts}
        self._keys = [
            (key.key.get_secret_value(), Caller(self.by_name[entry.name], key.rights))
            for entry in rules.accounts
            for key in entry.keys
        ]
        self._pod_keys: dict[str, Caller] = {}

    def admit_pod(self, key: str, account: Account, pod_id: str) -> None:
        """Let a pod call with a key of its own."""
        self._pod_keys[key] = Caller(account, pod_id=pod_id, pod_rights=self._rules.pod_key_may)

    def revoke_pod(self, key: str) -> None:
        """A pod that is gone calls no more."""
        self._pod_keys.pop(key, None)

    def revoke(self, key: str) -> bool:
        """Take a key from its account. Returns whether it was one."""
        before = len(self._keys)
        self._keys = [entry for entry in self._keys if entry[0] != key]
        return len(self._keys) < before

    def caller(self, authorization: str | None) -> Caller:
        """Who sends this header.

        Raises:
            Problem: 401.
        """
        scheme, _, key = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not key:
            raise Problem(401, "missing bearer token")
        found = self._pod_keys.get(key) or _match(self._keys, key)
        if found is None:
            raise Problem(401, "invalid bearer token")
        return found


def _match(keys: Sequence[tuple[str, Caller]], key: str) -> Caller | None:
    return next((caller for known, caller in keys if hmac.compare_digest(known, key)), None)
