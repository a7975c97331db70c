"""The spool: in order, once, across restarts and damage."""

import contextlib
import errno
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stoker_trainer.spool import Spool


def numbers(spool: Spool) -> list[int]:
    return [record.sequence for record in spool.peek(limit=10_000, max_bytes=1 << 30)]


def test_what_was_not_acknowledged_is_there_after_a_restart(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.append([{"n": 1}, {"n": 2}])
    spool.append([{"n": 3}])
    spool.acknowledge(1)
    again = Spool(tmp_path)
    assert [(record.sequence, record.values["n"]) for record in again.peek(limit=9, max_bytes=999)] == [(2, 2), (3, 3)]
    again.append([{"n": 4}])
    assert numbers(again) == [2, 3, 4]


def test_numbers_go_on_when_everything_was_acknowledged(tmp_path: Path) -> None:
    spool = Spool(tmp_path, segment_bytes=10)
    for number in range(5):
        spool.append([{"n": number}])
        spool.acknowledge(spool.last_sequence)
    again = Spool(tmp_path)
    assert (len(again), again.last_sequence) == (0, 5)
    (tmp_path / "acknowledged.json").write_text("{")  # the position is lost: the last segment still knows
    assert Spool(tmp_path).last_sequence == 5


def test_acknowledged_segments_are_removed(tmp_path: Path) -> None:
    spool = Spool(tmp_path, segment_bytes=100)
    for number in range(50):
        spool.append([{"n": number}])
    spool.acknowledge(50)
    assert len(list(tmp_path.glob("*.segment"))) <= 1


def test_a_batch_respects_count_and_size_but_is_never_empty(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.append([{"text": "x" * 100} for _ in range(10)])
    assert len(spool.peek(limit=3, max_bytes=1 << 20)) == 3
    assert len(spool.peek(limit=9, max_bytes=270)) == 2
    assert len(spool.peek(limit=9, max_bytes=1)) == 1


def test_a_full_disk_appends_nothing_and_harms_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(tmp_path)
    spool.append([{"n": 1}])

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            spool.append([{"n": 2}])
    spool.append([{"n": 3}])
    again = Spool(tmp_path)
    assert [(one.sequence, one.values["n"]) for one in again.peek(limit=9, max_bytes=999)] == [(1, 1), (2, 3)]


def _full(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_with_spare_numbers_a_full_disk_stops_nothing_until_they_are_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(tmp_path, spare=4)
    spool.append([{"n": 1}])
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", _full)
        for number in (2, 3, 4):
            spool.append([{"n": number}])
        with pytest.raises(OSError, match="No space"):
            spool.append([{"n": 5}])
        assert numbers(spool) == [1, 2, 3, 4]
    spool.append([{"n": 5}])
    assert numbers(spool) == [1, 2, 3, 4, 5]
    again = Spool(tmp_path, spare=4)
    again.append([{"n": "new"}])
    kept: list[Any] = [(one.sequence, one.values["n"]) for one in again.peek(limit=9, max_bytes=999)]
    assert kept[:2] == [(1, 1), (5, 5)], "what was in memory alone is lost"
    assert kept[2][0] > 5


@settings(max_examples=60, deadline=None)
@given(steps=st.lists(st.sampled_from(["append", "append_two", "full", "room", "taken", "restart"]), max_size=40))
def test_with_spare_numbers_none_is_ever_used_twice(tmp_path_factory: pytest.TempPathFactory, steps: list[str]) -> None:
    folder = tmp_path_factory.mktemp("spool")
    spool, sent = Spool(folder, segment_bytes=100, spare=6), dict[int, int]()
    made = 0
    with pytest.MonkeyPatch.context() as patch:
        for step in steps:
            match step:
                case "full":
                    patch.setattr(os, "fsync", _full)
                case "room":
                    patch.undo()
                case "taken":
                    spool.acknowledge(spool.last_sequence)
                case "restart":
                    spool = Spool(folder, segment_bytes=100, spare=6)
                case _:
                    batch = [{"n": made + 1}, {"n": made + 2}][: 2 if step == "append_two" else 1]
                    made += len(batch)
                    with contextlib.suppress(OSError):
                        spool.append(batch)
            for record in spool.peek(limit=100, max_bytes=1 << 20):
                assert sent.setdefault(record.sequence, record.values["n"]) == record.values["n"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_loses_only_what_it_hit_and_no_number_is_used_twice(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("spool")
    spool = Spool(folder, segment_bytes=data.draw(st.sampled_from([1, 200, 1 << 20])))
    batches = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=6))
    for size in batches:
        spool.append([{"text": data.draw(st.text(max_size=8))} for _ in range(size)])
    acknowledged = data.draw(st.integers(0, sum(batches)))
    spool.acknowledge(acknowledged)
    before = numbers(spool)

    path = data.draw(st.sampled_from(sorted(folder.glob("*.segment"))))
    lines_hit = _damage(path, data)

    again = Spool(folder)
    after = numbers(again)
    assert after == sorted(set(after))
    assert set(after) <= set(before)
    assert len(after) >= len(before) - lines_hit
    again.append([{"new": True}])
    assert numbers(again)[:-1] == after
    assert again.last_sequence > max([*after, acknowledged], default=0)
    assert numbers(Spool(folder)) == numbers(again)


def _damage(path: Path, data: st.DataObject) -> int:
    """Cut, flip or add bytes; returns how many lines that may have hit."""
    content = path.read_bytes()
    match data.draw(st.sampled_from(["cut", "flip", "add"])):
        case "cut":
            end = data.draw(st.integers(0, len(content)))
            path.write_bytes(content[:end])
            return content[end:].count(b"\n")
        case "flip":
            at = data.draw(st.integers(0, len(content) - 1))
            changed = bytearray(content)
            changed[at] ^= data.draw(st.integers(1, 255))
            path.write_bytes(bytes(changed))
            return 2  # a changed line end joins two lines
        case _:
            path.write_bytes(content + data.draw(st.binary(max_size=40)))
            return 0


def test_a_damaged_line_keeps_its_number(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.append([{"n": 1}, {"n": 2}])
    path = next(iter(tmp_path.glob("*.segment")))
    path.write_bytes(path.read_bytes().replace(b'"n":2', b'"n":7'))
    again = Spool(tmp_path)
    again.append([{"n": "new"}])
    kept: list[Any] = [(one.sequence, one.values["n"]) for one in again.peek(limit=9, max_bytes=999)]
    assert kept == [(1, 1), (3, "new")]


def test_a_position_that_cannot_be_written_is_only_behind(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.append([{"n": 1}, {"n": 2}])
    (tmp_path / "acknowledged.json").mkdir()  # nothing can be renamed onto it
    spool.acknowledge(1)
    assert numbers(spool) == [2], "in this process nothing is sent twice"
    (tmp_path / "acknowledged.json").rmdir()
    assert numbers(Spool(tmp_path)) == [1, 2], "in the next one under the same number"


def test_an_empty_segment_that_a_crash_has_left_is_not_taken_for_an_old_one(tmp_path: Path) -> None:
    (tmp_path / f"{1:015d}.segment").touch()
    spool = Spool(tmp_path)
    spool.append([{"n": 1}, {"n": 2}])
    spool.acknowledge(1)
    assert numbers(Spool(tmp_path)) == [2]


def test_what_could_not_be_cut_off_is_written_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(tmp_path)
    spool.append([{"n": 1}])

    def broken(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", broken)
        patch.setattr(os, "truncate", broken)
        with pytest.raises(OSError, match="Input/output"):
            spool.append([{"n": "long and lost"}, {"n": "too"}])
    spool.append([{"n": 2}])
    again = Spool(tmp_path)
    assert [(one.sequence, one.values["n"]) for one in again.peek(limit=9, max_bytes=999)] == [(1, 1), (2, 2)]
