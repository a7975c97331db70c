"""Subjects and identifiers: nothing from outside can address another subject."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker_shared import subjects
from stoker_shared.errors import MessageInvalid
from stoker_shared.identifiers import is_identifier, new_identifier

TOKEN = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-", min_size=1, max_size=40)
BAD = st.text(max_size=20).flatmap(
    lambda text: st.tuples(
        st.just(text),
        st.sampled_from([".", "*", ">", " ", "\n", "\r\n", "\t", "\0", "ä", "$"]),
        st.integers(0, len(text)),
    ).map(lambda parts: parts[0][: parts[2]] + parts[1] + parts[0][parts[2] :])
)


@given(BAD)
def test_an_id_with_a_dot_a_wildcard_or_a_space_is_refused_everywhere(bad: str) -> None:
    for build in (
        lambda: subjects.event("job", bad, "queued"),
        lambda: subjects.event(bad, "job-1", "queued"),
        lambda: subjects.deployer_command(bad, "launch"),
        lambda: subjects.telemetry(bad, "metrics"),
        lambda: subjects.rpc("metrics", bad),
    ):
        with pytest.raises(MessageInvalid):
            build()


def test_an_empty_id_is_refused() -> None:
    with pytest.raises(MessageInvalid):
        subjects.telemetry("", "metrics")


@given(TOKEN, TOKEN)
def test_a_good_id_is_one_token_of_the_subject(identifier: str, fact: str) -> None:
    assert subjects.event("job", identifier, fact).split(".") == ["evt", "job", identifier, fact]
    assert subjects.deployer_command(identifier, fact).split(".") == ["cmd", "deployer", identifier, fact]
    assert subjects.telemetry(identifier, fact).split(".") == ["tel", identifier, fact]


def test_a_dead_message_keeps_its_subject() -> None:
    assert subjects.dead("cmd.deployer.job-1.launch") == "dead.cmd.deployer.job-1.launch"


@given(st.sampled_from(["job", "plan", "dataset", "user"]))
def test_a_new_identifier_is_one_of_its_kind_and_fits_into_a_subject(kind: str) -> None:
    identifier = new_identifier(kind)
    assert is_identifier(identifier, kind)
    assert identifier in subjects.event("job", identifier, "queued")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "job-",
        "job-0b5c1f2e9a7d4c3",
        "job-0b5c1f2e9a7d4c333",
        "job-0b5c1f2e9a7d4c33\n",
        "job-0B5C1F2E9A7D4C33",
        "job.0b5c1f2e9a7d4c33",
        "jobs-0b5c1f2e9a7d4c33",
        "plan-0b5c1f2e9a7d4c33",
        " job-0b5c1f2e9a7d4c33",
    ],
)
def test_what_only_looks_like_a_job_is_none(text: str) -> None:
    assert not is_identifier(text, "job")
