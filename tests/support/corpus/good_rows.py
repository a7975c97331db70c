"""Rows of every format and conversion that pass and train."""

from typing import Any

from tests.support.corpus.case import Case, assistant, good, good_file, turn, user
from tests.support.corpus.good_files import CHATS, PAIRS
from tests.support.corpus.writing import csv_table, parquet_table

ANSWERS = [assistant("Brovik"), assistant("Suvipo")]


def chat(*turns: dict[str, Any]) -> list[dict[str, Any]]:
    """Two rows that begin with these turns and end differently."""
    return [{"messages": [*turns, answer]} for answer in ANSWERS]


MESSAGES = [
    good("chats", "messages", CHATS),
    good("system before the user", "messages", chat(turn("system", "Be brief."), user("hi"))),
    good("system and developer", "messages", chat(turn("system", "a"), turn("developer", "b"), user("hi"))),
    good("several turns", "messages", chat(user("hi"), assistant("yes?"), user("a word"))),
    good("answers of tools", "messages", chat(user("hi"), assistant("look"), turn("tool", "1"), turn("tool", "2"))),
    good("empty list of tool calls", "messages", chat(user("hi"), turn("assistant", "x", tool_calls=[]), user("?"))),
    good("other keys in turns", "messages", chat({**user("hi"), "weight": 1, "id": None})),
    good("other columns", "messages", [{"id": 7, "source": {"a": [1]}, **row} for row in CHATS]),
    good("other columns with strange names", "messages", [{'a "b"\n\\': 1, "": 2, **row} for row in CHATS]),
    good("chats with a text, too", "messages", [{"text": "x", **row} for row in CHATS]),
    good("many scripts", "messages", chat(user("Grüße, 世界 🌍, \u2028 مرحبا, \u0000, \\ud83c"))),
    good("user twice in a row", "messages", chat(user("a"), user("b")), warns="repeated_role"),
    good("assistant first", "messages", chat(assistant("Yes?"), user("hi")), warns="assistant_first"),
    good(
        "user last",
        "messages",
        [{"messages": [*row["messages"], user("and?")]} for row in CHATS],
        warns="last_turn_not_assistant",
    ),
    good("assistant alone", "messages", [{"messages": [answer]} for answer in ANSWERS], warns="assistant_first"),
    good("all rows alike", "messages", CHATS[:1] * 4, warns="leakage"),
    good("key of a cloud", "messages", chat(user("my key is AKIA" + "Q7" * 8)), warns="secret"),
    good("private key", "messages", chat(user("-----BEGIN " + "RSA PRIVATE KEY-----\nMII")), warns="private_key"),
    good("e-mail address", "messages", chat(user("ann@example.org")), warns="email_address"),
]
PROMPT_COMPLETION = [
    good("pairs with other columns", "prompt_completion", [{"score": 0.5, **row} for row in PAIRS]),
    good(
        "pairs of turns",
        "prompt_completion",
        [{"prompt": [user(row["prompt"])], "completion": [assistant(row["completion"])]} for row in PAIRS],
    ),
    good(
        "prompt with a system turn and an answer",
        "prompt_completion",
        [{"prompt": [turn("system", "s"), user("a"), assistant("b"), user("c")], "completion": [a]} for a in ANSWERS],
    ),
    good(
        "prompt that ends with the assistant",
        "prompt_completion",
        [{"prompt": [user("a"), assistant("It")], "completion": [answer]} for answer in ANSWERS],
        warns="repeated_role",
    ),
    good(
        "completion of a call and its answer",
        "prompt_completion",
        [{"prompt": [user("a")], "completion": [assistant("look"), turn("tool", "1"), answer]} for answer in ANSWERS],
    ),
    good("prompt of spaces inside", "prompt_completion", [{"prompt": " a ", "completion": "\tb\n"}] * 2),
]
TEXT = [
    good("texts", "text", [{"text": row["prompt"] + row["completion"]} for row in PAIRS]),
    good("text of one character", "text", [{"text": "a"}, {"text": "b"}]),
]
SHAREGPT = [
    {"conversations": [{"from": "human", "value": row["prompt"]}, {"from": "gpt", "value": row["completion"]}]}
    for row in PAIRS
]
ALPACA = [{"instruction": row["prompt"], "input": "", "output": row["completion"]} for row in PAIRS]
CONVERTED = [
    good("sharegpt", "messages", SHAREGPT, conversion="sharegpt"),
    good(
        "sharegpt with every speaker",
        "messages",
        [
            {
                "conversations": [
                    {"from": name, "value": name}
                    for name in ("system", "human", "gpt", "tool", "assistant", "user", "gpt")
                ],
                "id": number,
                "system": "",
            }
            for number in range(2)
        ],
        conversion="sharegpt",
    ),
    good("alpaca", "prompt_completion", ALPACA, conversion="alpaca"),
    good(
        "alpaca with and without input",
        "prompt_completion",
        [{**ALPACA[0], "input": "of Ann"}, {**ALPACA[1], "input": None}, *ALPACA],
        conversion="alpaca",
    ),
    good(
        "alpaca without the column input",
        "prompt_completion",
        [{"instruction": row["instruction"], "output": row["output"]} for row in ALPACA],
        conversion="alpaca",
    ),
    *(
        good(
            f"pairs of {prompt} and {completion}",
            "prompt_completion",
            [{prompt: row["prompt"], completion: row["completion"], "id": 1} for row in PAIRS],
            conversion="text_pairs",
        )
        for prompt, completion in (
            ("question", "answer"),
            ("instruction", "response"),
            ("input", "output"),
            ("query", "response"),
        )
    ),
    good_file("sharegpt in parquet", "data.parquet", parquet_table(SHAREGPT), "messages", conversion="sharegpt"),
    good_file("sharegpt in csv", "data.csv", csv_table(SHAREGPT), "messages", conversion="sharegpt"),
    good_file("alpaca in csv", "data.csv", csv_table(ALPACA), "prompt_completion", conversion="alpaca"),
]
GOOD_ROWS: list[Case] = [*MESSAGES, *PROMPT_COMPLETION, *TEXT, *CONVERTED]
