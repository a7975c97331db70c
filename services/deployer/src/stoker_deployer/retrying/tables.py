"""Offers that were refused for lack of capacity a short while ago; shared by all jobs and replicas."""

from datetime import datetime
from typing import Any, NamedTuple, Protocol

from sqlmodel import Field

from stoker_deployer.jobs.tables import Table
from stoker_shared.database import UtcColumn


class OfferKey(NamedTuple):
    """What makes two offers the same, whatever they cost at the time."""

    provider: str
    gpu_type: str
    gpu_count: int
    place: str


class _Placed(Protocol):
    @property
    def provider(self) -> str: ...
    @property
    def gpu_type(self) -> str: ...
    @property
    def gpu_count(self) -> int: ...
    @property
    def place(self) -> str: ...


def key_of(placed: _Placed) -> OfferKey:
    """The key of an offer, or of the one that an attempt took."""
    return OfferKey(placed.provider, placed.gpu_type, placed.gpu_count, placed.place)


def _time_or_none() -> Any:
    return Field(default=None, sa_type=UtcColumn)


class OfferCooldown(Table, table=True):
    """Nobody asks for this offer before `until`. `refusals`: how often it was refused since it last had a machine.

    `probe_until` equals `until` while somebody is trying the offer for all.
    """

    __tablename__ = "offer_cooldowns"

    provider: str = Field(primary_key=True)
    gpu_type: str = Field(primary_key=True)
    gpu_count: int = Field(primary_key=True)
    place: str = Field(primary_key=True)
    until: datetime = Field(sa_type=UtcColumn)
    why: str = ""
    refusals: int = 1
    probe_until: datetime | None = _time_or_none()

    @property
    def is_being_tried(self) -> bool:
        """Whether `until` is not a cool-down any more, but the time that one job has to try the offer."""
        return self.probe_until == self.until
