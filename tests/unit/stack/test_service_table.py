"""The process table: order, environments, no secret where others can read it."""

from pathlib import Path

import pytest

from stoker.stack.layout import Layout
from stoker.stack.ports import ALL_PORTS
from stoker.stack.services import SERVICES, StackFacts, migration_spec, service_blueprint, service_environment
from stoker.stack.settings import StackSettings
from stoker.stack.stack import gather_facts
from stoker_shared.tokens import token_hash

HTTP_SERVICES = {"api": "API", "deployer": "DEPLOYER", "dataset-gateway": "DATASET_GATEWAY", "metrics": "METRICS"}


@pytest.fixture
def facts(tmp_path: Path) -> StackFacts:
    layout = Layout(tmp_path / "data")
    layout.create()
    ports = {name: 20_000 + number for number, name in enumerate(ALL_PORTS)}
    return gather_facts(StackSettings(data_dir=layout.root), layout, ports)


def environment(name: str, facts: StackFacts, surroundings: dict[str, str] | None = None) -> dict[str, str]:
    (service,) = [service for service in SERVICES if service.name == name]
    return service_environment(service, facts, surroundings or {})


@pytest.mark.parametrize(("name", "prefix"), HTTP_SERVICES.items())
def test_a_service_gets_its_own_seed_role_and_port(facts: StackFacts, name: str, prefix: str) -> None:
    given = environment(name, facts)
    key = name.replace("-", "_")
    assert given[f"STOKER_{prefix}_NATS_SEED_FILE"].endswith(f"/{key}.nk")
    assert f"stoker_{key}:" in given[f"STOKER_{prefix}_DATABASE_URL"]
    assert given[f"STOKER_{prefix}_DATABASE_URL"].startswith("postgresql+asyncpg://")
    assert given[f"STOKER_{prefix}_PORT"] == str(facts.ports[key])
    assert given[f"STOKER_{prefix}_HOST"] == "127.0.0.1"


def test_the_api_learns_only_the_hash_of_the_first_key(facts: StackFacts) -> None:
    given = environment("api", facts)
    assert given["STOKER_API_BOOTSTRAP_KEY_SHA256"] == token_hash(facts.keys.api_key)
    assert facts.keys.api_key.get_secret_value() not in given.values()


def test_only_gateway_and_metrics_have_the_keys_of_the_object_store(facts: StackFacts) -> None:
    secret = facts.keys.s3_secret_key.get_secret_value()
    holders = [service.name for service in SERVICES if secret in environment(service.name, facts).values()]
    assert holders == ["dataset-gateway", "metrics"]


def test_only_deployer_and_training_server_know_the_training_servers_key(facts: StackFacts) -> None:
    secret = facts.keys.training_server_key.get_secret_value()
    holders = {service.name for service in SERVICES if secret in environment(service.name, facts).values()}
    assert holders == {"deployer", "training-server"}


def test_no_secret_stands_in_a_command_line(facts: StackFacts) -> None:
    secrets = [secret.get_secret_value() for secret in facts.keys.postgres_passwords.values()]
    secrets += [facts.keys.s3_secret_key.get_secret_value(), facts.keys.training_server_key.get_secret_value()]
    blueprints = [service_blueprint(service, facts) for service in SERVICES]
    blueprints += [
        server.blueprint(log_file=Path("log")) for server in (facts.nats, facts.postgres, facts.object_store)
    ]
    words = [word for blueprint in blueprints for word in blueprint.spec.command]
    assert not any(secret in word for secret in secrets for word in words)


def test_of_the_surroundings_a_service_sees_what_programs_need_and_what_was_set_for_it(facts: StackFacts) -> None:
    around = {
        "PATH": "/bin",
        "AWS_SECRET_ACCESS_KEY": "hidden",
        "STOKER_API_SESSION_HOURS": "3",
        "STOKER_DEPLOYER_RUNPOD_API_KEY": "hidden",
        "STOKER_API_PORT": "1",
    }
    given = environment("api", facts, around)
    assert given["PATH"] == "/bin"
    assert given["STOKER_API_SESSION_HOURS"] == "3"
    assert given["STOKER_API_PORT"] == str(facts.ports["api"])
    assert "hidden" not in given.values()


def test_pods_elsewhere_are_sent_to_the_public_addresses(facts: StackFacts, tmp_path: Path) -> None:
    settings = StackSettings(data_dir=tmp_path / "data", metrics_public_url="https://metrics.example.org")
    public = gather_facts(settings, facts.layout, facts.ports)
    assert environment("deployer", public)["STOKER_DEPLOYER_METRICS_PUBLIC_URL"] == "https://metrics.example.org"
    assert environment("metrics", public)["STOKER_METRICS_PUBLIC_URL"] == "https://metrics.example.org"
    assert environment("deployer", public)["STOKER_DEPLOYER_GATEWAY_PUBLIC_URL"] == public.local_url("dataset_gateway")


def test_the_deployer_is_stopped_before_the_machines_and_these_before_those_they_report_to() -> None:
    names = [service.name for service in SERVICES]
    assert names.index("deployer") > names.index("training-server") > names.index("metrics")
    assert names.index("training-server") > names.index("dataset-gateway")


def test_every_service_with_a_database_migrates_once(facts: StackFacts) -> None:
    migrating = {spec.name for service in SERVICES if (spec := migration_spec(service, facts)) is not None}
    assert migrating == {f"{name}-migrate" for name in HTTP_SERVICES}
