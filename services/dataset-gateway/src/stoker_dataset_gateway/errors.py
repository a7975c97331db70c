"""Errors of the dataset gateway, below the tree in `stoker_shared.errors`."""

from datetime import timedelta

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


class ClientGone(StokerError):
    """Whoever fetched a file has gone away, or takes nothing more. There is nobody to tell it to."""

    code = "client_gone"
    status = 499
    title = "The client is gone"

    def __init__(self, reason: str) -> None:
        super().__init__(f"The client is gone ({reason}).")


class PreconditionFailed(UserError):
    """The file is not the one that the client names in If-Match."""

    code = "precondition_failed"
    status = 412
    title = "Another file"

    def __init__(self) -> None:
        super().__init__(
            "The file has another ETag than the request demands.",
            next_step="Leave If-Match out, or fetch the file anew.",
        )


class JobStorageFull(StokerError):
    """The artifacts of one job would take more than a job may."""

    code = "job_storage_full"
    status = 507
    title = "The job's storage is full"

    def __init__(self, *, used_bytes: int, limit_bytes: int, wanted_bytes: int) -> None:
        super().__init__(
            f"The job's artifacts, with those that are being uploaded, take {used_bytes} of {limit_bytes} bytes; "
            f"this file needs {wanted_bytes} more.",
            next_step="Delete artifacts that are not needed, keep fewer checkpoints, or ask your operator for more.",
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


class WriteInProgress(UserError):
    """Somebody is sending to the same upload at this moment."""

    code = "upload_in_progress"
    status = 423
    title = "Being sent already"

    def __init__(self) -> None:
        super().__init__(
            "Another sender is sending the bytes of this upload.",
            next_step="Wait for it to end; if it was interrupted, try again in some seconds. HEAD tells how far it is.",
        )


class OffsetConflict(Conflict):
    """What is sent does not begin where the bytes that have come end."""

    code = "upload_offset_conflict"
    title = "Not where the upload goes on"

    def __init__(self, *, offset_bytes: int) -> None:
        super().__init__(
            f"The upload goes on at byte {offset_bytes}.", next_step=f"Send the bytes from {offset_bytes} on."
        )
        self.headers["Upload-Offset"] = str(offset_bytes)


class UploadGone(UserError):
    """The upload was given up, has run out, or takes no bytes for another reason; none of its bytes are kept."""

    code = "upload_gone"
    status = 410
    title = "The upload is gone"

    def __init__(self) -> None:
        super().__init__(
            "The upload was given up or has run out, and its bytes are deleted.",
            next_step="Ask for a new upload with POST /v1/datasets.",
        )


class UploadDecided(Conflict):
    """The upload has ended with a verdict; there is nothing to give up."""

    code = "upload_decided"
    title = "The upload has ended"

    def __init__(self, state: str) -> None:
        super().__init__(f"The upload has ended: it is {state}.", next_step="See the dataset version.")


class BodyChecksumMismatch(UserError):
    """The body of one request arrived otherwise than its sender says."""

    code = "body_checksum_mismatch"
    status = 460
    title = "The bytes were damaged on their way"

    def __init__(self, *, announced: str, received: str) -> None:
        super().__init__(
            f"Upload-Checksum announces {announced}, what came has {received}. Nothing of this request is kept.",
            next_step="Send the same bytes again.",
        )


class BytesLost(UserError):
    """The store no longer has what it had of an upload."""

    code = "bytes_lost"
    status = 422
    title = "The bytes are no longer in the store"

    def __init__(self) -> None:
        super().__init__("The store has lost bytes of this upload.", next_step="Upload the file again.")


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


class PartTooSlow(UserError):
    """One part took so long that others had to wait for its memory."""

    code = "part_too_slow"
    status = 408
    title = "The part came too slowly"

    def __init__(self, number: int, *, limit: timedelta) -> None:
        super().__init__(
            f"Part {number} had not come after {limit.total_seconds():.0f} s.", next_step="Send fewer parts at once."
        )


class UploadUnknown(UserError):
    """There is no such upload of this attempt, or not any more."""

    code = "upload_unknown"
    status = 404
    title = "No such upload"

    def __init__(self, upload_id: str) -> None:
        super().__init__(
            f"The upload {upload_id[:64]} is not known, or was given up.",
            next_step="Begin the upload of this file anew.",
        )


class PartsMissing(Conflict):
    """The upload cannot be completed yet. `parts` has the first missing numbers."""

    code = "parts_missing"
    title = "Parts are missing"

    def __init__(self, parts: list[int], *, total: int) -> None:
        shown = ", ".join(map(str, parts[:20])) + (", ..." if len(parts) > 20 else "")
        super().__init__(
            f"{len(parts)} of {total} parts are missing: {shown}.", next_step="Send them, then complete again."
        )
        self.parts = parts


class WholeDiffers(ChecksumMismatch):
    """What the store gives back is not what was announced. `parts` has the numbers of those that changed there."""

    def __init__(self, *, announced: str, received: str, parts: list[int]) -> None:
        super().__init__(announced=f"SHA-256 {announced}", received=f"SHA-256 {received}")
        named = f"Parts that differ: {', '.join(map(str, parts[:20]))}." if parts else "Every part is as it was sent."
        self.detail = f"{self.detail} {named}"
        self.parts = parts


class UploadInterrupted(UserError):
    """The client went away or fell silent before all bytes had come."""

    code = "upload_interrupted"
    status = 408
    title = "The upload was interrupted"

    def __init__(self, reason: str) -> None:
        super().__init__(f"{reason}.", next_step="Send it again; HEAD tells where an upload goes on.")


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
