"""When the demo calls itself a failure."""

import pytest

from stoker.demo.plan import DemoOptions, DemoResult
from stoker.demo.verdict import problems_of

OPTIONS = DemoOptions(steps=2)


def good() -> DemoResult:
    return DemoResult(
        held_out={"loss_before": 3.6, "loss_after": 1.0, "rows": 8},
        losses=[3.0, 2.0],
        answers={"base": "a", "tuned": "b"},
        artifacts=[{"name": "f", "sha256": "1", "sha256_on_disk": "1"}],
    )


def test_a_run_without_fault_has_no_problems() -> None:
    assert problems_of(good(), OPTIONS) == []


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("held_out", {"loss_before": 1.0, "loss_after": 1.0}, "did not fall"),
        ("held_out", {"loss_before": 1.0, "loss_after": float("nan")}, "did not fall"),
        ("held_out", {"loss_before": None, "loss_after": None}, "not measured"),
        ("artifacts", [{"name": "f", "sha256": "1", "sha256_on_disk": "2"}], "differ"),
        ("artifacts", [], "no files"),
        ("losses", [3.0], "1 points for 2 steps"),
        ("answers", {"base": "a", "tuned": ""}, "no answer"),
        ("answers", {"base": "a", "tuned": "a"}, "same answer"),
    ],
)
def test_each_fault_is_found(field: str, value: object, said: str) -> None:
    result = good()
    setattr(result, field, value)
    problems = problems_of(result, OPTIONS)
    assert len(problems) == 1
    assert said in problems[0]
