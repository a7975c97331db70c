"""The keys of one stack: made once, kept in the data folder, never shown."""

import base64
import json
import os
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import nkeys
from pydantic import SecretStr

from stoker.stack.errors import StateFileDamaged
from stoker.stack.layout import Layout, read_json, write_private

API_KEY_PREFIX = "stk_"
_SEALING_KEY_BYTES = 32
PRINCIPALS = ("api", "deployer", "dataset_gateway", "metrics", "topology", "operator")
# Ours, beside the contract's principals: the readiness probe, and the broker's own SYS account.
PROBE, SYSTEM = "probe", "system"
NATS_USERS = (*PRINCIPALS, PROBE, SYSTEM)

POSTGRES_SUPERUSER = "postgres"
SERVICES = ("api", "deployer", "dataset_gateway", "metrics")
SECRET_NAMES = (
    f"postgres:{POSTGRES_SUPERUSER}",
    *(f"postgres:stoker_{service}" for service in SERVICES),
    "s3:access_key",
    "s3:secret_key",
    "training_server",
    "prometheus",
)


@dataclass(frozen=True, slots=True)
class StackKeys:
    """All keys of a stack. Secrets have no useful repr."""

    nkey_seed_files: Mapping[str, Path]
    nkey_public_keys: Mapping[str, str]
    postgres_passwords: Mapping[str, SecretStr]
    s3_access_key: SecretStr
    s3_secret_key: SecretStr
    training_server_key: SecretStr
    prometheus_token: SecretStr
    api_key: SecretStr


def load_or_make_keys(layout: Layout) -> StackKeys:
    """Read the keys of the data folder; make those that are missing.

    Raises:
        StateFileDamaged: a file of keys is unreadable. It is not made again: the data is locked with it.
    """
    plain = _secrets(layout.secrets_file)
    _make_sealing_key(layout.vault_key_file)
    _make_sealing_key(layout.notification_key_file)
    seeds = nkey_seeds(layout.nkeys, NATS_USERS)
    return StackKeys(
        nkey_seed_files=seeds,
        nkey_public_keys={name: public_key(file) for name, file in seeds.items()},
        postgres_passwords={
            name.removeprefix("postgres:"): secret for name, secret in plain.items() if name.startswith("postgres:")
        },
        s3_access_key=plain["s3:access_key"],
        s3_secret_key=plain["s3:secret_key"],
        training_server_key=plain["training_server"],
        prometheus_token=_told_in(layout.prometheus_token_file, plain["prometheus"]),
        api_key=_api_key(layout.api_key_file),
    )


def nkey_seeds(folder: Path, names: Iterable[str]) -> dict[str, Path]:
    """One file with an nkey seed for each name, made where it is missing."""
    files = {name: folder / f"{name}.nk" for name in names}
    for file in files.values():
        if not file.exists():
            write_private(file, nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER).decode())
    return files


def public_key(seed_file: Path) -> str:
    """The public half of an nkey.

    Raises:
        StateFileDamaged: the file holds no seed.
    """
    try:
        pair = nkeys.from_seed(bytearray(seed_file.read_bytes().strip()))
        key: bytes = pair.public_key
    except (nkeys.NkeysError, OSError, ValueError) as error:
        raise StateFileDamaged(seed_file, f"no nkey seed ({type(error).__name__})") from error
    return key.decode()


def new_secret() -> str:
    """32 random bytes in base64url."""
    return secrets.token_urlsafe(32)


def _secrets(file: Path) -> dict[str, SecretStr]:
    kept = read_json(file) or {}
    if not all(isinstance(value, str) and value for value in kept.values()):
        raise StateFileDamaged(file, "a secret is empty or not text")
    missing = [name for name in SECRET_NAMES if name not in kept]
    if missing:
        kept |= {name: new_secret() for name in missing}
        write_private(file, json.dumps(kept, indent=1))
    file.chmod(0o600)
    return {name: SecretStr(kept[name]) for name in SECRET_NAMES}


def _told_in(file: Path, secret: SecretStr) -> SecretStr:
    # Prometheus reads a token from a file of its own (`credentials_file`).
    write_private(file, f"{secret.get_secret_value()}\n")
    return secret


def _make_sealing_key(file: Path) -> None:
    # Each is read by one service alone. A file that is there is never made again: secrets are locked with it.
    if not file.exists():
        write_private(file, f"{base64.b64encode(secrets.token_bytes(_SEALING_KEY_BYTES)).decode()}\n")
    file.chmod(0o600)


def _api_key(file: Path) -> SecretStr:
    if not file.exists():
        write_private(file, f"{API_KEY_PREFIX}{new_secret()}\n")
    file.chmod(0o600)
    key = file.read_text().strip()
    if not key.startswith(API_KEY_PREFIX) or len(key) < 40:
        raise StateFileDamaged(file, "no API key of Stoker in it")
    return SecretStr(key)
