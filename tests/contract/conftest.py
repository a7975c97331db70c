"""What is collected only where a document of somebody else's is at hand."""

import os

import pytest

RUNPOD_DOCUMENT = os.environ.get("STOKER_RUNPOD_OPENAPI")
collect_ignore = [] if RUNPOD_DOCUMENT else ["test_runpod_openapi.py"]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say in one line what was not done."""
    if not RUNPOD_DOCUMENT:
        terminalreporter.line(
            "The RunPod simulator was not held against RunPod's own document: STOKER_RUNPOD_OPENAPI names none."
        )
