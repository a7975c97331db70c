"""By which calls a pod ends itself. The calls themselves are the guard's (`guard/releasing.py`)."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class NoRelease:
    """The container's end is the machine's end, or somebody else sees to it."""

    kind: Literal["none"] = "none"
    url: str = ""


@dataclass(frozen=True, slots=True)
class RunpodRelease:
    """REST v2 with the pod-scoped key that RunPod puts into the pod's environment. `url` ends in /v2."""

    url: str
    kind: Literal["runpod"] = "runpod"


Release = NoRelease | RunpodRelease
