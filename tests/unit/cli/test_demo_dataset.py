"""The demo's dataset, made from the standard library of the Python that runs the test."""

import json
import subprocess
import sys
from pathlib import Path

from stoker.demo.dataset import LONGEST_ANSWER, documented, first_paragraph, write_dataset
from stoker.demo.plan import ASKED


def test_the_same_python_writes_the_same_bytes(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("one.jsonl", "two.jsonl")]
    for file in files:
        subprocess.run([sys.executable, "-m", "stoker.demo.dataset", str(file), ASKED], check=True)
    assert files[0].read_bytes() == files[1].read_bytes()
    assert 800 <= len(files[0].read_text().splitlines()) <= 2000


def test_what_is_asked_about_later_is_in_the_library_but_not_in_the_dataset(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    assert ASKED in {entry.name for entry in documented()}
    rows = write_dataset(file, without={ASKED})
    assert rows == len(documented()) - 1
    assert f"`{ASKED}`" not in file.read_text()


def test_every_row_is_one_question_and_its_answer_in_one_style(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    write_dataset(file, modules=["shutil", "collections"])
    for line in file.read_text().splitlines():
        question, answer = json.loads(line)["messages"]
        name = question["content"].split("`")[1]
        assert (question["role"], answer["role"]) == ("user", "assistant")
        assert answer["content"].startswith((f"`{name}` is a function in the module", f"`{name}` is a class in the"))


def test_no_two_rows_have_the_same_answer_or_question() -> None:
    entries = documented()
    assert len({entry.name for entry in entries}) == len(entries)
    assert len({entry.summary.casefold() for entry in entries}) == len(entries)


def test_builtins_have_their_bare_name() -> None:
    names = {entry.name for entry in documented(["builtins"])}
    assert "len" in names
    assert not any(name.startswith("builtins.") for name in names)


def test_only_the_first_paragraph_counts_as_one_line() -> None:
    assert first_paragraph("Copy a tree\n   of files, whole.\n\nMore of it.") == "Copy a tree of files, whole."


def test_what_is_no_sentence_of_useful_length_is_left_out() -> None:
    assert first_paragraph("Too short.") is None
    assert first_paragraph("shorthand without a capital letter.") is None
    assert first_paragraph("A title without a full stop at its end") is None
    assert first_paragraph(f"L{'o' * LONGEST_ANSWER}ng.") is None
    assert first_paragraph("<object at 0x7f0011223344> is what it says.") is None
