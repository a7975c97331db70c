"""Names of artifacts lead nowhere else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker_dataset_gateway.artifacts.names import checked_name
from stoker_shared.errors import RequestInvalid


@pytest.mark.parametrize("name", ["model.bin", "adapter/model.safetensors", "a/b/c d.txt", "ünï.json", "..a", "a..b"])
def test_a_plain_relative_path_is_taken_as_it_is(name: str) -> None:
    assert checked_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["", "/etc/passwd", "..", "a/../b", "a/..", "./a", "a//b", "a/", "a\\b", "a\0b", "a\nb", " a", "a/ b", "x" * 256,
     "/".join(["x" * 200] * 4), "a\ud800"],
)  # fmt: skip
def test_everything_else_is_refused_with_the_field(name: str) -> None:
    with pytest.raises(RequestInvalid) as refused:
        checked_name(name)
    assert set(refused.value.fields) == {"name"}


@given(st.text(alphabet="./\\ab\0 \n", max_size=12))
def test_no_accepted_name_has_a_part_that_moves(name: str) -> None:
    try:
        parts = checked_name(name).split("/")
    except RequestInvalid:
        return
    assert not {"", ".", ".."} & set(parts)
    assert "\\" not in name
