"""What pods of a job raised for a person to know."""

from pydantic import Field

from stoker_shared.identifiers import Identifier
from stoker_shared.messages import Message
from stoker_shared.rpc.contract import Rpc
from stoker_shared.rpc.metrics import SERVICE, AlertFacts, AlertLevel

MOST_ALERTS = 1_000
"""Of one answer."""


class AlertsQuery(Message):
    """Ask for the alerts of a job's attempts in order; those after a place, which is the attempt and the sequence."""

    owner: str
    job_id: Identifier
    after_attempt: int = Field(default=0, ge=0)
    after_sequence: int = Field(default=0, ge=0)
    limit: int = Field(default=100, ge=1, le=MOST_ALERTS)


class Alerts(Message):
    """A page of alerts. An empty page is the end, a short one is not."""

    alerts: list[AlertFacts]
    capped: list[AlertLevel] = Field(
        default_factory=list, description="Levels of which as many are kept as may be; later ones are not"
    )


ALERTS = Rpc(SERVICE, "alerts", AlertsQuery, Alerts, callers=("api",))

ALERT_QUESTIONS = (ALERTS,)
