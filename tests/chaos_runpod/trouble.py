"""What goes wrong at RunPod, as a table: what is broken before the launch or in mid-training, and how it must end."""

import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tests.chaos.outcomes import losses, wait_until
from tests.support.runpod_live import QUICK_BILLS, RunpodLive
from tests.support.tcp_proxy import TcpProxy

PATIENCE: Mapping[str, str] = {
    **QUICK_BILLS,
    # A launch that hangs is given up early; all other waits are as short as a busy machine allows.
    "STOKER_DEPLOYER_RUNPOD_TIMEOUT": "8",
    "STOKER_DEPLOYER_RUNPOD_LAUNCH_TIMEOUT": "8",
    "STOKER_DEPLOYER_PROVISION_TIMEOUT": "240",
    "STOKER_DEPLOYER_START_TIMEOUT": "45",
    "STOKER_DEPLOYER_HEARTBEAT_TIMEOUT": "45",
    "STOKER_DEPLOYER_CAPACITY_COOLDOWN": "2",
    "STOKER_DEPLOYER_CAPACITY_COOLDOWN_MAX": "4",
    "STOKER_DEPLOYER_CAPACITY_PROBE": "5",
    "STOKER_DEPLOYER_RETRY_DELAY": "1",
    "STOKER_DEPLOYER_RETRY_DELAY_MAX": "3",
    "STOKER_DEPLOYER_CALM_CHECK_MAX": "4",
    "STOKER_DEPLOYER_FAILED_CHECK_MAX": "4",
    "STOKER_DEPLOYER_TERMINATE_RETRY_MAX": "3",
    "STOKER_DEPLOYER_ORPHAN_SWEEP_INTERVAL": "4",
}
"""Settings of the deployer, all of them real ones."""

STEPS_BEFORE_THE_BLOW = 20
AWAY_SECONDS = 20
REFUSALS = 4


@dataclass(frozen=True)
class Field:
    """A running system, a dataset in it, and the network between pods and each service that they speak to."""

    live: RunpodLive
    dataset: str
    proxies: Mapping[str, TcpProxy]

    def heal(self) -> None:
        """Everything works again and is paid for."""
        self.live.cloud.heal()
        self.live.cloud.set_balance(100)
        self.live.stack.signal("deployer", signal.SIGCONT)
        for proxy in self.proxies.values():
            proxy.set("pass")


Deed = Callable[[Field, str], None]
"""Breaks something; the job's id is empty before there is one."""


@dataclass(frozen=True)
class Case:
    """A fault. `before` is done before the launch, `blow` while the job trains.

    `reasons` is how each attempt ends, in order; `|` is or. `words` must stand in what the user reads. `pods` is how
    many the cloud has made; `ended_by` is who ended the last one.
    """

    name: str
    fault: str
    before: Deed | None = None
    blow: Deed | None = None
    reasons: tuple[str, ...] = ("success",)
    words: tuple[str, ...] = ()
    pods: int = 1
    ended_by: str = ""
    steps: int = 30
    checkpoint_every: int = 0


def breaking(kind: str, **narrowed: object) -> Deed:
    """A fault of the simulated API."""
    return lambda field, _job_id: field.live.cloud.break_next(kind, **narrowed)


def dealing(kind: str, **how: object) -> Deed:
    """A blow of fate to the job's newest pod."""
    return lambda field, job_id: field.live.cloud.deal(field.live.pods(job_id)[-1]["id"], kind, **how)


def until_training(field: Field, job_id: str) -> None:
    """Wait until a job has come some way."""

    def has_come() -> bool:
        job = field.live.stack.client.job(job_id)
        assert not job.is_over, f"over before the blow: {job.status} {job.reason} {job.detail}"
        return max(losses(field.live.stack, job_id), default=0) >= STEPS_BEFORE_THE_BLOW

    wait_until(has_come, patience=600, every=0.1)


def _met(field: Field, kind: str) -> int:
    return sum(call["fault"] == kind for call in field.live.cloud.calls())


def _away(kind: str) -> Deed:
    def away(field: Field, _job_id: str) -> None:
        met = _met(field, kind)
        field.live.cloud.break_next(kind, times=None)
        time.sleep(AWAY_SECONDS)
        assert _met(field, kind) > met, "nobody noticed"
        field.live.cloud.heal()

    return away


def _broke(field: Field, _job_id: str) -> None:
    field.live.cloud.set_balance(0)


def _slow_network(field: Field, _job_id: str) -> None:
    for proxy in field.proxies.values():
        proxy.set("slow")


def _deployer_stands_still(field: Field, job_id: str) -> None:
    field.live.stack.signal("deployer", signal.SIGSTOP)
    wait_until(lambda: not field.live.pods(job_id)[-1]["processes"], patience=300)
    field.live.stack.signal("deployer", signal.SIGCONT)


def _powerless_pod(field: Field, job_id: str) -> None:
    cloud, stack = field.live.cloud, field.live.stack
    stack.signal("deployer", signal.SIGSTOP)
    for operation in ("delete", "action"):
        cloud.break_next("forbidden", operation=operation, times=None)
    pod_id = field.live.pods(job_id)[-1]["id"]
    wait_until(lambda: any("cannot end itself" in line for line in cloud.lines(pod_id)), patience=300)
    cloud.heal()
    stack.signal("deployer", signal.SIGCONT)


CASES: tuple[Case, ...] = (
    Case("none", "none"),
    Case(
        "no-capacity",
        "the first offer has no capacity",
        before=breaking("no_capacity"),
        reasons=("no_capacity", "success"),
        words=("There are no longer any instances available",),
    ),
    Case(
        "no-capacity-anywhere",
        f"{REFUSALS} orders are refused, whatever the offer",
        before=breaking("no_capacity", times=REFUSALS),
        reasons=("no_capacity",) * REFUSALS + ("success",),
    ),
    Case("done-then-500", "500 after the pod was made", before=breaking("done_then_500", operation="create")),
    Case("hang", "an order hangs and is not done", before=breaking("hang", operation="create", seconds=30)),
    Case("lost-answer", "the answer to an order is lost", before=breaking("lost_answer", operation="create")),
    Case("nonsense", "an order is answered with a page", before=breaking("nonsense", operation="create")),
    Case(
        "late",
        "an order takes effect after we hung up",
        before=breaking("late", operation="create", seconds=12),
    ),
    Case("rate-limited", "429 to eight calls", before=breaking("rate_limited", times=8)),
    Case(
        "unauthorized",
        "401: the key is not valid",
        before=breaking("unauthorized", operation="create", times=None),
        reasons=("provider_auth_failed",),
        words=("401", "key"),
        pods=0,
    ),
    Case(
        "no-balance",
        "402: no money in the account",
        before=breaking("insufficient_balance", times=None),
        reasons=("provider_funds",),
        words=("402", "funds"),
        pods=0,
    ),
    Case(
        "stuck-starting",
        "a pod stays in STARTING",
        before=breaking("stuck_starting"),
        reasons=("start_timed_out", "success"),
        pods=2,
    ),
    Case(
        "container-error",
        "a pod goes into ERROR",
        before=breaking("container_error"),
        reasons=("pod_setup_failed", "success"),
        words=("RunPod tells ERROR", "before anything on it said a word"),
        pods=2,
    ),
    Case("invisible", "a pod cannot be seen for 8 s", before=breaking("invisible", seconds=8)),
    Case(
        "host-death",
        "the host dies in training, RUNNING is told",
        blow=dealing("host_death"),
        reasons=("heartbeat_lost", "success"),
        pods=2,
        steps=60,
        checkpoint_every=20,
    ),
    Case(
        "eviction",
        "the pod is stopped in training",
        blow=dealing("eviction"),
        # Five seconds are enough for the checkpoint; whether also for the report, depends on the machine.
        reasons=("trainer_terminated|trainer_died", "success"),
        pods=2,
        steps=60,
        checkpoint_every=20,
    ),
    Case(
        "balance-exhausted",
        "the account runs dry in training",
        blow=_broke,
        reasons=("machine_lost", "provider_funds"),
        words=("402", "funds"),
        steps=60,
        checkpoint_every=20,
    ),
    Case("api-away", f"502 to every call for {AWAY_SECONDS} s of training", blow=_away("bad_gateway"), steps=80),
    Case("key-refused", f"401 to every call for {AWAY_SECONDS} s of training", blow=_away("unauthorized"), steps=80),
    Case("slow-api", "every answer of the API is 3 s late", before=breaking("slow", times=None, seconds=3)),
    Case("slow-network", "the network of the pod is slow", before=_slow_network),
    Case(
        "delete-refused",
        "DELETE is refused with 403",
        before=breaking("forbidden", operation="delete", times=None),
        ended_by="terminate",
    ),
    Case(
        "deployer-away",
        "the deployer stands still when training ends",
        blow=_deployer_stands_still,
        steps=40,
        ended_by="pod: delete",
    ),
    Case(
        "powerless-pod",
        "the same, and the pod's own key may not end it",
        blow=_powerless_pod,
        steps=40,
        ended_by="account",
    ),
)
