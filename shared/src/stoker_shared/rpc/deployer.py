"""What the deployer answers: offers, facts about base models, health of providers, raw machine logs."""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import AwareDatetime, Field

from stoker_shared.identifiers import Identifier
from stoker_shared.messages import Message
from stoker_shared.money import NonNegativeMicroUsd
from stoker_shared.rpc.contract import Rpc

SERVICE = "deployer"


StockLevel = Literal["none", "low", "medium", "high"]


class OffersQuery(Message):
    """Ask what an owner can rent now; None means any. Without an owner: at the operator's accounts only.

    `volume_size_gb` is priced in where disks cost.
    """

    owner: str = ""
    provider: str | None = None
    gpu_type: str | None = None
    gpu_count: int | None = None
    volume_size_gb: int | None = None


class Offer(Message):
    """One machine type at one provider and place, now. `vram_bytes` is per GPU, None for a machine without GPU.

    `stock` is how many there are by the provider's word, None if it does not tell; `data_centres` those that have one.
    """

    provider: str
    gpu_type: str
    gpu_count: int
    place: str = ""
    vram_bytes: int | None = None
    memory_bytes: int | None = None
    price_micro_usd_per_hour: NonNegativeMicroUsd
    is_available: bool = True
    stock: StockLevel | None = None
    data_centres: list[str] = Field(default_factory=list)


class ProviderFault(Message):
    """A provider that could not be asked, and why."""

    provider: str
    code: str
    detail: str
    next_step: str = ""


class OfferList(Message):
    """Cheapest first. `faults` names providers whose offers are missing."""

    offers: list[Offer]
    faults: list[ProviderFault] = Field(default_factory=list)


class InspectModel(Message):
    """Ask a provider's machines about a base model, with what those machines would have.

    `secrets`: names of the owner's secrets that the launch would ask for; the Hub is asked with the token among them.
    Refused with `model_not_found`, `model_gated` (it needs a token, and none is asked for), `model_no_access` (the
    token does not open it), `hub_token_refused` or `secret_not_set`.
    """

    owner: str = ""
    provider: str
    name_or_path: str
    secrets: list[str] = Field(default_factory=list)


class ModelFacts(Message):
    """What the model's own configuration says."""

    name_or_path: str
    architecture: str
    parameters: int
    hidden_size: int
    layers: int
    attention_heads: int
    key_value_heads: int
    intermediate_size: int
    vocabulary: int
    max_position: int
    has_chat_template: bool
    weights_bytes: int


class HealthQuery(Message):
    """Ask whether an owner can use which providers. Without an owner: the operator's accounts only."""

    owner: str = ""


class UnknownMachine(Message):
    """A machine that bears a name of ours, of an attempt that no row knows. Stoker never touches it."""

    name: str
    handle: str
    first_seen_at: AwareDatetime


class ProviderHealth(Message):
    """One provider.

    `is_set_up` False: it waits for a key of the owner's, which is no fault of it. `balance_micro_usd` is what is
    left in its account, None if it does not tell. `machines_are_here`: what the operator's own network reaches, its
    machines reach. `default_volume_gb`: the volume of a machine whose launch names no size, None if there is none to
    be ordered.
    """

    provider: str
    is_usable: bool
    is_set_up: bool = True
    detail: str = ""
    next_step: str = ""
    balance_micro_usd: int | None = None
    machines_are_here: bool = False
    default_volume_gb: int | None = None
    unknown_machines: list[UnknownMachine] = Field(default_factory=list)


class ProvidersHealth(Message):
    """All configured providers."""

    providers: list[ProviderHealth]


class MachineLogsQuery(Message):
    """Ask for what the provider itself kept of a machine's output, from a byte offset."""

    owner: str
    job_id: Identifier
    attempt: int | None = None
    offset: int = Field(default=0, ge=0)


class MachineLogs(Message):
    """A piece of output; ask on from `next_offset`."""

    text: str
    next_offset: int


class QueueQuery(Message):
    """Ask where an owner's waiting jobs stand; `job_id` for one of them alone."""

    owner: str
    job_id: Identifier | None = None


class QueuePlace(Message):
    """A job's place in the line of everybody, 1 for the first. `ahead`: those before it that compete for slots."""

    job_id: Identifier
    position: int
    ahead: int
    reason: str = Field(description="What it waits for")


class QueuePlaces(Message):
    """In order. A job that is not there does not wait. `waiting` counts all jobs, of everybody."""

    waiting: int
    places: list[QueuePlace]


BudgetKind = Literal["user", "project"]


class BudgetsQuery(Message):
    """Ask for the budgets of a user and of the user's projects."""

    owner: str


class BudgetFacts(Message):
    """One budget. `committed_micro_usd` is what jobs below it hold or have spent, over all time."""

    kind: BudgetKind
    name: str = Field(default="", description="Of the project; empty for the user's own budget")
    limit_micro_usd: NonNegativeMicroUsd | None = Field(default=None, description="None: no limit")
    committed_micro_usd: int = 0
    held_micro_usd: int = Field(default=0, description="The part of it that running jobs may give back")


class BudgetList(Message):
    """The user's own budget first, then projects by name."""

    budgets: list[BudgetFacts]


class SetBudget(Message):
    """Set or take away (None) a limit. It holds for attempts that begin from now on."""

    owner: str
    kind: BudgetKind
    name: str = ""
    limit_micro_usd: NonNegativeMicroUsd | None = None


class VaultKeyQuery(Message):
    """Ask for the key that secrets are to be sealed with now."""


class VaultKey(Message):
    """The public half of the deployer's newest key, in base64."""

    key_id: str
    public_key: str


SecretName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,31}$")]
"""What a secret is for: a provider that is used with keys, `huggingface` or `wandb`."""

SecretState = Literal["valid", "unchecked", "retired"]
"""`unchecked`: the place it is for could not be asked. `retired`: replaced or removed, kept for machines that run."""


class SetSecret(Message):
    """Keep a sealed secret of an owner. Refused if the place that it is for refuses it."""

    owner: str
    name: SecretName
    sealed: str = Field(max_length=16_384, description="A libsodium sealed box in base64: owner, name and value")
    key_id: str


class SecretsQuery(Message):
    """Ask which secrets an owner has set."""

    owner: str


class RemoveSecret(Message):
    """Use a secret no more. Machines that were launched with it keep it until they are gone."""

    owner: str
    name: SecretName


class SecretFacts(Message):
    """A secret without the secret. `hint` is its end, empty if it is short."""

    name: str
    version: int
    state: SecretState
    hint: str = ""
    set_at: AwareDatetime
    checked_at: AwareDatetime | None = None


class SecretList(Message):
    """By name, newest first. `settable`: all names that there are."""

    secrets: list[SecretFacts]
    settable: list[str] = Field(default_factory=list)


OFFERS = Rpc(SERVICE, "offers", OffersQuery, OfferList, callers=("api",), timeout=timedelta(seconds=15))
INSPECT_MODEL = Rpc(SERVICE, "inspect_model", InspectModel, ModelFacts, callers=("api",), timeout=timedelta(seconds=30))
HEALTH = Rpc(SERVICE, "health", HealthQuery, ProvidersHealth, callers=("api",), timeout=timedelta(seconds=15))
LOGS = Rpc(SERVICE, "logs", MachineLogsQuery, MachineLogs, callers=("api",), timeout=timedelta(seconds=15))
QUEUE = Rpc(SERVICE, "queue", QueueQuery, QueuePlaces, callers=("api",), timeout=timedelta(seconds=2))

BUDGETS = Rpc(SERVICE, "budgets", BudgetsQuery, BudgetList, callers=("api",))
SET_BUDGET = Rpc(SERVICE, "set_budget", SetBudget, BudgetFacts, callers=("api",))

VAULT_KEY = Rpc(SERVICE, "vault_key", VaultKeyQuery, VaultKey, callers=("api",))
# Longer than the place that the secret is for may take to answer.
SET_SECRET = Rpc(SERVICE, "set_secret", SetSecret, SecretFacts, callers=("api",), timeout=timedelta(seconds=40))
SECRETS = Rpc(SERVICE, "secrets", SecretsQuery, SecretList, callers=("api",))
REMOVE_SECRET = Rpc(SERVICE, "remove_secret", RemoveSecret, SecretList, callers=("api",))

DEPLOYER = (
    *(OFFERS, INSPECT_MODEL, HEALTH, LOGS, QUEUE, BUDGETS, SET_BUDGET),
    *(VAULT_KEY, SET_SECRET, SECRETS, REMOVE_SECRET),
)
