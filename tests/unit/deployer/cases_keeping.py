"""Cases of jobs whose machine stays after a success, as the launch asked for: for one minute."""

from datetime import timedelta

from stoker_deployer.jobs.steps import BeginTermination, EnterPhase, Wait
from stoker_deployer.jobs.tables import Attempt
from stoker_deployer.jobs.view import Sight
from stoker_deployer.providers import Alive, AliveKind, Exited, Gone
from stoker_shared.rpc.metrics import LossTrouble
from tests.unit.deployer.rows import HOURLY, NOW, POLICY, ago, attempt, command, exited, job, report
from tests.unit.deployer.situations import RUNNING, UNKNOWN, Case, R, S

_KEEPS = command(keep_alive_seconds=60)
_SAID = exited("success", code=0)
_STORED = Sight(RUNNING, report=_SAID, has_artifacts=True)
# What is stored is asked once; later looks do not ask the gateway again.
_LATER = Sight(RUNNING, report=_SAID)


def _since(seconds: float) -> Attempt:
    return attempt(succeeded_at=ago(seconds=seconds))


KEPT = [
    Case(
        "success, and the machine is to stay: noted",
        job(S.SAVING, launch=_KEEPS),
        _STORED,
        Wait,
        noted={"succeeded_at": NOW},
        after=timedelta(0),
        has_failed=False,
    ),
    Case("kept", job(S.SAVING, launch=_KEEPS), _LATER, Wait, _since(10), after=POLICY.active_check, has_failed=False),
    Case("kept, nearly over", job(S.SAVING, launch=_KEEPS), _LATER, Wait, _since(59), after=timedelta(seconds=1)),
    Case(
        "kept, looked at seldom: not past its end",
        job(S.SAVING, launch=_KEEPS),
        _LATER,
        Wait,
        _since(30),
        about={"calm_pause": timedelta(seconds=45)},
        after=timedelta(seconds=30),
    ),
    Case("kept long enough", job(S.SAVING, launch=_KEEPS), _LATER, BeginTermination, _since(60), reason=R.SUCCESS),
    Case(
        "kept, and the row is behind the pod",
        job(S.TRAINING, launch=_KEEPS),
        Sight(RUNNING, report=report(phase="saving", exit=_SAID.exit)),
        EnterPhase,
        _since(10),
        status=S.SAVING,
    ),
    Case(
        "kept, and cancelled",
        job(S.SAVING, launch=_KEEPS),
        _LATER,
        BeginTermination,
        _since(10),
        about={"is_cancelled": True},
        reason=R.SUCCESS,
    ),
    Case(
        "cancelled before the success was seen",
        job(S.SAVING, launch=_KEEPS),
        _STORED,
        BeginTermination,
        about={"is_cancelled": True},
        reason=R.SUCCESS,
    ),
    Case(
        "kept, and the budget is used up",
        job(S.SAVING, launch=_KEEPS, budget_micro_usd=HOURLY // 6),
        _LATER,
        BeginTermination,
        _since(10),
        reason=R.SUCCESS,
    ),
    Case(
        "kept, and the budget lasts for five seconds beyond its tick",  # 600 s are spent
        job(S.SAVING, launch=_KEEPS, budget_micro_usd=HOURLY * 615 // 3600),
        _LATER,
        Wait,
        attempt(succeeded_at=ago(seconds=10)),
        about={"calm_pause": timedelta(seconds=30)},
        after=timedelta(seconds=4.997600),
    ),
    Case(
        "kept, and it ran as long as it may",
        job(S.SAVING, launch=_KEEPS, max_duration_seconds=600),
        _LATER,
        BeginTermination,
        _since(10),
        reason=R.SUCCESS,
    ),
    Case(
        "kept, and vanished",
        job(S.SAVING, launch=_KEEPS),
        Sight(Gone()),
        BeginTermination,
        _since(10),
        reason=R.SUCCESS,
    ),
    Case(
        "kept, and it has ended",
        job(S.SAVING, launch=_KEEPS),
        Sight(Exited(0), report=_SAID),
        BeginTermination,
        _since(10),
        reason=R.SUCCESS,
    ),
    Case(
        "a machine that has ended with its success does not stay",
        job(S.SAVING, launch=_KEEPS),
        Sight(Exited(0), report=_SAID, has_artifacts=True),
        BeginTermination,
        reason=R.SUCCESS,
    ),
    Case("kept while nobody answers", job(S.SAVING, launch=_KEEPS), Sight(UNKNOWN), Wait, _since(10), has_failed=False),
    Case(
        "kept long enough, and nobody answers",
        job(S.SAVING, launch=_KEEPS),
        Sight(UNKNOWN),
        BeginTermination,
        _since(60),
        reason=R.SUCCESS,
    ),
    Case(
        "kept, and silent for longer than any watchdog waits",
        job(S.SAVING, launch=command(keep_alive_seconds=86_400)),
        Sight(
            Alive(AliveKind.RUNNING, ago(hours=1)),
            report=report(
                phase="saving",
                exit=_SAID.exit,
                last_heard_at=ago(hours=5),
                phase_since=ago(hours=5),
                loss_trouble=LossTrouble(kind="diverging", at=ago(hours=5), step=3, detail="grew"),
            ),
        ),
        Wait,
        _since(3000),
        has_failed=False,
    ),
    Case(
        "a failure does not stay",
        job(S.TRAINING, launch=_KEEPS),
        Sight(RUNNING, report=exited("out_of_memory")),
        BeginTermination,
        reason=R.OUT_OF_MEMORY,
    ),
    Case(
        "a success without a stored model does not stay",
        job(S.SAVING, launch=_KEEPS),
        Sight(RUNNING, report=_SAID, has_artifacts=False),
        BeginTermination,
        reason=R.ARTIFACTS_MISSING,
    ),
]
