"""A file of private keys for sealed boxes: one a line, newest first. The first seals, all open."""

import base64
import os
import tempfile
from pathlib import Path

from nacl.public import PrivateKey
from pydantic import SecretStr

from stoker_shared.errors import ConfigurationInvalid, StokerError
from stoker_shared.rpc.deployer import VaultKey
from stoker_shared.sealing.boxes import StoredBox, decoded_key, key_id_of, open_sealed, public_half
from stoker_shared.sealing.errors import SealingKeysClosed, SealingKeyUnknown


class SealingKeyFile:
    """Read when it is needed and again when the file has changed, so that a rotation needs no restart."""

    def __init__(self, file: Path | None, *, holder: str, setting: str) -> None:
        self._file = file
        self._holder = holder
        self._setting = setting
        self._read: tuple[int, int] | None = None
        self._keys: dict[str, PrivateKey] = {}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._file})"

    def newest(self) -> VaultKey:
        """What to seal with now.

        Raises:
            SealingKeysClosed: no file, or not a usable one.
        """
        key_id, private = next(iter(self._current().items()))
        return VaultKey(key_id=key_id, public_key=public_half(private))

    def opened(self, box: StoredBox) -> SecretStr:
        """What is in a box.

        Raises:
            SealedBoxUnreadable: damaged, or of another owner or name.
            SealingKeyUnknown, SealingKeysClosed: as `private`.
        """
        return open_sealed(box.sealed, owner=box.owner, name=box.name, private_key=self.private(box.key_id))

    def private(self, key_id: str) -> PrivateKey:
        """The key of that id.

        Raises:
            SealingKeyUnknown: it is not in the file.
            SealingKeysClosed: no file, or not a usable one.
        """
        found = self._current().get(key_id)
        if found is None:
            raise SealingKeyUnknown(key_id, holder=self._holder)
        return found

    def _closed(self, reason: str) -> SealingKeysClosed:
        return SealingKeysClosed(self._holder, reason, setting=self._setting)

    def _current(self) -> dict[str, PrivateKey]:
        if self._file is None:
            raise self._closed("no key file is set")
        try:
            status = self._file.stat()
            # Another file in its place has another inode even within one tick of the clock.
            if (seen := (status.st_mtime_ns, status.st_ino)) != self._read:
                self._keys, self._read = _keys_in(self._file.read_text()), seen
        except (OSError, StokerError, UnicodeDecodeError) as error:
            raise self._closed(f"its key file {self._file} cannot be read ({type(error).__name__})") from None
        if not self._keys:
            raise self._closed(f"its key file {self._file} is empty")
        return self._keys


def add_configured_key(file: Path | None, *, setting: str) -> str:
    """`add_key` to the file that a setting names. Replicas elsewhere need the changed file before they are to open.

    Raises:
        ConfigurationInvalid: there is no key file to write to.
    """
    if file is None:
        raise ConfigurationInvalid("No key file is set.", next_step=f"Set {setting}.")
    try:
        return add_key(file)
    except OSError as error:
        raise ConfigurationInvalid(
            f"{file} cannot be written: {error.strerror}.",
            next_step=f"Set {setting} to a file of the service's own.",
        ) from error


def add_key(file: Path) -> str:
    """Put a new key before the others, which go on opening. Returns its id. After a crash the old or the new is there.

    Raises:
        OSError: the file cannot be written.
    """
    private = PrivateKey.generate()
    before = file.read_text() if file.exists() else ""
    descriptor, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(descriptor, "w") as stream:
            stream.write(f"{base64.b64encode(bytes(private)).decode()}\n{before}")
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).replace(file)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return key_id_of(public_half(private))


def _keys_in(text: str) -> dict[str, PrivateKey]:
    lines = [line.strip() for line in text.splitlines()]
    keys = [PrivateKey(decoded_key(line)) for line in lines if line and not line.startswith("#")]
    return {key_id_of(public_half(key)): key for key in keys}
