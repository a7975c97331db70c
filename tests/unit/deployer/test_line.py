"""The order of those that wait, who may begin, and what the others wait for."""

from collections import Counter
from datetime import timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from stoker_deployer.queue import line as queue_line
from stoker_deployer.queue.line import Holding, Limits, Place, Turns, Waiting
from tests.unit.deployer.rows import NOW

ANNA, BEN, CARL = "user-anna", "user-ben", "user-carl"


def waits(number: int, owner: str = ANNA, **changes: Any) -> Waiting:
    """Job `number`, which came `number` seconds after noon."""
    fields: dict[str, Any] = {
        "job_id": f"{owner}-{number}",
        "owner": owner,
        "project": "default",
        "provider": "local",
        "priority": 0,
        "created_at": NOW + timedelta(seconds=number),
    }
    return Waiting(**(fields | changes))


def holds(owner: str, machines: int, *, project: str = "default", provider: str = "local") -> Holding:
    return Holding(owner, project, provider, machines)


def line_up(waiting: list[Waiting], holdings: list[Holding], limits: Limits, turns: Turns | None = None) -> list[Place]:
    return queue_line.line_up(waiting, holdings, limits, turns or {})


def order(places: list[Place]) -> list[str]:
    return [place.waiting.job_id for place in places]


def obstacles(places: list[Place]) -> dict[str, str]:
    return {place.waiting.job_id: place.obstacle for place in places}


def test_without_anything_else_the_oldest_comes_first() -> None:
    line = line_up([waits(2), waits(1), waits(3)], [], Limits(2))
    assert order(line) == ["user-anna-1", "user-anna-2", "user-anna-3"]
    assert [place.may_begin for place in line] == [True, True, False]
    assert [(place.position, place.ahead) for place in line] == [(1, 0), (2, 1), (3, 2)]
    assert line[2].obstacle == "all 2 slots are taken"


def test_a_higher_priority_comes_first_whoever_it_is_of() -> None:
    line = line_up([waits(1), waits(2, priority=5), waits(3, BEN, priority=-1)], [holds(ANNA, 3)], Limits(9))
    assert order(line) == ["user-anna-2", "user-anna-1", "user-ben-3"]


def test_one_job_of_a_user_is_not_starved_by_a_hundred_of_another() -> None:
    hundred = [waits(number) for number in range(100)]
    late = waits(1000, BEN)
    assert order(line_up([*hundred, late], [holds(ANNA, 2)], Limits(2)))[0] == late.job_id
    assert order(line_up([*hundred, late], [], Limits(2)))[1] == late.job_id


def test_owners_take_turns() -> None:
    jobs = [waits(1), waits(2), waits(3), waits(4, BEN), waits(5, BEN), waits(6, CARL)]
    owners = [place.waiting.owner for place in line_up(jobs, [], Limits(9))]
    assert owners == [ANNA, BEN, CARL, ANNA, BEN, ANNA]


def test_who_holds_machines_waits_until_the_others_hold_as_many() -> None:
    jobs = [waits(1), waits(2), waits(3, BEN), waits(4, BEN), waits(5, BEN)]
    owners = [place.waiting.owner for place in line_up(jobs, [holds(ANNA, 2)], Limits(9))]
    assert owners == [BEN, BEN, ANNA, BEN, ANNA]


def test_of_two_who_hold_as_much_the_one_served_longer_ago_comes_first() -> None:
    hundred = [waits(number) for number in range(100)]
    late = waits(1000, BEN)
    turns = {ANNA: NOW, BEN: NOW - timedelta(hours=1)}
    assert order(line_up([*hundred, late], [], Limits(1), turns))[0] == late.job_id
    assert order(line_up([*hundred, late], [], Limits(1), {ANNA: NOW}))[0] == late.job_id


def test_a_users_limit_stops_that_user_alone() -> None:
    line = line_up([waits(1), waits(2), waits(3, BEN)], [holds(ANNA, 1)], Limits(9, per_user=2))
    assert obstacles(line) == {"user-ben-3": "", "user-anna-1": "", "user-anna-2": "user limit 2"}


def test_a_projects_limit_is_for_each_project_of_each_user() -> None:
    jobs = [waits(1, project="big"), waits(2, project="small"), waits(3, BEN, project="big")]
    line = line_up(jobs, [holds(ANNA, 1, project="big")], Limits(9, per_project=1))
    assert obstacles(line) == {"user-ben-3": "", "user-anna-1": "limit 1 of project big", "user-anna-2": ""}


def test_a_full_provider_stops_those_who_want_it_alone() -> None:
    jobs = [waits(1), waits(2, provider="runpod"), waits(3, provider=None)]
    line = line_up(jobs, [holds(BEN, 4)], Limits(9, per_provider={"local": 4}))
    assert obstacles(line)["user-anna-1"] == "provider local is full (limit 4)"
    assert [place.may_begin for place in line] == [False, True, True]


def test_a_slot_is_not_kept_for_a_job_that_its_own_limit_stops() -> None:
    line = line_up([waits(1, priority=9), waits(2, BEN)], [holds(ANNA, 1)], Limits(2, per_user=1))
    assert obstacles(line) == {"user-anna-1": "user limit 1", "user-ben-2": ""}
    assert line[1].ahead == 0


def test_what_waits_for_something_else_takes_no_slot_and_no_turn() -> None:
    jobs = [waits(1, held_back="next attempt at noon"), waits(2), waits(3, BEN)]
    line = line_up(jobs, [], Limits(1))
    assert obstacles(line) == {
        "user-anna-1": "next attempt at noon",
        "user-anna-2": "",
        "user-ben-3": "all 1 slots are taken",
    }
    assert [place.ahead for place in line] == [0, 0, 1]


people = st.sampled_from([ANNA, BEN, CARL])
projects, providers = st.sampled_from(["default", "other"]), st.sampled_from(["local", "runpod", None])
limits = st.builds(
    Limits,
    st.integers(1, 8),
    st.none() | st.integers(1, 4),
    st.none() | st.integers(1, 3),
    st.dictionaries(st.sampled_from(["local", "runpod"]), st.integers(1, 4)),
)
crowds = st.lists(
    st.builds(
        lambda owner, project, provider, priority, age: {
            "owner": owner,
            "project": project,
            "provider": provider,
            "priority": priority,
            "age": age,
        },
        people,
        projects,
        providers,
        st.integers(-2, 2),
        st.integers(0, 50),
    ),
    max_size=30,
)


@given(crowds, st.lists(st.builds(holds, people, st.integers(1, 3), project=projects), max_size=4), limits)
def test_whatever_waits_no_limit_is_passed_and_no_slot_is_left_empty_in_vain(
    crowd: list[dict[str, Any]], holdings: list[Holding], most: Limits
) -> None:
    jobs = [
        waits(
            one["age"], one["owner"], **{k: v for k, v in one.items() if k not in ("age", "owner")}, job_id=f"job-{n}"
        )
        for n, one in enumerate(crowd)
    ]
    line = line_up(jobs, holdings, most)
    assert sorted(order(line)) == sorted(job.job_id for job in jobs)
    assert [place.position for place in line] == list(range(1, len(jobs) + 1))
    begun = [place.waiting for place in line if place.may_begin]
    held = sum(holding.machines for holding in holdings)
    owned = Counter(job.owner for job in begun)
    assert not begun or held + len(begun) <= most.everyone
    for owner, taken in owned.items():
        before = sum(holding.machines for holding in holdings if holding.owner == owner)
        assert most.per_user is None or before + taken <= most.per_user
    for provider, limit in most.per_provider.items():
        taken = sum(job.provider == provider for job in begun)
        assert not taken or taken + sum(one.machines for one in holdings if one.provider == provider) <= limit
    # With those holding machines that may begin, nobody else could.
    now_held = [*holdings, *(Holding(job.owner, job.project, job.provider, 1) for job in begun)]
    left = [place.waiting for place in line if not place.may_begin]
    assert [place for place in line_up(left, now_held, most) if place.may_begin] == []
