"""Every rule of the data check: its code, what it says, what to do about it."""

from dataclasses import dataclass
from enum import StrEnum

SUPPORTED = "JSON Lines, that is one JSON object a line, named .jsonl or .ndjson, plain or gzipped (.gz)"
MIN_ROWS = 2
ROLES = ("system", "developer", "user", "assistant", "tool")


class FaultCode(StrEnum):
    """Stable names of what can be wrong."""

    UNSUPPORTED_FILE = "unsupported_file"
    NOT_GZIP = "not_gzip"
    UNNAMED_GZIP = "unnamed_gzip"
    BROKEN_GZIP = "broken_gzip"
    UNPACKED_TOO_LARGE = "unpacked_too_large"
    JSON_ARRAY = "json_array"
    EMPTY_FILE = "empty_file"
    TOO_FEW_ROWS = "too_few_rows"
    LINE_TOO_LONG = "line_too_long"
    NOT_UTF8 = "not_utf8"
    INVALID_JSON = "invalid_json"
    DUPLICATE_KEY = "duplicate_key"
    NOT_A_NUMBER = "not_a_number"
    NOT_AN_OBJECT = "not_an_object"
    MISSING_COLUMN = "missing_column"
    MIXED_FORMATS = "mixed_formats"
    MIXED_TYPES = "mixed_types"
    WRONG_TYPE = "wrong_type"
    EMPTY_MESSAGES = "empty_messages"
    UNKNOWN_ROLE = "unknown_role"
    NO_ASSISTANT_TURN = "no_assistant_turn"
    NULL_CONTENT = "null_content"
    CONTENT_NOT_TEXT = "content_not_text"
    TOOL_CALLS = "tool_calls"
    EMPTY_TEXT = "empty_text"
    BROKEN_CHARACTER = "broken_character"


@dataclass(frozen=True, slots=True)
class Rule:
    """`message` is a format string; its fields come from the place that found the fault."""

    message: str
    advice: str


RULES: dict[FaultCode, Rule] = {
    FaultCode.UNSUPPORTED_FILE: Rule("{found} is not supported yet.", f"Convert it to {SUPPORTED}."),
    FaultCode.NOT_GZIP: Rule(
        "The name ends in .gz, but the content is not gzip.", "Name it .jsonl, or compress it with gzip."
    ),
    FaultCode.UNNAMED_GZIP: Rule("The content is gzip, but the name does not say so.", "Add .gz to the name."),
    FaultCode.BROKEN_GZIP: Rule("The gzip data is broken or ends too early: {reason}.", "Compress the file again."),
    FaultCode.UNPACKED_TOO_LARGE: Rule(
        "The file unpacks to more than {limit} bytes.", "Split it, or ask the operator for a higher limit."
    ),
    FaultCode.JSON_ARRAY: Rule(
        "The file is one JSON array.", "Write each of its objects on a line of its own: jq -c '.[]' in.json > out.jsonl"
    ),
    FaultCode.EMPTY_FILE: Rule("The file has no rows.", f"Upload {SUPPORTED}."),
    FaultCode.TOO_FEW_ROWS: Rule(
        "The file has {rows} row; {minimum} are the least.", "Add rows: one is trained on, one is held out to measure."
    ),
    FaultCode.LINE_TOO_LONG: Rule(
        "The line is longer than {limit} bytes.",
        "Split the row, or check that each row ends with a line break.",
    ),
    FaultCode.NOT_UTF8: Rule("Byte {position} of the line is not UTF-8 (0x{byte:02x}).", "Save the file as UTF-8."),
    FaultCode.INVALID_JSON: Rule(
        "Not valid JSON at column {position}: {reason}.", "Each line must hold one whole JSON object."
    ),
    FaultCode.DUPLICATE_KEY: Rule("The key {key!r} stands twice in one object.", "Keep one of the two."),
    FaultCode.NOT_A_NUMBER: Rule("{literal} is not JSON.", "Write null or leave the key out."),
    FaultCode.NOT_AN_OBJECT: Rule(
        "The line holds {found} where an object is expected.", 'Write each row as an object: {{"text": "..."}}.'
    ),
    FaultCode.MISSING_COLUMN: Rule("{missing} missing; the row has {found}.", "{advice}"),
    FaultCode.MIXED_FORMATS: Rule(
        "The row is {found}, but line {first_line} is {expected}.", "Bring all rows to one format."
    ),
    FaultCode.MIXED_TYPES: Rule(
        "The row holds {found}, but line {first_line} holds {expected}.",
        "Use text in all rows, or lists of turns in all rows.",
    ),
    FaultCode.WRONG_TYPE: Rule("{expected} is expected here, found {found}.", "Change the value."),
    FaultCode.EMPTY_MESSAGES: Rule("The list of turns is empty.", "Remove the row, or give it turns."),
    FaultCode.UNKNOWN_ROLE: Rule("The role is {found}.", f"Use one of {', '.join(ROLES)}."),
    FaultCode.NO_ASSISTANT_TURN: Rule(
        "There is no turn of the assistant, so there is nothing to learn.", "Add the answer, or remove the row."
    ),
    FaultCode.NULL_CONTENT: Rule("The content is null or missing.", "Give the turn a text, or remove it."),
    FaultCode.CONTENT_NOT_TEXT: Rule(
        "The content is {found}, not text.", "Only text is trained on: join parts to one text."
    ),
    FaultCode.TOOL_CALLS: Rule(
        "The turn has tool_calls, which are not trained on yet.", "Write the call into content as text."
    ),
    FaultCode.EMPTY_TEXT: Rule("The text is empty or only white space.", "Fill it, or remove the row."),
    FaultCode.BROKEN_CHARACTER: Rule(
        "The row holds half a character (a lone surrogate such as \\ud800).", "Write the whole character, or remove it."
    ),
}

FOREIGN_SHAPES: tuple[tuple[frozenset[str], str], ...] = (
    (frozenset({"chosen", "rejected"}), "This is preference data, which is not supported yet."),
    (frozenset({"instruction", "output"}), "This is Alpaca data: rename instruction to prompt, output to completion."),
    (frozenset({"question", "answer"}), "Rename question to prompt and answer to completion."),
    (frozenset({"instruction", "response"}), "Rename instruction to prompt and response to completion."),
    (frozenset({"input", "output"}), "Rename input to prompt and output to completion."),
    (
        frozenset({"conversations"}),
        "ShareGPT data: rename conversations to messages, from and value to role and content.",
    ),
    (frozenset({"input_ids"}), "This is tokenised already: upload the text."),
    (frozenset({"prompt"}), "There is a question without an answer: add a column completion."),
    (frozenset({"completion"}), "There is an answer without a question: add a column prompt, or name it text."),
)
"""Columns of formats that we do not take, and what to do about each; the first match speaks."""

NO_KNOWN_SHAPE = "Name the columns messages, or prompt and completion, or text."
