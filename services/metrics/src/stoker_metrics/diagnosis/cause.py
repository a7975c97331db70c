"""What a row of the table of causes is."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from stoker_shared.job_state import EndReason
from stoker_shared.rpc.diagnosis import Change

CERTAIN, SURE, LIKELY, HINT = 0.99, 0.95, 0.8, 0.55
"""The deployer's own decision; only this cause says so; others seldom do; something else may leave this trace."""


@dataclass(frozen=True, slots=True)
class Cause:
    """Why an attempt failed, how that shows, and what helps.

    `patterns`: expressions over single log lines, alerts and the exit's message, with their confidence.
    `reasons`: what the deployer's or the trainer's reason alone is worth. `follows`: causes that bring this one about;
    if one of them shows, this one is what followed from it. `changes`: what another plan may do, best first.
    """

    name: str
    summary: str
    advice: str
    patterns: Mapping[str, float] = field(default_factory=dict)
    reasons: Mapping[EndReason, float] = field(default_factory=dict)
    changes: tuple[Change, ...] = ()
    follows: frozenset[str] = frozenset()

    def compiled(self) -> list[tuple[re.Pattern[str], float]]:
        """The patterns, the surest first."""
        ordered = sorted(self.patterns.items(), key=lambda item: -item[1])
        return [(re.compile(expression), confidence) for expression, confidence in ordered]
