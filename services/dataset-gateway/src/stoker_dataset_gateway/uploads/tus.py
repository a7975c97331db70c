"""tus 1.0: the headers of resumable uploads. https://tus.io/protocols/resumable-upload"""

import base64
import binascii
from collections.abc import Callable, Coroutine
from email.utils import format_datetime
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from stoker_shared.errors import StokerError, UserError
from stoker_shared.rpc.dataset_gateway import UploadStatus

VERSION = "1.0.0"
EXTENSIONS = "checksum,expiration,termination"
CHECKSUM_ALGORITHM = "sha256"
BODY_TYPE = "application/offset+octet-stream"
_SHA256_BYTES = 32


class VersionUnsupported(UserError):
    """The client speaks another version, or does not say which."""

    code = "tus_version_unsupported"
    status = 412
    title = "Another version of tus"

    def __init__(self) -> None:
        super().__init__(
            f"This server speaks tus {VERSION}.", next_step=f"Send the header Tus-Resumable: {VERSION} with HEAD, "
            "PATCH and DELETE; PUT and GET need none.",
        )  # fmt: skip
        self.headers["Tus-Version"] = VERSION


class BodyTypeUnsupported(UserError):
    """A PATCH of another content type."""

    code = "content_type_unsupported"
    status = 415
    title = "Another content type"

    def __init__(self) -> None:
        super().__init__("PATCH takes bytes of one content type.", next_step=f"Send Content-Type: {BODY_TYPE}.")


class HeaderUnreadable(UserError):
    """A header that tus asks for is missing or has no meaning."""

    code = "header_unreadable"
    title = "A header is not as tus has it"

    def __init__(self, name: str, wanted: str) -> None:
        super().__init__(f"The header {name} is missing or unreadable.", next_step=f"Send {name}: {wanted}.")
        self.fields[name] = f"must be {wanted}"


class TusRoute(APIRoute):
    """Says the version of tus in every answer, also in those that are errors."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler of the route, with the header around it."""
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            try:
                response = await handler(request)
            except StokerError as error:
                error.headers["Tus-Resumable"] = VERSION
                raise
            response.headers["Tus-Resumable"] = VERSION
            return response

        return handle


def require_version(request: Request) -> None:
    """Raise VersionUnsupported unless the client speaks ours."""
    if request.headers.get("tus-resumable") != VERSION:
        raise VersionUnsupported


def require_body_type(request: Request) -> None:
    """Raise BodyTypeUnsupported unless the body is a piece of a file."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != BODY_TYPE:
        raise BodyTypeUnsupported


def offset_of(request: Request) -> int:
    """Where the body begins in the file.

    Raises:
        HeaderUnreadable.
    """
    header = request.headers.get("upload-offset", "")
    if not header.isascii() or not header.isdigit() or len(header) > 18:
        raise HeaderUnreadable("Upload-Offset", "the position of the first byte of the body, in bytes")
    return int(header)


def body_sha256_of(request: Request) -> bytes | None:
    """The SHA-256 that the body shall have, None if the client does not say.

    Raises:
        HeaderUnreadable.
    """
    header = request.headers.get("upload-checksum")
    if header is None:
        return None
    algorithm, _, encoded = header.strip().partition(" ")
    try:
        digest = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        digest = b""
    if algorithm != CHECKSUM_ALGORITHM or len(digest) != _SHA256_BYTES:
        raise HeaderUnreadable("Upload-Checksum", f"{CHECKSUM_ALGORITHM} and the checksum of the body in base64")
    return digest


def headers_of(status: UploadStatus) -> dict[str, str]:
    """Where an upload goes on, and until when."""
    headers = {"Upload-Offset": str(status.offset_bytes), "Cache-Control": "no-store"}
    if status.expires_at is not None:
        headers["Upload-Expires"] = format_datetime(status.expires_at, usegmt=True)
    return headers


def abilities(*, max_upload_bytes: int) -> dict[str, str]:
    """What this server can do."""
    return {
        "Tus-Version": VERSION,
        "Tus-Max-Size": str(max_upload_bytes),
        "Tus-Extension": EXTENSIONS,
        "Tus-Checksum-Algorithm": CHECKSUM_ALGORITHM,
    }
