"""Ranking: the root before what followed, first-hand before hearsay, unknown before a guess."""

import itertools
from datetime import UTC, datetime

import pytest

from stoker_metrics.diagnosis.causes import CAUSES
from stoker_metrics.diagnosis.evidence import LONGEST_TEXT, MOST_CHARACTERS, Known
from stoker_metrics.diagnosis.verdict import findings_of, last_errors, unknown
from stoker_shared.job_state import ENDINGS, EndReason, JobStatus
from stoker_shared.rpc.diagnosis import UNKNOWN
from stoker_shared.rpc.metrics import Alert, ExitFacts, Line

MOMENT = datetime(2026, 11, 22, tzinfo=UTC)
CUDA_OOM = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 4.22 GiB."
NCCL = "[rank1]: Watchdog caught collective operation timeout: WorkNCCL(SeqNum=7)"
# What an ending says by itself: the trainer's own end says nothing, the others are facts of the deployer.
SILENT = {EndReason.TRAINER_ERROR, EndReason.TRAINER_DIED}


def lines(*texts: str) -> list[Line]:
    return [Line(sequence=10 + number, at=MOMENT, stream="stderr", text=text) for number, text in enumerate(texts)]


def causes(known: Known) -> list[str]:
    return [finding.cause for finding in findings_of(known)]


def test_a_root_is_told_before_what_followed_whatever_came_first_in_the_log() -> None:
    for order in itertools.permutations([CUDA_OOM, NCCL, "exitcode: -9"]):
        assert causes(Known(lines=lines(*order)))[0] == "gpu_memory"


def test_what_followed_is_told_as_well() -> None:
    assert causes(Known(lines=lines(CUDA_OOM, NCCL))) == ["gpu_memory", "device_communication"]


def test_a_machine_that_died_after_an_error_died_of_it() -> None:
    assert causes(Known(reason=EndReason.MACHINE_LOST, lines=lines("No space left on device")))[0] == "disk_full"
    assert causes(Known(reason=EndReason.MACHINE_LOST)) == ["machine_died"]


def test_the_exit_report_counts_more_than_a_line_about_something_else() -> None:
    said = ExitFacts(at=MOMENT, exit_code=1, reason="trainer_error", message="[Errno 28] No space left on device")
    known = Known(exit=said, lines=lines("ModuleNotFoundError: No module named 'flash_attn'"))
    assert causes(known)[0] == "disk_full"


def test_what_was_tried_again_counts_less() -> None:
    known = Known(lines=lines("Name or service not known, trying again in 2 s", CUDA_OOM))
    assert causes(known)[0] == "gpu_memory"


def test_evidence_says_where_the_log_can_be_opened() -> None:
    finding = findings_of(Known(lines=lines("step 1", CUDA_OOM)))[0]
    assert [(one.source, one.sequence) for one in finding.evidence] == [("log", 11)]


def test_an_alert_is_evidence() -> None:
    alert = Alert(
        job_id="job-00000000000000aa", attempt=1, sequence=3, at=MOMENT, level="error", code="x", message=CUDA_OOM
    )
    finding = findings_of(Known(alerts=[alert]))[0]
    assert (finding.cause, finding.evidence[0].source, finding.evidence[0].sequence) == ("gpu_memory", "alert", 3)


def test_without_log_lines_the_last_lines_of_the_exit_report_are_read() -> None:
    said = ExitFacts(at=MOMENT, exit_code=1, reason="trainer_error", message="", last_lines=[CUDA_OOM])
    assert causes(Known(exit=said)) == ["gpu_memory"]


def test_nothing_known_is_said_to_be_unknown_with_the_last_error_lines() -> None:
    known = Known(reason=EndReason.TRAINER_ERROR, lines=lines("all is well", "OddError: the moon is full", "bye"))
    assert findings_of(known) == []
    assert unknown(known).cause == UNKNOWN
    assert [one.text for one in last_errors(known)] == ["OddError: the moon is full"]


def test_the_same_line_a_thousand_times_is_one_piece_of_evidence() -> None:
    finding = findings_of(Known(lines=lines(*[CUDA_OOM] * 1000)))[0]
    assert len(finding.evidence) == 1


def test_endless_lines_are_cut() -> None:
    assert all(len(one.text) <= LONGEST_TEXT for one in Known(lines=lines("x" * 1_000_000)).statements())


def test_of_a_huge_log_the_end_is_read() -> None:
    texts = [f"{number} {'x' * 990}" for number in range(3000)]
    known = Known(lines=lines(CUDA_OOM, *texts, NCCL))
    read = [one.text for one in known.statements()]
    assert sum(map(len, read)) <= MOST_CHARACTERS
    assert read[-1] == NCCL
    assert causes(known) == ["device_communication"]


@pytest.mark.parametrize("reason", [reason for reason in EndReason if reason not in SILENT])
def test_every_failure_that_the_deployer_names_has_a_cause(reason: EndReason) -> None:
    if ENDINGS[reason].status == JobStatus.COMPLETED:
        assert causes(Known(reason=reason)) == []
    else:
        assert causes(Known(reason=reason))


def test_the_table_is_whole() -> None:
    names = [cause.name for cause in CAUSES]
    assert len(set(names)) == len(names)
    for cause in CAUSES:
        assert cause.patterns or cause.reasons, cause.name
        assert cause.follows <= {*names, "*"}, cause.name
        assert cause.name not in cause.follows
        assert all(0 < worth < 1 for worth in [*cause.patterns.values(), *cause.reasons.values()])
