"""Sending a file by tus 1.0: from where the server has it, again and again, until its check has ended."""

from collections.abc import Iterator

import httpx
from tenacity import Retrying, retry_if_result, wait_exponential

from stoker.client.errors import AnswerNotUnderstood, Conflicting, ConnectionLost, FileUnreadable, ServerBusy
from stoker.client.http import RetryPolicy, open_http, parsed, send, shown
from stoker.client.transfer import FileFacts, Progress, chunks
from stoker_shared.rpc.dataset_gateway import UploadStatus

_VERSION = {"Tus-Resumable": "1.0.0"}
_BODY_TYPE = "application/offset+octet-stream"
_UNFINISHED = frozenset({"receiving", "checking"})
_FIRST_LOOK_SECONDS, _LONGEST_LOOK_SECONDS = 0.05, 1.0
_OTHER_OFFSET = "upload_offset_conflict"


class Upload:
    """One file on its way to its upload address. Whatever breaks, the next try goes on where the server has it."""

    def __init__(self, facts: FileFacts, *, url: str, token: str, retry: RetryPolicy) -> None:
        self._facts = facts
        self._url = url
        self._retry = retry
        self._headers = {"Authorization": f"Bearer {token}", **_VERSION}

    def run(self, *, sending: Progress | None = None, checking: Progress | None = None) -> UploadStatus:
        """Send what is missing, then wait for the check. The state of what is returned is stored, rejected or failed.

        Raises:
            Refused: the gateway said no.
            ConnectionLost: nothing could be sent for as long as the policy says; later the same upload goes on.
            FileUnreadable: the file has changed since it was hashed.
        """
        with open_http(self._url) as client:
            is_sent = False
            while not is_sent:
                # Each call that sends some bytes is a success: the patience begins anew.
                is_sent = self._retry.run(lambda: self._send_rest(client, sending))
            return self._wait(client, checking)

    def _send_rest(self, client: httpx.Client, progress: Progress | None) -> bool:
        offset, size = self._position(client), self._facts.size_bytes
        if progress:
            progress(offset, size)
        if offset == size and size > 0:
            return True
        headers = {
            **self._headers,
            "Content-Type": _BODY_TYPE,
            "Upload-Offset": str(offset),
            # Given, so that httpx does not send the iterator in chunked encoding.
            "Content-Length": str(size - offset),
        }
        body = self._rest(offset, progress)
        try:
            send(client, client.build_request("PATCH", self._url, content=body, headers=headers))
        except (ConnectionLost, ServerBusy):
            if self._position(client) > offset:
                return False
            raise
        except Conflicting as conflict:
            # Somebody else with the same file has sent some of it since.
            if conflict.problem_code == _OTHER_OFFSET and self._position(client) > offset:
                return False
            raise
        return True

    def _position(self, client: httpx.Client) -> int:
        response = send(client, client.build_request("HEAD", self._url, headers=self._headers))
        offset = response.headers.get("upload-offset", "")
        if not offset.isdigit() or int(offset) > self._facts.size_bytes:
            raise AnswerNotUnderstood(shown(self._url), f"it has {offset!r} of {self._facts.size_bytes} bytes")
        return int(offset)

    def _rest(self, offset: int, progress: Progress | None) -> Iterator[bytes]:
        facts, done = self._facts, offset
        for chunk in chunks(facts.path, offset=offset):
            done += len(chunk)
            if done > facts.size_bytes:
                break
            yield chunk
            if progress:
                progress(done, facts.size_bytes)
        if done != facts.size_bytes:
            raise FileUnreadable(
                facts.path, "it changed while it was being sent", next_step="Try again when nobody writes to it."
            )

    def _wait(self, client: httpx.Client, progress: Progress | None) -> UploadStatus:
        def look() -> UploadStatus:
            status = self._retry.run(lambda: self._look(client))
            if progress:
                progress(status.checked_bytes, status.size_bytes)
            return status

        return Retrying(
            retry=retry_if_result(lambda status: status.state in _UNFINISHED),
            wait=wait_exponential(multiplier=_FIRST_LOOK_SECONDS, max=_LONGEST_LOOK_SECONDS),
        )(look)

    def _look(self, client: httpx.Client) -> UploadStatus:
        return parsed(UploadStatus, send(client, client.build_request("GET", self._url, headers=self._headers)))
