"""An order that RunPod would refuse for its size is refused before it is sent."""

import pytest

from stoker_deployer.providers.runpod.limits import MAX_BODY_BYTES, MAX_VARIABLES, check_request
from stoker_shared.errors import InvalidRequest


def test_a_request_that_is_too_large_is_refused_with_the_largest_variable() -> None:
    environment = {"JOB_TOKEN": "t" * 40, "TRAINING_CONFIG": "x" * 500}
    check_request(b"x" * MAX_BODY_BYTES, environment)
    with pytest.raises(InvalidRequest, match="TRAINING_CONFIG with 500 bytes") as refused:
        check_request(b"x" * (MAX_BODY_BYTES + 1), environment)
    assert "t" * 40 not in str(refused.value)


def test_too_many_variables_are_refused() -> None:
    environment = {f"NAME_{number}": "x" for number in range(MAX_VARIABLES)}
    check_request(b"", environment)
    with pytest.raises(InvalidRequest, match="51 environment variables, 50 are possible"):
        check_request(b"", environment | {"ONE_MORE": ""})
