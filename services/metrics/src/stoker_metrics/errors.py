"""Errors of the metrics service.

Unauthorised
└── JobTokenRefused      unknown, expired, revoked, or of another job or attempt (not told apart)
PayloadTooLarge
├── BodyTooLarge         more bytes than one report may have
└── TooManyItems         more points or lines than one report may have
TooManyRequests
├── TooManyReports       more under way than this process takes at once
└── BrokerSlow           the broker takes long to acknowledge
UserError
└── EncodingUnsupported  415: neither plain nor gzip
Conflict
├── AttemptOver          an attempt that was revoked cannot be admitted again
├── AttemptOfAnother     the attempt was admitted for another owner
└── TokenInUse           the token belongs to another attempt
MessageInvalid
└── AttemptUnknown       a report of an attempt that was never admitted here
NotFound
└── ObjectGone           an object that a row names is not in the store
RequestInvalid
└── PatternRefused       an expression that is wrong, or that takes too long
ServiceUnavailable
├── ChunkDamaged         the store gave back something else than was written
├── PackedByAnother      another replica has packed these lines
├── EvidenceIncomplete   reports of an attempt that is to be diagnosed are not stored yet
└── SilenceUnproven      the pod was not heard, but this service could not hear either
"""

from datetime import timedelta

from stoker_shared.errors import (
    Conflict,
    MessageInvalid,
    NotFound,
    PayloadTooLarge,
    RequestInvalid,
    ServiceUnavailable,
    TooManyRequests,
    Unauthorised,
    UserError,
)


class JobTokenRefused(Unauthorised):
    """The job token opens nothing here."""

    code = "job_token_refused"

    def __init__(self) -> None:
        super().__init__(
            "The job token is unknown, expired, revoked, or belongs to another job or attempt.",
            next_step="The attempt is over for this machine: save what you can and stop.",
        )


class BodyTooLarge(PayloadTooLarge):
    """More bytes than one report may have."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"A report has {limit} bytes at most.", next_step="Send half of the batch.")


class TooManyItems(PayloadTooLarge):
    """More points or lines than one report may have."""

    def __init__(self, field: str, *, count: int, limit: int) -> None:
        super().__init__(
            f"`{field}` has {count} items, at most {limit} are taken at once.",
            next_step="Send half of the batch.",
            fields={field: f"at most {limit} items"},
        )


class TooManyReports(TooManyRequests):
    """More reports are under way than this process takes at once."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"{limit} reports are under way.", retry_after=timedelta(seconds=2))


class BrokerSlow(TooManyRequests):
    """The broker takes long to acknowledge; more would only wait longer."""

    def __init__(self, waiting: timedelta) -> None:
        super().__init__(
            f"The broker has not acknowledged a report for {waiting.total_seconds():.0f} s.",
            retry_after=timedelta(seconds=2),
        )


class EncodingUnsupported(UserError):
    """A body in an encoding that is not read here."""

    code = "encoding_unsupported"
    status = 415
    title = "Unsupported encoding"

    def __init__(self, encoding: str) -> None:
        super().__init__(f"Content-Encoding {encoding[:50]!r} is not read here.", next_step="Send gzip, or plain JSON.")
        self.headers = {"Accept-Encoding": "gzip"}


class AttemptOver(Conflict):
    """An attempt that was revoked cannot be admitted again."""

    def __init__(self, job_id: str, attempt: int) -> None:
        super().__init__(
            f"Attempt {attempt} of {job_id} was revoked; its tokens open nothing any more.",
            next_step="Admit the next attempt.",
        )


class AttemptOfAnother(Conflict):
    """The attempt was admitted for another owner."""

    def __init__(self, job_id: str, attempt: int) -> None:
        super().__init__(
            f"Attempt {attempt} of {job_id} was admitted for another owner.", next_step="Look at the caller's row."
        )


class TokenInUse(Conflict):
    """The token belongs to another attempt."""

    def __init__(self, job_id: str, attempt: int) -> None:
        super().__init__(
            f"The token for attempt {attempt} of {job_id} belongs to another attempt.", next_step="Mint a new token."
        )


class AttemptUnknown(MessageInvalid):
    """A report of an attempt that was never admitted here."""

    def __init__(self, job_id: str, attempt: int) -> None:
        super().__init__(f"Attempt {attempt} of {job_id} was never admitted here.")


class SilenceUnproven(ServiceUnavailable):
    """The pod was not heard, but this service could not hear either."""

    def __init__(self, job_id: str, attempt: int) -> None:
        super().__init__("metrics", f"it could not hear attempt {attempt} of {job_id} all the time lately")


class ObjectGone(NotFound):
    """An object that a row names is not in the store."""

    def __init__(self) -> None:
        super().__init__("part of this log", "in the object store", next_step="Ask for later lines.")


class PatternRefused(RequestInvalid):
    """An expression that is wrong, or that takes too long."""

    def __init__(self, why: str) -> None:
        super().__init__(
            f"The expression cannot be searched for: {why}.",
            next_step="Search for plain text, or write a simpler expression.",
            fields={"pattern": why},
        )


class ChunkDamaged(ServiceUnavailable):
    """The store gave back something else than was written."""

    def __init__(self, object_key: str) -> None:
        super().__init__("object store", f"{object_key} is not what was written")


class PackedByAnother(ServiceUnavailable):
    """Another replica has packed these lines."""

    def __init__(self, object_key: str) -> None:
        super().__init__("packing", f"the lines of {object_key} are packed already")


class EvidenceIncomplete(ServiceUnavailable):
    """Reports of an attempt that is to be diagnosed are not stored yet."""

    def __init__(self, job_id: str, attempt: int) -> None:
        super().__init__("metrics", f"not all reports of attempt {attempt} of {job_id} are stored")
