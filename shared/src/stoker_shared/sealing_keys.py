"""A file of private keys for sealed boxes: one a line, newest first. The first seals, all open."""

import base64
import os
import tempfile
from pathlib import Path

from nacl.public import PrivateKey

from stoker_shared.errors import Conflict, ServiceUnavailable, StokerError
from stoker_shared.sealing import decoded_key, key_id_of, public_half


class SealingKeyUnknown(Conflict):
    """A box was sealed with a key that is not in the file (any more)."""

    code = "vault_key_unknown"


class SealingKeysClosed(ServiceUnavailable):
    """There is no key file, or it cannot be read."""

    code = "vault_closed"


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

    def newest_key(self) -> tuple[str, str]:
        """Id and public half of the key to seal with now.

        Raises:
            SealingKeysClosed: no file, or not a usable one.
        """
        key_id, private = next(iter(self._current().items()))
        return key_id, public_half(private)

    def private(self, key_id: str) -> PrivateKey:
        """The key of that id.

        Raises:
            SealingKeyUnknown: it is not in the file.
            SealingKeysClosed: no file, or not a usable one.
        """
        found = self._current().get(key_id)
        if found is None:
            raise self._unknown(key_id)
        return found

    def _unknown(self, key_id: str) -> StokerError:
        return SealingKeyUnknown(
            f"It was sealed with key {key_id}, which {self._holder} does not have.", next_step="Send it again."
        )

    def _closed(self, reason: str) -> StokerError:
        error = SealingKeysClosed(self._holder, reason)
        error.next_step = f"Have your operator set {self._setting}."
        return error

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
