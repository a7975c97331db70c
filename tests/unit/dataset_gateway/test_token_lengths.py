"""Tokens are counted with the folder's own tokenizer and chat template, and estimates say that they are."""

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from stoker_dataset_gateway.checking import CheckLimits
from stoker_dataset_gateway.lengths.counting import TokenFigures, TokenRequest, count_tokens
from stoker_dataset_gateway.lengths.service import counted, estimated
from stoker_shared.rpc.dataset_gateway import DatasetStatistics

TEMPLATE = (
    "{% for message in messages %}{% if message.role == 'tool' %}{{ raise_exception('no tools') }}{% endif %}"
    "<s> {{ message.content }} </s> {% endfor %}"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model folder whose tokenizer counts words."""
    words = {"[UNK]": 0, **{word: number for number, word in enumerate(["<s>", "</s>", "a", "b"], start=1)}}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # type: ignore[assignment]
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    config = {"chat_template": TEMPLATE, "eos_token": {"content": "</s>"}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    return tmp_path


def count(folder: Path, rows: list[Any], *, stride: int = 1, most_bytes: int = 10**6) -> TokenFigures:
    content = "\n".join(map(json.dumps, rows)).encode()
    blocks = iter([content[start : start + 100] for start in range(0, len(content), 100)])
    request = TokenRequest(str(folder), 8, stride, most_bytes)
    return count_tokens(blocks, "a.jsonl", request, limits=CheckLimits())


def turns(*contents: str, role: str = "user") -> dict[str, Any]:
    return {"messages": [{"role": role, "content": content} for content in contents]}


def test_conversations_are_counted_as_the_template_writes_them(folder: Path) -> None:
    figures = count(folder, [turns("a b"), turns("a", "b b b")])
    assert figures.lengths == [4, 8]
    assert figures.sample == "<s> a b </s> "


def test_texts_get_an_end_and_the_longer_answer_counts(folder: Path) -> None:
    assert count(folder, [{"text": "a b a"}]).lengths == [4]
    assert count(folder, [{"prompt": "a ", "completion": "b b"}]).lengths == [4]
    assert count(folder, [{"prompt": "a ", "chosen": "b", "rejected": "b b b"}]).lengths == [5]
    assert count(folder, [{"instruction": "a", "input": "b", "output": " a"}]).lengths == [4]
    sharegpt = {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}
    assert count(folder, [sharegpt]).lengths == [6]


def test_a_sample_is_evenly_spaced_and_said_to_be_one(folder: Path) -> None:
    rows = [{"text": "a " * (number + 1)} for number in range(100)]
    figures = count(folder, rows, stride=10)
    assert figures.lengths == [number + 2 for number in range(0, 100, 10)]
    told = counted(figures, rows=100, max_length=51)
    assert (told.rows_measured, told.tokens_p50, told.tokens_max, told.truncated_share) == (10, 42, 92, 0.5)
    assert told.tokens_total == sum(figures.lengths) * 10
    assert "every 10th row" in told.basis
    cut = count(folder, rows, most_bytes=1000)
    assert not cut.is_whole
    assert 0 < cut.rows_passed < 100
    assert "of the first" in counted(cut, rows=100, max_length=8).basis


def test_what_the_template_refuses_is_counted_and_said(folder: Path) -> None:
    figures = count(folder, [turns("a"), turns("a b", role="tool")])
    assert figures.refused == 1
    assert "1 of the counted rows are refused" in counted(figures, rows=2, max_length=8).basis


def test_without_a_tokenizer_there_is_a_stated_estimate(tmp_path: Path) -> None:
    assert not count(tmp_path, [{"text": "a"}]).has_tokenizer
    statistics = DatasetStatistics(rows=9, characters_p50=40, characters_max=80, characters_total=360)
    told = estimated(statistics, max_length=20, why="no folder")
    assert (told.is_exact, told.tokens_p50, told.tokens_max, told.truncated_share) == (False, 10, 20, 0.0)
    assert "characters / 4" in told.basis
    assert estimated(statistics, max_length=19, why="").truncated_share is None
