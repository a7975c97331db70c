"""Where the server is and with which key: arguments, then the environment, then the stack on this machine."""

import ipaddress
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
from pydantic import SecretStr

from stoker.client.errors import NoApiKey, NoServerKnown

URL_VARIABLE = "STOKER_URL"
KEY_VARIABLE = "STOKER_API_KEY"
DATA_VARIABLE = "STOKER_DATA"
STACK_DATA_VARIABLE = "STOKER_STACK_DATA_DIR"
DEFAULT_DATA_DIR = Path("~/.stoker")


@dataclass(frozen=True, slots=True)
class Server:
    """The address of an api and a key for it."""

    url: str
    api_key: SecretStr


def find_server(
    url: str | None = None,
    api_key: str | None = None,
    *,
    data_dir: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Server:
    """The server to talk to.

    Raises:
        NoServerKnown: nobody says where it is.
        NoApiKey: there is a server, but no key for it.
    """
    around = os.environ if environment is None else environment
    folder = data_folder(data_dir, environment=around)
    local = _local_stack(folder)
    address = (url or around.get(URL_VARIABLE) or (local.url if local else "")).rstrip("/")
    if not address:
        raise NoServerKnown(folder)
    key = api_key or around.get(KEY_VARIABLE, "")
    if not key and local and local.url == address:
        key = local.read_key()
    if not key:
        raise NoApiKey(address, f"{KEY_VARIABLE} is not set, and it is not the stack that runs on {folder}")
    return Server(url=address, api_key=SecretStr(key))


def data_folder(data_dir: Path | None = None, *, environment: Mapping[str, str] | None = None) -> Path:
    """The data folder of the local stack: the argument, STOKER_DATA, what `stoker up` reads, or ~/.stoker."""
    around = os.environ if environment is None else environment
    named = data_dir or around.get(DATA_VARIABLE) or around.get(STACK_DATA_VARIABLE)
    return Path(named or DEFAULT_DATA_DIR).expanduser().absolute()


def is_loopback(url: str) -> bool:
    """Whether an address is this machine; a proxy must not be asked for it."""
    host = httpx.URL(url).host
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


@dataclass(frozen=True, slots=True)
class _LocalStack:
    url: str
    key_file: Path

    def read_key(self) -> str:
        try:
            return self.key_file.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise NoApiKey(self.url, f"{self.key_file} cannot be read ({error.strerror})") from error


def _local_stack(folder: Path) -> _LocalStack | None:
    try:
        content = json.loads((folder / "stack.json").read_text(encoding="utf-8"))
        return _LocalStack(str(content["urls"]["api"]).rstrip("/"), Path(content["api_key_file"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None  # no stack runs there, or it is still writing; NoServerKnown names the folder
