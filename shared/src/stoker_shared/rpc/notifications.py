"""What the metrics service answers about notifications: targets, rules, deliveries. Addresses arrive sealed."""

from datetime import timedelta
from typing import Literal
from uuid import UUID

from pydantic import AwareDatetime, Field

from stoker_shared.identifiers import Identifier
from stoker_shared.messages import Message
from stoker_shared.rpc.contract import Rpc
from stoker_shared.rpc.deployer import VaultKey, VaultKeyQuery

SERVICE = "metrics"

TargetKind = Literal["webhook", "email", "slack", "discord", "teams", "telegram", "pushover", "ntfy", "google_chat"]

NotificationType = Literal[
    "job.completed",
    "job.failed",
    "job.cancelled",
    "job.landing",
    "job.budget_share",
    "job.retry",
    "job.queued_long",
    "job.alert",
    "job.loss_trouble",
    "job.machine_stuck",
    "job.orphan_found",
]
"""What a rule may ask for; also the `type` of the payload."""

TargetState = Literal["active", "paused", "gone"]
"""`paused`: by its owner, or after too many failures. `gone`: the receiver answered 410."""

DeliveryState = Literal["waiting", "delivered", "failed", "late"]
"""`late`: its event was old when it was first seen; not sent by itself."""

SIGNING_NAME = "signing"
ADDRESS_NAME = "address"


def box_name(target_id: str, what: str) -> str:
    """Under which name a secret of a target is sealed: a box put into another row does not open."""
    return f"notify/{target_id}/{what}"


class AddTarget(Message):
    """Keep where to send. The id is made by whoever seals, since it is in the boxes."""

    owner: str
    target_id: Identifier
    name: str = Field(min_length=1, max_length=64)
    kind: TargetKind
    sealed_address: str
    sealed_signing: str | None = Field(default=None, description="Of a webhook: its signing secret")
    key_id: str


class TargetFacts(Message):
    """A target without its secrets."""

    target_id: Identifier
    name: str
    kind: TargetKind
    place: str = Field(description="The host of a webhook, the domain of an e-mail address, else the service")
    hint: str = Field(description="Last characters of the address")
    state: TargetState
    state_detail: str = ""
    failures: int = Field(default=0, description="Attempts that failed since the last success")
    created_at: AwareDatetime
    last_delivered_at: AwareDatetime | None = None
    rotating_until: AwareDatetime | None = Field(default=None, description="Until then signed with the old secret, too")


class TargetList(Message):
    """All targets of an owner, oldest first."""

    targets: list[TargetFacts]


class OwnerQuery(Message):
    """All that is an owner's."""

    owner: str


class TargetQuery(Message):
    """One target of an owner."""

    owner: str
    target_id: Identifier


class SetTargetState(Message):
    """Pause a target, or use it again."""

    owner: str
    target_id: Identifier
    state: Literal["active", "paused"]


class RotateSigning(Message):
    """Sign with another secret; with the old one as well for some time."""

    owner: str
    target_id: Identifier
    sealed_signing: str
    key_id: str
    overlap_seconds: int = Field(default=86_400, ge=0, le=30 * 86_400)


class AddRule(Message):
    """Tell a target of these events, of one project or (None) of all."""

    owner: str
    target_id: Identifier
    events: list[NotificationType] = Field(min_length=1)
    project: str | None = None
    budget_share: float = Field(default=0.8, gt=0, le=1, description="Of the job's budget, for job.budget_share")
    queued_after_seconds: int = Field(default=1800, ge=60, description="For job.queued_long")


class RuleFacts(Message):
    """A rule."""

    rule_id: Identifier
    target_id: Identifier
    events: list[NotificationType]
    project: str | None
    budget_share: float
    queued_after_seconds: int
    created_at: AwareDatetime


class RuleList(Message):
    """All rules of an owner, oldest first."""

    rules: list[RuleFacts]


class RuleQuery(Message):
    """One rule of an owner."""

    owner: str
    rule_id: Identifier


class DeliveriesQuery(Message):
    """Deliveries of an owner, newest first; `before` is the `position` of the last one of the page before."""

    owner: str
    target_id: Identifier | None = None
    job_id: Identifier | None = None
    state: DeliveryState | None = None
    before: int | None = None
    limit: int = Field(default=50, ge=1, le=200)


class DeliveryAttempt(Message):
    """One try. `status` None: no answer."""

    number: int
    at: AwareDatetime
    milliseconds: int
    status: int | None
    error: str = ""


class DeliveryFacts(Message):
    """One message to one target."""

    delivery_id: Identifier
    position: int
    target_id: Identifier
    type: str
    event_id: UUID
    job_id: Identifier | None
    state: DeliveryState
    occurred_at: AwareDatetime
    created_at: AwareDatetime
    next_attempt_at: AwareDatetime | None = None
    finished_at: AwareDatetime | None = None
    held_back: int = Field(default=0, description="Of job.alerts_held_back: alerts of the job that it stands for")
    held_until: AwareDatetime | None = Field(default=None, description="Of job.alerts_held_back: none are sent before")
    attempts: list[DeliveryAttempt] = Field(default_factory=list)


class DeliveryList(Message):
    """A page, newest first."""

    deliveries: list[DeliveryFacts]


class DeliveryQuery(Message):
    """One delivery of an owner."""

    owner: str
    delivery_id: Identifier


NOTIFY_KEY = Rpc(SERVICE, "notify_key", VaultKeyQuery, VaultKey, callers=("api",))
ADD_TARGET = Rpc(SERVICE, "add_target", AddTarget, TargetFacts, callers=("api",))
TARGETS = Rpc(SERVICE, "targets", OwnerQuery, TargetList, callers=("api",))
SET_TARGET_STATE = Rpc(SERVICE, "set_target_state", SetTargetState, TargetFacts, callers=("api",))
ROTATE_SIGNING = Rpc(SERVICE, "rotate_signing", RotateSigning, TargetFacts, callers=("api",))
REMOVE_TARGET = Rpc(SERVICE, "remove_target", TargetQuery, TargetList, callers=("api",))
# Longer than one attempt may take.
TEST_TARGET = Rpc(SERVICE, "test_target", TargetQuery, DeliveryFacts, callers=("api",), timeout=timedelta(seconds=40))
ADD_RULE = Rpc(SERVICE, "add_rule", AddRule, RuleFacts, callers=("api",))
RULES = Rpc(SERVICE, "rules", OwnerQuery, RuleList, callers=("api",))
REMOVE_RULE = Rpc(SERVICE, "remove_rule", RuleQuery, RuleList, callers=("api",))
DELIVERIES = Rpc(SERVICE, "deliveries", DeliveriesQuery, DeliveryList, callers=("api",))
REDELIVER = Rpc(SERVICE, "redeliver", DeliveryQuery, DeliveryFacts, callers=("api",))

NOTIFICATIONS = (
    *(NOTIFY_KEY, ADD_TARGET, TARGETS, SET_TARGET_STATE, ROTATE_SIGNING, REMOVE_TARGET, TEST_TARGET),
    *(ADD_RULE, RULES, REMOVE_RULE, DELIVERIES, REDELIVER),
)
