"""What a machine tells of itself."""

from pathlib import Path

import pytest

from stoker_trainer.hardware import Hardware
from stoker_trainer.machine import SECONDS_BETWEEN_LOOKS, Machine

CPU_ONLY = Hardware(gpus=(), has_bfloat16=False)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def ticks(proc_stat: Path, *, worked: int, idle: int) -> None:
    proc_stat.write_text(f"cpu  {worked} 0 0 {idle} 0 0 0 0 0 0\ncpu0 1 1 1 1\n")


def test_processors_are_told_by_what_passed_between_two_looks(tmp_path: Path) -> None:
    clock, proc_stat = Clock(), tmp_path / "stat"
    ticks(proc_stat, worked=1000, idle=9000)
    machine = Machine(CPU_ONLY, folder=tmp_path, clock=clock, proc_stat=proc_stat)
    assert machine.values() == {}
    clock.now += SECONDS_BETWEEN_LOOKS
    ticks(proc_stat, worked=1030, idle=9010)
    assert machine.values()["cpu_percent"] == pytest.approx(75)
    ticks(proc_stat, worked=9999, idle=9010)
    assert machine.values()["cpu_percent"] == pytest.approx(75), "not looked at again so soon"


def test_without_a_gpu_nothing_is_told_of_one(tmp_path: Path) -> None:
    clock = Clock()
    machine = Machine(CPU_ONLY, folder=tmp_path, clock=clock)
    clock.now += SECONDS_BETWEEN_LOOKS
    values = machine.values()
    assert not [name for name in values if name.startswith("gpu")]
    assert 0 < (values["disk_percent"] or 0) <= 100


def test_what_the_system_does_not_tell_is_left_out(tmp_path: Path) -> None:
    clock = Clock()
    machine = Machine(CPU_ONLY, folder=tmp_path / "gone", clock=clock, proc_stat=tmp_path / "none")
    clock.now += SECONDS_BETWEEN_LOOKS
    assert machine.values() == {}
