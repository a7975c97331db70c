"""`stoker why` and `stoker retry`."""

from typing import Annotated

import typer
from rich.markup import escape

from stoker.client.diagnosing import Proposal, Proposals
from stoker.commands.jobs import JobArgument, PriorityOption
from stoker.commands.session import JsonOption, session_of
from stoker.terminal.screen import print_json, results
from stoker_shared.errors import RequestInvalid
from stoker_shared.money import show_usd
from stoker_shared.rpc.diagnosis import Diagnosis, Evidence

AttemptOption = Annotated[int | None, typer.Option(min=0, help="Of this attempt; else the newest end.")]
ChangeOption = Annotated[int, typer.Option("--change", min=1, help="Which proposal: its number in `stoker why`.")]


def why(context: typer.Context, job: JobArgument, attempt: AttemptOption = None, as_json: JsonOption = False) -> None:
    """Why a job failed, and plans that would do better."""
    with session_of(context).client() as client:
        found = client.why(job, attempt=attempt)
        if as_json:
            print_json(found)
            return
        console = results()
        if found.diagnosis is None:
            console.print(escape(found.detail))
            return
        for line in diagnosis_lines(found.diagnosis):
            console.print(line)
        if attempt is None and client.job(job).is_over:
            for line in proposal_lines(client.proposals(job)):
                console.print(line)


def retry(
    context: typer.Context,
    job: JobArgument,
    change: ChangeOption = 1,
    priority: PriorityOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Launch a proposal for a failed job: the first, or the one with that number."""
    with session_of(context).client() as client:
        known = client.proposals(job)
        launched = client.retry(job, chosen_proposal(known, change), priority=priority)
    if as_json:
        print_json(launched)
        return
    chosen = chosen_proposal(known, change)
    results().print(f"launched [bold]{launched.job_id}[/]: {escape(chosen.summary)}, {_cost(chosen)}")
    results().print(f"Follow it: stoker watch {launched.job_id}")


def diagnosis_lines(diagnosis: Diagnosis) -> list[str]:
    """The verdict with its evidence, what else was seen, what to do."""
    verdict, *others = diagnosis.findings
    sure = f" ({verdict.confidence:.0%} sure)" if verdict.confidence else ""
    lines = [f"[bold]{escape(verdict.summary)}[/]{sure}"]
    lines += [f"  {_where(one)}{escape(one.text)}" for one in verdict.evidence or diagnosis.last_errors]
    lines += [f"Also seen: {escape(finding.summary)}" for finding in others]
    return [*lines, f"Next: {escape(verdict.advice)}"]


def proposal_lines(known: Proposals) -> list[str]:
    """Each proposal with its number and cost; what does not help and why."""
    if not known.proposals:
        return ["No change to the plan helps.", *(f"  {one.change}: {escape(one.why)}" for one in known.unhelpful)]
    lines = [f"  {one.number}. {escape(one.summary)}; {_cost(one)}" for one in known.proposals]
    return ["Plans that fit:", *lines, f"Launch one: stoker retry {known.job_id} --change N"]


def _cost(proposal: Proposal) -> str:
    low, high = show_usd(proposal.cost_micro_usd_low), show_usd(proposal.cost_micro_usd_high)
    difference = proposal.cost_difference_micro_usd
    if difference is None:
        return f"{low} to {high}"
    return f"{low} to {high} ({'+' if difference >= 0 else ''}{show_usd(difference)} at most)"


def _where(evidence: Evidence) -> str:
    if evidence.sequence is None:
        return f"{evidence.source}: "
    return f"{evidence.source} {evidence.sequence}: "


def chosen_proposal(known: Proposals, number: int) -> Proposal:
    """The proposal with that number.

    Raises:
        RequestInvalid: there is none.
    """
    chosen = next((one for one in known.proposals if one.number == number), None)
    if chosen is None:
        count = len(known.proposals)
        raise RequestInvalid(
            f"There is no proposal {number} for {known.job_id}; it has {count}.", next_step=known.advice
        )
    return chosen
