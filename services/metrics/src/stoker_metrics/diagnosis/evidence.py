"""What is known of an attempt that has ended, as statements that causes are looked for in."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from stoker_shared.job_state import EndReason
from stoker_shared.rpc.diagnosis import Evidence, Source
from stoker_shared.rpc.metrics import Alert, ExitFacts, Line, LossTrouble

LONGEST_TEXT = 1000
"""More of a line is not looked at: expressions over endless lines take endless time."""

MOST_CHARACTERS = 300_000
"""Of all lines together, the last ones: about a second of work. The service has others to listen to."""


@dataclass(frozen=True, slots=True)
class Known:
    """An attempt's end and what was reported before it. `detail` is the deployer's, with what the provider said."""

    reason: EndReason | None = None
    detail: str = ""
    exit: ExitFacts | None = None
    loss_trouble: LossTrouble | None = None
    alerts: Sequence[Alert] = ()
    lines: Sequence[Line] = field(default=())

    def statements(self) -> Iterator[Evidence]:
        """All that was said, one line each; what is said again and again only once."""
        seen: set[tuple[str, str]] = set()
        for source, sequence, text in self._told():
            for part in text.splitlines():
                cut = part.strip()[:LONGEST_TEXT]
                if cut and (source, cut) not in seen:
                    seen.add((source, cut))
                    yield Evidence(source=source, sequence=sequence, text=cut)

    def _told(self) -> Iterator[tuple[Source, int | None, str]]:
        if self.exit is not None:
            yield "exit", None, self.exit.message
        yield "end", None, self.detail
        if self.loss_trouble is not None:
            yield "loss", None, self.loss_trouble.detail
        for alert in self.alerts:
            yield "alert", alert.sequence, alert.message
        for line in _last(self.lines):
            yield "log", line.sequence, line.text
        if self.exit is not None and not self.lines:
            yield from (("exit", None, text) for text in self.exit.last_lines)


def _last(lines: Sequence[Line]) -> list[Line]:
    kept: list[Line] = []
    left = MOST_CHARACTERS
    for line in reversed(lines):
        left -= min(len(line.text), LONGEST_TEXT)
        if left < 0:
            break
        kept.append(line)
    return kept[::-1]
