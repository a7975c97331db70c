"""What RunPod adds to the shared error tree.

UnknownOutcome
└── Unreachable      no answer, or one that is not RunPod's: nothing is known, look again later
InvalidRequest
└── ApiRetired       the API at this address was switched off
"""

from stoker_shared.errors import InvalidRequest, UnknownOutcome

PROVIDER = "runpod"


class Unreachable(UnknownOutcome):
    """RunPod did not answer, or somebody else answered in its place."""

    code = "provider_unreachable"

    def __init__(self, detail: str, *, next_step: str = "Check that RunPod can be reached.") -> None:
        super().__init__(PROVIDER, detail, next_step=next_step)


class ApiRetired(InvalidRequest):
    """The address is that of an API that RunPod has switched off, such as REST v1."""

    code = "provider_api_retired"

    def __init__(self, where: str) -> None:
        super().__init__(
            PROVIDER,
            f"{where} was answered 410: RunPod has retired the API at this address (REST v1 since 15 November 2026)",
            next_step="Set STOKER_DEPLOYER_RUNPOD_URL to https://api.runpod.io/v2.",
        )
