"""Counting the tokens of a file's rows, in the child process."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stoker_dataset_gateway.checking.faults import printable
from stoker_dataset_gateway.checking.file_check import batches_of
from stoker_dataset_gateway.checking.formats import SHAREGPT_ROLES, Layout, layout_of
from stoker_dataset_gateway.checking.json_rows import decode_row, parse_row
from stoker_dataset_gateway.checking.limits import CheckLimits
from stoker_dataset_gateway.checking.readers.batches import JsonBatch, TableBatch
from stoker_dataset_gateway.lengths.chat_template import LocalTokenizer, TemplateRefused, Turns, load_tokenizer
from stoker_shared.recipe import Conversion, DataFormat

_ROWS_AT_ONCE = 256
_SAMPLE_CHARACTERS = 4000


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """Every `stride`th row is counted, until `most_bytes` of the unpacked file have been read."""

    folder: str
    max_length: int
    stride: int
    most_bytes: int


@dataclass(frozen=True, slots=True)
class TokenFigures:
    """Lengths of the counted rows, sorted. `refused` of them the chat template does not take.

    `rows_passed` is how many rows were read past, `has_tokenizer` whether the folder had a tokenizer at all.
    """

    lengths: list[int]
    refused: int = 0
    rows_passed: int = 0
    is_whole: bool = True
    has_tokenizer: bool = True
    has_template: bool = True
    sample: str = ""


def count_tokens(blocks: Iterator[bytes], filename: str, request: TokenRequest, *, limits: CheckLimits) -> TokenFigures:
    """Count the rows of a file that has been checked before."""
    tokenizer = load_tokenizer(Path(request.folder))
    if tokenizer is None:
        return TokenFigures([], has_tokenizer=False)
    reader = _Bounded(blocks, request.most_bytes)
    counter = _Counter(tokenizer)
    passed = 0
    for values in _rows(reader, filename, limits):
        if passed % request.stride == 0:
            counter.add(values if isinstance(values, dict) else parse_row(decode_row(values)))
        passed += 1
    counter.flush()
    return TokenFigures(
        lengths=sorted(counter.lengths),
        refused=counter.refused,
        rows_passed=passed,
        is_whole=not reader.is_cut,
        has_template=tokenizer.template is not None,
        sample=printable(counter.sample, limit=_SAMPLE_CHARACTERS),
    )


class _Bounded:
    """Blocks up to a bound; a file that is cut there is read as far as whole rows go."""

    def __init__(self, blocks: Iterator[bytes], most_bytes: int) -> None:
        self._blocks = blocks
        self._left = most_bytes
        self.is_cut = False

    def __iter__(self) -> Iterator[bytes]:
        for block in self._blocks:
            if self._left <= 0:
                self.is_cut = True
                return
            self._left -= len(block)
            yield block


def _rows(reader: _Bounded, filename: str, limits: CheckLimits) -> Iterator[bytes | dict[str, Any]]:
    """Rows as they stand; of a cut file the last one, which may be cut too, is left out."""
    held: bytes | dict[str, Any] | None = None
    for batch in batches_of(iter(reader), filename, limits):
        if not isinstance(batch, JsonBatch | TableBatch):
            continue
        for row in batch.rows:
            if not isinstance(row, bytes | dict) or (isinstance(row, bytes) and not row.strip()):
                continue
            if held is not None:
                yield held
            held = row
    if held is not None and not reader.is_cut:
        yield held


class _Counter:
    def __init__(self, tokenizer: LocalTokenizer) -> None:
        self._tokenizer = tokenizer
        self._waiting: dict[bool, list[str]] = {True: [], False: []}
        self.lengths: list[int] = []
        self.refused = 0
        self.sample = ""

    def add(self, values: dict[str, Any]) -> None:
        layout = layout_of(values)
        if layout is None:
            return
        texts = [self._text(one) for one in trained_on(values, layout)]
        # Of a better and a worse answer the longer one counts.
        text, is_rendered = max(texts, key=lambda found: len(found[0]))
        self.sample = self.sample or text
        self._waiting[is_rendered].append(text)
        if len(self._waiting[is_rendered]) >= _ROWS_AT_ONCE:
            self.flush()

    def flush(self) -> None:
        for is_rendered, texts in self._waiting.items():
            self.lengths += self._tokenizer.lengths(texts, is_rendered=is_rendered)
            texts.clear()

    def _text(self, found: str | Turns) -> tuple[str, bool]:
        if isinstance(found, str):
            return found, False
        try:
            return self._tokenizer.render(found), self._tokenizer.template is not None
        except TemplateRefused:
            self.refused += 1
            return "\n".join(turn["content"] for turn in found), False


def trained_on(values: dict[str, Any], layout: Layout) -> list[str | Turns]:
    """What of a row passes through the model: one text or conversation, two for a pair of answers."""
    if layout.conversion is Conversion.SHAREGPT:
        turns = values["conversations"]
        return [[{"role": SHAREGPT_ROLES[turn["from"]], "content": turn["value"]} for turn in turns]]
    if layout.conversion is Conversion.ALPACA:
        prompt = "\n\n".join(part for part in (values["instruction"], values.get("input")) if part)
        return [prompt + values["output"]]
    if layout.data_format is DataFormat.PREFERENCE:
        first = [values["prompt"]] if "prompt" in layout.columns else []
        return [_joined([*first, values[column]]) for column in ("chosen", "rejected")]
    return [_joined([values[column] for column in layout.columns if column != "label"])]


def _joined(parts: list[Any]) -> str | Turns:
    if isinstance(parts[0], str):
        return "".join(parts)
    return [{"role": turn["role"], "content": turn["content"]} for part in parts for turn in part]
