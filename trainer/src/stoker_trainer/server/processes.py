"""Process groups: which are alive, and how to end them. A zombie counts as dead."""

import os
import signal

import psutil

START_TIME_TOLERANCE_SECONDS = 2.0


def start_time(pid: int) -> float | None:
    """When a living process started (seconds since 1970), or None."""
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.NoSuchProcess:
        return None


def is_same_process(pid: int, started: float) -> bool:
    """True when `pid` still is the process that started then, not a later one with the same number."""
    found = start_time(pid)
    return found is not None and abs(found - started) <= START_TIME_TOLERANCE_SECONDS


def group_members(leader: int, *, started: float) -> list[int]:
    """Living processes of the group that `leader` founded, which may be dead itself.

    A number is not given away while its group has members, so another leader means that the group is gone.
    """
    found = start_time(leader)
    if found is not None and abs(found - started) > START_TIME_TOLERANCE_SECONDS:
        return []
    return [process.pid for process in psutil.process_iter() if _is_alive_in(process, leader)]


def signal_group(leader: int, number: signal.Signals, *, started: float) -> None:
    """Send a signal to the whole group if anything of it is left."""
    if group_members(leader, started=started):
        try:
            os.killpg(leader, number)
        except ProcessLookupError:
            return  # it ended between the look and the signal


def _is_alive_in(process: psutil.Process, group: int) -> bool:
    try:
        return os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE
    except (ProcessLookupError, psutil.NoSuchProcess):
        return False
