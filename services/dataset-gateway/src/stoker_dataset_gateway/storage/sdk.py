"""The SDK and what it leaves out: an object in parts, over several requests and processes."""

from collections.abc import Sequence
from dataclasses import dataclass

from minio import Minio
from minio.datatypes import Part

_LEAST_PART_BYTES = 8 * 2**20
_MOST_PARTS = 9_000


@dataclass(frozen=True, slots=True)
class StoredPart:
    """A part that the store has. Numbers count from 1; all parts but the last have at least 5 MiB."""

    number: int
    etag: str


def part_bytes_for(size_bytes: int) -> int:
    """How many bytes each part of an object of this size has, but the last: few parts, none too small for a store."""
    return max(_LEAST_PART_BYTES, -(-size_bytes // _MOST_PARTS))


class PartsClient(Minio):
    """Parts one by one, and an end to those of a process that was killed in an upload, which nobody sees."""

    def abort_unfinished(self, bucket: str, key: str) -> None:
        """Free the parts of unfinished uploads of an object."""
        for upload in self._list_multipart_uploads(bucket, prefix=key).uploads:
            if upload.object_name == key:
                self._abort_multipart_upload(bucket, key, str(upload.upload_id))

    def begin_parts(self, bucket: str, key: str) -> str:
        """Begin an object that comes in parts; returns the store's name of the upload."""
        return self._create_multipart_upload(bucket, key, {})

    def put_part(self, bucket: str, key: str, upload: str, part: int, data: bytes) -> str:
        """Store one part; returns its ETag."""
        return self._upload_part(bucket, key, data, None, upload, part)

    def complete_parts(self, bucket: str, key: str, upload: str, parts: Sequence[StoredPart]) -> None:
        """Make the parts one object."""
        self._complete_multipart_upload(bucket, key, upload, [Part(part.number, part.etag) for part in parts])

    def abort_parts(self, bucket: str, key: str, upload: str) -> None:
        """Free the parts."""
        self._abort_multipart_upload(bucket, key, upload)
