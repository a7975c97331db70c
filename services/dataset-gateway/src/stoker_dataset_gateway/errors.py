"""Errors of the dataset gateway, below the tree in `stoker_shared.errors`."""

from stoker_shared.errors import Conflict, ServiceUnavailable, StokerError, Unauthorised, UserError
from stoker_shared.rpc.dataset_gateway import DatasetFacts


class ObjectMissing(UserError):
    """The store has no such object (any more)."""

    code = "object_gone"
    status = 404
    title = "Gone"

    def __init__(self, key: str) -> None:
        super().__init__("The bytes of this file are no longer in the store.", next_step="Upload the file again.")
        self.key = key


class StoreUnavailable(ServiceUnavailable):
    """The object store does not answer, or not as it should."""

    def __init__(self, reason: str) -> None:
        super().__init__("The object store", reason)


class StoreFull(StokerError):
    """The object store has no room."""

    code = "store_full"
    status = 507
    title = "The store is full"

    def __init__(self) -> None:
        super().__init__(
            "The object store has no room for this file.", next_step="Ask your operator to make room, then try again."
        )


class TokenRefused(Unauthorised):
    """A token that is unknown, expired or revoked; the three are not told apart."""

    code = "token_refused"
    title = "The token is not accepted"

    def __init__(self, *, next_step: str) -> None:
        super().__init__("The token is unknown, expired or revoked.", next_step=next_step)


class TokenMissing(UserError):
    """A download without a token."""

    code = "token_missing"
    title = "No token"

    def __init__(self) -> None:
        super().__init__(
            "The address has no token.",
            next_step="Use the whole download URL, also what follows the question mark.",
        )


class WriteInProgress(Conflict):
    """Somebody is sending the same content at this moment."""

    code = "upload_in_progress"
    title = "Being uploaded already"

    def __init__(self) -> None:
        super().__init__(
            "Another upload of this content is running.",
            next_step="Wait for it to end; if it was interrupted, try again in a minute.",
        )


class WriteLost(Conflict):
    """The right to finish a write ran out, for example because this process was frozen for minutes."""

    code = "upload_expired"
    title = "The upload took too long"

    def __init__(self) -> None:
        super().__init__("The upload was given up before it ended.", next_step="Upload again.")


class AlreadyStored(Conflict):
    """The upload was finished before."""

    code = "already_stored"
    title = "Stored already"

    def __init__(self, facts: DatasetFacts) -> None:
        super().__init__("This content is stored already.", next_step=f"Use {facts.dataset_version_id}.")
        self.facts = facts


class DatasetRejected(UserError):
    """The rows have faults."""

    code = "dataset_rejected"
    status = 422
    title = "The data has faults"

    def __init__(self, facts: DatasetFacts) -> None:
        first = facts.faults[0] if facts.faults else None
        place = (f"line {first.line}" if first.line else f"row {first.row}") if first else ""
        where = f" The first, in {place}: {first.message}" if first and (first.line or first.row) else ""
        where = where or (f" {first.message}" if first else "")
        super().__init__(
            f"{facts.filename} has {facts.faults_total} fault(s) and was not stored.{where}",
            next_step="Mend the rows that `facts.faults` names, then upload the file as new.",
        )
        self.facts = facts


class FormatUnsupported(UserError):
    """The name of the file says that it is of a kind that is not taken."""

    code = "format_unsupported"
    status = 422
    title = "This kind of file is not supported"


class ChecksumMismatch(UserError):
    """The bytes that came are not the bytes that were announced."""

    code = "checksum_mismatch"
    status = 422
    title = "The bytes differ from what was announced"

    def __init__(self, *, announced: str, received: str) -> None:
        super().__init__(
            f"Announced were {announced}, received were {received}. Nothing was stored.",
            next_step="Compute the SHA-256 of the file as it is now and upload it again.",
        )


class UploadInterrupted(UserError):
    """The client went away or fell silent before all bytes had come."""

    code = "upload_interrupted"
    status = 408
    title = "The upload was interrupted"

    def __init__(self, reason: str) -> None:
        super().__init__(f"{reason}. Nothing was stored.", next_step="Send the file again.")


class RangeUnsatisfiable(UserError):
    """The range lies outside the file or cannot be read."""

    code = "range_unsatisfiable"
    status = 416
    title = "No such range"

    def __init__(self, header: str, *, size_bytes: int) -> None:
        super().__init__(
            f"The file has {size_bytes} bytes; the range {header[:100]!r} is not in it.",
            next_step="Ask for one range such as bytes=0-1023.",
        )
        self.size_bytes = size_bytes
