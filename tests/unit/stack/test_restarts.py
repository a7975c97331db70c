"""How soon a dead child is started again."""

from datetime import timedelta

from stoker.stack.restarts import CrashHistory, RestartPolicy

POLICY = RestartPolicy(
    delays=(timedelta(seconds=1), timedelta(seconds=2), timedelta(seconds=4)),
    window=timedelta(seconds=60),
    crash_loop_after=5,
    slow_delay=timedelta(seconds=30),
)


def delays(*deaths: float) -> list[float]:
    history = CrashHistory(POLICY)
    return [history.died(moment).delay.total_seconds() for moment in deaths]


def test_deaths_in_a_row_are_followed_by_longer_and_longer_pauses() -> None:
    assert delays(0, 1, 2, 3) == [1, 2, 4, 4]


def test_many_deaths_within_the_window_are_a_crash_loop_that_is_retried_slowly() -> None:
    history = CrashHistory(POLICY)
    verdicts = [history.died(float(moment)) for moment in range(6)]
    assert [verdict.is_crash_loop for verdict in verdicts] == [False] * 4 + [True] * 2
    assert verdicts[-1].delay == timedelta(seconds=30)


def test_a_death_long_after_the_others_begins_anew() -> None:
    assert delays(0, 1, 2, 100) == [1, 2, 4, 1]


def test_a_slow_crash_loop_stays_one_only_while_deaths_are_close() -> None:
    history = CrashHistory(POLICY)
    for moment in range(5):
        history.died(float(moment))
    assert history.died(34.0).is_crash_loop
    assert not history.died(200.0).is_crash_loop
    assert history.total == 7
