"""`stoker up --with-runpod-simulator`: who starts when, who knows the key, and what an installation without it says."""

from pathlib import Path

import pytest

from stoker.stack.layout import Layout
from stoker.stack.ports import ALL_PORTS
from stoker.stack.runpod_simulator import NAME, PORT_NAME, SimulatorMissing, simulator_key, with_runpod_simulator
from stoker.stack.services import SERVICES, StackFacts, service_blueprint, service_environment
from stoker.stack.settings import StackSettings
from stoker.stack.stack import gather_facts

TABLE = {service.name: service for service in with_runpod_simulator(SERVICES)}


@pytest.fixture
def facts(tmp_path: Path) -> StackFacts:
    layout = Layout(tmp_path / "data")
    layout.create()
    ports = {name: 20_000 + number for number, name in enumerate((*ALL_PORTS, PORT_NAME))}
    return gather_facts(StackSettings(data_dir=layout.root), layout, ports)


def test_the_simulator_starts_before_the_deployer_and_is_stopped_after_it() -> None:
    names = list(TABLE)
    assert names.index(NAME) < names.index("deployer")
    assert NAME in TABLE["deployer"].needs
    assert [name for name in names if name != NAME] == [service.name for service in SERVICES]


def test_the_deployer_is_sent_to_the_simulator_with_its_key(facts: StackFacts) -> None:
    given = service_environment(TABLE["deployer"], facts, {})
    assert given["STOKER_DEPLOYER_RUNPOD_URL"] == f"http://127.0.0.1:{facts.ports[PORT_NAME]}/v2"
    assert given["STOKER_DEPLOYER_RUNPOD_GRAPHQL_URL"] == f"http://127.0.0.1:{facts.ports[PORT_NAME]}/graphql"
    assert given["STOKER_DEPLOYER_RUNPOD_API_KEY"] == simulator_key(facts.layout)
    assert given["STOKER_DEPLOYER_LOCAL_URL"] == facts.local_url("training_server")


def test_only_the_two_know_the_key_and_it_stays_the_same(facts: StackFacts) -> None:
    key = simulator_key(facts.layout)
    holders = {name for name, spec in TABLE.items() if key in service_environment(spec, facts, {}).values()}
    assert holders == {NAME, "deployer"}
    assert not any(key in word for spec in TABLE.values() for word in service_blueprint(spec, facts).spec.command)
    assert (facts.layout.root / NAME / "api-key").stat().st_mode & 0o777 == 0o600
    assert (facts.layout.root / NAME).stat().st_mode & 0o777 == 0o700


def test_where_the_sources_are_not_the_option_says_so(tmp_path: Path) -> None:
    with pytest.raises(SimulatorMissing, match=r"not in this installation.*checkout of the sources"):
        with_runpod_simulator(SERVICES, root=tmp_path)


def test_without_the_option_nobody_hears_of_it(facts: StackFacts) -> None:
    environments = [service_environment(service, facts, {}) for service in SERVICES]
    assert not any("RUNPOD" in name for environment in environments for name in environment)
