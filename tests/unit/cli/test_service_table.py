"""The process table of the stack."""

from stoker.stack.services import SERVICES


def test_each_service_needs_only_what_stands_before_it() -> None:
    names = [service.name for service in SERVICES]
    for place, service in enumerate(SERVICES):
        assert set(service.needs) <= set(names[:place]), service.name


def test_the_deployer_starts_last_and_so_stops_first() -> None:
    assert SERVICES[-1].name == "deployer"
    assert set(SERVICES[-1].needs) == {service.name for service in SERVICES[1:-1]}
