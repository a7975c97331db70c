"""A trainer's side of an upload by parts, one step at a time."""

import hashlib
import os
from typing import Any

import httpx

from tests.integration.dataset_gateway.conftest import JobAccess, World, jsonl

PART = 8 * 2**20
"""What the gateway wants of a small file."""


def content_of(parts: int, *, last: int = 1000) -> bytes:
    """Random bytes of so many parts, the last of which is short."""
    return os.urandom((parts - 1) * PART + last)


def sha256(content: bytes) -> str:
    """In hex."""
    return hashlib.sha256(content).hexdigest()


class PartsClient:
    """Speaks for one attempt."""

    def __init__(self, world: World, access: JobAccess) -> None:
        self.world = world
        self.access = access
        self.url = f"{world.gateway.url}/v1/jobs/{access.job_id}/artifacts/uploads"
        self._headers = {"Authorization": f"Bearer {access.token}"}

    async def ask_to_begin(self, name: str, content: bytes, **changes: Any) -> httpx.Response:
        """POST uploads."""
        body = {"name": name, "size_bytes": len(content), "sha256": sha256(content), **changes}
        return await self.world.http.post(self.url, json=body, headers=self._headers)

    async def begin(self, name: str, content: bytes, **changes: Any) -> dict[str, Any]:
        """The upload."""
        answer = await self.ask_to_begin(name, content, **changes)
        assert answer.status_code == 200, answer.text
        begun: dict[str, Any] = answer.json()
        return begun

    async def put(self, upload: str, number: int, content: bytes, *, announced: str | None = None) -> httpx.Response:
        """One part of the whole content."""
        part = content[(number - 1) * PART : number * PART]
        return await self.put_bytes(upload, number, part, announced=announced)

    async def put_bytes(
        self, upload: str, number: int, part: Any, *, announced: str | None = None, **headers: str
    ) -> httpx.Response:
        """One part as it is."""
        sent = {**self._headers, "X-Content-SHA256": announced or sha256(part), **headers}
        return await self.world.http.put(f"{self.url}/{upload}/parts/{number}", content=part, headers=sent)

    async def complete(self, upload: str) -> httpx.Response:
        """Ask until it is decided."""
        while True:
            answer = await self.world.http.post(f"{self.url}/{upload}/complete", headers=self._headers)
            if answer.status_code != 202:
                return answer

    async def store(self, name: str, content: bytes) -> dict[str, Any]:
        """The whole way."""
        begun = await self.begin(name, content)
        for number in range(1, begun["part_count"] + 1):
            assert (await self.put(begun["upload_id"], number, content)).status_code == 200
        answer = await self.complete(begun["upload_id"])
        assert answer.status_code == 201, answer.text
        facts: dict[str, Any] = answer.json()
        return facts


async def new_attempt(world: World, **changes: Any) -> PartsClient:
    """An attempt of a new job."""
    _, access = await world.mint(
        await world.stored(jsonl([{"text": os.urandom(8).hex()} for _ in range(2)])), **changes
    )
    return PartsClient(world, access)


def unfinished(client: PartsClient) -> int:
    """Multipart uploads of a job that nobody has completed; their parts take room that no listing shows."""
    bucket = client.world.servers.bucket
    found = bucket.client()._list_multipart_uploads(bucket.bucket, prefix=f"artifacts/{client.access.job_id}/")
    return len(found.uploads)
