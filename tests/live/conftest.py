"""Runs against a real account are collected only if they are asked for by a key."""

import os

import pytest

KEY = os.environ.get("RUNPOD_API_KEY", "")
collect_ignore = [] if KEY else ["test_runpod.py"]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say in one line what was not done."""
    if not KEY:
        terminalreporter.line("The real RunPod was not tried: RUNPOD_API_KEY is not set.")
