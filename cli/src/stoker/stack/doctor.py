"""`stoker doctor`: looks at the machine, the data folder and, if a stack runs on it, at every part of it."""

from stoker.stack.doctor_machine import MACHINE_CHECKS
from stoker.stack.doctor_running import RUNNING_CHECKS
from stoker.stack.errors import StackError, StateFileDamaged
from stoker.stack.findings import Finding, fault, ok, warning
from stoker.stack.layout import Layout, read_json
from stoker.stack.lock import lock_holder
from stoker.stack.ports import ALL_PORTS
from stoker.stack.records import ProcessIdentity, RunRecord
from stoker.stack.services import StackFacts
from stoker.stack.settings import StackSettings
from stoker.stack.stack import gather_facts
from stoker.stack.stack_file import StackFile, read_stack_file


async def examine(settings: StackSettings) -> list[Finding]:
    """All findings, those about the machine first. It changes nothing."""
    layout = Layout(settings.data_dir)
    findings = [finding for check in MACHINE_CHECKS for finding in check(settings, layout)]
    if not layout.root.exists():
        return [*findings, ok("stack", f"none was started on {layout.root} so far")]
    findings += _strays(layout)
    running, about_stack = _running_stack(layout)
    findings += about_stack
    if running is None:
        return findings
    try:
        facts = _facts_of_running(settings, layout)
    except StackError as error:
        return [*findings, fault("keys", error.detail, advice=error.next_step)]
    for check in RUNNING_CHECKS:
        findings += await check(facts, running)
    return findings


def _running_stack(layout: Layout) -> tuple[StackFile | None, list[Finding]]:
    holder = lock_holder(layout.lock_file)
    try:
        written = read_stack_file(layout.stack_file)
    except StateFileDamaged as error:
        return None, [
            fault("stack.json", error.detail, advice="Stop stoker up and start it again: it writes a new one.")
        ]
    if holder is None:
        if written is None:
            return None, [ok("stack", "not running; start it with: stoker up")]
        what = f"stack.json tells of supervisor {written.pid}, which is gone: it was killed"
        return None, [warning("stack", what, advice="Start stoker up: it ends what was left over.")]
    if written is None:
        return None, [
            warning("stack", f"supervisor {holder} is starting or stopping", advice="Look again in a minute.")
        ]
    return written, [ok("stack", f"supervisor {written.pid} runs {len(written.processes)} processes")]


def _strays(layout: Layout) -> list[Finding]:
    if lock_holder(layout.lock_file) is not None:
        return []
    records = [record for file in layout.run.glob("*.json") if (record := RunRecord.read(file)) is not None]
    identities: dict[str, ProcessIdentity] = {record.name: record.main for record in records}
    alive = [f"{name} (pid {identity.pid})" for name, identity in identities.items() if identity.process() is not None]
    if not alive:
        return []
    what = f"left over from a supervisor that was killed: {', '.join(alive)}"
    return [warning("processes", what, advice="Start stoker up: it ends them first.")]


def _facts_of_running(settings: StackSettings, layout: Layout) -> StackFacts:
    ports = read_json(layout.ports_file) or {}
    missing = [name for name in ALL_PORTS if not isinstance(ports.get(name), int)]
    if missing:
        raise StateFileDamaged(layout.ports_file, f"no port of {', '.join(missing)}")
    return gather_facts(settings, layout, ports)
