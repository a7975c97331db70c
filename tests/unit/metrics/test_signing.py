"""Signatures are what the library of the specification verifies."""

import base64
import secrets
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from standardwebhooks import Webhook, WebhookVerificationError

from stoker_metrics.notifications.errors import SigningSecretInvalid
from stoker_metrics.notifications.signing import demand_signing_secret, signed_headers
from stoker_shared.signing_secrets import new_signing_secret


def whsec(length: int) -> SecretStr:
    return SecretStr("whsec_" + base64.b64encode(secrets.token_bytes(length)).decode())


@given(st.dictionaries(st.text(), st.text()).map(repr))
def test_each_valid_secret_verifies_and_no_other(text: str) -> None:
    new, old = new_signing_secret(), new_signing_secret()
    body = text.encode(errors="replace")
    headers = signed_headers(body, message_id="msg_1", at=datetime.now(UTC), signing=[new, old])
    for secret in (new, old):
        Webhook(secret.get_secret_value()).verify(body, headers, json_parse=False)
    with pytest.raises(WebhookVerificationError):
        Webhook(new_signing_secret().get_secret_value()).verify(body, headers, json_parse=False)
    with pytest.raises(WebhookVerificationError):
        Webhook(new.get_secret_value()).verify(body + b" ", headers, json_parse=False)
    with pytest.raises(WebhookVerificationError):
        Webhook(new.get_secret_value()).verify(body, {**headers, "webhook-id": "msg_2"}, json_parse=False)


def test_the_example_of_the_specifications_library() -> None:
    secret = SecretStr("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    at = datetime.fromtimestamp(1614265330, UTC)
    headers = signed_headers(
        b'{"test": 2432232314}', message_id="msg_p5jXN8AQM9LWM0D4loKWxJek", at=at, signing=[secret]
    )
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert headers["webhook-timestamp"] == "1614265330"


def test_the_time_is_that_of_the_attempt() -> None:
    secret, late = new_signing_secret(), datetime.now(UTC) - timedelta(minutes=6)
    headers = signed_headers(b"{}", message_id="msg_1", at=late, signing=[secret])
    with pytest.raises(WebhookVerificationError):
        Webhook(secret.get_secret_value()).verify(b"{}", headers)


@pytest.mark.parametrize("length", [24, 32, 64])
def test_secrets_of_the_right_length_are_taken(length: int) -> None:
    demand_signing_secret(whsec(length))


@pytest.mark.parametrize(
    "secret", [whsec(23), whsec(65), SecretStr("whsec_"), SecretStr("x" * 40), SecretStr("whsec_!!!!"), SecretStr("")]
)
def test_others_are_refused_and_not_repeated(secret: SecretStr) -> None:
    with pytest.raises(SigningSecretInvalid) as refusal:
        demand_signing_secret(secret)
    assert not secret.get_secret_value() or secret.get_secret_value() not in str(refusal.value).replace("whsec_ ", "")
