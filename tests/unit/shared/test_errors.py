"""The error tree: each leaf can be told apart by its code and says what it means."""

from collections.abc import Iterator
from datetime import timedelta
from http import HTTPStatus

import pytest

from stoker_shared import errors
from stoker_shared.errors import ConfigurationInvalid, NotFound, RateLimited, StokerError, TooManyRequests


def tree(root: type[StokerError] = StokerError) -> Iterator[type[StokerError]]:
    yield root
    for child in root.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from tree(child)


@pytest.mark.parametrize("error", list(tree()))
def test_every_error_says_what_it_means_and_how_it_is_answered(error: type[StokerError]) -> None:
    assert (error.__doc__ or "").strip().endswith(".")
    assert error.code == error.code.lower().replace(" ", "_")
    assert error.title
    assert HTTPStatus(error.status) >= HTTPStatus.BAD_REQUEST


def test_codes_are_unique() -> None:
    codes = [error.__dict__["code"] for error in tree() if "code" in error.__dict__]
    assert sorted(codes) == sorted(set(codes))


def test_the_drawn_tree_names_every_error() -> None:
    drawing = errors.__doc__ or ""
    assert [error.__name__ for error in tree() if error.__name__ not in drawing] == []


def test_an_error_reads_as_what_happened_and_what_to_do() -> None:
    error = ConfigurationInvalid("STOKER_API_PORT is 0.", next_step="Choose a port from 1 on.")
    assert str(error) == "STOKER_API_PORT is 0. Choose a port from 1 on."


def test_not_found_does_not_tell_whether_it_is_somebody_elses() -> None:
    assert str(NotFound("job", "job-1")) == "There is no job 'job-1' that you can see."


def test_pressure_says_when_to_come_back() -> None:
    assert TooManyRequests("Too many.", retry_after=timedelta(seconds=3)).next_step == "Try again in 3 s."


def test_a_provider_error_names_the_provider() -> None:
    error = RateLimited("local", "429", retry_after=timedelta(seconds=1))
    assert (error.detail, error.provider) == ("local: 429", "local")
