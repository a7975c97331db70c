"""Well-formed JSON Lines with rows that SFT should not or cannot learn from."""

from dataclasses import replace

from tests.support.corpus.case import Case, assistant, bad, turn, user
from tests.support.corpus.good_files import CHATS, PAIRS
from tests.support.corpus.good_rows import ALPACA, SHAREGPT

NO_ANSWER = "there is no answer to learn; TRL learns to write the question"
EMPTY = "an empty turn teaches to say nothing"
TEMPLATE = "the chat template drops it or prints it as Python, so the model learns something nobody wrote"
PAIR_OF_TURNS = {"prompt": [user("a")], "completion": [assistant("b")]}


def one_of_many(*turns: object) -> list[object]:
    """A row with these turns after good ones."""
    return [*CHATS, {"messages": list(turns)}]


TURNS = [
    bad("no turns", "messages", one_of_many(), faults="empty_messages"),
    bad("messages null", "messages", [*CHATS, {"messages": None}], faults="wrong_type"),
    bad("messages a text", "messages", [*CHATS, {"messages": "hi"}], faults="wrong_type"),
    bad("a turn that is a text", "messages", one_of_many("hi", assistant("b")), faults="wrong_type"),
    bad("no assistant", "messages", one_of_many(user("a")), faults="no_assistant_turn", stricter_since=NO_ANSWER),
    bad(
        "role nobody knows",
        "messages",
        one_of_many(turn("human", "a"), assistant("b")),
        faults="unknown_role",
        stricter_since="templates print any role, and at inference nobody has it",
    ),
    bad(
        "role missing",
        "messages",
        one_of_many({"content": "a"}, assistant("b")),
        faults="unknown_role",
    ),
    bad(
        "content null", "messages", one_of_many(user("a"), assistant(None)), faults="null_content", stricter_since=EMPTY
    ),
    bad(
        "content missing",
        "messages",
        one_of_many(user("a"), {"role": "assistant"}),
        faults="null_content",
        stricter_since=EMPTY,
    ),
    bad("answer empty", "messages", one_of_many(user("a"), assistant("")), faults="empty_text", stricter_since=EMPTY),
    bad(
        "question of spaces",
        "messages",
        one_of_many(user(" \n"), assistant("b")),
        faults="empty_text",
        stricter_since=EMPTY,
    ),
    bad(
        "content in parts",
        "messages",
        [{"messages": [user([{"type": "text", "text": "a"}]), assistant([{"type": "text", "text": "b"}])]}] * 2,
        faults="content_not_text",
        stricter_since=TEMPLATE,
    ),
    bad(
        "content a number",
        "messages",
        [{"messages": [turn("assistant", 7)]}] * 2,
        faults="content_not_text",
        stricter_since=TEMPLATE,
    ),
    bad(
        "calls of tools",
        "messages",
        one_of_many(
            user("a"),
            turn("assistant", "", tool_calls=[{"type": "function", "function": {"name": "f", "arguments": {"x": 1}}}]),
        ),
        faults="tool_calls",
        stricter_since=TEMPLATE,
    ),
    bad(
        "system in the middle",
        "messages",
        one_of_many(user("a"), turn("system", "s"), assistant("b")),
        faults="roles_out_of_order",
        stricter_since="many chat templates refuse it or move it",
    ),
    bad(
        "tool without a call",
        "messages",
        one_of_many(user("a"), turn("tool", "1"), assistant("b")),
        faults="roles_out_of_order",
        stricter_since="many chat templates refuse it",
    ),
]
TEXTS = [
    bad("text null", "text", [{"text": "a"}, {"text": None}], faults="wrong_type"),
    bad("text a number", "text", [{"text": 1}, {"text": 2}], faults="wrong_type"),
    bad("text a list", "text", [{"text": ["a"]}] * 2, faults="wrong_type"),
    bad("text empty", "text", [{"text": "a"}, {"text": ""}], faults="empty_text", stricter_since="nothing to learn"),
    bad(
        "completion empty",
        "prompt_completion",
        [*PAIRS, {"prompt": "a", "completion": ""}],
        faults="empty_text",
        stricter_since=EMPTY,
    ),
    bad(
        "prompt empty",
        "prompt_completion",
        [*PAIRS, {"prompt": "", "completion": "b"}],
        faults="empty_text",
        stricter_since="a text without a question belongs in the format text",
    ),
    bad("completion null", "prompt_completion", [*PAIRS, {"prompt": "a", "completion": None}], faults="wrong_type"),
    bad("completion a number", "prompt_completion", [{"prompt": "a", "completion": 4}] * 2, faults="wrong_type"),
    bad(
        "prompt text, completion turns",
        "prompt_completion",
        [{**PAIR_OF_TURNS, "prompt": "a"}] * 2,
        faults="wrong_type",
    ),
    bad(
        "prompt turns, completion text",
        "prompt_completion",
        [{**PAIR_OF_TURNS, "completion": "a"}] * 2,
        faults="wrong_type",
    ),
    bad("first texts, then turns", "prompt_completion", [*PAIRS, PAIR_OF_TURNS], faults="mixed_types"),
    bad(
        "completion without the assistant",
        "prompt_completion",
        [{**PAIR_OF_TURNS, "completion": [user("b")]}] * 2,
        faults="no_assistant_turn",
        stricter_since="the model would learn to write the user's part",
    ),
    bad(
        "prompt repeated in the completion",
        "prompt_completion",
        [{**PAIR_OF_TURNS, "completion": [user("a"), assistant("b")]}] * 2,
        faults="prompt_repeated",
        stricter_since="the prompt would stand there twice, and the model would learn to repeat questions",
    ),
    bad(
        "system in the completion",
        "prompt_completion",
        [{**PAIR_OF_TURNS, "completion": [turn("system", "s"), assistant("b")]}] * 2,
        faults="roles_out_of_order",
        stricter_since="many chat templates refuse it or move it",
    ),
]
SHAPES = [
    bad("no known columns", "text", [{"body": "a"}, {"body": "b"}], faults="missing_column"),
    bad("no columns", "text", [{}, {}], faults="missing_column"),
    bad("answers without questions", "prompt_completion", [{"completion": "a"}] * 2, faults="missing_column"),
    bad(
        "tokens",
        "text",
        [{"input_ids": [1, 2, 3]}] * 2,
        faults="missing_column",
        stricter_since="tokens of another tokenizer are noise",
    ),
    bad("first pairs, then text", "prompt_completion", [*PAIRS, {"text": "a"}], faults="mixed_formats"),
    bad("first chats, then pairs", "messages", [*CHATS, *PAIRS], faults="mixed_formats"),
    bad("first chats, then sharegpt", "messages", [*CHATS, *SHAREGPT], faults="mixed_formats"),
    bad("rows that are no objects", "text", [{"text": "a"}, ["text"], "text", None], faults="not_an_object"),
    bad(
        "one row",
        "text",
        [{"text": "alone"}],
        faults="too_few_rows",
        stricter_since="one is trained on, one is held out to measure",
    ),
]


def converted(case: Case, conversion: str) -> Case:
    """The case, read with a conversion."""
    return replace(case, conversion=conversion)


CONVERSIONS = [
    converted(
        bad(
            "sharegpt speaker nobody knows",
            "messages",
            [*SHAREGPT, {"conversations": [{"from": "bing", "value": "a"}, {"from": "gpt", "value": "b"}]}],
            faults="unknown_role",
            stricter_since="TRL renames the keys and prints any speaker",
        ),
        "sharegpt",
    ),
    converted(
        bad(
            "sharegpt value null",
            "messages",
            [*SHAREGPT, {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": None}]}],
            faults="null_content",
            stricter_since=EMPTY,
        ),
        "sharegpt",
    ),
    converted(
        bad(
            "sharegpt with a system column",
            "messages",
            [{**row, "system": "Be brief."} for row in SHAREGPT],
            faults="lossy_conversion",
            stricter_since="what the column says would be lost",
        ),
        "sharegpt",
    ),
    converted(
        bad(
            "alpaca without an answer", "prompt_completion", [*ALPACA, {**ALPACA[0], "output": ""}], faults="empty_text"
        ),
        "alpaca",
    ),
    converted(
        bad("alpaca input a list", "prompt_completion", [*ALPACA, {**ALPACA[0], "input": ["x"]}], faults="wrong_type"),
        "alpaca",
    ),
    converted(
        bad(
            "alpaca with a history",
            "prompt_completion",
            [{**row, "history": [["a", "b"]]} for row in ALPACA],
            faults="lossy_conversion",
        ),
        "alpaca",
    ),
    converted(
        bad("question null", "prompt_completion", [{"question": None, "answer": "a"}] * 2, faults="wrong_type"),
        "text_pairs",
    ),
    converted(
        bad(
            "answer of turns",
            "prompt_completion",
            [{"question": "a", "answer": [assistant("b")]}] * 2,
            faults="wrong_type",
        ),
        "text_pairs",
    ),
    replace(
        bad(
            "sharegpt not to be converted",
            "messages",
            SHAREGPT,
            faults="conversion_off",
            stricter_since="the user asked for it",
        ),
        is_converted_if_possible=False,
    ),
    replace(
        bad("alpaca not to be converted", "prompt_completion", ALPACA, faults="conversion_off"),
        is_converted_if_possible=False,
    ),
]
BAD_ROWS: list[Case] = [*TURNS, *TEXTS, *SHAPES, *CONVERSIONS]
