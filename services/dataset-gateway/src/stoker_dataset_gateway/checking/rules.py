"""Every rule of the data check: its code, what it says, what to do about it, and whether it stops the file.

docs/datasets.md shows these tables; a test compares the two.
"""

from dataclasses import dataclass
from enum import StrEnum

SUPPORTED = (
    "JSON Lines (.jsonl, .ndjson), a JSON array (.json), CSV (.csv), Parquet (.parquet) or Arrow (.arrow, .feather), "
    "plain or compressed with gzip (.gz) or zstd (.zst)"
)
MIN_ROWS = 2
ROLES = ("system", "developer", "user", "assistant", "tool")


class Severity(StrEnum):
    """Whether the file is refused."""

    FAULT = "fault"
    WARNING = "warning"


class FaultCode(StrEnum):
    """Stable names of what can be wrong, or worth knowing."""

    UNSUPPORTED_FILE = "unsupported_file"
    NOT_GZIP = "not_gzip"
    NOT_ZSTD = "not_zstd"
    UNNAMED_GZIP = "unnamed_gzip"
    UNNAMED_ZSTD = "unnamed_zstd"
    BROKEN_GZIP = "broken_gzip"
    BROKEN_ZSTD = "broken_zstd"
    UNPACKED_TOO_LARGE = "unpacked_too_large"
    NOT_PARQUET = "not_parquet"
    NOT_ARROW = "not_arrow"
    NOT_UTF8_FILE = "not_utf8_file"
    JSON_ARRAY = "json_array"
    BROKEN_ARRAY = "broken_array"
    SINGLE_OBJECT = "single_object"
    BROKEN_CSV = "broken_csv"
    DUPLICATE_COLUMN = "duplicate_column"
    CHECK_FAILED = "check_failed"
    EMPTY_FILE = "empty_file"
    TOO_FEW_ROWS = "too_few_rows"
    LABELS_ONE_WAY = "labels_one_way"

    LINE_TOO_LONG = "line_too_long"
    NOT_UTF8 = "not_utf8"
    INVALID_JSON = "invalid_json"
    DUPLICATE_KEY = "duplicate_key"
    NOT_A_NUMBER = "not_a_number"
    BROKEN_CHARACTER = "broken_character"
    NOT_AN_OBJECT = "not_an_object"
    RAGGED_ROW = "ragged_row"
    MISSING_COLUMN = "missing_column"
    CONVERSION_OFF = "conversion_off"
    LOSSY_CONVERSION = "lossy_conversion"
    MIXED_FORMATS = "mixed_formats"
    MIXED_TYPES = "mixed_types"
    WRONG_TYPE = "wrong_type"

    EMPTY_TEXT = "empty_text"
    EMPTY_MESSAGES = "empty_messages"
    UNKNOWN_ROLE = "unknown_role"
    NULL_CONTENT = "null_content"
    CONTENT_NOT_TEXT = "content_not_text"
    TOOL_CALLS = "tool_calls"
    NO_ASSISTANT_TURN = "no_assistant_turn"
    ROLES_OUT_OF_ORDER = "roles_out_of_order"
    PROMPT_END = "prompt_end"
    PROMPT_REPEATED = "prompt_repeated"
    CHOSEN_EQUALS_REJECTED = "chosen_equals_rejected"
    PROMPT_NOT_SHARED = "prompt_not_shared"

    EMAIL_ADDRESS = "email_address"
    SECRET = "secret"  # noqa: S105 - the name of a warning
    PRIVATE_KEY = "private_key"
    LEAKAGE = "leakage"
    REPEATED_ROLE = "repeated_role"
    ASSISTANT_FIRST = "assistant_first"
    LAST_TURN_NOT_ASSISTANT = "last_turn_not_assistant"
    IMPLICIT_TEXT_PROMPT = "implicit_text_prompt"


@dataclass(frozen=True, slots=True)
class Rule:
    """`message` and `advice` are format strings; their fields come from the place that found the fault."""

    message: str
    advice: str
    severity: Severity = Severity.FAULT


def _warning(message: str, advice: str) -> Rule:
    return Rule(message, advice, Severity.WARNING)


OF_THE_FILE: dict[FaultCode, Rule] = {
    FaultCode.UNSUPPORTED_FILE: Rule("{found} is not a kind of file that is taken.", f"Convert it to {SUPPORTED}."),
    FaultCode.NOT_GZIP: Rule("The name ends in .gz, but the content is not gzip.", "Take .gz off the name."),
    FaultCode.NOT_ZSTD: Rule("The name ends in .zst, but the content is not zstd.", "Take .zst off the name."),
    FaultCode.UNNAMED_GZIP: Rule("The content is gzip, but the name does not say so.", "Add .gz to the name."),
    FaultCode.UNNAMED_ZSTD: Rule("The content is zstd, but the name does not say so.", "Add .zst to the name."),
    FaultCode.BROKEN_GZIP: Rule("The gzip data is broken or ends too early: {reason}.", "Compress the file again."),
    FaultCode.BROKEN_ZSTD: Rule("The zstd data is broken or ends too early: {reason}.", "Compress the file again."),
    FaultCode.UNPACKED_TOO_LARGE: Rule(
        "The file unpacks to more than {limit} bytes.", "Split it, or ask the operator for a higher limit."
    ),
    FaultCode.NOT_PARQUET: Rule("This is not a whole Parquet file: {reason}.", "Write the file again."),
    FaultCode.NOT_ARROW: Rule("This is not a whole Arrow file or stream: {reason}.", "Write the file again."),
    FaultCode.NOT_UTF8_FILE: Rule("The file is {found}.", "Save it as UTF-8."),
    FaultCode.JSON_ARRAY: Rule(
        "The file is one JSON array, but its name says JSON Lines.",
        "Name it .json, or write each of its objects on a line of its own: jq -c '.[]' in.json > out.jsonl",
    ),
    FaultCode.BROKEN_ARRAY: Rule(
        "The JSON array is broken after row {after}: {reason}.", "Write the file again; no row after this was checked."
    ),
    FaultCode.SINGLE_OBJECT: Rule(
        "The file is one JSON object over several lines, not an array of rows.",
        "Write a JSON array of the rows, or JSON Lines.",
    ),
    FaultCode.BROKEN_CSV: Rule(
        "Not valid CSV: {reason}.",
        "Quote cells that hold line breaks, commas or quotes; no row after it was checked.",
    ),
    FaultCode.DUPLICATE_COLUMN: Rule("The column {name!r} stands there twice.", "Rename or remove one of the two."),
    FaultCode.CHECK_FAILED: Rule(
        "The check of this file ended twice without a result: {reason}.",
        "Write the file again, if need be as JSON Lines; if that does not help, ask your operator.",
    ),
    FaultCode.EMPTY_FILE: Rule("The file has no rows.", f"Upload {SUPPORTED}."),
    FaultCode.TOO_FEW_ROWS: Rule(
        "The file has {rows} row; {minimum} are the least.", "Add rows: one is trained on, one is held out to measure."
    ),
    FaultCode.LABELS_ONE_WAY: Rule(
        "Every label is {label}, so there is nothing to tell apart.", "Add rows with the other label, or use SFT."
    ),
}
"""Of the file as a whole: line and row 0, or where reading had to end."""

OF_A_ROW: dict[FaultCode, Rule] = {
    FaultCode.LINE_TOO_LONG: Rule(
        "The row is longer than {limit} bytes.", "Split the row, or check that each row ends where it should."
    ),
    FaultCode.NOT_UTF8: Rule("Byte {position} of the {what} is not UTF-8 (0x{byte:02x}).", "Save the file as UTF-8."),
    FaultCode.INVALID_JSON: Rule(
        "Not valid JSON at column {position}: {reason}.", "Each row must be one whole JSON object."
    ),
    FaultCode.DUPLICATE_KEY: Rule("The key {key!r} stands twice in one object.", "Keep one of the two."),
    FaultCode.NOT_A_NUMBER: Rule("{literal} is not JSON.", "Write null or leave the key out."),
    FaultCode.BROKEN_CHARACTER: Rule(
        "The row holds half a character (a lone surrogate such as \\ud800).", "Write the whole character, or remove it."
    ),
    FaultCode.NOT_AN_OBJECT: Rule(
        "The row is {found} where an object is expected.", 'Write each row as an object: {{"text": "..."}}.'
    ),
    FaultCode.RAGGED_ROW: Rule(
        "The row has {found} cells, the header {expected}.", "Quote cells that hold commas, and fill missing ones."
    ),
    FaultCode.MISSING_COLUMN: Rule("{missing} missing; the row has {found}.", "{advice}"),
    FaultCode.CONVERSION_OFF: Rule(
        "The row is {shape}, and the upload asked not to convert.", "Upload with conversion, or: {advice}"
    ),
    FaultCode.LOSSY_CONVERSION: Rule(
        "The row is {shape}, and converting it would lose its column {column}.",
        "Write the rows as messages, with all that belongs to the conversation, or remove the column.",
    ),
    FaultCode.MIXED_FORMATS: Rule(
        "The row is {found}, but {first_place} is {expected}.", "Bring all rows to one format."
    ),
    FaultCode.MIXED_TYPES: Rule(
        "The row holds {found}, but {first_place} holds {expected}.",
        "Use text in all rows, or lists of turns in all rows.",
    ),
    FaultCode.WRONG_TYPE: Rule("{expected} is expected here, found {found}.", "Change the value."),
    FaultCode.EMPTY_TEXT: Rule("The text is empty or only white space.", "Fill it, or remove the row."),
}
"""Of a row in any format."""

OF_TURNS: dict[FaultCode, Rule] = {
    FaultCode.EMPTY_MESSAGES: Rule("The list of turns is empty.", "Remove the row, or give it turns."),
    FaultCode.UNKNOWN_ROLE: Rule("The role is {found}.", "Use one of {known}."),
    FaultCode.NULL_CONTENT: Rule("The content is null or missing.", "Give the turn a text, or remove it."),
    FaultCode.CONTENT_NOT_TEXT: Rule(
        "The content is {found}, not text.", "Only text is trained on: join parts to one text."
    ),
    FaultCode.TOOL_CALLS: Rule(
        "The turn has tool_calls, which are not trained on yet.", "Write the call into content as text."
    ),
    FaultCode.NO_ASSISTANT_TURN: Rule(
        "There is no turn of the assistant, so there is nothing to learn.", "Add the answer, or remove the row."
    ),
    FaultCode.ROLES_OUT_OF_ORDER: Rule("{what}.", "Put the turns in the order in which they were said."),
}
"""Of conversations, in whichever column they stand."""

OF_PREFERENCES: dict[FaultCode, Rule] = {
    FaultCode.PROMPT_END: Rule(
        "The prompt ends with a turn of {role}; nobody waits for an answer.", "End the prompt with a turn of the user."
    ),
    FaultCode.PROMPT_REPEATED: Rule(
        "{column} begins with the prompt, which would be trained on twice.",
        "Leave only the answer in the column, or leave the column prompt out.",
    ),
    FaultCode.CHOSEN_EQUALS_REJECTED: Rule(
        "chosen and rejected are the same, so there is nothing to prefer.", "Remove the row, or mend one of the two."
    ),
    FaultCode.PROMPT_NOT_SHARED: Rule(
        "There is no column prompt, and chosen and rejected {what}.",
        "Begin both with the same prompt, or put it into a column prompt.",
    ),
}
"""Of rows that have a prompt, and of pairs of a better and a worse answer."""

WORTH_KNOWING: dict[FaultCode, Rule] = {
    FaultCode.EMAIL_ADDRESS: _warning(
        "There is an e-mail address: {found}.", "Remove personal data that the model need not learn by heart."
    ),
    FaultCode.SECRET: _warning(
        "This looks like {kind}: {found}.", "Remove it and have it revoked: a model may repeat what it was trained on."
    ),
    FaultCode.PRIVATE_KEY: _warning(
        "There is a private key.", "Remove it and replace the key: a model may repeat what it was trained on."
    ),
    FaultCode.LEAKAGE: _warning(
        "Of the {held_out} rows that the default split holds out, {twins} also are in the rows trained on, and "
        "{shared} more have a prompt that is trained on with another answer.",
        "Remove repeated rows: the loss on held-out rows would look better than the model is.",
    ),
    FaultCode.REPEATED_ROLE: _warning(
        "Two turns of {role} follow each other; some chat templates refuse that.", "Join them to one turn."
    ),
    FaultCode.ASSISTANT_FIRST: _warning(
        "The assistant speaks first; some chat templates refuse that.", "Begin with a turn of the user."
    ),
    FaultCode.LAST_TURN_NOT_ASSISTANT: _warning(
        "The last turn is not the assistant's; nothing comes after it to learn.", "Add the answer, or remove the turn."
    ),
    FaultCode.IMPLICIT_TEXT_PROMPT: _warning(
        "There is no column prompt, so all that chosen and rejected begin with alike counts as the prompt, which may "
        "cut into the answers.",
        "Put the prompt into a column prompt.",
    ),
}
"""Warnings: the file is taken."""

GROUPS: dict[str, dict[FaultCode, Rule]] = {
    "The file as a whole": OF_THE_FILE,
    "Every row": OF_A_ROW,
    "Turns of a conversation": OF_TURNS,
    "Prompts and preferences": OF_PREFERENCES,
    "Warnings: the file is taken": WORTH_KNOWING,
}
RULES: dict[FaultCode, Rule] = {code: rule for group in GROUPS.values() for code, rule in group.items()}
