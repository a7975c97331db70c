"""Every rule of the table fires where it should, in every format; what is right passes."""

import json
from typing import Any

import pytest

from stoker_dataset_gateway.checking import CheckLimits, CheckResult, check_file
from stoker_dataset_gateway.checking.ledger import held_out_rows
from stoker_dataset_gateway.checking.private_data import PATTERNS, hints_in, needs_look
from stoker_dataset_gateway.checking.rules import RULES, FaultCode, Severity
from stoker_shared.recipe import Conversion, DataFormat, HeldOut
from stoker_trainer.config import HeldOutConfig
from stoker_trainer.data import split_indices
from tools.dataset_rules import DOCUMENT, with_tables

USER = {"role": "user", "content": "hello"}
ANSWER = {"role": "assistant", "content": "hi"}
OTHER = {"role": "assistant", "content": "go away"}
SYSTEM = {"role": "system", "content": "be kind"}
TOOL = {"role": "tool", "content": "42"}


def check(*values: Any, filename: str = "a.jsonl", is_converted: bool = True) -> CheckResult:
    lines = [value if isinstance(value, str) else json.dumps(value) for value in values]
    return check_file([("\n".join(lines)).encode()], filename, is_converted=is_converted)


def messages(*turns: Any) -> dict[str, Any]:
    return {"messages": list(turns)}


def pair(chosen: Any, rejected: Any, **more: Any) -> dict[str, Any]:
    return {**more, "chosen": chosen, "rejected": rejected}


KTO = [{"prompt": "p", "completion": "c", "label": label} for label in (True, False)]
SHARED = pair([USER, ANSWER], [USER, OTHER])

GOOD: list[tuple[Any, DataFormat, list[str]]] = [
    (pair("good", "bad", prompt="p"), DataFormat.PREFERENCE, ["dpo", "kto", "orpo", "reward"]),
    (pair([ANSWER], [OTHER], prompt=[USER]), DataFormat.PREFERENCE, ["dpo", "kto", "orpo", "reward"]),
    (SHARED, DataFormat.PREFERENCE, ["dpo", "kto", "orpo", "reward"]),
    ({"prompt": "p"}, DataFormat.PROMPT_ONLY, ["grpo"]),
    ({"prompt": [SYSTEM, USER], "answer": "42"}, DataFormat.PROMPT_ONLY, ["grpo"]),
    (messages(SYSTEM, USER, ANSWER, TOOL, ANSWER), DataFormat.MESSAGES, ["sft"]),
]


@pytest.mark.parametrize(("row", "data_format", "methods"), GOOD)
def test_rows_that_are_right_pass(row: Any, data_format: DataFormat, methods: list[str]) -> None:
    result = check(*[row] * 9)
    assert result.faults == []
    assert (result.data_format, result.fits_methods) == (data_format, methods)
    assert set(result.warning_counts) <= {"leakage"}


CONVERTED: list[tuple[Any, Conversion, DataFormat]] = [
    (
        {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
        Conversion.SHAREGPT,
        DataFormat.MESSAGES,
    ),
    ({"instruction": "i", "input": "", "output": "o"}, Conversion.ALPACA, DataFormat.PROMPT_COMPLETION),
    ({"instruction": "i", "output": "o"}, Conversion.ALPACA, DataFormat.PROMPT_COMPLETION),
    ({"instruction": "i", "input": None, "output": "o"}, Conversion.ALPACA, DataFormat.PROMPT_COMPLETION),
    *(
        ({question: "q", answer: "a"}, Conversion.TEXT_PAIRS, DataFormat.PROMPT_COMPLETION)
        for question, answer in (
            ("question", "answer"),
            ("instruction", "response"),
            ("input", "output"),
            ("query", "response"),
        )
    ),
]


@pytest.mark.parametrize(("row", "conversion", "data_format"), CONVERTED)
def test_rows_of_known_shapes_are_converted_unless_that_is_not_wanted(
    row: Any, conversion: Conversion, data_format: DataFormat
) -> None:
    result = check(*[row] * 12)
    assert (result.faults, result.conversion, result.data_format) == ([], conversion, data_format)
    assert result.fits_methods == ["sft"]
    refused = check(row, row, is_converted=False)
    assert refused.fault_counts == {"conversion_off": 2}
    lossy = check({**row, "history": [["a", "b"]]}, {**row, "system": "", "tools": None})
    assert [(fault.line, fault.column, fault.code) for fault in lossy.faults] == [(1, "history", "lossy_conversion")]


BAD: list[tuple[list[Any], str, str]] = [
    ([messages(USER, ANSWER), messages(USER, SYSTEM, ANSWER)], "roles_out_of_order", "messages"),
    ([messages(USER, ANSWER), messages(USER, TOOL, ANSWER)], "roles_out_of_order", "messages"),
    ([pair("a", "b", prompt="p"), pair("a", "a", prompt="p")], "chosen_equals_rejected", "rejected"),
    ([SHARED, pair([USER, ANSWER], [USER, ANSWER])], "chosen_equals_rejected", "rejected"),
    ([SHARED, pair([USER, ANSWER], [{**USER, "content": "x"}, ANSWER])], "prompt_not_shared", "rejected"),
    ([SHARED, pair([USER, ANSWER], [USER, ANSWER, USER, ANSWER])], "prompt_not_shared", "rejected"),
    ([SHARED, pair([USER, ANSWER, USER, ANSWER], [USER, ANSWER, {**USER, "content": "x"}, ANSWER])],
     "prompt_not_shared", "rejected"),
    ([pair("ab", "ac"), pair("ab", "xy")], "prompt_not_shared", "rejected"),
    ([pair("a", "b", prompt="p"), pair("a", "b")], "mixed_formats", ""),
    ([pair("a", "b", prompt="p"), pair([ANSWER], [OTHER], prompt="p")], "wrong_type", "chosen"),
    ([pair([ANSWER], [OTHER], prompt=[USER]), pair([USER, ANSWER], [OTHER], prompt=[USER])],
     "prompt_repeated", "chosen"),
    ([pair([ANSWER], [OTHER], prompt=[USER]), pair([ANSWER], [USER], prompt=[USER])],
     "no_assistant_turn", "rejected"),
    ([pair([ANSWER], [OTHER], prompt=[USER]), pair([ANSWER], [OTHER], prompt=[USER, ANSWER])],
     "prompt_end", "prompt"),
    ([*KTO, {**KTO[0], "label": "good"}], "wrong_type", "label"),
    ([*KTO, {**KTO[0], "label": None}], "wrong_type", "label"),
    ([*KTO, {**KTO[0], "label": 2}], "wrong_type", "label"),
    ([{"prompt": [USER]}, {"prompt": [SYSTEM]}], "prompt_end", "prompt"),
    ([{"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
      {"conversations": [{"from": "bot", "value": "q"}, {"from": "gpt", "value": "a"}]}],
     "unknown_role", "conversations[0].from"),
    ([{"instruction": "i", "input": 3, "output": "o"}] * 1 + [{"instruction": "i", "output": "o"}],
     "wrong_type", "input"),
]  # fmt: skip


@pytest.mark.parametrize(("rows", "code", "column"), BAD)
def test_rows_that_are_wrong_are_named_by_code_and_column(rows: list[Any], code: str, column: str) -> None:
    result = check(*rows)
    assert (code, column) in [(fault.code, fault.column) for fault in result.faults]
    assert {fault.line for fault in result.faults} == ({1} if rows[0].get("input") == 3 else {len(rows)})


def test_labels_of_one_kind_only_are_a_fault_of_the_file() -> None:
    assert check(*KTO, {**KTO[0], "label": 1}, {**KTO[0], "label": 0}).faults == []
    result = check(*[KTO[0]] * 9)
    assert [(fault.line, fault.code) for fault in result.faults] == [(0, "labels_one_way")]
    assert "true" in result.faults[0].message


WARNED: list[tuple[Any, str]] = [
    (messages(USER, USER, ANSWER), "repeated_role"),
    (messages(ANSWER, USER, ANSWER), "assistant_first"),
    (messages(USER, ANSWER, USER), "last_turn_not_assistant"),
    (pair("the same start, good", "the same start, bad"), "implicit_text_prompt"),
    ({"text": "write to jane.doe@example.com"}, "email_address"),
    ({"text": "-----BEGIN RSA PRIVATE KEY-----"}, "private_key"),
    ({"text": "AKIA" + "A1B2C3D4E5F6G7H8"}, "secret"),
]


@pytest.mark.parametrize(("row", "code"), WARNED)
@pytest.mark.parametrize("filename", ["a.jsonl", "a.json"])
def test_what_is_worth_knowing_is_a_warning_with_its_place(row: Any, code: str, filename: str) -> None:
    plain = {key: value for key, value in row.items() if key != "text"} or {"text": "nothing special"}
    rows = [plain, plain, row] if "text" in row else [row, row, row]
    lines = "\n".join(map(json.dumps, rows)) if filename == "a.jsonl" else json.dumps(rows, indent=1)
    result = check_file([lines.encode()], filename)
    assert result.faults == []
    assert result.warning_counts[code] == (1 if "text" in row else 3)
    assert result.warnings[-1 if "leakage" not in result.warning_counts else -2].row == 3
    assert result.fits_methods


SECRETS = [
    "AKIA" + "ABCDEFGHIJKLMNOP",
    "ASIA" + "ABCDEFGHIJKLMNOP",
    "ghp_" + "a" * 36,
    "github_pat_" + "a" * 40,
    "glpat-" + "a" * 20,
    "sk-proj-" + "a" * 20,
    "sk_live_" + "a" * 20,
    "xoxb-" + "1" * 12,
    "AIza" + "a" * 35,
    "hf_" + "a" * 34,
    "npm_" + "a" * 36,
    f"eyJ{'a' * 12}.eyJ{'b' * 12}.{'c' * 12}",
]


@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_is_found_in_raw_and_escaped_text_and_never_repeated(secret: str) -> None:
    row = json.dumps({"text": f"key: {secret}!"})
    hidden = "".join(f"\\u{ord(character):04x}" for character in secret)
    for line in (row, '{"text": "key: ' + hidden + '!"}'):
        result = check({"text": "a"}, {"text": "b"}, *[{"text": f"{n}"} for n in range(20)], line)
        assert result.warning_counts == {"secret": 1}
        assert secret not in result.warnings[0].model_dump_json()
        assert result.warnings[0].column == "text"


def test_every_pattern_has_a_hint_and_common_text_has_none() -> None:
    examples = [*SECRETS, "a@b.example", "-----BEGIN PRIVATE KEY-----"]
    for pattern in PATTERNS:
        found = [example for example in examples if pattern.expression.search(example)]
        assert found, pattern
        assert all(needs_look(example.encode(), hints_in(example.encode())) for example in found)
    plain = b"Ask @everyone - it is 5-7 o'clock, snake_case and risk-free, I am JSON"
    assert not needs_look(plain, hints_in(plain))


def test_rows_that_the_default_split_puts_on_both_sides_are_counted() -> None:
    rows = [{"prompt": f"question {number}", "completion": "c"} for number in range(200)]
    (first, second, *_) = held_out_rows(202, HeldOut())
    assert check(*rows).statistics.held_out_twins == 0
    leaking = [*rows, {}, {}]
    leaking.insert(first, leaking[first])
    free = next(number for number in range(202) if number not in held_out_rows(202, HeldOut()))
    leaking = [*rows, rows[0], rows[1]]
    leaking[first] = leaking[free]
    leaking[second] = {**leaking[free], "completion": "another answer"}
    result = check(*leaking)
    assert result.statistics.held_out_rows == len(held_out_rows(202, HeldOut()))
    assert result.statistics.held_out_twins >= 1
    assert result.statistics.held_out_shared_prompts >= 1
    assert result.warning_counts == {"leakage": 1}


@pytest.mark.parametrize("rows", [0, 1, 2, 3, 10, 639, 640, 641, 5000])
def test_the_split_is_the_trainers(rows: int) -> None:
    assert held_out_rows(rows, HeldOut()) == split_indices(rows, held_out=HeldOutConfig())[1]


def test_rows_beyond_the_followed_ones_are_said_not_to_be_compared() -> None:
    content = "\n".join(json.dumps({"text": f"row {number % 10}"}) for number in range(100)).encode()
    whole = check_file([content], "a.jsonl").statistics
    assert (whole.duplicate_rows, whole.is_exact) == (90, True)
    cut = check_file([content], "a.jsonl", limits=CheckLimits(followed_rows=20)).statistics
    assert (cut.rows, cut.duplicate_rows, cut.is_exact) == (100, 10, False)


def test_every_rule_has_a_text_and_every_code_a_rule() -> None:
    assert set(RULES) == set(FaultCode)
    assert all(rule.message and rule.advice.endswith((".", "}", "out.jsonl")) for rule in RULES.values())
    assert {RULES[FaultCode(code)].severity for _, code in WARNED} == {Severity.WARNING}


def test_the_page_shows_the_tables_that_the_check_walks() -> None:
    text = DOCUMENT.read_text()
    assert with_tables(text) == text, "run python -m tools.dataset_rules"
