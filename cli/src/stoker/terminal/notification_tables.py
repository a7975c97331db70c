"""Notifications as tables."""

from collections.abc import Iterable, Mapping
from datetime import datetime

from rich.markup import escape
from rich.table import Table

from stoker.terminal.tables import table
from stoker_shared.rpc.notifications import DeliveryFacts, RuleFacts, TargetFacts


def target_table(targets: Iterable[TargetFacts]) -> Table:
    """Targets, oldest first."""
    made = table("target", "name", "kind", "leads to", "state", "last delivered")
    for target in targets:
        place = f"{target.place} (...{target.hint})" if target.hint else target.place
        state = f"{target.state}: {target.state_detail}" if target.state_detail else target.state
        cells = (target.name, target.kind, place, state)
        made.add_row(target.target_id, *(escape(cell) for cell in cells), _moment(target.last_delivered_at))
    return made


def rule_table(rules: Iterable[RuleFacts], *, names: Mapping[str, str]) -> Table:
    """Rules, oldest first."""
    made = table("rule", "target", "events", "project", "with")
    for rule in rules:
        limits = []
        if "job.budget_share" in rule.events:
            limits.append(f"{rule.budget_share:.0%} of the budget")
        if "job.queued_long" in rule.events:
            limits.append(f"after {rule.queued_after_seconds} s in the queue")
        name = names.get(rule.target_id, rule.target_id)
        made.add_row(
            rule.rule_id, escape(name), ", ".join(rule.events), escape(rule.project or "all"), ", ".join(limits)
        )
    return made


def delivery_table(deliveries: Iterable[DeliveryFacts], *, names: Mapping[str, str]) -> Table:
    """Deliveries, newest first."""
    made = table("delivery", "target", "type", "job", "state", ">tries", "last answer", "happened")
    for delivery in deliveries:
        last = delivery.attempts[-1] if delivery.attempts else None
        said = "" if last is None else last.error or str(last.status or "taken")
        made.add_row(
            delivery.delivery_id,
            escape(names.get(delivery.target_id, delivery.target_id)),
            f"{delivery.type} ({delivery.held_back})" if delivery.held_back else delivery.type,
            delivery.job_id or "",
            delivery.state,
            str(len(delivery.attempts)),
            escape(said),
            _moment(delivery.occurred_at),
        )
    return made


def _moment(moment: datetime | None) -> str:
    return f"{moment.astimezone():%Y-%m-%d %H:%M}" if moment else ""
