"""The contract of a provider. `tests/contract/test_provider.py` is its proof and runs against each."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from pydantic import SecretStr

from stoker_deployer.pods.release import Release
from stoker_shared.money import MicroUsd
from stoker_shared.rpc.deployer import ModelFacts, Offer, OffersQuery, ProviderHealth


class AliveKind(StrEnum):
    """What a living machine is doing."""

    QUEUED = "queued"  # waits for its slot at the provider and costs nothing
    STARTING = "starting"
    RUNNING = "running"


@dataclass(frozen=True, slots=True)
class Alive:
    """The machine exists and will run, or runs. `started_at` is when it began to cost, None before that.

    `note` is something odd that the provider has seen, for people.
    """

    kind: AliveKind
    started_at: datetime | None = None
    note: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Exited:
    """What ran on the machine has ended; it still exists and must be terminated. `note` is how that was told."""

    exit_code: int | None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Gone:
    """The provider says that there is no such machine (any more). It costs nothing from `ended_at` on."""

    started_at: datetime | None = None
    ended_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Unknown:
    """The provider could not be asked, or its answer makes no sense. Never to be taken for `Gone`."""

    why: str


MachineState = Alive | Exited | Gone | Unknown


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine as a provider knows it. `name` is ours, `handle` is what the provider knows it by.

    `price_micro_usd_per_hour` is what the provider asks for it, None if it does not tell: then the offer's counts.
    """

    name: str
    handle: str
    state: MachineState
    price_micro_usd_per_hour: int | None = None


@dataclass(frozen=True, slots=True)
class MachineOrder:
    """What to ask a provider for. `environment` holds tokens, so it is kept out of `repr`.

    `command` is what a bare container runs, as one shell-quoted line; empty for providers that are no `RunsContainers`.
    """

    name: str
    gpu_type: str
    gpu_count: int
    place: str = ""
    image: str | None = None
    volume_size_gb: int | None = None
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    command: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class LogPiece:
    """Output of a machine from a byte offset; ask on from `next_offset`."""

    text: str
    next_offset: int


class Provider(ABC):
    """One place that rents out machines.

    Every method has a time limit of its own and retries nothing: the caller looks again later. Errors come from the
    shared tree below `ProviderError`; other exceptions are defects.
    """

    name: str
    """What offers and attempts call this provider."""

    launch_timeout: timedelta
    """`launch` has answered or raised by then."""

    @abstractmethod
    async def offers(self, query: OffersQuery) -> list[Offer]:
        """What can be rented now and meets the query, cheapest first.

        Raises:
            ProviderError: the provider cannot be asked.
        """

    @abstractmethod
    async def inspect_model(self, name_or_path: str, *, hub_token: SecretStr | None = None) -> ModelFacts:
        """What the provider's machines would find when they load this base model.

        `hub_token`: the token of the Hugging Face Hub that the machine would have. It goes to the Hub and nowhere else.

        Raises:
            ModelNotFound: it cannot be resolved there.
            ModelGated, ModelAccessDenied, HubTokenRefused: it is there, and cannot be loaded without or with the token.
            TransientError: the place where models come from cannot be reached now.
            ProviderError: the provider cannot be asked.
        """

    @abstractmethod
    async def launch(self, order: MachineOrder) -> Machine:
        """Ask for one machine, once. Returns as soon as the provider has taken the order, not when it runs.

        The caller makes sure that no machine of this name exists. An implementation may return an existing machine
        of the same name, and must never make a second one on its own (no retry inside).

        Raises:
            NoCapacity, AuthFailed, InsufficientFunds, InvalidRequest, RateLimited: certainly no machine was made.
            UnknownOutcome: anything else, such as no answer, half an answer, or a 5xx. A machine may exist.
        """

    @abstractmethod
    async def describe(self, handle: str) -> MachineState:
        """The state of one machine. Never raises a `ProviderError`: what cannot be asked is `Unknown`.

        `Gone` only if the provider positively says so.
        """

    @abstractmethod
    async def list_machines(self) -> list[Machine]:
        """All machines under this account, also of other names; those that are gone may be left out.

        Raises:
            ProviderError: the provider cannot be asked. A part of the list is never returned as the whole.
        """

    @abstractmethod
    async def terminate(self, handle: str) -> None:
        """Begin to release a machine and return at once. A machine that is not there is no error.

        May be called any number of times. `describe` tells `Gone` when it is done.

        Raises:
            ProviderError: the provider cannot be asked, or refuses; the caller tries again for ever.
        """

    @abstractmethod
    async def logs(self, handle: str, *, offset: int) -> LogPiece:
        """What the machine has written, from a byte offset. Empty for a machine that is gone.

        Raises:
            ProviderError: the provider cannot be asked.
        """

    @abstractmethod
    async def health(self) -> ProviderHealth:
        """Whether the provider answers and accepts our key. Never raises a `ProviderError`."""

    async def account_id(self) -> str:
        """Who pays, by the provider's own word: the same for every key of one account, empty if it does not tell.

        Also the check of a key that a user sets, so it asks for something that needs a good key.

        Raises:
            AuthFailed: the provider refuses the key.
            ProviderError: the provider cannot be asked.
        """
        await self.list_machines()
        return ""

    async def find(self, name: str) -> list[Machine]:
        """All machines of this name, including those that the provider remembers as gone.

        Raises:
            ProviderError: the provider cannot be asked.
        """
        return [machine for machine in await self.list_machines() if machine.name == name]

    async def close(self) -> None:
        """Release connections."""
        return


class Bills(ABC):
    """Capability: the provider tells afterwards what it charges for a machine. Mixed into a `Provider`."""

    @abstractmethod
    async def billed(self, handle: str) -> MicroUsd | None:
        """What a machine that is gone has cost by the provider's own books. None: not known yet.

        Raises:
            NotBilled: this machine will never be billed; the estimate from price and time stands.
            ProviderError: the provider cannot be asked; the caller asks again.
        """


class RunsContainers(ABC):
    """Capability: machines are bare containers that must be told what to run. Mixed into a `Provider`.

    Orders to it carry the `command` that installs the trainer and runs it, and fetch what they need from the URLs in
    their environment.
    """

    @property
    @abstractmethod
    def release(self) -> Release:
        """By which calls such a container ends its own machine."""

    @property
    @abstractmethod
    def hub_url(self) -> str:
        """Where its machines load base models from."""
