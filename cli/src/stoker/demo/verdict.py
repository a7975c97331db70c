"""What must be true for the demo to have worked."""

from collections.abc import Callable

from stoker.demo.plan import DemoOptions, DemoResult

Check = Callable[[DemoResult, DemoOptions], str | None]


def problems_of(result: DemoResult, options: DemoOptions) -> list[str]:
    """Everything that is not as it should be; empty if the demo has worked."""
    return [problem for check in CHECKS if (problem := check(result, options)) is not None]


def held_out_loss_fell(result: DemoResult, _options: DemoOptions) -> str | None:
    """The model is better on rows that it was not trained on."""
    before, after = result.held_out.get("loss_before"), result.held_out.get("loss_after")
    if before is None or after is None:
        return "The held-out loss was not measured."
    return None if after < before else f"The held-out loss did not fall: {before:.4f} before, {after:.4f} after."


def files_are_whole(result: DemoResult, _options: DemoOptions) -> str | None:
    """Every file on disk has the promised checksum."""
    damaged = [entry["name"] for entry in result.artifacts if entry["sha256"] != entry["sha256_on_disk"]]
    if not result.artifacts:
        return "The job has stored no files."
    return f"These files differ from their SHA-256: {', '.join(damaged)}." if damaged else None


def curve_is_complete(result: DemoResult, options: DemoOptions) -> str | None:
    """One loss for each step: no report was lost."""
    if len(result.losses) == options.steps:
        return None
    return f"The loss curve has {len(result.losses)} points for {options.steps} steps."


def both_answered(result: DemoResult, _options: DemoOptions) -> str | None:
    """Both models said something, and not the same."""
    base, tuned = result.answers.get("base", ""), result.answers.get("tuned", "")
    if not base or not tuned:
        return "A model gave no answer."
    return "Both models gave the same answer." if base == tuned else None


def pod_is_gone(result: DemoResult, _options: DemoOptions) -> str | None:
    """One pod was rented, and nothing of it is left."""
    pod = result.pod
    if pod is None:
        return None
    if pod.pods_created != 1:
        return f"{pod.pods_created} pods were made for one attempt."
    left = [f"{pod.pods_left} pods"] * bool(pod.pods_left) + [f"{pod.processes_left} processes"] * bool(
        pod.processes_left
    )
    return f"This is left at the provider: {', '.join(left)}." if left else None


def bill_is_what_was_charged(result: DemoResult, _options: DemoOptions) -> str | None:
    """The ledger holds what the provider took, to the micro-dollar."""
    pod = result.pod
    if pod is None or pod.billed_micro_usd == pod.charged_micro_usd == result.cost_micro_usd:
        return None
    return (
        f"The job cost {result.cost_micro_usd}, billed were {pod.billed_micro_usd}, "
        f"charged {pod.charged_micro_usd} micro-dollars."
    )


CHECKS: tuple[Check, ...] = (
    held_out_loss_fell,
    files_are_whole,
    curve_is_complete,
    both_answered,
    pod_is_gone,
    bill_is_what_was_charged,
)
