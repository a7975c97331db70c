"""What must hold, as lists of named checks. Each looks at a picture and tells what is wrong with it.

`ALWAYS` after each step of a history, `AT_THE_END` when the faults are off and the clock has run on. To add one: a
function and a line in its list.
"""

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime

from stoker_shared.job_state import MACHINE_STATUSES, EndReason, JobStatus, may_follow
from stoker_shared.money import MicroUsd, cost_of
from tests.property.picture import Picture
from tests.simulators.hostile.cloud import CloudMachine

Check = Callable[[Picture], Iterator[str]]

_S = JobStatus
_LANDINGS = (EndReason.BUDGET_LANDED, EndReason.DURATION_LANDED)
# No machine was made, so these attempts are not counted; they have a limit of their own.
_REFUSALS = (
    EndReason.NO_CAPACITY,
    EndReason.PROVIDER_AUTH_FAILED,
    EndReason.PROVIDER_FUNDS,
    EndReason.PROVIDER_REFUSED,
)
_MOST_REFUSALS = 20
_WITH_MACHINE = (_S.STARTING, _S.PREPARING, _S.TRAINING, _S.SAVING)


def wrongs(checks: Mapping[str, Check], picture: Picture) -> list[str]:
    """What is wrong, each with the name of its check."""
    return [f"{name}: {wrong}" for name, check in checks.items() for wrong in check(picture)]


def _ledger_sums_to_nothing(picture: Picture) -> Iterator[str]:
    for job_id in picture.jobs:
        balances = picture.balances(job_id)
        if sum(balances.values()):
            yield f"{job_id}: {dict(balances)}"
        for name, amount in balances.items():
            if amount < 0 and name.startswith(("held:", "spent:")):
                yield f"{name} is {amount}"


def _levels_have_what_their_jobs_have(picture: Picture) -> Iterator[str]:
    for level in picture.budgets:
        below = [
            job_id
            for job_id, command in picture.commands.items()
            if job_id in picture.jobs
            and command.owner == level["owner"]
            and (level["kind"] == "user" or command.project == level["name"])
        ]
        had = sum(
            amount
            for job_id in below
            for name, amount in picture.balances(job_id).items()
            if name.startswith(("held:", "spent:"))
        )
        if had != level["committed_micro_usd"]:
            yield f"{level['kind']} {level['name']!r} has committed {level['committed_micro_usd']}, its jobs have {had}"


def _nothing_begins_without_cover(picture: Picture) -> Iterator[str]:
    for (job_id, number), attempt in picture.attempts.items():
        kinds = [entry["kind"] for entry in picture.entries if entry["job_id"] == job_id and entry["attempt"] == number]
        if "reserve" not in kinds:
            yield f"{attempt['machine_name']} was begun without a reservation"
    for entry in picture.entries:
        is_first = entry["kind"] == "reserve" and entry["key"].endswith("/first")
        if is_first and entry["amount"] > picture.jobs[entry["job_id"]]["budget_micro_usd"]:
            yield f"{entry['key']} is more than the budget"


def _budget_is_kept(picture: Picture) -> Iterator[str]:
    # Nobody can stop a machine while all deployers are dead. But no look may leave one running beyond the budget.
    for job_id, job in picture.jobs.items():
        looked = picture.last_look.get(job_id)
        if picture.status(job_id) not in _WITH_MACHINE or looked is None or job["lock_token"] is not None:
            continue
        attempt = picture.attempts[job_id, job["attempt"]]
        began, price = attempt["billing_started_at"], MicroUsd(attempt["price_micro_usd_per_hour"])
        if began is None or (attempt["billing_ended_at"] is not None):
            continue
        balances = picture.balances(job_id)
        earlier = picture.spent(job_id) - balances[f"spent:{job_id}/{job['attempt']}"]
        tick = cost_of(picture.settings.budget_tick, price)
        if earlier + cost_of(looked - began, price) > job["budget_micro_usd"] + tick:
            yield f"{job_id} was left running at {looked} with {earlier} and {looked - began} at {price} an hour"


def _what_is_booked_was_run(picture: Picture) -> Iterator[str]:
    for (job_id, number), attempt in picture.attempts.items():
        spent = picture.balances(job_id)[f"spent:{job_id}/{number}"]
        name = attempt["machine_name"]
        # Its own machine, or an orphan of its name that turned up after its end.
        is_late = attempt["ended_at"] is not None and any(machine.name == name for machine in picture.machines())
        if spent and attempt["billing_started_at"] is None and not is_late:
            yield f"{name} cost {spent} without having begun to cost"


def _no_blind_launch(picture: Picture) -> Iterator[str]:
    # The first order may be blind; each further one only after two looks that found nothing, a pause apart.
    pause = picture.settings.absence_pause
    for cloud in picture.clouds.values():
        by_name: dict[str, list[tuple[str, str, object]]] = {}
        for request in cloud.requests:
            if request.operation in ("launch", "list") and request.about:
                by_name.setdefault(request.about, []).append((request.operation, request.said, request.at))
        for name, requests in by_name.items():
            absent_since = None
            is_certain = True
            for operation, said, at in requests:
                if operation == "launch":
                    if not is_certain:
                        yield f"{name} was ordered again at {at} without two looks: {requests}"
                    absent_since, is_certain = None, False
                elif said == "0":
                    absent_since = absent_since or at
                    is_certain = is_certain or at - absent_since >= pause  # type: ignore[operator]
                elif said.isdecimal():
                    absent_since, is_certain = None, False


def _story_has_no_gap(picture: Picture) -> Iterator[str]:
    for job_id, job in picture.jobs.items():
        told = picture.told.get(job_id, [])
        if [event["sequence"] for event in told] != list(range(1, job["sequence"] + 1)):
            yield f"{job_id} at {job['sequence']}: {[event['sequence'] for event in told]}"
        if told and told[-1]["status"] != job["status"]:
            yield f"{job_id} is {job['status']}, but was told to be {told[-1]['status']}"


def _statuses_follow_the_table(picture: Picture) -> Iterator[str]:
    for job_id, told in picture.told.items():
        walked = [_S(event["status"]) for event in told]
        changes = [(before, after) for before, after in itertools.pairwise(walked) if before != after]
        for before, after in changes:
            if not may_follow(before, after):
                yield f"{job_id} went from {before} to {after}"
        if sum(after.is_terminal for _, after in changes) > 1:
            yield f"{job_id} ended more than once"


def _attempts_are_counted(picture: Picture) -> Iterator[str]:
    numbers = Counter(job_id for job_id, _ in picture.attempts)
    refused = Counter(job for (job, _), attempt in picture.attempts.items() if attempt["end_reason"] in _REFUSALS)
    for job_id, job in picture.jobs.items():
        if numbers[job_id] != job["attempt"]:
            yield f"{job_id} is at attempt {job['attempt']} with {numbers[job_id]} rows"
        if numbers[job_id] - refused[job_id] > job["max_attempts"]:
            yield f"{job_id} is at attempt {job['attempt']} of {job['max_attempts']}, {refused[job_id]} were refused"
        if refused[job_id] > _MOST_REFUSALS:
            yield f"{job_id} was refused {refused[job_id]} times"


def _nobody_is_lost(picture: Picture) -> Iterator[str]:
    for job_id, job in picture.jobs.items():
        if not picture.status(job_id).is_terminal and job["next_check_at"] is None:
            yield f"{job_id} is {job['status']} and nobody will look at it"


def _every_end_has_a_reason(picture: Picture) -> Iterator[str]:
    for job_id, job in picture.jobs.items():
        status = picture.status(job_id)
        if not status.is_terminal:
            continue
        reason = EndReason(job["end_reason"]) if job["end_reason"] else None
        if reason is None or reason.ending.status != status:
            yield f"{job_id} is {status} for {reason}"
        if job["ended_at"] is None or job["lock_token"] is not None or job["next_check_at"] is not None:
            yield f"{job_id} has ended, and is not left alone: {dict(job)}"


def _what_completed_has_its_model(picture: Picture) -> Iterator[str]:
    for job_id, job in picture.jobs.items():
        is_stored = (job_id, job["attempt"]) in picture.peers.artifacts
        if picture.status(job_id) == _S.COMPLETED and not is_stored:
            yield f"{job_id} completed with {job['end_reason']} without a model"


def _a_landing_was_ordered(picture: Picture) -> Iterator[str]:
    for job_id, job in picture.jobs.items():
        was_ordered = picture.peers.orders.get((job_id, job["attempt"])) == "land"
        if job["end_reason"] in _LANDINGS and not was_ordered:
            yield f"{job_id} ended with {job['end_reason']}, and nobody had told its pod to land"


def _an_ended_attempt_holds_nothing(picture: Picture) -> Iterator[str]:
    for (job_id, number), attempt in picture.attempts.items():
        if attempt["ended_at"] is None:
            continue
        held = picture.balances(job_id)[f"held:{job_id}/{number}"]
        if held:
            yield f"{attempt['machine_name']} is over and holds {held}"
        if picture.peers.revoked[job_id, number] != {"metrics", "dataset_gateway"}:
            yield f"{attempt['machine_name']} is over, and its tokens are good"


def _one_attempt_at_a_time(picture: Picture) -> Iterator[str]:
    for (job_id, number), attempt in picture.attempts.items():
        job = picture.jobs[job_id]
        is_present = number == job["attempt"] and picture.status(job_id) in MACHINE_STATUSES
        if (attempt["ended_at"] is None) != is_present:
            yield f"{attempt['machine_name']} ended at {attempt['ended_at']} while the job is {job['status']}"


def _gone_is_the_providers_word(picture: Picture) -> Iterator[str]:
    # Asked for, once is enough; a surprise must be said twice, a pause apart. That a provider lies is its own fault.
    pause = picture.settings.absence_pause
    for attempt in picture.attempts.values():
        if attempt["ended_at"] is None or attempt["handle"] is None:
            continue
        cloud, handle = picture.clouds[attempt["provider"]], attempt["handle"]
        gone = [request.at for request in cloud.asked("describe", handle) if request.said.startswith("Gone")]
        is_no_surprise = bool(cloud.asked("terminate", handle))
        if not gone or not (is_no_surprise or max(gone) - min(gone) >= pause or picture.was_set_back):
            yield f"{handle} was taken for gone after {gone}, and nobody had asked for its end"


def _refused_means_never_made(picture: Picture) -> Iterator[str]:
    # An order whose outcome nobody knows may have made a machine, whatever the next order was answered.
    for attempt in picture.attempts.values():
        orders = picture.clouds[attempt["provider"]].asked("launch", attempt["machine_name"])
        if attempt["refused_at"] and any(order.said in ("ok", "UnknownOutcome") for order in orders):
            yield f"{attempt['machine_name']} counts as never made after {[order.said for order in orders]}"


def _all_have_ended(picture: Picture) -> Iterator[str]:
    for job_id in picture.commands:
        if job_id not in picture.jobs:
            yield f"{job_id} was never taken"
        elif not picture.status(job_id).is_terminal:
            yield f"{job_id} is still {picture.jobs[job_id]['status']}: {dict(picture.jobs[job_id])}"


def _no_machine_is_left(picture: Picture) -> Iterator[str]:
    for machine in picture.machines():
        if machine.is_alive:
            yield f"{machine.handle} runs since {machine.created_at}"


def _nothing_is_held(picture: Picture) -> Iterator[str]:
    for job_id in picture.jobs:
        for name, amount in picture.balances(job_id).items():
            if name.startswith("held:") and amount:
                yield f"{name} holds {amount}"


def _all_told_is_all_spent(picture: Picture) -> Iterator[str]:
    for job_id, told in picture.told.items():
        if told[-1]["spent_micro_usd"] != picture.spent(job_id):
            yield f"{job_id} cost {picture.spent(job_id)}, {told[-1]['spent_micro_usd']} was told"


def _cost(machine: CloudMachine, price: MicroUsd, *, since: datetime | None) -> int:
    if machine.started_at is None or machine.costs_until is None:
        return 0
    return cost_of(machine.costs_until - max(machine.started_at, since or machine.started_at), price)


def _a_machine_is_booked_as_dated(picture: Picture) -> Iterator[str]:
    # Where the provider dated start and end, and did not take back what it had said.
    for (job_id, number), attempt in picture.attempts.items():
        machine = picture.machine(attempt)
        if machine is None or machine.started_at is None or machine.costs_until is None or picture.was_set_back:
            continue
        said = [request.said for request in picture.clouds[attempt["provider"]].asked("describe", machine.handle)]
        if not said or said[-1] != "Gone":
            continue
        price = MicroUsd(attempt["price_micro_usd_per_hour"])
        owed = _cost(machine, price, since=attempt["intent_at"])
        # Orphans of the attempt are booked with it, from when they are seen.
        orphans = [other for other in picture.machines() if other.name == machine.name and other is not machine]
        most = owed + sum(_cost(orphan, price, since=None) for orphan in orphans)
        booked = picture.balances(job_id)[f"spent:{job_id}/{number}"]
        if not owed <= booked <= most:
            yield f"{machine.handle} ran for {owed}, with orphans {most}, booked are {booked}; it was {said}"


ALWAYS: dict[str, Check] = {
    "ledger sums to nothing": _ledger_sums_to_nothing,
    "levels have what their jobs have": _levels_have_what_their_jobs_have,
    "nothing begins without cover": _nothing_begins_without_cover,
    "budget is kept": _budget_is_kept,
    "what is booked was run": _what_is_booked_was_run,
    "no blind launch": _no_blind_launch,
    "story has no gap": _story_has_no_gap,
    "statuses follow the table": _statuses_follow_the_table,
    "attempts are counted": _attempts_are_counted,
    "nobody is lost": _nobody_is_lost,
    "every end has a reason": _every_end_has_a_reason,
    "what completed has its model": _what_completed_has_its_model,
    "a landing was ordered": _a_landing_was_ordered,
    "an ended attempt holds nothing": _an_ended_attempt_holds_nothing,
    "one attempt at a time": _one_attempt_at_a_time,
    "gone is the provider's word": _gone_is_the_providers_word,
    "refused means never made": _refused_means_never_made,
}

AT_THE_END: dict[str, Check] = {
    "all have ended": _all_have_ended,
    "no machine is left": _no_machine_is_left,
    "nothing is held": _nothing_is_held,
    "all told is all spent": _all_told_is_all_spent,
    "a machine is booked as dated": _a_machine_is_booked_as_dated,
}
