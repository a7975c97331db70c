"""The form of a webhook's address."""

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker_metrics.notifications.errors import UrlRefused
from stoker_metrics.notifications.reaching import checked_url


@pytest.mark.parametrize(
    "url",
    [
        *("http://example.com/", "ftp://example.com", "file:///etc/passwd", "gopher://example.com", "//example.com"),
        *("https://", "https:///path", "https://user@example.com/", "https://user:pw@example.com", "https://@x.com/"),
        *("https://example.com/#part", "https://exa mple.com", "https://example.com\\@127.0.0.1/", "javascript:1"),
        *("https://example.com/\r\nHost: other", "https://example.com:99999/", "", "https://bücher.example/"),
        "https://example.com/" + "a" * 2048,
    ],
)
def test_what_is_no_address_for_a_webhook_is_refused(url: str) -> None:
    with pytest.raises(UrlRefused):
        checked_url(url, allows_http=False)


def test_plain_http_only_where_the_operator_permits_it() -> None:
    assert checked_url("http://127.0.0.1:8000/hook", allows_http=True).port == 8000
    with pytest.raises(UrlRefused):
        checked_url("http://127.0.0.1:8000/hook", allows_http=False)


@given(st.text(max_size=60))
def test_whatever_is_sent_is_refused_in_our_words_or_has_a_host_and_is_https(text: str) -> None:
    for url in (text, f"https://{text}", f"https://example.com{text}"):
        parsed = _parsed(url)
        if isinstance(parsed, UrlRefused):
            assert len(text) < 20 or text not in parsed.detail
        else:
            assert parsed.scheme == "https"
            assert parsed.host
            assert not parsed.userinfo


def _parsed(url: str) -> httpx.URL | UrlRefused:
    try:
        return checked_url(url, allows_http=False)
    except UrlRefused as error:
        return error
