"""The trainer bundle: taken from a file at the start, kept in the store, served from a local copy."""

import asyncio
import hashlib
import re
import tempfile
import zipfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from email.parser import BytesHeaderParser
from io import BytesIO
from pathlib import Path

from stoker_dataset_gateway.errors import ObjectMissing, StoreUnavailable
from stoker_dataset_gateway.foundation import Foundation
from stoker_dataset_gateway.trainer_bundles.repository import TrainerBundleRepository
from stoker_dataset_gateway.trainer_bundles.tables import TrainerBundle
from stoker_shared.errors import ConfigurationInvalid, NotFound
from stoker_shared.identifiers import new_identifier
from stoker_shared.logging import get_logger
from stoker_shared.rpc.dataset_gateway import TrainerBundleFacts, TrainerBundleQuery

logger = get_logger(__name__)

MAX_BUNDLE_BYTES = 64 * 2**20
SETTING = "STOKER_DATASET_GATEWAY_TRAINER_BUNDLE"
_VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z.!+_-]{0,63}", re.ASCII)
_METADATA = re.compile(r"[^/]+\.dist-info/METADATA")


@dataclass(frozen=True, slots=True)
class BundleFile:
    """A bundle as bytes, with what names it."""

    version: str
    sha256: str
    content: bytes

    @property
    def filename(self) -> str:
        """What pip and uv want to see."""
        return f"stoker_trainer-{self.version}-py3-none-any.whl"


class TrainerBundleService:
    """Publishes the bundle of this release, and gives out every bundle that was published before."""

    def __init__(
        self,
        foundation: Foundation,
        *,
        public_url: str,
        file: BundleFile | None,
    ) -> None:
        self._database = foundation.database
        self._store = foundation.store
        self._writer = foundation.writer
        self._tokens = foundation.tokens
        self._clock = foundation.clock
        self._public_url = public_url
        self._file = file
        self._bundles = TrainerBundleRepository()
        self._folder = tempfile.TemporaryDirectory(prefix="stoker-trainer-bundles-")

    async def publish(self) -> None:
        """Make this release's bundle one that every replica serves, for as long as attempts may ask for it."""
        file = self._file
        if file is None:
            logger.warning("no trainer bundle is served", setting=SETTING)
            return
        if await self._known(version=file.version, sha256=file.sha256) is not None:
            return
        key = f"trainer/{file.version}/{file.sha256}/{new_identifier('object')}"
        async with self._writer.writing(key=key, purpose=f"bundle:{file.sha256}") as writing:
            await writing.store(_once(file.content), size_hint=len(file.content))
            async with self._database.transaction() as session:
                bundle = TrainerBundle(
                    sha256=file.sha256,
                    version=file.version,
                    filename=file.filename,
                    size_bytes=len(file.content),
                    object_key=key,
                    created_at=self._clock.now(),
                )
                if await self._bundles.add(session, bundle):
                    await writing.keep(session)
        logger.info("trainer bundle published", version=file.version, sha256=file.sha256)

    async def current(self, _: TrainerBundleQuery) -> TrainerBundleFacts:
        """What new attempts get.

        Raises:
            NotFound: this gateway was started without one.
        """
        if self._file is None:
            raise NotFound("trainer bundle", "of this release", next_step=f"Start the gateway with {SETTING}.")
        return TrainerBundleFacts(
            version=self._file.version,
            sha256=self._file.sha256,
            size_bytes=len(self._file.content),
            url=f"{self._public_url}/v1/trainer/{self._file.version}/{self._file.sha256}",
        )

    async def open(self, *, version: str, sha256: str, token: str) -> tuple[TrainerBundle, Path]:
        """A bundle, and a file here that has its bytes.

        Raises:
            TokenRefused: no live attempt.
            NotFound: no bundle of this version and checksum.
            StoreUnavailable.
        """
        await self._tokens.attempt_of(token)
        bundle = await self._known(version=version, sha256=sha256)
        if bundle is None:
            raise NotFound("trainer bundle", f"{version}/{sha256}"[:120], next_step="Use the URL that you were given.")
        path = Path(self._folder.name) / bundle.sha256
        if not await asyncio.to_thread(path.is_file):
            content = await self._content(bundle)
            await asyncio.to_thread(_write_whole, path, content)
        return bundle, path

    def close(self) -> None:
        """Take the local copies away."""
        self._folder.cleanup()

    async def _known(self, *, version: str, sha256: str) -> TrainerBundle | None:
        async with self._database.transaction() as session:
            return await self._bundles.find(session, version=version, sha256=sha256)

    async def _content(self, bundle: TrainerBundle) -> bytes:
        if self._file is not None and self._file.sha256 == bundle.sha256:
            return self._file.content
        try:
            reader = await self._store.open(bundle.object_key)
        except ObjectMissing:
            raise NotFound("trainer bundle", bundle.version, next_step="Launch the job again.") from None
        held = bytearray()
        try:
            while block := await reader.read():
                held += block
        finally:
            await reader.close()
        if hashlib.sha256(held).hexdigest() != bundle.sha256:
            raise StoreUnavailable("it gave back another trainer bundle than it was given")
        return bytes(held)


def read_bundle(path: Path | None) -> BundleFile | None:
    """The bundle that the setting names.

    Raises:
        ConfigurationInvalid: it is not there, or no wheel of the trainer.
    """
    if path is None:
        return None
    try:
        if path.stat().st_size > MAX_BUNDLE_BYTES:
            raise _unusable(path, f"it has more than {MAX_BUNDLE_BYTES} bytes")
        content = path.read_bytes()
        version = _version_in(content)
    except (OSError, zipfile.BadZipFile) as error:
        raise _unusable(path, str(error)) from error
    if version is None or not _VERSION.fullmatch(version):
        raise _unusable(path, "it is no wheel of stoker-trainer")
    return BundleFile(version=version, sha256=hashlib.sha256(content).hexdigest(), content=content)


def _version_in(content: bytes) -> str | None:
    with zipfile.ZipFile(BytesIO(content)) as archive:
        names = [name for name in archive.namelist() if _METADATA.fullmatch(name)]
        headers = BytesHeaderParser().parsebytes(archive.read(names[0])) if len(names) == 1 else None
    return str(headers["Version"]) if headers is not None and headers["Name"] == "stoker-trainer" else None


def _unusable(path: Path, why: str) -> ConfigurationInvalid:
    return ConfigurationInvalid(
        f"{SETTING} cannot be used: {path}: {why}.", next_step="Build it with `make bundle`, or leave the setting out."
    )


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content


def _write_whole(path: Path, content: bytes) -> None:
    partial = path.with_name(f"{path.name}.{new_identifier('part')}")
    partial.write_bytes(content)
    partial.replace(path)
