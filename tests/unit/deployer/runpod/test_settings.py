"""What follows from the settings of RunPod."""

import pytest

from stoker_deployer.providers.runpod.settings import RunpodSettings


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://api.runpod.io/v2", False),
        ("http://127.0.0.1:21000/v2", True),
        ("http://[::1]:21000/v2", True),
        ("http://localhost:21000/v2", True),
        ("http://runpod.localhost/v2", True),
        ("http://10.0.0.5/v2", False),
        ("http://localhost.example.com/v2", False),
    ],
)
def test_only_a_simulator_of_this_machine_has_its_pods_here(url: str, *, expected: bool) -> None:
    assert RunpodSettings(url=url).is_here is expected
