"""What passes the check trains; what fails is not silently trained. Every file of the corpus goes both ways."""

import gc
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from stoker_dataset_gateway.checking import CheckResult, check_file
from stoker_dataset_gateway.checking.rules import RULES
from stoker_trainer.errors import DatasetMethodMismatch, DatasetUnreadable
from tests.support.corpus import CORPUS, Case
from tests.support.corpus.training import SFT_FORMATS, Gym
from tests.support.tiny_model import build_tiny_model

GOOD = [case for case in CORPUS if case.is_good]
BAD = [case for case in CORPUS if not case.is_good]
PAGE = Path(__file__).parents[2] / "docs" / "datasets.md"
TRAINABLE_BY_HAND = {
    "one row": "nothing needs to be held out when somebody trains by hand",
    "line above the limit": "limits are settings of the gateway",
    "archive above the limit": "limits are settings of the gateway",
}
"""Files that only the gateway refuses, since what is wrong with them does not make a bad model."""


@pytest.fixture(scope="module")
def gym(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gym]:
    for name in ("HF_HUB_OFFLINE", "HF_HUB_DISABLE_TELEMETRY", "TRL_EXPERIMENTAL_SILENCE", "TQDM_DISABLE"):
        os.environ.setdefault(name, "1")
    import datasets
    import torch
    import trl  # noqa: F401 - so that what it brings is frozen, too

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # for a model this small, several only wait for each other
    datasets.disable_progress_bars()
    folder = tmp_path_factory.mktemp("corpus")
    made = Gym(build_tiny_model(folder / "model"), folder / "work")
    # Trainers collect garbage often, and what torch brings is a million objects.
    gc.collect()
    gc.freeze()
    yield made
    gc.unfreeze()
    torch.set_num_threads(threads)


def checked(case: Case) -> CheckResult:
    blocks = (case.content[start : start + 1000] for start in range(0, len(case.content), 1000))
    return check_file(blocks, case.filename, limits=case.limits, is_converted=case.is_converted_if_possible)


def test_names_of_cases_are_unique() -> None:
    names = [case.name for case in CORPUS]
    assert len(names) == len(set(names))


def test_every_rule_has_a_case() -> None:
    shown = {code for case in CORPUS for code in case.faults | case.warnings}
    assert shown == {code.value for code in RULES} - {"check_failed"}  # no file brings that about by its content


def test_the_page_tells_where_the_check_is_stricter_than_trl() -> None:
    stricter = {code for case in CORPUS if case.trl == "accepts" for code in case.faults}
    _, _, section = PAGE.read_text().partition("## Where the check is stricter than TRL\n")
    assert set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == stricter


@pytest.mark.parametrize("case", GOOD, ids=str)
def test_the_check_lets_what_is_good_pass(case: Case) -> None:
    result = checked(case)
    assert result.faults == []
    assert (result.data_format, result.conversion) == (case.data_format, case.conversion)
    assert result.fits_methods
    # Small files share prompts; only where the case is about that, it counts.
    assert set(result.warning_counts) - ({"leakage"} - case.warnings) == case.warnings


@pytest.mark.parametrize("case", BAD, ids=str)
def test_the_check_names_what_is_bad(case: Case) -> None:
    result = checked(case)
    assert set(result.fault_counts) == case.faults
    assert result.fits_methods == []


@pytest.mark.parametrize("case", [case for case in GOOD if case.data_format in SFT_FORMATS], ids=str)
def test_what_passes_trains(case: Case, gym: Gym) -> None:
    step = gym.train_our_way(case)
    assert step.is_real
    assert step.loss > 0


@pytest.mark.parametrize("case", [case for case in GOOD if case.data_format not in SFT_FORMATS], ids=str)
def test_what_passes_trains_by_its_method(case: Case, gym: Gym) -> None:
    assert gym.train_by_another_method(case).is_real


@pytest.mark.parametrize("case", [case for case in BAD if case.data_format in SFT_FORMATS], ids=str)
def test_what_fails_is_refused_by_the_trainer(case: Case, gym: Gym) -> None:
    if case.name in TRAINABLE_BY_HAND:
        assert gym.train_our_way(case).is_real
        return
    with pytest.raises((DatasetUnreadable, DatasetMethodMismatch)):
        gym.train_our_way(case)


@pytest.mark.parametrize("name", ["chats", "pairs of turns", "texts", "preferences", "labelled answers", "prompts"])
def test_trl_alone_trains_on_what_is_good(name: str, gym: Gym) -> None:
    """So that a refusal in the next test is TRL's and not that of the way we call it."""
    (case,) = (case for case in GOOD if case.name == name)
    assert gym.train_with_trl_alone(case).is_real


@pytest.mark.parametrize("case", [case for case in BAD if case.trl], ids=str)
def test_where_the_check_is_stricter_than_trl(case: Case, gym: Gym) -> None:
    """The corpus says which faults TRL finds by itself and which it trains on; both must be as it says."""
    reason = ""
    try:
        step = gym.train_with_trl_alone(case)
    except Exception as error:  # noqa: BLE001 - TRL and datasets raise whatever falls over first
        found, reason = "refuses", repr(error)
    else:
        found = "accepts" if step.rows else "refuses"
    assert found == case.trl, reason
