"""Where everything of one stack is kept. All of it is inside one data folder that only its owner can enter."""

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from stoker.stack.errors import DataFolderUnusable, StateFileDamaged

PRIVATE_FOLDER = 0o700
PRIVATE_FILE = 0o600

FOLDERS = ("keys", "keys/nkeys", "nats", "postgres", "object-store", "training-server", "trainer", "logs", "run")
"""Folders below the data folder, each made with mode 0700."""

FILES = {
    "lock": "lock",
    "ports": "ports.json",
    "stack": "stack.json",
    "api_key": "api-key",
    "secrets": "keys/secrets.json",
    "vault_keys": "keys/vault.keys",
    "prometheus_token": "keys/prometheus-token",
    "notification_keys": "keys/notifications.keys",
    "nats_config": "nats/nats.conf",
}


class Layout:
    """The paths inside one data folder."""

    def __init__(self, root: Path) -> None:
        self.root = root.expanduser().absolute()
        self.lock_file = self.root / FILES["lock"]
        self.ports_file = self.root / FILES["ports"]
        self.stack_file = self.root / FILES["stack"]
        self.api_key_file = self.root / FILES["api_key"]
        self.secrets_file = self.root / FILES["secrets"]
        self.vault_key_file = self.root / FILES["vault_keys"]
        self.prometheus_token_file = self.root / FILES["prometheus_token"]
        self.notification_key_file = self.root / FILES["notification_keys"]
        self.nats_config_file = self.root / FILES["nats_config"]
        self.nkeys = self.root / "keys/nkeys"
        self.nats = self.root / "nats"
        self.postgres = self.root / "postgres"
        self.object_store = self.root / "object-store"
        self.training_server = self.root / "training-server"
        self.trainer_bundle = self.root / "trainer" / "stoker_trainer.whl"
        self.logs = self.root / "logs"
        self.run = self.root / "run"

    def create(self) -> None:
        """Make the folders that are missing and close those that are open to others.

        Raises:
            DataFolderUnusable: not ours, not writable, or a file is in the way.
        """
        try:
            self.root.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
            self.root.chmod(PRIVATE_FOLDER)
            for name in FOLDERS:
                folder = self.root / name
                folder.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
                folder.chmod(PRIVATE_FOLDER)
        except OSError as error:
            raise DataFolderUnusable(self.root, error.strerror or str(error)) from error

    def log_file(self, name: str) -> Path:
        """Where the output of the process `name` goes."""
        return self.logs / f"{name}.log"

    def free_bytes(self) -> int:
        """Space left on the disk of the data folder, or of the nearest folder above it that exists."""
        folder = self.root
        while not folder.exists():
            folder = folder.parent
        return shutil.disk_usage(folder).free


def write_private(file: Path, text: str) -> None:
    """Write a file that only its owner can read; after a crash the old or the new text is there, never half."""
    descriptor, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(descriptor, "w") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).replace(file)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def read_json(file: Path) -> dict[str, Any] | None:
    """The object in a JSON file, or None if there is no such file.

    Raises:
        StateFileDamaged: it is not a JSON object.
    """
    try:
        content = json.loads(file.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise StateFileDamaged(file, str(error)) from error
    if not isinstance(content, dict):
        raise StateFileDamaged(file, "it does not hold a JSON object")
    return content
