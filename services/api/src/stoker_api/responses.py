"""Error answers as OpenAPI tells them. Every one is a problem detail with a `code` and a `next_step`."""

from typing import Any

from stoker_shared.web.problems import Problem

Responses = dict[int | str, dict[str, Any]]


def _problem(status: int, description: str) -> Responses:
    return {status: {"model": Problem, "description": description}}


UNAUTHORISED = _problem(401, "No API key, or one that is unknown, expired or revoked")
NOT_FOUND = _problem(404, "There is no such object, or it belongs to somebody else")
INVALID = _problem(422, "A field or parameter does not have the right form; `errors` names each")
UNAVAILABLE = _problem(503, "A service that is needed for the answer is away; `Retry-After` says when to ask again")
CANNOT_LAUNCH = _problem(
    409,
    "`plan_hash_differs`, `plan_blocked`, `plan_stale` (says what changed) or `idempotency_key_reused`",
)
JOB_IS_OVER = _problem(409, "The job has ended already")
JOB_NOT_DIAGNOSED = _problem(409, "`job_not_diagnosed`: no end of the job was diagnosed (yet)")
TOO_MANY = _problem(429, "Too many event streams are open; `Retry-After` says when to try again")
