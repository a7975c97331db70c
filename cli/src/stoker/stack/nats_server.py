"""The broker: its configuration rendered from data, checked by itself, and a probe that uses JetStream."""

import json
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import nats
import nats.errors
from nats.js.errors import Error as JetStreamError

from stoker.stack.errors import NotReady
from stoker.stack.keys import PROBE, SYSTEM
from stoker.stack.layout import write_private
from stoker.stack.port_holding import LOOPBACK
from stoker.stack.processes import ProcessSpec, run_to_end
from stoker.stack.programs import find_program
from stoker.stack.supervised import Blueprint
from stoker_shared.permissions import Permission
from stoker_shared.subjects import inbox_prefix

NAME = "nats"
_GIB = 2**30
# Fixed, so that a disk with little left does not make the broker refuse the streams of the topology.
JETSTREAM_FILE_BYTES = 16 * _GIB
JETSTREAM_MEMORY_BYTES = _GIB // 4
CONNECT_SECONDS = 2

PROBE_PERMISSION = Permission(publish=("$JS.API.INFO",), subscribe=(f"{inbox_prefix(PROBE)}.>",), allow_responses=False)


class NatsServer:
    """One broker on loopback. `public_keys` and `seed_files` are by principal; `permissions` too."""

    def __init__(
        self,
        folder: Path,
        *,
        ports: Mapping[str, int],
        public_keys: Mapping[str, str],
        seed_files: Mapping[str, Path],
        permissions: Mapping[str, Permission],
    ) -> None:
        self.folder = folder
        self.url = f"nats://{LOOPBACK}:{ports['nats']}"
        self.monitor_url = f"http://{LOOPBACK}:{ports['nats_monitor']}"
        self.config_file = folder / "nats.conf"
        self._ports = ports
        self._public_keys = public_keys
        self._seed_files = seed_files
        self._permissions = permissions

    def blueprint(self, *, log_file: Path) -> Blueprint:
        """How the broker runs."""
        program = str(find_program("nats-server"))
        spec = ProcessSpec(
            name=NAME,
            command=(program, "-c", str(self.config_file)),
            log_file=log_file,
            folder=self.folder,
            port=self._ports["nats"],
        )

        async def prepare() -> None:
            write_private(self.config_file, self.render())
            check = ProcessSpec(
                name="nats-config",
                command=(*spec.command, "-t"),
                log_file=log_file.with_name("nats-config.log"),
                folder=self.folder,
            )
            await run_to_end(check, patience=timedelta(seconds=20))

        return Blueprint(spec=spec, probe=self.probe, prepare=prepare)

    def render(self) -> str:
        """The configuration. It holds public keys only. The broker's format is a superset of JSON."""
        users = [
            _user(self._public_keys[name], permission)
            for name, permission in {**self._permissions, PROBE: PROBE_PERMISSION}.items()
        ]
        config: dict[str, Any] = {
            "server_name": "stoker",
            "host": LOOPBACK,
            "port": self._ports["nats"],
            "http": f"{LOOPBACK}:{self._ports['nats_monitor']}",
            "jetstream": {
                "store_dir": str(self.folder / "jetstream"),
                "sync_interval": "always",
                "max_memory_store": JETSTREAM_MEMORY_BYTES,
                "max_file_store": JETSTREAM_FILE_BYTES,
            },
            "accounts": {
                "APP": {"jetstream": "enabled", "users": users},
                "SYS": {"users": [{"nkey": self._public_keys[SYSTEM]}]},
            },
            "system_account": "SYS",
        }
        return json.dumps(config, indent=1)

    async def probe(self) -> None:
        """Connect and ask JetStream for its account.

        Raises:
            NotReady: no connection, or JetStream does not answer.
        """
        await jetstream_counts(self.url, self._seed_files[PROBE])


async def jetstream_counts(url: str, probe_seed_file: Path) -> tuple[int, int]:
    """How many streams and consumers there are.

    Raises:
        NotReady: no connection, or JetStream does not answer.
    """
    faults: list[str] = []

    async def note(error: Exception) -> None:
        faults.append(str(error) or type(error).__name__)

    try:
        client = await nats.connect(
            url,
            nkeys_seed=str(probe_seed_file),
            inbox_prefix=inbox_prefix(PROBE),
            allow_reconnect=False,
            reconnect_time_wait=0,
            connect_timeout=CONNECT_SECONDS,
            error_cb=note,
            name="stoker stack probe",
        )
    except (OSError, TimeoutError, nats.errors.Error) as error:
        raise NotReady(f"no connection to {url} ({faults[-1] if faults else type(error).__name__})") from error
    try:
        account = await client.jetstream(timeout=CONNECT_SECONDS).account_info()
    except (OSError, TimeoutError, nats.errors.Error, JetStreamError) as error:
        raise NotReady(f"JetStream does not answer ({faults[-1] if faults else type(error).__name__})") from error
    finally:
        await client.close()
    return account.streams, account.consumers


def _user(public_key: str, permission: Permission) -> dict[str, Any]:
    permissions: dict[str, Any] = {
        # An empty list would mean "everything" to the broker.
        "publish": {"allow": list(permission.publish)} if permission.publish else {"deny": ">"},
        "subscribe": {"allow": list(permission.subscribe)} if permission.subscribe else {"deny": ">"},
    }
    if permission.allow_responses:
        permissions["allow_responses"] = True
    return {"nkey": public_key, "permissions": permissions}
