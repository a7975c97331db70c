"""How a job is brought to a state and held there until the blow: by stopping (SIGSTOP) whoever would lead it on."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import psutil

from tests.chaos.outcomes import living_processes, losses, wait_until
from tests.support.live_stack import LiveStack

STEPS_BEFORE_THE_BLOW = 20


@dataclass(frozen=True)
class Hold:
    """Who is stopped, and when.

    `before`: stopped before the job is launched. `after`: once the job is in that state. `also`: stopped when the job
    saves, and whoever was stopped first goes on then. `pod`: its processes are stopped as soon as there are any.
    """

    before: str | None = None
    after: tuple[str, str] | None = None
    also: str | None = None
    pod: bool = False
    steps: int = 60


# From a state to what holds a job in it. Training alone lasts long enough by itself.
HOLDS: dict[str, Hold] = {
    "queued": Hold(before="deployer"),
    "provisioning": Hold(before="training-server"),
    # A machine runs; its pod has said nothing.
    "starting": Hold(pod=True),
    "preparing": Hold(after=("starting", "dataset-gateway")),
    "training": Hold(steps=240),
    "saving": Hold(after=("training", "dataset-gateway")),
    # The pod cannot save while the gateway stands still; then it can, but its machine cannot be released.
    "terminating": Hold(after=("training", "dataset-gateway"), also="training-server"),
}
_ORDER = tuple(HOLDS)


@contextmanager
def held(stack: LiveStack, state: str, launch: Callable[[], str]) -> Iterator[str]:
    """Launch a job and bring it to `state`; it is let go when the block ends."""
    hold, stopped, pods = HOLDS[state], [], list[psutil.Process]()

    def stop(name: str) -> None:
        stack.signal(name, signal.SIGSTOP)
        stopped.append(name)

    try:
        if hold.before:
            stop(hold.before)
        job_id = launch()
        if hold.pod:
            wait_until(lambda: bool(living_processes(stack, job_id)), every=0.02)
            pods = living_processes(stack, job_id)
            for process in pods:
                process.suspend()
        if hold.after:
            status, name = hold.after
            until(stack, job_id, status, may_be_past=True)
            stop(name)
        if hold.also:
            until(stack, job_id, "saving")
            stop(hold.also)
            stack.signal(stopped[0], signal.SIGCONT)
        until(stack, job_id, state)
        yield job_id
    finally:
        for name in stopped:
            stack.signal(name, signal.SIGCONT)
        for process in pods:
            with suppress(psutil.NoSuchProcess):
                process.resume()


def until(stack: LiveStack, job_id: str, state: str, *, may_be_past: bool = False) -> None:
    """Wait until the job is in a state; in training, until it has come some way.

    `may_be_past`: a later state will do too, for one so short that it may pass between two looks.
    """
    wanted = _ORDER[_ORDER.index(state) :] if may_be_past else (state,)

    def has_come() -> bool:
        job = stack.client.job(job_id)
        assert not job.is_over, f"{job_id} was over before the blow: {job.status} {job.reason} {job.detail}"
        if job.status not in wanted:
            return False
        return state != "training" or max(losses(stack, job_id), default=0) >= STEPS_BEFORE_THE_BLOW

    wait_until(has_come, every=0.05)
