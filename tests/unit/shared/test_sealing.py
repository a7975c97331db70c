"""Sealed boxes: what goes in comes out, for its owner and name, with the right key, and for nobody else."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.public import PrivateKey
from pydantic import SecretStr

from stoker_shared.sealing import (
    SealedBoxUnreadable,
    SealingKeyInvalid,
    key_id_of,
    open_sealed,
    public_half,
    seal,
)

KEY = PrivateKey(bytes(range(32)))
PUBLIC = public_half(KEY)
_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=200)


@given(value=_TEXTS, owner=_TEXTS, name=_TEXTS)
def test_what_is_sealed_is_opened_again(value: str, owner: str, name: str) -> None:
    sealed = seal(SecretStr(value), owner=owner, name=name, public_key=PUBLIC)
    assert open_sealed(sealed, owner=owner, name=name, private_key=KEY).get_secret_value() == value


@given(value=st.text("abcdef0123456789", min_size=16, max_size=64))
def test_a_box_shows_nothing_and_is_another_each_time(value: str) -> None:
    boxes = [seal(SecretStr(value), owner="user-1", name="runpod", public_key=PUBLIC) for _ in range(2)]
    assert boxes[0] != boxes[1]
    assert all(value.encode() not in base64.b64decode(box) and value not in box for box in boxes)


@given(other=st.tuples(_TEXTS, _TEXTS).filter(lambda pair: pair != ("user-1", "runpod")))
def test_a_box_put_in_another_row_does_not_open(other: tuple[str, str]) -> None:
    sealed = seal(SecretStr("a-secret-value"), owner="user-1", name="runpod", public_key=PUBLIC)
    with pytest.raises(SealedBoxUnreadable):
        open_sealed(sealed, owner=other[0], name=other[1], private_key=KEY)


@given(at=st.integers(0, 150), flip=st.integers(1, 255))
def test_a_damaged_box_does_not_open_and_tells_nothing(at: int, flip: int) -> None:
    box = bytearray(base64.b64decode(seal(SecretStr("a-secret-value"), owner="u", name="n", public_key=PUBLIC)))
    box[at % len(box)] ^= flip
    with pytest.raises(SealedBoxUnreadable) as caught:
        open_sealed(base64.b64encode(bytes(box)).decode(), owner="u", name="n", private_key=KEY)
    assert "a-secret" not in f"{caught.value!r} {caught.value}"
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("sealed", ["", "not base64!", "AAAA", "é"])
def test_what_is_no_box_does_not_open(sealed: str) -> None:
    with pytest.raises(SealedBoxUnreadable):
        open_sealed(sealed, owner="u", name="n", private_key=KEY)


def test_another_key_does_not_open_it() -> None:
    sealed = seal(SecretStr("a-secret-value"), owner="u", name="n", public_key=PUBLIC)
    with pytest.raises(SealedBoxUnreadable):
        open_sealed(sealed, owner="u", name="n", private_key=PrivateKey(bytes(32)))


@pytest.mark.parametrize("key", ["", "AAAA", "not base64!", base64.b64encode(bytes(33)).decode()])
def test_what_is_no_key_is_refused(key: str) -> None:
    with pytest.raises(SealingKeyInvalid):
        seal(SecretStr("a-secret-value"), owner="u", name="n", public_key=key)


def test_a_key_id_is_short_and_of_the_public_half() -> None:
    assert key_id_of(PUBLIC) == key_id_of(f"{PUBLIC}\n")
    assert len(key_id_of(PUBLIC)) == 16
    assert base64.b64encode(bytes(KEY)).decode() not in PUBLIC
