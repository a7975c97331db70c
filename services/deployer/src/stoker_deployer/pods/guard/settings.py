"""What the pod script tells the guard, by environment."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    """Seconds; 0 for deadline and silence means that there is none.

    `state` is the attempt's own folder, `workspace` the trainer's. `release_kind` is `runpod` or `none`.
    """

    state: Path
    workspace: Path
    attempt: int
    metrics_url: str
    alerts_url: str
    version: str
    release_kind: str
    release_url: str
    pod_id: str
    deadline: float
    silence: float
    landing: float
    keep_alive: float
    job_token: str = field(repr=False)
    pod_key: str = field(repr=False)
    tick: float = 1.0
    beat_every: float = 10.0
    settle: float = 30.0
    """How long a machine may take to end after a call that was answered with yes."""
    ladder_every: float = 300.0
    term_grace: float = 30.0
    """Between TERM and KILL, and from there to the guard's own end of the attempt."""
    flush: float = 60.0
    """A machine that has nothing to do does not wait longer to be heard."""
    reach_pause: float = 10.0

    @property
    def agent(self) -> str:
        """The User-Agent; some providers' firewalls turn away those of libraries."""
        return f"stoker/{self.version}"

    def address(self, kind: str) -> str:
        """Where a kind of report goes."""
        return self.alerts_url if kind == "alerts" else f"{self.metrics_url.rpartition('/')[0]}/{kind}"


def read_settings(variables: Mapping[str, str]) -> Settings:
    """Raises KeyError, ValueError: the pod script and its guard do not belong together."""
    return Settings(
        state=Path(variables["GUARD_STATE"]),
        workspace=Path(variables["GUARD_WORKSPACE"]),
        attempt=int(variables["JOB_ATTEMPT"]),
        metrics_url=variables["METRICS_API_URL"].rstrip("/"),
        alerts_url=variables["ALERT_API_URL"],
        version=variables["GUARD_VERSION"],
        release_kind=variables["GUARD_RELEASE_KIND"],
        release_url=variables["GUARD_RELEASE_URL"],
        pod_id=variables.get("RUNPOD_POD_ID", ""),
        deadline=float(variables["GUARD_DEADLINE_SECONDS"]),
        silence=float(variables["GUARD_SILENCE_SECONDS"]),
        landing=float(variables["GUARD_LANDING_SECONDS"]),
        keep_alive=float(variables["GUARD_KEEP_ALIVE_SECONDS"]),
        job_token=variables["JOB_TOKEN"],
        pod_key=variables["RUNPOD_API_KEY"],
        **{name: float(variables[key]) for name, key in _FOR_TESTS.items() if key in variables},
    )


_FOR_TESTS = {
    "tick": "GUARD_TICK_SECONDS",
    "settle": "GUARD_SETTLE_SECONDS",
    "ladder_every": "GUARD_LADDER_SECONDS",
    "term_grace": "GUARD_TERM_GRACE_SECONDS",
    "flush": "GUARD_FLUSH_SECONDS",
    "reach_pause": "GUARD_REACH_PAUSE_SECONDS",
}
