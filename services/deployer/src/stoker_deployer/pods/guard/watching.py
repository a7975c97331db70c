"""The guard's loop: ship, beat, look at the clock; then report the end and release the machine."""

import os
import shutil
import signal
from collections.abc import Callable
from time import monotonic, time
from typing import Any

from .calls import Answer, call
from .ending import Ending, read_ending, trainers_report, with_cause
from .outside import Wait, now, pause, say
from .releasing import Releaser
from .settings import Settings
from .shipping import Shipper

LANDED_EMPTY = 18
"""The trainer's exit code when it is ordered to land before its first step."""

FIRST_ALERT = 1_000_000_000
"""The trainer counts its alerts from 1."""

HEARD = frozenset({401, 413, 422, 429})
"""Refusals that only the control plane itself gives."""


class Guard:
    """One guard for one attempt. `run` returns only where the machine is not released from inside."""

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Callable[[], float] = monotonic,
        wall_clock: Callable[[], float] = time,
        wait: Wait = pause,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._wait = wait
        self._shipper = Shipper(settings.state / "log", send=self._send, clock=clock)
        self._started = clock() - _age(settings, wall_clock())
        self._heard_at = clock()
        self._shipped_at = clock()
        self._next_beat = clock()
        self._is_rejected = False
        self._order = "continue"
        self._alerts = 0
        self._end = EndFromInside(settings, clock=clock, say=self._say)

    def run(self) -> None:
        """Until the attempt has ended, then the end."""
        (self._settings.state / "guard.pid").write_text(str(os.getpid()))
        while read_ending(self._settings) is None:
            self._shipper.ship()
            self._beat()
            self._ask_for_life()
            self._watch()
            self._wait(self._settings.tick)
        self._report_end()
        self._keep_alive()
        self._release()

    def _watch(self) -> None:
        if why := self._why_end():
            if not self._end.is_under_way:
                self._say(f"this machine ends itself: {why}")
                self._alert("pod_ends_itself", why)
            self._end.go_on(why)

    def _why_end(self) -> str:
        if self._end.why:
            return self._end.why
        settings, moment = self._settings, self._clock()
        if settings.deadline and moment - self._started >= max(settings.deadline - settings.landing, 0):
            return f"its hard deadline, {settings.deadline:.0f} s after its start, is near"
        if settings.silence and moment - self._heard_at >= settings.silence:
            return f"the control plane has been silent for {settings.silence:.0f} s"
        if self._is_rejected:
            return "the job token is refused: the control plane has ended this attempt"
        if self._order in {"stop", "land"} and not _trainer_pid(settings):
            return f"the control plane orders to {self._order} before training has begun"
        return ""

    def _beat(self) -> None:
        """Say that the pod prepares, until the trainer speaks for itself."""
        if self._clock() < self._next_beat or _trainer_pid(self._settings):
            return
        self._next_beat = self._clock() + self._settings.beat_every
        self._send("heartbeat", {"sequence": 1, "at": now(), "phase": "preparing"})

    def _ask_for_life(self) -> None:
        """A quiet trainer is no quiet control plane: now and then there is a line to be answered."""
        if self._settings.silence and self._clock() - self._shipped_at >= self._settings.silence / 6:
            self._shipped_at = self._clock()
            self._say(f"this pod lives; {_room(self._settings)}")

    def _send(self, kind: str, body: dict[str, Any]) -> Answer:
        settings = self._settings
        answer = call(
            "POST",
            settings.address(kind),
            token=settings.job_token,
            body={"attempt": settings.attempt} | body,
            agent=settings.agent,
        )
        if answer.is_yes or answer.status in HEARD:
            self._heard_at = self._clock()
        if answer.is_yes:
            self._order = answer.order
            self._shipped_at = self._clock() if kind == "logs" else self._shipped_at
        self._is_rejected = answer.status == 401
        return answer

    def _alert(self, code: str, message: str) -> None:
        self._alerts += 1
        body = {"sequence": FIRST_ALERT + self._alerts, "at": now(), "level": "error", "code": code, "message": message}
        self._send("alerts", body)

    def _report_end(self) -> None:
        """The log to its last line, then the exit report: the trainer's own if it has left one."""
        ending = read_ending(self._settings)
        if ending is None:
            return
        limit = self._clock() + self._settings.flush
        # Sent by the trainer, too, most likely; the first one counts.
        report: dict[str, Any] | None = trainers_report(self._settings) or self._own_report(ending)
        while self._clock() < limit and not self._is_rejected:
            is_shipped = self._shipper.ship()
            # In the second half the exit report does not wait for the log: it matters most.
            if report and (is_shipped or limit - self._clock() < self._settings.flush / 2) and self._takes_exit(report):
                report = None
            if is_shipped and report is None:
                return
            self._wait(self._settings.tick)

    def _own_report(self, ending: Ending) -> dict[str, Any]:
        ending = with_cause(ending)
        if self._end.why and self._order == "land":
            ending = Ending(LANDED_EMPTY, "landed", ending.message)
        return {
            "sequence": 1,
            "at": now(),
            "exit_code": ending.exit_code,
            "reason": ending.reason,
            "message": f"{ending.message} ({self._end.why})" if self._end.why else ending.message,
            "last_lines": self._shipper.last_lines(),
        }

    def _takes_exit(self, report: dict[str, Any]) -> bool:
        answer = self._send("exit", report)
        return answer.is_yes or answer.status == 422

    def _keep_alive(self) -> None:
        ending = read_ending(self._settings)
        if ending is None or ending.exit_code or not self._settings.keep_alive or self._end.why:
            return
        end = self._clock() + self._settings.keep_alive
        self._say(f"this machine is kept for {self._settings.keep_alive:.0f} s, as asked for")
        while (left := end - self._clock()) > 0 and not self._is_past_deadline():
            self._shipper.ship()
            self._wait(min(left, self._settings.tick))

    def _is_past_deadline(self) -> bool:
        return bool(self._settings.deadline) and self._clock() - self._started >= self._settings.deadline

    def _release(self) -> None:
        releaser = Releaser(self._settings, say=self._tell, wait=self._wait)
        while not releaser.climb():
            text = (
                "this machine cannot end itself and costs money: every way was refused or without effect. "
                f"It trains nothing more, tries again every {self._settings.ladder_every:.0f} s, and waits for the "
                "deployer's sweep; or end it at the provider by hand."
            )
            self._tell(text)
            self._alert("pod_cannot_end_itself", text)
            self._wait(self._settings.ladder_every)

    def _tell(self, text: str) -> None:
        """Say a line and see it sent: the next call may be the last that this machine makes."""
        self._say(text)
        self._wait(min(self._settings.tick, 0.3))  # until the line is in the log
        self._shipper.ship()

    def _say(self, text: str) -> None:
        say(f"guard: {text}")


class EndFromInside:
    """Ends what runs, in growing severity: with time for a checkpoint, then at once, then without asking.

    USR1 lets the trainer finish its step, save and upload; TERM leaves it seconds; KILL nothing. If even then the pod
    script writes no end, it is written here.
    """

    def __init__(self, settings: Settings, *, clock: Callable[[], float], say: Callable[[str], None]) -> None:
        self._settings = settings
        self._clock = clock
        self._say = say
        self._began = 0.0
        self._done: set[str] = set()
        self.why = ""

    @property
    def is_under_way(self) -> bool:
        """Whether it has begun."""
        return bool(self.why)

    def go_on(self, why: str) -> None:
        """Do what is due by now."""
        if not self.why:
            self.why, self._began = why, self._clock()
        passed = self._clock() - self._began
        grace = self._settings.term_grace
        landing = self._settings.landing if _trainer_pid(self._settings) else 0.0
        if passed < landing:
            self._once("usr1", signal.SIGUSR1)
        elif passed < landing + grace:
            self._once("term", signal.SIGTERM)
        elif passed < landing + 2 * grace:
            self._once("kill", signal.SIGKILL)
        elif read_ending(self._settings) is None:
            (self._settings.state / "ended").write_text(f"143\nterminated\n{why}; the pod script did not react\n")

    def _once(self, name: str, number: signal.Signals) -> None:
        if name in self._done:
            return
        self._done.add(name)
        trainer = _trainer_pid(self._settings)
        pid = trainer or _pid(self._settings, "main.pid")
        # Without a trainer the script itself is told; it ends what it runs. It is never killed: it writes the end.
        if not pid or (number == signal.SIGKILL and not trainer):
            return
        self._say(f"{number.name} to {'the trainer' if trainer else 'the pod script'}")
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return  # it ended by itself


def _trainer_pid(settings: Settings) -> int:
    return _pid(settings, "trainer.pid")


def _pid(settings: Settings, name: str) -> int:
    try:
        return int((settings.state / name).read_text())
    except (FileNotFoundError, ValueError):
        return 0


def _age(settings: Settings, wall_clock: float) -> float:
    """Seconds since the attempt began here; a guard that was started again counts on."""
    try:
        return max(0.0, wall_clock - float((settings.state / "started").read_text()))
    except (FileNotFoundError, ValueError):
        return 0.0


def _room(settings: Settings) -> str:
    return f"{shutil.disk_usage(settings.workspace).free / 1e9:.1f} GB of disk are free"
