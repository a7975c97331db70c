"""Writes the generated parts of docs/lifecycle.md from the tables that code walks: `python -m tools.lifecycle`."""

import sys
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

from stoker_deployer.jobs.watchdogs import WATCHDOGS
from stoker_deployer.settings import DeployerSettings
from stoker_shared.job_state import ENDINGS, TERMINAL, TRANSITIONS, EndReason, JobStatus

DOCUMENT = Path(__file__).parent.parent / "docs" / "lifecycle.md"


def main() -> int:
    """Bring the document up to date."""
    DOCUMENT.write_text(with_parts(DOCUMENT.read_text()))
    print(f"written: {DOCUMENT.name}")
    return 0


def with_parts(text: str) -> str:
    """The document with each generated part between its marks as it should be.

    Raises:
        ValueError: a mark is missing.
    """
    for name, part in PARTS.items():
        before, start, rest = text.partition(f"<!-- {name} -->\n")
        _, end, after = rest.partition(f"<!-- /{name} -->")
        if not start or not end:
            raise ValueError(f"{DOCUMENT.name} has no marks for {name!r}")
        text = before + start + part() + end + after
    return text


def diagram() -> str:
    """All transitions, as a Mermaid state diagram."""
    lines = ["stateDiagram-v2", f"    [*] --> {JobStatus.QUEUED}"]
    lines += [
        f"    {status} --> {following}"
        for status in JobStatus
        for following in JobStatus
        if following in TRANSITIONS[status]
    ]
    lines += [f"    {status} --> [*]" for status in JobStatus if status in TERMINAL]
    return "```mermaid\n" + "\n".join(lines) + "\n```\n"


def reasons() -> str:
    """All reasons for which an attempt or a job ends."""
    rows = []
    for reason in EndReason:
        ending = ENDINGS[reason]
        again = "yes" if ending.is_retryable else ""
        rows.append((f"`{reason}`", ending.status.value, again, ending.message, ending.advice))
    return _table(("reason", "ends as", "tried again", "what is said", "what to do"), rows)


def watchdogs() -> str:
    """All watchdogs with their clocks."""
    rows = [
        (
            watchdog.name,
            ", ".join(status.value for status in JobStatus if status in watchdog.statuses),
            watchdog.clock,
            f"`STOKER_DEPLOYER_{watchdog.patience.upper()}` ({_default(watchdog.patience)})",
            f"`{watchdog.reason}`",
        )
        for watchdog in WATCHDOGS
    ]
    return _table(("watchdog", "in", "counts since", "bites after", "reason"), rows)


PARTS: dict[str, Callable[[], str]] = {"diagram": diagram, "watchdogs": watchdogs, "reasons": reasons}


def _default(setting: str) -> str:
    span: timedelta = DeployerSettings.model_fields[setting].default
    minutes, seconds = divmod(int(span.total_seconds()), 60)
    return f"{minutes} min" if not seconds else f"{int(span.total_seconds())} s"


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


if __name__ == "__main__":
    sys.exit(main())
