"""Tokens: only their hash is kept, and no line of a log holds one."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from stoker_shared.logging import configure_logging, get_logger
from stoker_shared.tokens import hashes_equal, is_token_shaped, mask_tokens, mint_token, token_hash

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
tokens = st.text(ALPHABET, min_size=43, max_size=43)
surroundings = st.text(st.characters(exclude_characters=ALPHABET, exclude_categories=["Cs"]), max_size=20)


def test_a_minted_token_is_fresh_and_shaped_like_one() -> None:
    minted = {mint_token().get_secret_value() for _ in range(100)}
    assert len(minted) == 100
    assert all(is_token_shaped(token) for token in minted)


def test_a_minted_token_does_not_show_itself() -> None:
    token = mint_token()
    assert token.get_secret_value() not in f"{token} {token!r}"


def test_hash_is_the_same_for_a_secret_and_its_plain_text() -> None:
    token = mint_token()
    assert token_hash(token) == token_hash(token.get_secret_value())
    assert token_hash("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@given(st.text(), st.text())
def test_hashes_are_equal_only_for_the_same_token(left: str, right: str) -> None:
    assert hashes_equal(token_hash(left), token_hash(right)) is (left == right)


@pytest.mark.parametrize("text", ["", "a" * 42, "a" * 44, "a" * 42 + "\n", "a" * 43 + "\n", "a" * 42 + ".", "ä" * 43])
def test_nonsense_is_not_shaped_like_a_token(text: str) -> None:
    assert not is_token_shaped(text)


@given(tokens, surroundings, surroundings)
def test_no_token_survives_wherever_it_stands(token: str, before: str, after: str) -> None:
    assert token not in mask_tokens(f"{before}{token}{after}")


@given(tokens, surroundings)
def test_no_token_survives_in_an_address_or_a_header(token: str, around: str) -> None:
    lines = [
        f"GET /v1/datasets/download?token={token} HTTP/1.1",
        f"{around}https://gateway/v1/artifacts/download?a=1&token={token}&b=2{around}",
        f"Authorization: Bearer {token}",
        f"{{'authorization': 'bearer {token}'}}",
        f"key=stk_{token}{around}",
    ]
    assert all(token not in mask_tokens(line) for line in lines)


def test_a_password_in_an_address_is_masked_and_the_rest_stays() -> None:
    line = "cannot reach postgresql+asyncpg://stoker_api:geheim@127.0.0.1:5432/stoker"
    assert mask_tokens(line) == "cannot reach postgresql+asyncpg://stoker_api:***@127.0.0.1:5432/stoker"


@pytest.mark.parametrize(
    "line",
    [
        "job job-0b5c1f2e9a7d4c33 attempt 2",
        "sha256 ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        "event 6f2c1d8e-63d0-4c1a-9f83-0f1f3b0d9f11",
        "GET http://127.0.0.1:8080/v1/jobs?after=3 says a@b",
    ],
)
def test_lines_without_secrets_stay_as_they_are(line: str) -> None:
    assert mask_tokens(line) == line


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    root, stream = logging.getLogger(), io.StringIO()
    handlers, level = root.handlers, root.level
    monkeypatch.setattr("sys.stderr", stream)
    configure_logging(service="test", level="INFO")
    yield stream
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def test_no_token_reaches_the_log_in_any_part_of_a_line(log: io.StringIO) -> None:
    token = mint_token().get_secret_value()
    try:
        raise ValueError(f"refused ?token={token}")
    except ValueError as error:
        get_logger("a").exception("failed", url=f"/x?token={token}", nested={"headers": [token]}, error=error)
        logging.getLogger("library").exception("failed with %s", token)
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    assert [line["event"] for line in lines] == ["failed", "failed with ***"]
    assert all("ValueError" in line["exception"] for line in lines)
    assert token not in log.getvalue()


def test_a_log_line_is_json_with_service_and_trace(log: io.StringIO) -> None:
    with structlog.contextvars.bound_contextvars(trace_id="ab" * 16):
        get_logger("a.b").info("done", rows=3)
    line = json.loads(log.getvalue())
    assert (line["service"], line["trace_id"], line["rows"], line["logger"]) == ("test", "ab" * 16, 3, "a.b")
