"""No token is ever printed, and a missing variable is named without its value."""

import io

import pytest

from stoker_trainer.environment import hide_secrets, read_environment
from stoker_trainer.errors import InvalidEnvironment
from stoker_trainer.masking import Masker
from stoker_trainer.tee import Tee

SECRET = "abcdefghijklmnopqrstuvwxyz012345"


@pytest.mark.parametrize(
    "text",
    [
        f"GET http://x/dataset?a=1&token={SECRET}-more HTTP/1.1",
        f"Authorization: Bearer {SECRET}",
        f"the token is {SECRET}!",
    ],
)
def test_secrets_are_masked_wherever_they_stand(text: str) -> None:
    assert SECRET not in Masker([SECRET])(text)
    assert "***" in Masker()(text) or "token is" in text


def test_a_line_written_in_pieces_is_masked_as_a_whole() -> None:
    below, lines = io.StringIO(), []
    tee = Tee(below, masker=Masker([SECRET]), on_line=lines.append)
    for piece in (f"a {SECRET[:10]}", f"{SECRET[10:]} b\n10%\r50%\r100%\nno end"):
        tee.write(piece)
    tee.close()
    assert below.getvalue() == "a *** b\n100%\nno end\n"
    assert len(lines) == 3


def test_every_missing_variable_is_named_and_no_value_shown() -> None:
    with pytest.raises(InvalidEnvironment) as caught:
        read_environment({"JOB_ID": "j", "JOB_TOKEN": SECRET, "DATASET_SHA256": SECRET})
    for name in ("DATASET_URL", "DATASET_SHA256", "METRICS_API_URL", "TRAINING_CONFIG"):
        assert name in str(caught.value)
    assert SECRET not in str(caught.value)


def test_children_do_not_inherit_the_job_token() -> None:
    variables = {"JOB_TOKEN": SECRET, "DATASET_URL": "u", "HF_TOKEN": "h"}
    hide_secrets(variables)
    assert variables == {"HF_TOKEN": "h"}
