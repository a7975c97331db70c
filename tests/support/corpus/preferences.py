"""Rows for methods other than SFT, good and bad; the trainer does not carry them out, TRL does."""

from tests.support.corpus.case import Case, assistant, bad, good, good_file, turn, user
from tests.support.corpus.good_files import PAIRS
from tests.support.corpus.writing import csv_table, parquet_table

PREFERENCES = [{"prompt": row["prompt"], "chosen": row["completion"], "rejected": "No idea."} for row in PAIRS]
PREFERRED_TURNS = [
    {"prompt": [user(row["prompt"])], "chosen": [assistant(row["chosen"])], "rejected": [assistant(row["rejected"])]}
    for row in PREFERENCES
]
IMPLICIT_TURNS = [{name: [*row["prompt"], *row[name]] for name in ("chosen", "rejected")} for row in PREFERRED_TURNS]
LABELLED = [{**row, "label": number % 2 == 0} for number, row in enumerate(PAIRS)]
LABELLED_TURNS = [
    {"prompt": [user(row["prompt"])], "completion": [assistant(row["completion"])], "label": row["label"]}
    for row in LABELLED
]
PROMPTS = [{"prompt": row["prompt"]} for row in PAIRS]
PROMPTS_OF_TURNS = [{"prompt": [user(row["prompt"])]} for row in PAIRS]

GOOD = [
    good("preferences", "preference", PREFERENCES),
    good("preferences of turns", "preference", PREFERRED_TURNS),
    good("preferences with the prompt inside", "preference", IMPLICIT_TURNS),
    good(
        "preferences of text with the prompt inside",
        "preference",
        [{name: row["prompt"] + row[name] for name in ("chosen", "rejected")} for row in PREFERENCES],
        warns="implicit_text_prompt",
    ),
    good("preferences with scores", "preference", [{**row, "score_chosen": 9, "margin": 0.5} for row in PREFERENCES]),
    good_file("preferences in csv", "data.csv", csv_table(PREFERRED_TURNS), "preference"),
    good_file("preferences in parquet", "data.parquet", parquet_table(IMPLICIT_TURNS), "preference"),
    good("labelled answers", "unpaired_preference", LABELLED),
    good("labelled answers of turns", "unpaired_preference", LABELLED_TURNS),
    good("labels 0 and 1", "unpaired_preference", [{**row, "label": int(row["label"])} for row in LABELLED]),
    good_file("labels in parquet", "data.parquet", parquet_table(LABELLED), "unpaired_preference"),
    good_file("labels in csv as words", "data.csv", csv_table(LABELLED), "unpaired_preference"),
    good_file(
        "labels in csv as numbers",
        "data.csv",
        csv_table([{**row, "label": int(row["label"])} for row in LABELLED]),
        "unpaired_preference",
    ),
    good("prompts", "prompt_only", PROMPTS),
    good("prompts of turns", "prompt_only", PROMPTS_OF_TURNS),
    good("prompts with facts for the reward", "prompt_only", [{**row, "solution": "7"} for row in PROMPTS]),
    good_file("prompts in csv", "data.csv", csv_table(PROMPTS_OF_TURNS), "prompt_only"),
]

NOTHING_TO_PREFER = "the loss is ln 2 in each step and nothing is learned"
BAD = [
    bad("rejected missing", "preference", [{"prompt": "a", "chosen": "b"}] * 2, faults="missing_column"),
    bad(
        "chosen missing in one row",
        "preference",
        [*PREFERENCES, {"prompt": "a", "rejected": "b"}],
        faults="missing_column",
    ),
    bad("rejected null", "preference", [*PREFERENCES, {**PREFERENCES[0], "rejected": None}], faults="wrong_type"),
    bad(
        "rejected empty",
        "preference",
        [{**PREFERENCES[0], "rejected": ""}, *PREFERENCES],
        faults="empty_text",
        stricter_since="an empty answer teaches no more than that any answer is better than none",
    ),
    bad(
        "chosen equal to rejected",
        "preference",
        [{**row, "rejected": row["chosen"]} for row in PREFERENCES],
        faults="chosen_equals_rejected",
        stricter_since=NOTHING_TO_PREFER,
    ),
    bad(
        "chosen turns equal to rejected",
        "preference",
        [{**row, "rejected": row["chosen"]} for row in PREFERRED_TURNS],
        faults="chosen_equals_rejected",
        stricter_since=NOTHING_TO_PREFER,
    ),
    bad(
        "whole conversations equal",
        "preference",
        [{**row, "rejected": row["chosen"]} for row in IMPLICIT_TURNS],
        faults="chosen_equals_rejected",
        stricter_since=NOTHING_TO_PREFER,
    ),
    bad(
        "text prompt before chosen turns",
        "preference",
        [{**row, "prompt": "a"} for row in PREFERRED_TURNS],
        faults="wrong_type",
    ),
    bad(
        "prompt repeated in the answers",
        "preference",
        [{"prompt": turns["prompt"], **row} for turns, row in zip(PREFERRED_TURNS, IMPLICIT_TURNS, strict=True)],
        faults="prompt_repeated",
        stricter_since="the prompt would stand there twice, and the model would learn to repeat questions",
    ),
    bad(
        "nothing shared",
        "preference",
        [{"chosen": [user("a"), assistant("b")], "rejected": [user("c"), assistant("d")]}] * 2,
        faults="prompt_not_shared",
    ),
    bad(
        "texts that begin differently",
        "preference",
        [{"chosen": "a b", "rejected": "c d"}] * 2,
        faults="prompt_not_shared",
        stricter_since="answers to different questions are not to be compared",
    ),
    bad(
        "prompt that ends with the assistant, preferred",
        "preference",
        [{**row, "prompt": [*row["prompt"], assistant("Well")]} for row in PREFERRED_TURNS],
        faults="prompt_end",
        stricter_since="the template ends the assistant's turn, and nobody waits for an answer",
    ),
    bad(
        "rejected is the user's turn",
        "preference",
        [{**row, "rejected": [user("b")]} for row in PREFERRED_TURNS],
        faults="no_assistant_turn",
        stricter_since="there is no answer to compare with",
    ),
    bad(
        "preferences with and without a prompt",
        "preference",
        [*PREFERENCES, {"chosen": "a b", "rejected": "a c"}],
        faults="mixed_formats",
    ),
    bad(
        "preferences of text and of turns",
        "preference",
        [*PREFERENCES, *PREFERRED_TURNS],
        faults="mixed_types",
    ),
    bad(
        "all labels true",
        "unpaired_preference",
        [{**row, "label": True} for row in LABELLED],
        faults="labels_one_way",
        stricter_since="there is nothing to tell apart",
    ),
    bad("labels as words", "unpaired_preference", [{**row, "label": "good"} for row in LABELLED], faults="wrong_type"),
    bad("label null", "unpaired_preference", [*LABELLED, {**LABELLED[0], "label": None}], faults="wrong_type"),
    bad(
        "label of 2",
        "unpaired_preference",
        [{**row, "label": number} for number, row in enumerate(PAIRS)],
        faults="wrong_type",
        stricter_since="2 is neither good nor bad; TRL takes it for good",
    ),
    bad(
        "labelled answer empty",
        "unpaired_preference",
        [*LABELLED, {**LABELLED[0], "completion": " "}],
        faults="empty_text",
        stricter_since="there is no answer to judge",
    ),
    bad("prompt a number", "prompt_only", [{"prompt": 1}, {"prompt": 2}], faults="wrong_type"),
    bad("prompt of no turns", "prompt_only", [{"prompt": []}] * 2, faults="empty_messages"),
    bad(
        "empty prompt",
        "prompt_only",
        [{"prompt": ""}, {"prompt": " "}],
        faults="empty_text",
    ),
    bad(
        "prompt alone that ends with the assistant",
        "prompt_only",
        [{"prompt": [user("a"), assistant("b")]}] * 2,
        faults="prompt_end",
        stricter_since="the template ends the assistant's turn, and nobody waits for an answer",
    ),
    bad(
        "prompt of a system turn alone",
        "prompt_only",
        [{"prompt": [turn("system", "a")]}] * 2,
        faults="prompt_end",
        stricter_since="nobody asked anything",
    ),
]
PREFERENCE_CASES: list[Case] = [*GOOD, *BAD]
