"""What can go wrong at the provider with one call. Data: `provider.py` knows what each means."""

from datetime import timedelta
from typing import Literal

Operation = Literal["launch", "describe", "list", "terminate"]

LAUNCH = (
    "not_done",  # an error that tells nothing, and nothing was made
    "lost_answer",  # made, and an error that tells nothing
    "soon",  # an error; made a little later, before anybody looks twice
    "late",  # an error; made long after everybody has looked
    "twice",  # two machines of one name, one is told
    "twice_lost",  # two machines of one name, none is told
    "no_capacity",
    "throttled",
    "refused",
    "no_funds",
)
DESCRIBE = (
    "away",
    "throttled",
    "gone_lie",  # says gone of a machine that is there
    "stale",  # says what it said before
)
LIST = (
    "away",
    "throttled",
    "stale",  # the newest machines are missing, those that have just gone are still there
)
TERMINATE = (
    "away",
    "throttled",
    "lost_answer",  # done, and an error that tells nothing
    "ignored",  # a friendly answer, and nothing is done
    "slow",  # done long after the answer
)
FAULTS: dict[Operation, tuple[str, ...]] = {
    "launch": LAUNCH,
    "describe": DESCRIBE,
    "list": LIST,
    "terminate": TERMINATE,
}

SOON = timedelta(seconds=3)
LATE = timedelta(minutes=4)
SLOW = timedelta(seconds=45)
STALE = timedelta(seconds=20)
RETRY_AFTER = timedelta(seconds=20)
