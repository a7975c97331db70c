"""The process table of the stack: what runs, in which order, with which environment, and how it says it is ready."""

import os
import ssl
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

import httpx

from stoker.stack.errors import NotReady
from stoker.stack.keys import PROBE, StackKeys
from stoker.stack.layout import Layout
from stoker.stack.nats_server import NatsServer, jetstream_counts
from stoker.stack.object_store_server import BUCKET, REGION, ObjectStoreServer
from stoker.stack.port_holding import LOOPBACK
from stoker.stack.postgres_roles import role_of
from stoker.stack.postgres_server import PostgresServer
from stoker.stack.processes import ProcessSpec
from stoker.stack.settings import StackSettings
from stoker.stack.supervised import Blueprint, Probe
from stoker_shared.tokens import token_hash
from stoker_shared.topology import TOPOLOGY

_SECONDS = 3.0
# Loopback is plain HTTP; reading the list of authorities for each question would cost more than the question.
_NO_AUTHORITIES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

# What any program may need of the surroundings; everything else of ours is left out.
PASSED_ON = (
    *("PATH", "HOME", "USER", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "PYTHONPATH", "VIRTUAL_ENV"),
    *("LD_LIBRARY_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"),
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"),
)
_MACHINE_PREFIXES = ("HF_", "CUDA_", "NVIDIA_", "OMP_", "TOKENIZERS_", "XDG_CACHE_HOME", "TORCH_", "PYTORCH_")


@dataclass(frozen=True, slots=True)
class StackFacts:
    """What the environments of the services are built from."""

    settings: StackSettings
    layout: Layout
    keys: StackKeys
    ports: Mapping[str, int]
    nats: NatsServer
    postgres: PostgresServer
    object_store: ObjectStoreServer

    def local_url(self, service: str) -> str:
        """The address of a service on this machine."""
        return f"http://{LOOPBACK}:{self.ports[service]}"

    def public_url(self, service: str) -> str:
        """The address under which users and pods reach a service."""
        public = {
            "api": self.settings.api_public_url,
            "dataset_gateway": self.settings.gateway_public_url,
            "metrics": self.settings.metrics_public_url,
        }.get(service)
        return public or self.local_url(service)


EnvironmentBuilder = Callable[[StackFacts], dict[str, str]]


@dataclass(frozen=True, slots=True)
class ServiceSpec:
    """One of our processes. `prefix` is that of its settings; `port_name` None: it does not serve HTTP.

    `key` is its name among ports, roles and principals. `needs` names the services that must be ready before it starts;
    those that need the same start side by side, since most of their time goes into imports.
    """

    name: str
    command: tuple[str, ...]
    environment: EnvironmentBuilder
    prefix: str
    needs: tuple[str, ...] = ()
    port_name: str | None = None
    migrate: tuple[str, ...] | None = None
    probe: Callable[[StackFacts], Probe] | None = None
    passed_on_prefixes: tuple[str, ...] = ()
    ends_descendants: bool = False
    # Longer than the 20 s in which a service lets running message handlers finish.
    stop_timeout: timedelta = timedelta(seconds=25)


def _service_environment(key: str) -> EnvironmentBuilder:
    prefix = f"STOKER_{key.upper()}_"

    def build(facts: StackFacts) -> dict[str, str]:
        return {
            f"{prefix}NATS_URL": facts.nats.url,
            f"{prefix}NATS_SEED_FILE": str(facts.keys.nkey_seed_files[key]),
            f"{prefix}DATABASE_URL": facts.postgres.url(role_of(key), driver="postgresql+asyncpg"),
            f"{prefix}HOST": LOOPBACK,
            f"{prefix}PORT": str(facts.ports[key]),
            f"{prefix}PUBLIC_URL": facts.public_url(key),
            f"{prefix}LOG_LEVEL": facts.settings.log_level,
            f"{prefix}PROMETHEUS_TOKEN": facts.keys.prometheus_token.get_secret_value(),
            **({f"{prefix}OTLP_ENDPOINT": facts.settings.otlp_endpoint} if facts.settings.otlp_endpoint else {}),
            **_OWN.get(key, _nothing)(facts),
        }

    return build


def _nothing(_facts: StackFacts) -> dict[str, str]:
    return {}


def _api_only(facts: StackFacts) -> dict[str, str]:
    return {
        "STOKER_API_BOOTSTRAP_KEY_SHA256": token_hash(facts.keys.api_key),
        "STOKER_API_METRICS_PUBLIC_URL": facts.public_url("metrics"),
        "STOKER_API_GATEWAY_PUBLIC_URL": facts.public_url("dataset_gateway"),
    }


def _deployer_only(facts: StackFacts) -> dict[str, str]:
    return {
        "STOKER_DEPLOYER_METRICS_PUBLIC_URL": facts.public_url("metrics"),
        "STOKER_DEPLOYER_GATEWAY_PUBLIC_URL": facts.public_url("dataset_gateway"),
        "STOKER_DEPLOYER_VAULT_KEY_FILE": str(facts.layout.vault_key_file),
        "STOKER_DEPLOYER_LOCAL_URL": facts.local_url("training_server"),
        "STOKER_DEPLOYER_LOCAL_API_KEY": facts.keys.training_server_key.get_secret_value(),
    }


def _gateway_only(facts: StackFacts) -> dict[str, str]:
    bundle = {"STOKER_DATASET_GATEWAY_TRAINER_BUNDLE": str(facts.layout.trainer_bundle)}
    return _object_store(facts, "STOKER_DATASET_GATEWAY_") | bundle


def _object_store(facts: StackFacts, prefix: str) -> dict[str, str]:
    return {
        f"{prefix}S3_ENDPOINT": facts.object_store.endpoint,
        f"{prefix}S3_ACCESS_KEY": facts.keys.s3_access_key.get_secret_value(),
        f"{prefix}S3_SECRET_KEY": facts.keys.s3_secret_key.get_secret_value(),
        f"{prefix}S3_BUCKET": BUCKET,
        f"{prefix}S3_SECURE": "false",
        f"{prefix}S3_REGION": REGION,
    }


def _metrics_only(facts: StackFacts) -> dict[str, str]:
    own = {
        "STOKER_METRICS_SEALING_KEY_FILE": str(facts.layout.notification_key_file),
        "STOKER_METRICS_API_PUBLIC_URL": facts.public_url("api"),
    }
    return _object_store(facts, "STOKER_METRICS_") | own


_OWN: dict[str, EnvironmentBuilder] = {
    "api": _api_only,
    "deployer": _deployer_only,
    "dataset_gateway": _gateway_only,
    "metrics": _metrics_only,
}


def _topology_environment(facts: StackFacts) -> dict[str, str]:
    return {
        "STOKER_TOPOLOGY_NATS_URL": facts.nats.url,
        "STOKER_TOPOLOGY_NATS_SEED_FILE": str(facts.keys.nkey_seed_files["topology"]),
    }


def _training_server_environment(facts: StackFacts) -> dict[str, str]:
    return {
        "STOKER_TRAINING_SERVER_HOST": LOOPBACK,
        "STOKER_TRAINING_SERVER_PORT": str(facts.ports["training_server"]),
        "STOKER_TRAINING_SERVER_API_KEY": facts.keys.training_server_key.get_secret_value(),
        "STOKER_TRAINING_SERVER_DATA_DIR": str(facts.layout.training_server),
    }


def _topology_probe(facts: StackFacts) -> Probe:
    async def probe() -> None:
        streams, consumers = await jetstream_counts(facts.nats.url, facts.keys.nkey_seed_files[PROBE])
        if streams < TOPOLOGY.stream_count or consumers < len(TOPOLOGY.consumers):
            raise NotReady(f"{streams} of {TOPOLOGY.stream_count} streams, {consumers} consumers")

    return probe


def _python(module: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", module, *arguments)


def _http_service(name: str, module: str, *, needs: tuple[str, ...]) -> ServiceSpec:
    key = name.replace("-", "_")
    return ServiceSpec(
        name=name,
        command=_python(module, "serve"),
        environment=_service_environment(key),
        prefix=f"STOKER_{key.upper()}_",
        needs=needs,
        port_name=key,
        migrate=_python(module, "migrate"),
    )


SERVICES: tuple[ServiceSpec, ...] = (
    ServiceSpec(
        name="topology-keeper",
        command=_python("stoker_shared.bus.topology_keeper"),
        environment=_topology_environment,
        prefix="STOKER_TOPOLOGY_",
        probe=_topology_probe,
        stop_timeout=timedelta(seconds=5),
    ),
    _http_service("api", "stoker_api", needs=("topology-keeper",)),
    _http_service("dataset-gateway", "stoker_dataset_gateway", needs=("topology-keeper",)),
    _http_service("metrics", "stoker_metrics", needs=("topology-keeper",)),
    ServiceSpec(
        name="training-server",
        command=_python("stoker_trainer.server"),
        environment=_training_server_environment,
        prefix="STOKER_TRAINING_SERVER_",
        needs=("topology-keeper",),
        port_name="training_server",
        passed_on_prefixes=_MACHINE_PREFIXES,
        ends_descendants=True,
    ),
    # Last to start, so first to stop: machines then save and upload while those they report to are still there,
    # and nobody launches them again meanwhile.
    _http_service("deployer", "stoker_deployer", needs=("api", "dataset-gateway", "metrics", "training-server")),
)


def service_blueprint(service: ServiceSpec, facts: StackFacts) -> Blueprint:
    """How a service runs in this stack."""
    spec = ProcessSpec(
        name=service.name,
        command=service.command,
        log_file=facts.layout.log_file(service.name),
        environment=service_environment(service, facts),
        folder=facts.layout.root,
        port=facts.ports[service.port_name] if service.port_name else None,
        stop_timeout=service.stop_timeout,
        rotate_log_above=facts.settings.log_rotate_bytes,
    )
    return Blueprint(
        spec=spec,
        probe=_probe_of(service, facts),
        ends_descendants=service.ends_descendants,
        descendants_timeout=facts.settings.machine_stop_timeout,
    )


def migration_spec(service: ServiceSpec, facts: StackFacts) -> ProcessSpec | None:
    """How the schema of a service is brought up to date, or None if it has none."""
    if service.migrate is None:
        return None
    return ProcessSpec(
        name=f"{service.name}-migrate",
        command=service.migrate,
        log_file=facts.layout.log_file(f"{service.name}-migrate"),
        environment=service_environment(service, facts),
        folder=facts.layout.root,
    )


def service_environment(
    service: ServiceSpec, facts: StackFacts, surroundings: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The whole environment of a service: its settings, those the user set for it, and what any program needs."""
    around = os.environ if surroundings is None else surroundings
    prefixes = (service.prefix, *service.passed_on_prefixes)
    passed_on = {name: value for name, value in around.items() if name in PASSED_ON or name.startswith(prefixes)}
    return {**passed_on, "PYTHONUNBUFFERED": "1", **service.environment(facts)}


def http_probe(url: str) -> Probe:
    """A probe that asks `GET url` and wants 200."""

    async def probe() -> None:
        try:
            # trust_env: a proxy of the user's must not be asked for 127.0.0.1.
            async with httpx.AsyncClient(timeout=_SECONDS, trust_env=False, verify=_NO_AUTHORITIES) as client:
                response = await client.get(url)
        except httpx.HTTPError as error:
            raise NotReady(f"no answer from {url} ({type(error).__name__})") from error
        if response.status_code != httpx.codes.OK:
            raise NotReady(f"{url} answers {response.status_code}: {response.text[:200]}")

    return probe


def _probe_of(service: ServiceSpec, facts: StackFacts) -> Probe:
    if service.probe is not None:
        return service.probe(facts)
    if service.port_name is None:
        return _always_ready
    return http_probe(f"{facts.local_url(service.port_name)}/readyz")


async def _always_ready() -> None:
    return
