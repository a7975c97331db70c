"""The log stream of the simulated RunPod, with the quirks of the real one."""

import itertools
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.simulators.runpod.running import RunningRunpod
from tests.support.waiting import wait_until

Start = Callable[..., str]
Order = Callable[..., dict[str, Any]]


def events(api: httpx.Client, pod_id: str, count: int, *, cursor: str = "", **query: Any) -> list[tuple[str, str]]:
    """The first `count` events: id and line."""
    headers = {"Last-Event-ID": cursor} if cursor else {}
    with api.stream("GET", f"/v2/pods/{pod_id}/logs", params=query, headers=headers) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        assert stream.headers["X-Accel-Buffering"] == "no"
        lines = (line for line in stream.iter_lines() if line)
        pairs = itertools.islice(zip(lines, lines, strict=False), count)
        return [
            (first.removeprefix("id: "), json.loads(second.removeprefix("data: "))["line"]) for first, second in pairs
        ]


@pytest.fixture
def talker(runpod: RunningRunpod, start: Start) -> str:
    pod_id = start("for n in 1 2 3 4 5; do echo line $n; done; sleep 600")
    wait_until(lambda: len(runpod.lines(pod_id)) == 5)
    return pod_id


def test_a_stream_begins_with_the_tail_and_goes_on_live(runpod: RunningRunpod, api: httpx.Client, start: Start) -> None:
    pod_id = start('echo old; while ! [ -e "$STOKER_POD_ROOT/go" ]; do sleep 0.1; done; echo new; sleep 600')
    wait_until(lambda: runpod.lines(pod_id) == ["old"])
    with api.stream("GET", f"/v2/pods/{pod_id}/logs", params={"source": "container"}) as stream:
        lines = (line for line in stream.iter_lines() if line.startswith("data:"))
        assert json.loads(next(lines)[6:])["line"] == "old"
        (open(f"{runpod.pod(pod_id)['folder']}/workspace/go", "w")).close()  # noqa: PTH123
        assert json.loads(next(lines)[6:])["line"] == "new"


def test_the_cursor_beats_since_and_since_beats_tail(api: httpx.Client, talker: str) -> None:
    container = {"source": "container"}
    told = events(api, talker, 5, **container)
    assert [line for _, line in told] == [f"line {n}" for n in range(1, 6)]
    assert [line for _, line in events(api, talker, 2, **container, tail=2)] == ["line 4", "line 5"]
    since = told[0][0].partition("/")[0]
    assert next(line for _, line in events(api, talker, 5, **container, tail=1, since=since)) == "line 1"
    later = events(api, talker, 2, cursor=told[2][0], **container, since=since, tail=5)
    assert [line for _, line in later] == ["line 4", "line 5"]


def test_what_the_host_says_comes_by_another_source(api: httpx.Client, talker: str) -> None:
    assert [line for _, line in events(api, talker, 2, source="system")] == [
        "create container runpod/pytorch",
        "start container",
    ]


def test_before_the_first_line_there_are_not_even_headers(
    runpod: RunningRunpod, api: httpx.Client, start: Start
) -> None:
    pod_id = start()
    with pytest.raises(httpx.ReadTimeout):
        api.get(f"/v2/pods/{pod_id}/logs", params={"source": "container"}, timeout=0.5)
    # The next one is answered: who left does not stand in the way.
    assert len(events(api, pod_id, 1, source="system")) == 1


@pytest.mark.parametrize(
    ("query", "cursor", "status"),
    [
        ({"tail": "5001"}, None, 422),
        ({"tail": "some"}, None, 422),
        ({"source": "kernel"}, None, 422),
        ({"since": "yesterday"}, None, 422),
        ({}, "line 3", 400),
    ],
)
def test_a_question_that_makes_no_sense_is_refused(
    api: httpx.Client, talker: str, query: dict[str, str], cursor: str | None, status: int
) -> None:
    headers = {"Last-Event-ID": cursor} if cursor else {}
    assert api.get(f"/v2/pods/{talker}/logs", params=query, headers=headers).status_code == status


def test_logs_may_be_refused_altogether_and_end_with_the_pod(
    runpod: RunningRunpod, api: httpx.Client, talker: str
) -> None:
    runpod.break_next("bad_request", operation="logs")
    assert api.get(f"/v2/pods/{talker}/logs").status_code == 400
    with api.stream("GET", f"/v2/pods/{talker}/logs") as stream:
        runpod.deal(talker, "vanish")
        assert sum(line.startswith("data:") for line in stream.iter_lines()) >= 7
    assert api.get(f"/v2/pods/{talker}/logs").status_code == 404


def test_any_bytes_and_lines_of_any_length_come_through(runpod: RunningRunpod, start: Start) -> None:
    pod_id = start(r"printf 'a\377b\r\n'; printf '%040000d\n' 0; printf 'no end'; exec sleep 600")
    wait_until(lambda: len(runpod.lines(pod_id)) >= 3)
    first, *rest = runpod.lines(pod_id)
    assert first == "a\N{REPLACEMENT CHARACTER}b"
    assert set("".join(rest)) == {"0"}
    assert len("".join(rest)) == 40_000
