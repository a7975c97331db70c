"""The error tree of Stoker.

    StokerError
    ├── UserError                    the request is at fault; shown to the user as it stands
    │   ├── AmountUnreadable, RequestInvalid, TransitionRefused
    │   ├── NotFound, Conflict, Unauthorised, Forbidden, PayloadTooLarge, TooManyRequests
    │   └── RemoteRefusal            another service refused, told in its own words
    ├── TransientError               the same call may succeed later; the bus retries it
    │   ├── ServiceUnavailable
    │   └── BrokerUnavailable
    ├── ConfigurationInvalid         stops the start of a process
    ├── MessageInvalid               a message that no retry can mend; goes to the dead letters
    └── ProviderError                what a machine provider answered
        ├── NoCapacity, AuthFailed, InsufficientFunds, RateLimited, InvalidRequest
        └── UnknownOutcome           nobody can tell whether the call took effect: look before doing it again

Every error has a stable `code`, an HTTP `status`, a `detail` (what happened, and where) and a `next_step`.
Packages add their own leaves below these.
"""

from datetime import timedelta
from typing import ClassVar


class StokerError(Exception):
    """Base of all errors. `detail` says what happened and where, `next_step` what to do.

    `headers` go along where the error is an answer over HTTP.
    """

    code: ClassVar[str] = "internal_error"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "Something went wrong inside Stoker"

    def __init__(self, detail: str, *, next_step: str = "", fields: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.next_step = next_step
        self.fields = fields or {}
        self.headers: dict[str, str] = {}

    def __str__(self) -> str:
        return f"{self.detail} {self.next_step}".strip()


class UserError(StokerError):
    """The request is at fault and can be mended by whoever made it."""

    code = "bad_request"
    status = 400
    title = "The request cannot be carried out"


class AmountUnreadable(UserError):
    """An amount of money is not a number."""

    code = "amount_unreadable"
    status = 422
    title = "Not an amount of money"

    def __init__(self, text: str) -> None:
        super().__init__(f"{text!r} is not an amount in US dollars.", next_step="Write it like 12.50.")


class RequestInvalid(UserError):
    """The body or a parameter breaks the schema; `fields` maps a field's path to its fault."""

    code = "request_invalid"
    status = 422
    title = "The request does not have the right form"


class NotFound(UserError):
    """No such object, or it belongs to somebody else (the two are not told apart)."""

    code = "not_found"
    status = 404
    title = "Not found"

    def __init__(self, kind: str, identifier: str, *, next_step: str = "") -> None:
        super().__init__(f"There is no {kind} {identifier!r} that you can see.", next_step=next_step)
        self.kind = kind
        self.identifier = identifier


class Conflict(UserError):
    """The object is not in a state in which this can be done."""

    code = "conflict"
    status = 409
    title = "Not possible in the present state"


class Unauthorised(UserError):
    """No key or token, or one that is unknown, expired or revoked."""

    code = "unauthorised"
    status = 401
    title = "Not signed in"


class Forbidden(UserError):
    """The key or token is good, but not for this."""

    code = "forbidden"
    status = 403
    title = "Not allowed"


class PayloadTooLarge(UserError):
    """More bytes than the limit of this endpoint."""

    code = "payload_too_large"
    status = 413
    title = "Too large"


class TooManyRequests(UserError):
    """Under pressure; come back after `retry_after`."""

    code = "too_many_requests"
    status = 429
    title = "Too many requests"

    def __init__(self, detail: str, *, retry_after: timedelta, next_step: str = "") -> None:
        super().__init__(detail, next_step=next_step or f"Try again in {retry_after.total_seconds():.0f} s.")
        self.retry_after = retry_after


class RemoteRefusal(UserError):
    """Another service refused a call; its code, status and words are handed on."""

    def __init__(self, *, code: str, status: int, title: str, detail: str, next_step: str) -> None:
        super().__init__(detail, next_step=next_step)
        self.remote_code = code
        self.remote_status = status
        self.remote_title = title


class TransientError(StokerError):
    """The same call may succeed later. A message handler that raises it gets its message again."""

    code = "temporarily_unavailable"
    status = 503
    title = "Temporarily unavailable"


class ServiceUnavailable(TransientError):
    """A service that is needed for the answer does not answer."""

    def __init__(self, service: str, reason: str) -> None:
        super().__init__(f"{service} does not answer: {reason}.", next_step="Try again in a few seconds.")
        self.service = service


class BrokerUnavailable(TransientError):
    """The broker did not acknowledge; whether it stored the message is unknown."""

    code = "broker_unavailable"

    def __init__(self, subject: str, reason: str) -> None:
        super().__init__(
            f"The message broker did not confirm {subject}: {reason}.",
            next_step="Try again in a few seconds.",
        )
        self.subject = subject


class ConfigurationInvalid(StokerError):
    """A setting is missing or absurd; names the environment variables."""

    code = "configuration_invalid"
    title = "The configuration is not usable"


class MessageInvalid(StokerError):
    """A message on the bus that no retry can mend."""

    code = "message_invalid"
    title = "A message cannot be understood"


class ProviderError(StokerError):
    """A machine provider refused or failed. `provider` names it."""

    code = "provider_error"
    status = 502
    title = "The provider refused"

    def __init__(self, provider: str, detail: str, *, next_step: str = "") -> None:
        super().__init__(f"{provider}: {detail}", next_step=next_step)
        self.provider = provider


class NoCapacity(ProviderError):
    """The provider has no such machine free now."""

    code = "no_capacity"
    status = 503


class AuthFailed(ProviderError):
    """The provider does not accept our key."""

    code = "provider_auth_failed"


class InsufficientFunds(ProviderError):
    """The account at the provider cannot pay."""

    code = "provider_insufficient_funds"
    status = 402


class RateLimited(ProviderError):
    """Too many calls; `retry_after` if the provider said so."""

    code = "provider_rate_limited"
    status = 503

    def __init__(self, provider: str, detail: str, *, retry_after: timedelta | None = None) -> None:
        super().__init__(provider, detail, next_step="Stoker tries again by itself.")
        self.retry_after = retry_after


class InvalidRequest(ProviderError):
    """The provider calls our request wrong; trying again does not help."""

    code = "provider_invalid_request"


class UnknownOutcome(ProviderError):
    """The call may or may not have taken effect. Unknown is never treated as no."""

    code = "provider_outcome_unknown"
    status = 503
