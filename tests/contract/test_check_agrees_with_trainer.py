"""The check of the gateway and the reading of the trainer, which know nothing of each other, agree on every row."""

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from stoker_dataset_gateway.checking import CheckResult, check_file
from stoker_dataset_gateway.checking.formats import LOST_BY_CONVERSION, PAIRS, SHAREGPT_ROLES, layout_of
from stoker_dataset_gateway.checking.row_rules import check_row
from stoker_dataset_gateway.checking.rules import ROLES
from stoker_shared.recipe import Conversion, DataFormat
from stoker_trainer import conversion as of_trainer
from stoker_trainer import row_faults
from stoker_trainer.data import check_rows, clean_rows
from stoker_trainer.errors import DatasetMethodMismatch, DatasetUnreadable
from tests.support.corpus.good_files import CHATS
from tests.support.corpus.good_files import PAIRS as PAIRS_OF_TEXT
from tests.support.corpus.good_rows import ALPACA, SHAREGPT

GOOD: dict[str, list[dict[str, Any]]] = {
    "messages": CHATS,
    "prompt_completion": PAIRS_OF_TEXT,
    "prompt_completion of turns": [{"prompt": row["messages"][:1], "completion": row["messages"][1:]} for row in CHATS],
    "text": [{"text": "a"}, {"text": "b"}],
    "sharegpt": SHAREGPT,
    "alpaca": ALPACA,
    **{f"{one}/{other}": [{one: "a", other: "b"}, {one: "c", other: "d"}] for one, other in PAIRS},
}

texts = st.sampled_from(
    ["a", "b\n\nc", "Grüße 世界", "[1]", "\u2028", "\x00", "\ufeff", "", " ", "\x1c", "\u3000", "\ud800"]
)
oddities = st.sampled_from([None, 0, 1.5, True, [], {}, ["a"], {"a": "b"}, [{}], [None]])
mostly_texts = st.one_of(texts, texts, texts, texts, oddities)
roles = st.sampled_from([*ROLES, *ROLES, "assistant", "user", "human", "gpt", "", None, 7])
speakers = st.sampled_from([*SHAREGPT_ROLES, *SHAREGPT_ROLES, "bing", "developer", None, 7])
more_of_a_turn = st.dictionaries(
    st.sampled_from(["tool_calls", "name", "weight", "role", "content", "from", "value"]), oddities, max_size=1
)


def turns_of(role: str, speaker: st.SearchStrategy[Any], content: str) -> st.SearchStrategy[Any]:
    """Lists of turns, mostly good ones."""
    turn = st.builds(lambda more, who, what: {**more, role: who, content: what}, more_of_a_turn, speaker, texts)
    return st.one_of(
        st.lists(turn, max_size=4), st.lists(turn, min_size=2, max_size=3), st.lists(turn | oddities), oddities
    )


def row_of(columns: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """Rows with these columns, and sometimes others or fewer."""
    others = st.dictionaries(st.sampled_from([*LOST_BY_CONVERSION, "id", "topic", "input"]), mostly_texts, max_size=1)
    whole = st.builds(lambda more, row: {**more, **row}, others, st.fixed_dictionaries(columns))
    return st.one_of(whole, whole, whole, st.fixed_dictionaries({}, optional=columns))


chat = turns_of("role", roles, "content")
ROWS: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "messages": row_of({"messages": chat}),
    "prompt_completion": row_of({"prompt": mostly_texts | chat, "completion": mostly_texts | chat}),
    "prompt_completion of turns": row_of({"prompt": chat, "completion": chat}),
    "text": row_of({"text": mostly_texts}),
    "sharegpt": row_of({"conversations": turns_of("from", speakers, "value")}),
    "alpaca": row_of({"instruction": mostly_texts, "input": mostly_texts, "output": mostly_texts}),
    **{f"{one}/{other}": row_of({one: mostly_texts, other: mostly_texts}) for one, other in PAIRS},
}


@pytest.mark.parametrize("shape", ROWS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(data=st.data())
def test_a_row_passes_the_check_if_and_only_if_the_trainer_takes_it(shape: str, data: st.DataObject) -> None:
    rows = [*GOOD[shape], *data.draw(st.lists(ROWS[shape], min_size=1, max_size=2))]
    content = "".join(json.dumps(row) + "\n" for row in rows)
    if any("\\ud800" in json.dumps(value) for row in rows for name, value in row.items() if name in IGNORED):
        return  # the check refuses half characters anywhere, the trainer where it would train on them
    checked = check_file([content.encode()], "data.jsonl")
    refusal, taken = read_by_trainer(content, checked)
    assert bool(refusal) == bool(checked.faults), refusal or checked.faults
    if not refusal:
        assert [as_trained_on(row) for row in taken] == [as_checked(row) for row in rows]


def read_by_trainer(content: str, checked: CheckResult) -> tuple[str, list[dict[str, Any]]]:
    """Why the trainer refuses the file, empty if it does not, and the rows as it trains on them."""
    assert checked.data_format is not None
    how: dict[str, Any] = {"data_format": checked.data_format.value, "conversion": checked.conversion}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.jsonl"
        path.write_text(content)
        try:
            check_rows(path, **how)
        except (DatasetMethodMismatch, DatasetUnreadable) as error:
            return str(error), []
        return "", list(clean_rows(str(path), fingerprint="", **how))


IGNORED = frozenset({"id", "topic", "input", *LOST_BY_CONVERSION})


def as_trained_on(row: dict[str, Any]) -> list[Any]:
    """All turns, or all texts."""
    values = list(row.values())
    if isinstance(values[0], str):
        return values
    return [(turn["role"], turn["content"]) for turns in values for turn in turns]


def as_checked(row: dict[str, Any]) -> list[Any]:
    """The same as the check saw it, which is what its figures and its sample are made of."""
    layout = layout_of(row)
    assert layout is not None
    report = check_row(row, layout)
    if report.shape != "text":
        return list(report.turns)
    *prompt, answer = [text for _, text in report.turns]
    return ["\n\n".join(prompt), answer] if prompt else [answer]


@given(
    instruction=st.text(min_size=1).filter(str.strip),
    extra=st.none() | st.text(),
    output=st.text(min_size=1).filter(str.strip),
)
@example(instruction="a", extra=" ", output="b")
def test_alpaca_is_joined_as_it_was_checked(instruction: str, extra: str | None, output: str) -> None:
    row = {"instruction": instruction, "input": extra, "output": output}
    made = of_trainer.convert_row(row, "alpaca")
    assert made == {"prompt": f"{instruction}\n\n{extra}" if extra else instruction, "completion": output}
    assert list(made.values()) == as_checked(row)


def test_both_have_the_same_tables() -> None:
    assert row_faults.ROLES == ROLES
    assert of_trainer.SHAREGPT_ROLES == SHAREGPT_ROLES
    assert of_trainer.TEXT_PAIRS == PAIRS
    assert of_trainer.LOST_BY_CONVERSION == LOST_BY_CONVERSION


@pytest.mark.parametrize(
    ("row", "data_format", "conversion"),
    [
        (SHAREGPT[0], DataFormat.MESSAGES, Conversion.SHAREGPT),
        (ALPACA[0], DataFormat.PROMPT_COMPLETION, Conversion.ALPACA),
        ({"question": "a", "answer": "b"}, DataFormat.PROMPT_COMPLETION, Conversion.TEXT_PAIRS),
        ({"instruction": "a", "input": "b", "output": "c"}, DataFormat.PROMPT_COMPLETION, Conversion.ALPACA),
        (CHATS[0] | SHAREGPT[0], DataFormat.MESSAGES, None),
    ],
)
def test_which_conversion_a_row_gets(
    row: dict[str, Any], data_format: DataFormat, conversion: Conversion | None
) -> None:
    layout = layout_of(row)
    assert layout is not None
    assert (layout.data_format, layout.conversion) == (data_format, conversion)
