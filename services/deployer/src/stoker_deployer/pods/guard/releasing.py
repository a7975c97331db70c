"""How a machine ends itself: a ladder, each rung tried until the machine is gone. It never gives up."""

from collections.abc import Callable
from dataclasses import dataclass

from .calls import Answer, call
from .outside import Wait, pause
from .settings import Settings

TRIES = 2
LONGEST_PAUSE = 30.0

Say = Callable[[str], None]


@dataclass(frozen=True)
class Rung:
    """A call that ends a machine. `path` is that of the provider's API."""

    name: str
    method: str
    path: str
    body: dict[str, str] | None = None


LADDERS: dict[str, tuple[Rung, ...]] = {
    "none": (),
    "runpod": (
        Rung("delete", "DELETE", "/pods/{pod_id}"),
        Rung("terminate", "POST", "/pods/{pod_id}/action", {"action": "terminate"}),
        # It stops the meter of the GPU; the disk goes on until the deployer's sweep.
        Rung("stop", "POST", "/pods/{pod_id}/action", {"action": "stop"}),
    ),
}


class Releaser:
    """Releases this machine with the pod's own key."""

    def __init__(self, settings: Settings, *, say: Say, wait: Wait = pause) -> None:
        self._settings = settings
        self._say = say
        self._wait = wait

    def climb(self) -> bool:
        """Try each rung once. Returns only if this machine is still there: False, or True if nothing ends it here."""
        ladder = LADDERS[self._settings.release_kind]
        for rung in ladder:
            if self._call(rung):
                self._wait(self._settings.settle)
                self._say(f"release: {rung.name} was granted {self._settings.settle:.0f} s ago, and this still runs")
        return not ladder

    def _call(self, rung: Rung) -> bool:
        url = self._settings.release_url + rung.path.format(pod_id=self._settings.pod_id)
        for _ in range(TRIES):
            self._say(f"release: {rung.name} ({rung.method} {rung.path.format(pod_id=self._settings.pod_id)})")
            answer = call(rung.method, url, token=self._settings.pod_key, body=rung.body, agent=self._settings.agent)
            self._say(f"release: {rung.name} {_said(answer)}")
            if answer.is_yes or answer.status == 404:
                return True
            if answer.status not in {0, 408, 429} and answer.status < 500:
                return False  # it will not be granted to this key
            self._wait(min(answer.retry_after if answer.retry_after is not None else 3.0, LONGEST_PAUSE))
        return False


def _said(answer: Answer) -> str:
    if not answer.status:
        return f"got no answer: {answer.detail}"
    return f"was answered with {answer.status}" + (f": {answer.detail[:200]}" if answer.detail else "")
