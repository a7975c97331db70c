"""The budgets above a job's own: that of its user and that of its project."""

from dataclasses import dataclass
from enum import StrEnum

from stoker_shared.money import MicroUsd, show_usd


class LevelKind(StrEnum):
    """Whose budget it is."""

    USER = "user"
    PROJECT = "project"


@dataclass(frozen=True, slots=True)
class Level:
    """One budget. `limit` None: there is none. `committed` is what all jobs below hold or have spent.

    `held_by_others` is the part of it that running jobs hold and may give back; read only for jobs that wait.
    """

    kind: LevelKind
    owner: str
    name: str = ""
    """Of the project; empty for the user's own budget."""
    limit: int | None = None
    committed: int = 0
    held_by_others: int = 0

    @property
    def account(self) -> str:
        """Its account in the ledger."""
        return f"user:{self.owner}" if self.kind == LevelKind.USER else f"project:{self.owner}/{self.name}"

    @property
    def free(self) -> MicroUsd | None:
        """What may still be reserved, None without a limit. Negative if the limit was lowered since."""
        return None if self.limit is None else MicroUsd(self.limit - self.committed)

    def covers(self, amount: int) -> bool:
        """Whether so much may be reserved now."""
        return self.free is None or self.free >= amount

    def may_cover(self, amount: int) -> bool:
        """Whether it may become free when others give back what they hold."""
        return self.free is None or self.free + self.held_by_others >= amount

    def __str__(self) -> str:
        """For people: what is free of what."""
        whose = f"project {self.name!r}" if self.kind == LevelKind.PROJECT else "your account"
        if self.limit is None or self.free is None:
            return f"{whose} has no limit"
        return f"{show_usd(max(self.free, 0))} of {show_usd(self.limit)} of {whose} are free"


def levels_of(owner: str, project: str) -> tuple[Level, Level]:
    """The budgets above a job, empty and without limits, in the order in which they are locked."""
    return Level(LevelKind.USER, owner), Level(LevelKind.PROJECT, owner, project)
