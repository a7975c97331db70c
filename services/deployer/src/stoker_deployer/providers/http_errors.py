"""What an HTTP answer of a provider means in the shared error tree."""

from datetime import timedelta

import httpx

from stoker_shared.errors import (
    AuthFailed,
    InsufficientFunds,
    InvalidRequest,
    NoCapacity,
    ProviderError,
    RateLimited,
    UnknownOutcome,
)

_REFUSALS: dict[int, tuple[type[ProviderError], str]] = {
    400: (InvalidRequest, "Change the plan."),
    401: (AuthFailed, "Set a valid key for this provider."),
    402: (InsufficientFunds, "Add funds at the provider."),
    403: (AuthFailed, "Set a key with the rights to rent machines."),
    404: (InvalidRequest, "Change the plan."),
    413: (InvalidRequest, "Change the plan."),
    422: (InvalidRequest, "Change the plan."),
    507: (NoCapacity, "Free disk space at the provider, or choose another offer."),
}
"""Answers that mean "certainly nothing was done". All others leave the outcome open."""


def refusal(provider: str, response: httpx.Response) -> ProviderError:
    """The error that an answer stands for."""
    detail = f"{response.request.method} {response.request.url.path} was answered {_said(response)}"
    if response.status_code == 429:
        return RateLimited(provider, detail, retry_after=_retry_after(response))
    if response.status_code in _REFUSALS:
        kind, next_step = _REFUSALS[response.status_code]
        return kind(provider, detail, next_step=next_step)
    return UnknownOutcome(provider, detail, next_step="Stoker looks what came of it.")


def no_answer(provider: str, error: httpx.HTTPError | httpx.InvalidURL) -> UnknownOutcome:
    """The error for a call that was not answered, or not to its end."""
    return UnknownOutcome(
        provider, f"no answer ({type(error).__name__})", next_step="Check that the provider can be reached."
    )


def problem_code(response: httpx.Response) -> str:
    """The `code` of problem details, empty if there are none."""
    try:
        body = response.json()
    except ValueError:
        return ""
    return str(body.get("code", "")) if isinstance(body, dict) else ""


def _said(response: httpx.Response) -> str:
    try:
        body = response.json()
    except ValueError:
        return str(response.status_code)
    detail = str(body.get("detail", ""))[:300] if isinstance(body, dict) else ""
    return f"{response.status_code} {problem_code(response)} {detail}".strip()


def _retry_after(response: httpx.Response) -> timedelta | None:
    text = response.headers.get("Retry-After", "")
    return timedelta(seconds=int(text)) if text.isdecimal() else None
