"""What can go wrong for a client of Stoker.

    ClientError (StokerError)
    ├── NoServerKnown, NoApiKey          nobody said where the server is, or with which key
    ├── NoIdentifier                     what was given cannot be an id
    ├── FileUnreadable                   a local file cannot be read or written
    ├── ConnectionLost                   no answer came; the call may succeed later
    ├── AnswerNotUnderstood              the answer is not what the contract says
    ├── Refused                          the server said no, in the words of its problem details
    │   ├── NotSignedIn, NotAllowed, NotFound, Conflicting, InvalidRequest
    │   ├── DatasetRejected              the bytes arrived, but rows have faults
    │   └── ServerBusy, ServerFailed     the server's side; ServerBusy may succeed later
    ├── PlanBlocked                      a plan that cannot be launched, with what blocks it
    └── DownloadDamaged                  the SHA-256 differs from what was promised

Each has `detail` (what happened, and where), `next_step`, `fields` (faults by field) and `trace_id` (for the operator).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stoker_shared.errors import StokerError
from stoker_shared.rpc.dataset_gateway import RowFault


class ClientError(StokerError):
    """Base of all errors of the client."""

    code = "client_error"
    title = "Stoker could not do that"

    def __init__(
        self, detail: str, *, next_step: str = "", fields: dict[str, str] | None = None, trace_id: str = ""
    ) -> None:
        super().__init__(detail, next_step=next_step, fields=fields)
        self.trace_id = trace_id


class NoServerKnown(ClientError):
    """Neither an argument, nor STOKER_URL, nor a running local stack says where the server is."""

    code = "no_server_known"

    def __init__(self, data_dir: Path) -> None:
        super().__init__(
            f"No Stoker server is known: no --url, no STOKER_URL, and no stack runs on {data_dir}.",
            next_step="Start one with `stoker up`, or set STOKER_URL and STOKER_API_KEY.",
        )


class NoApiKey(ClientError):
    """There is a server, but no key for it."""

    code = "no_api_key"

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"There is no API key for {url}: {reason}.", next_step="Set STOKER_API_KEY.")


class NoIdentifier(ClientError):
    """What was given as an id, or as the name of a provider, cannot be one."""

    code = "no_identifier"

    def __init__(self, text: str) -> None:
        super().__init__(
            f"{text!r} cannot be an id.", next_step="An id looks like job-0b5c1f2e9a7d4c33: copy it from a list."
        )


class FileUnreadable(ClientError):
    """A local file cannot be used."""

    code = "file_unreadable"

    def __init__(self, file: Path, reason: str, *, next_step: str = "Check the path and its permissions.") -> None:
        super().__init__(f"{file}: {reason}.", next_step=next_step)
        self.file = file


class ConnectionLost(ClientError):
    """No answer came. Whether the call took effect is not known; every call of this client can be repeated."""

    code = "connection_lost"

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(
            f"{url} does not answer: {reason}.",
            next_step="Is the server running? `stoker doctor` looks at a local one. Then try again.",
        )


class AnswerNotUnderstood(ClientError):
    """The answer is not what the contract says; usually a client and a server of different versions."""

    code = "answer_not_understood"

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(
            f"The answer of {url} cannot be understood: {reason}.",
            next_step="Check that this address is a Stoker server of the same version as this client.",
        )


class Refused(ClientError):
    """The server said no. `problem` is its whole answer."""

    code = "refused"

    def __init__(self, *, status: int, problem: dict[str, Any]) -> None:
        faults = {str(fault.get("field", "")): str(fault.get("message", "")) for fault in _dicts(problem.get("errors"))}
        super().__init__(
            str(problem.get("detail") or problem.get("title") or f"The server answered {status}."),
            next_step=str(problem.get("next_step") or ""),
            fields=faults,
            trace_id=str(problem.get("trace_id") or ""),
        )
        self.http_status = status
        self.problem_code = str(problem.get("code") or f"http_{status}")
        self.problem = problem


class NotSignedIn(Refused):
    """401: no key, or one that is unknown, expired or revoked."""


class NotAllowed(Refused):
    """403: the key is good, but not for this."""


class NotFound(Refused):
    """404: no such object, or it belongs to somebody else."""


class Conflicting(Refused):
    """409: not possible in the present state."""


class InvalidRequest(Refused):
    """422: the request does not have the right form; see `fields`."""


class ServerBusy(Refused):
    """429, 503 and the like: the same call may succeed later. `retry_after` in seconds, if the server said so."""

    def __init__(self, *, status: int, problem: dict[str, Any], retry_after: float | None = None) -> None:
        super().__init__(status=status, problem=problem)
        self.retry_after = retry_after


class ServerFailed(Refused):
    """5xx: a fault of the server's; its log has it under `trace_id`."""


class DatasetRejected(Refused):
    """The file was checked to its end and has faults. `faults` are the first ones, `faults_total` counts all."""

    def __init__(
        self, *, status: int, problem: dict[str, Any], faults: Sequence[RowFault], faults_total: int, version_id: str
    ) -> None:
        # The gateway's own words speak of the form of its answer.
        super().__init__(status=status, problem=problem | {"next_step": "Mend these rows and upload the file again."})
        self.faults = tuple(faults)
        self.faults_total = max(faults_total, len(self.faults))
        self.dataset_version_id = version_id


class PlanBlocked(ClientError):
    """The plan cannot be launched; `blocking` says why."""

    code = "plan_blocked"

    def __init__(self, plan_id: str, blocking: Sequence[str]) -> None:
        listed = " ".join(blocking) or "The server does not say why."
        super().__init__(
            f"Plan {plan_id} cannot be launched. {listed}", next_step="Change what blocks it and plan again."
        )


class DownloadDamaged(ClientError):
    """The file arrived with another SHA-256 than promised; nothing was kept."""

    code = "download_damaged"

    def __init__(self, name: str, *, expected: str, actual: str) -> None:
        super().__init__(
            f"{name} arrived damaged: its SHA-256 is {actual}, promised was {expected}.",
            next_step="Fetch it again. If it stays so, the stored file is damaged: tell the operator.",
        )


def _dicts(value: object) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
