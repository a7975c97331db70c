"""The corpus: failure texts with the expected verdict, and texts of runs that went well."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from stoker_metrics.diagnosis.evidence import Known
from stoker_shared.job_state import EndReason
from stoker_shared.rpc.metrics import Line

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Case:
    """One text. `origin` is "provoked" or the address of the public thread that its lines were read in."""

    name: str
    verdict: str
    origin: str
    lines: tuple[str, ...]
    reason: EndReason | None = None

    def known(self) -> Known:
        """The text as an attempt's log."""
        moment = datetime(2026, 1, 1, tzinfo=UTC)
        lines = [
            Line(sequence=number, at=moment, stream="stderr", text=text) for number, text in enumerate(self.lines, 1)
        ]
        return Known(reason=self.reason, lines=lines)


def cases(*names: str) -> list[Case]:
    """The cases of these files."""
    return [_case(values) for name in names for values in json.loads((FOLDER / f"{name}.json").read_text("utf-8"))]


def _case(values: dict[str, object]) -> Case:
    reason = values.get("reason")
    return Case(
        name=str(values["name"]),
        verdict=str(values["verdict"]),
        origin=str(values["origin"]),
        lines=tuple(values["lines"]),  # type: ignore[arg-type]
        reason=EndReason(str(reason)) if reason else None,
    )


SHOWN = ("provoked_shown", "taken_shown")
HELD_OUT = ("provoked_held_out", "taken_held_out")
WENT_WELL = ("went_well",)
