"""Runs against a real account cost money: they are collected only for `make test-live-runpod`, and with a key."""

import os

import pytest

# A key alone is no wish: it may lie in the environment of anybody who runs all tests.
IS_WANTED = os.environ.get("STOKER_LIVE_RUNPOD") == "1" and bool(os.environ.get("RUNPOD_API_KEY"))
collect_ignore = [] if IS_WANTED else ["test_runpod.py"]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say in one line what was not done."""
    if not IS_WANTED:
        terminalreporter.line("The real RunPod was not tried: make test-live-runpod does, with RUNPOD_API_KEY set.")
