"""What an answer of RunPod's that is no success means in the shared error tree.

RunPod answers problem details (RFC 9457). What is no JSON was not written by the API but by something before it.
"""

import re
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

import httpx

from stoker_deployer.providers.runpod.errors import PROVIDER, ApiRetired, Unreachable
from stoker_shared.errors import (
    AuthFailed,
    InsufficientFunds,
    InvalidRequest,
    NoCapacity,
    ProviderError,
    RateLimited,
    UnknownOutcome,
)
from stoker_shared.tokens import mask_tokens

_LONGEST = 500

_NO_CAPACITY = re.compile(
    r"no longer any instances available|no instances (?:are )?(?:currently )?available|could not find any pods with"
    r"|does not have the resources|not enough free gpus",
    re.IGNORECASE,
)
"""A 400 says no more than its words whether a rule is broken or the stock is gone."""

_NO_FUNDS = re.compile(
    r"(?:insufficient|not enough)[^.]{0,20} (?:balance|funds|credits?)|balance[^.]{0,20} (?:too low|insufficient)",
    re.IGNORECASE,
)
"""A guess: 402 is documented, the words are not."""

_CHANGE_PLAN = "Change the plan."
_REFUSALS: dict[int, tuple[type[ProviderError], str]] = {
    400: (InvalidRequest, _CHANGE_PLAN),
    401: (AuthFailed, "Set a valid key: stoker secrets set runpod."),
    402: (InsufficientFunds, "Add funds to the RunPod account; it needs at least one hour's worth."),
    403: (AuthFailed, "Give the key access to pods (read and write), catalogue and billing, or set one that has it."),
    404: (InvalidRequest, "Check STOKER_DEPLOYER_RUNPOD_URL, which ends with /v2; else change the plan."),
    405: (InvalidRequest, "Check STOKER_DEPLOYER_RUNPOD_URL; it ends with /v2."),
    409: (InvalidRequest, "Look at the pod in the RunPod console."),
    413: (InvalidRequest, "Use fewer or shorter environment variables."),
    422: (InvalidRequest, _CHANGE_PLAN),
}
"""Answers that mean "certainly nothing was done". All others leave the outcome open."""

_BY_WORDS: tuple[tuple[re.Pattern[str], type[ProviderError], str], ...] = (
    (_NO_CAPACITY, NoCapacity, "Choose another GPU or place, or wait."),
    (_NO_FUNDS, InsufficientFunds, _REFUSALS[402][1]),
)


def refusal(response: httpx.Response, *, secrets: Iterable[str] = ()) -> ProviderError:
    """The error that an answer stands for. What the request held of `secrets` is masked, should it come back."""
    where = f"{response.request.method} {response.request.url.path}"
    status, problem = response.status_code, _problem(response)
    if status in _WHATEVER_IT_SAYS:
        return _WHATEVER_IT_SAYS[status](where, response)
    if status >= 500 or status == 408:
        return UnknownOutcome(PROVIDER, f"{where} was answered {status}", next_step="Stoker looks what came of it.")
    if problem is None:
        return _not_the_api(where, response)
    said = masked(_said(problem), secrets)
    detail = f"{where} was answered {status}: {said}"
    kind, next_step = _meaning(status, said)
    return kind(PROVIDER, detail, next_step=next_step)


def no_answer(request: str, error: Exception) -> Unreachable:
    """The error for a call that was not answered, or not to its end."""
    return Unreachable(f"{request}: no answer ({type(error).__name__})")


def misshapen(request: str, faults: Iterable[str]) -> UnknownOutcome:
    """The error for an answer whose form is not that of the API. `faults` name places, never contents."""
    listed = ", ".join(faults) or "no JSON"
    return UnknownOutcome(
        PROVIDER,
        f"the answer to {request} does not have the form it should ({listed})",
        next_step="Check STOKER_DEPLOYER_RUNPOD_URL, and that this version of Stoker knows RunPod's API.",
    )


def retry_after(response: httpx.Response) -> timedelta | None:
    """How long a 429 asks to wait; seconds only, as RunPod writes it."""
    text = response.headers.get("Retry-After", "").strip()
    return timedelta(seconds=int(text)) if text.isdecimal() else None


def is_absent(response: httpx.Response) -> bool:
    """Whether RunPod itself says that there is no such thing; another 404 comes from something before it."""
    return response.status_code == 404 and _problem(response) is not None


def masked(text: str, secrets: Iterable[str]) -> str:
    """Words of a provider as they may be shown, without what they repeat of ours."""
    for secret in sorted(set(secrets), key=len, reverse=True):
        text = text.replace(secret, "***")
    return mask_tokens(text)[:_LONGEST]


_WHATEVER_IT_SAYS: dict[int, Callable[[str, httpx.Response], ProviderError]] = {
    410: lambda where, _response: ApiRetired(where),
    429: lambda where, response: RateLimited(PROVIDER, f"{where} was answered 429", retry_after=retry_after(response)),
}


def _meaning(status: int, said: str) -> tuple[type[ProviderError], str]:
    by_words = _BY_WORDS if status in (400, 403) else ()
    spoken = next(((kind, next_step) for pattern, kind, next_step in by_words if pattern.search(said)), None)
    return spoken or _REFUSALS.get(status, (UnknownOutcome, "Stoker looks what came of it."))


def _not_the_api(where: str, response: httpx.Response) -> ProviderError:
    ray = response.headers.get("cf-ray", "")
    numbered = re.search(r"error code: \d+", response.text[:2000])
    told = ", ".join(part for part in (numbered.group() if numbered else "", f"ray {ray}" if ray else "") if part)
    return Unreachable(
        f"{where} was answered {response.status_code} by a firewall or a proxy, not by the API"
        + (f" ({told})" if told else ""),
        next_step="Check proxies and STOKER_DEPLOYER_RUNPOD_URL, or ask RunPod's support about the number.",
    )


def _problem(response: httpx.Response) -> dict[str, Any] | None:
    try:
        body = response.json()
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


# v2 says `detail`, v1 said `message` or `error`.
_WORDS: tuple[Callable[[dict[str, Any]], Any], ...] = (
    lambda problem: problem.get("detail"),
    lambda problem: problem.get("message"),
    lambda problem: problem.get("error"),
    lambda problem: problem.get("title"),
)


def _said(problem: dict[str, Any]) -> str:
    words = next((str(text) for read in _WORDS if (text := read(problem))), "no reason given")
    faults = problem.get("errors")
    if not isinstance(faults, list) or not faults:
        return words
    # A missing field makes the validator call all others "not allowed": the missing one alone is true.
    missing = [str(fault) for fault in faults if "missing" in str(fault) or "required" in str(fault)]
    return f"{words} {'; '.join(missing or map(str, faults))}"
