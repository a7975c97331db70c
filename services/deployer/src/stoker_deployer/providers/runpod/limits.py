"""What RunPod takes in one order. Checked before any call, so that a launch that cannot work costs nothing."""

from collections.abc import Mapping

from stoker_deployer.providers.runpod.errors import PROVIDER
from stoker_shared.errors import InvalidRequest

MAX_VARIABLES = 50
"""Of a pod."""

MAX_BODY_BYTES = 100_000
"""RunPod refuses bodies above 102,400 bytes with 413."""


def check_request(body: bytes, environment: Mapping[str, str]) -> None:
    """Look at a request as it would be sent.

    Raises:
        InvalidRequest: too many variables, or too many bytes; names the largest variable, never a value.
    """
    if len(environment) > MAX_VARIABLES:
        raise InvalidRequest(
            PROVIDER,
            f"the pod would have {len(environment)} environment variables, {MAX_VARIABLES} are possible.",
            next_step=f"Leave out {len(environment) - MAX_VARIABLES} variables of your own.",
        )
    if len(body) > MAX_BODY_BYTES:
        largest = max(environment, key=lambda name: len(environment[name]), default="none")
        size = len(environment.get(largest, "").encode())
        raise InvalidRequest(
            PROVIDER,
            f"the request for a pod has {len(body)} bytes, {MAX_BODY_BYTES} are possible; "
            f"the largest variable is {largest} with {size} bytes.",
            next_step="Shorten the sample prompts of the recipe, or your own variables.",
        )
