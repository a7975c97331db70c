"""What a simulated RunPod is like. Durations are seconds; amounts are US dollars.

Decided here, since no public document says: how many calls a minute are free, what the text of a 402 is, how far a
pod-scoped key reaches (reports differ), and that a pod is charged from the moment in which it is created.
"""

from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, FieldSerializationInfo, SecretStr, field_serializer

KEY_VARIABLE = "RUNPOD_SIMULATOR_KEY"
DEFAULT_KEY = "rpa_SIMULATEDSIMULATEDSIMULATEDSIMULATED"

Right = Literal["pods:read", "pods:write", "catalog", "billing", "account"]
RIGHTS: frozenset[Right] = frozenset({"pods:read", "pods:write", "catalog", "billing", "account"})
PodKeyRight = Literal["get", "delete", "terminate", "stop", "logs"]
Window = Literal["minute", "hour", "day"]
Seconds = Annotated[float, Field(ge=0)]
Usd = Annotated[Decimal, Field(ge=0)]


class _Rules(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class KeyRules(_Rules):
    """A key of an account and what it may do."""

    key: SecretStr
    rights: frozenset[Right] = RIGHTS

    @field_serializer("key")
    def _revealed_on_demand(self, key: SecretStr, info: FieldSerializationInfo) -> str:
        return key.get_secret_value() if info.context else str(key)


class AccountRules(_Rules):
    """An account, its money and its keys."""

    name: str
    keys: tuple[KeyRules, ...]
    balance: Usd = Decimal(100)
    spend_limit_per_hour: Usd = Decimal(80)


class PriceRules(_Rules):
    """What one GPU costs an hour. 0: that cloud does not have it."""

    secure: Usd = Decimal(0)
    community: Usd = Decimal(0)


class StockRules(_Rules):
    """How many GPUs of a type one cloud has in one data centre. `*`: in each that has the type at all."""

    gpu: str
    cloud: Literal["SECURE", "COMMUNITY"] = "SECURE"
    data_center: str = "*"
    count: int = Field(ge=0)


class Rules(_Rules):
    """Everything that can be set before the start. The defaults are those of a good day."""

    accounts: tuple[AccountRules, ...] = (AccountRules(name="user", keys=(KeyRules(key=SecretStr(DEFAULT_KEY)),)),)
    # Boot delays and pauses are multiplied with it: 1 is what people report, tests take less.
    time_scale: Seconds = 1.0
    provisioning: Seconds = 8.0
    starting: Seconds = 25.0
    restart_pause: Seconds = 10.0
    # Not scaled: others' patience is not scaled either.
    # Between the answer to a stop or terminate and the SIGTERM: a pod that asked for it itself gets to read it.
    terminate_notice: Seconds = 0.3
    terminate_grace: Seconds = 2.0
    gone_after: Seconds = 2.0
    eviction_grace: Seconds = 5.0
    billing_delay: Seconds = 0.0

    quotas: dict[Window, Annotated[int, Field(ge=1)]] = {"minute": 200, "hour": 7_200, "day": 100_000}
    default_stock: int = Field(default=8, ge=0)
    stock: tuple[StockRules, ...] = ()
    prices: dict[str, PriceRules] = {}
    hours_of_credit_to_deploy: Decimal = Decimal(1)
    page_size: int = Field(default=100, ge=1)
    refused_user_agents: tuple[str, ...] = ("python-urllib", "python-httpx", "aiohttp", "go-http-client", "java/")
    refused_images: tuple[str, ...] = ()
    pod_key_may: frozenset[PodKeyRight] = frozenset({"get", "delete", "terminate", "stop"})

    # host: a Python of the pod's own that sees the packages of this one; bare: one with pip alone; none: no Python.
    image: Literal["host", "bare", "none"] = "host"
    image_environment: dict[str, str] = {}
    # Of the simulator's own surroundings a container sees these: a package index or a proxy of this machine.
    passed_on: tuple[str, ...] = ("PIP_", "UV_", "SSL_CERT_", "REQUESTS_CA_BUNDLE", "LANG", "LC_", "TZ")

    def scaled(self, seconds: float) -> float:
        """How long a boot delay or pause takes here."""
        return seconds * self.time_scale


def read_rules(file: Path | None, *, key: str | None) -> Rules:
    """The rules of a file, or the default ones; `key` stands for the key of the first account.

    Raises:
        pydantic.ValidationError: the file does not fit.
    """
    rules = Rules.model_validate_json(file.read_text()) if file is not None else Rules()
    if not key:
        return rules
    first = rules.accounts[0].model_copy(update={"keys": (KeyRules(key=SecretStr(key)), *rules.accounts[0].keys[1:])})
    return rules.model_copy(update={"accounts": (first, *rules.accounts[1:])})
