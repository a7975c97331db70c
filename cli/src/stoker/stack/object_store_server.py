"""The object store: SeaweedFS from the wheel, all parts in one process on loopback, probed with a real object."""

import asyncio
import io
import os
import secrets
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import urllib3
from minio import Minio
from minio.error import MinioException
from pydantic import SecretStr

from stoker.stack.errors import NotReady
from stoker.stack.port_holding import LOOPBACK
from stoker.stack.ports import COMPANION_OFFSET
from stoker.stack.processes import ProcessSpec
from stoker.stack.programs import find_program
from stoker.stack.supervised import Blueprint

NAME = "object-store"
BUCKET = "stoker"
REGION = "us-east-1"
# A path of a Unix socket may have 107 bytes at most; longer ones are left to the program, which takes /tmp.
_LONGEST_SOCKET = 100

# Every part's port is given: the default of a gRPC port is its HTTP port + 10000, among the kernel's outgoing ports.
_PORT_FLAGS = {
    "s3.port": "object_store",
    "s3.port.grpc": "object_store_grpc",
    "master.port": "object_store_master",
    "master.port.grpc": "object_store_master_grpc",
    "volume.port": "object_store_volume",
    "volume.port.grpc": "object_store_volume_grpc",
    "filer.port": "object_store_filer",
    "filer.port.grpc": "object_store_filer_grpc",
    "admin.port": "object_store_admin",
}
_FLAGS = {
    "ip": LOOPBACK,
    "ip.bind": LOOPBACK,
    "admin.ui": "false",
    "webdav": "false",
    "s3.port.iceberg": "0",
    "s3.port.lance": "0",
    "s3.iam": "false",
    "s3.autoCreateBucket": "false",
    "s3.allowDeleteBucketNotEmpty": "false",
    # It would send statistics to its makers.
    "master.telemetry": "false",
    # No other volume server is there to take over: waiting before the stop serves nobody.
    "volume.preStopSeconds": "0",
}


class ObjectStoreServer:
    """One object store in `folder`, with one pair of keys and the bucket `stoker`."""

    def __init__(self, folder: Path, *, ports: Mapping[str, int], access_key: SecretStr, secret_key: SecretStr) -> None:
        self.folder = folder
        self.endpoint = f"{LOOPBACK}:{ports['object_store']}"
        self._ports = ports
        self._access_key = access_key
        self._secret_key = secret_key

    def blueprint(self, *, log_file: Path) -> Blueprint:
        """How the object store runs."""
        spec = ProcessSpec(
            name=NAME,
            command=(str(find_program("weed")), "mini", *self._flags()),
            log_file=log_file,
            # HOME: it looks for settings there, which would not be ours.
            environment={
                "PATH": os.defpath,
                "HOME": str(self.folder),
                "AWS_ACCESS_KEY_ID": self._access_key.get_secret_value(),
                "AWS_SECRET_ACCESS_KEY": self._secret_key.get_secret_value(),
            },
            folder=self.folder,
            port=self._ports["object_store"],
            stop_timeout=timedelta(seconds=15),
        )
        return Blueprint(spec=spec, probe=self.probe)

    async def probe(self) -> None:
        """Write, read and delete an object.

        Raises:
            NotReady: one of these fails. (Its own health page says yes before it works.)
        """
        await asyncio.to_thread(self._write_read_delete)

    def client(self) -> Minio:
        """An SDK client that gives up within seconds."""
        return s3_client(self.endpoint, access_key=self._access_key, secret_key=self._secret_key)

    def _flags(self) -> list[str]:
        flags = {
            **_FLAGS,
            **{flag: str(self._ports[name]) for flag, name in _PORT_FLAGS.items()},
            "admin.port.grpc": str(self._ports["object_store_admin"] + COMPANION_OFFSET),
            "dir": str(self.folder),
        }
        for part in ("s3", "filer"):
            socket = self.folder / f"{part}.sock"
            if len(os.fsencode(socket)) <= _LONGEST_SOCKET:
                flags[f"{part}.localSocket"] = str(socket)
        return [f"-{name}={value}" for name, value in flags.items()]

    def _write_read_delete(self) -> None:
        try:
            ensure_bucket(self.client(), BUCKET)
            check_bucket(self.client(), BUCKET)
        except (OSError, ValueError, MinioException, urllib3.exceptions.HTTPError) as error:
            raise NotReady(f"no object can be written and read ({type(error).__name__})") from error


def s3_client(endpoint: str, *, access_key: SecretStr, secret_key: SecretStr) -> Minio:
    """An SDK client that gives up within seconds; the SDK's own would try for minutes."""
    pool = urllib3.PoolManager(timeout=urllib3.Timeout(connect=2, read=5), retries=False)
    return Minio(
        endpoint,
        access_key=access_key.get_secret_value(),
        secret_key=secret_key.get_secret_value(),
        secure=False,
        region=REGION,
        http_client=pool,
    )


def ensure_bucket(client: Minio, bucket: str) -> None:
    """Make the bucket if it is missing."""
    if not client.bucket_exists(bucket):
        client.make_bucket(bucket)


def check_bucket(client: Minio, bucket: str) -> None:
    """Write an object, read it back, delete it.

    Raises:
        ValueError: what is read is not what was written.
    """
    name, body = f".probe/{secrets.token_hex(8)}", secrets.token_bytes(64)
    client.put_object(bucket, name, io.BytesIO(body), len(body))
    response = client.get_object(bucket, name)
    try:
        if response.read() != body:
            raise ValueError("the object store returned other bytes than were written")
    finally:
        response.close()
        response.release_conn()
        client.remove_object(bucket, name)
