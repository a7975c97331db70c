"""Every subject on the bus is built here: `<class>.<aggregate>.<id>.<fact>`."""

import re

from stoker_shared.errors import MessageInvalid

COMMAND_ROOT = "cmd"
EVENT_ROOT = "evt"
TELEMETRY_ROOT = "tel"
RPC_ROOT = "rpc"
DEAD_ROOT = "dead"

_TOKEN = re.compile(r"[A-Za-z0-9_-]+")


def deployer_command(job_id: str, verb: str) -> str:
    """Where the deployer is told what to do with a job, for example `cmd.deployer.job-1.launch`."""
    return _subject(COMMAND_ROOT, "deployer", job_id, verb)


def event(aggregate: str, aggregate_id: str, fact: str) -> str:
    """Where a fact is told, for example `evt.job.job-1.training_started`."""
    return _subject(EVENT_ROOT, aggregate, aggregate_id, fact)


def telemetry(job_id: str, kind: str) -> str:
    """Where what a pod reported travels to its store, for example `tel.job-1.metrics`."""
    return _subject(TELEMETRY_ROOT, job_id, kind)


def rpc(service: str, verb: str) -> str:
    """Where a service answers questions, for example `rpc.metrics.report`."""
    return _subject(RPC_ROOT, service, verb)


def bucket_key(bucket: str, *key: str) -> str:
    """Where the value of a key of a key-value bucket is told, for example `$KV.JOB_STANDINGS.job-1.2`."""
    return f"$KV.{_subject(bucket, *key)}"


def dead(subject: str) -> str:
    """Where a message goes that nobody could handle."""
    return f"{DEAD_ROOT}.{subject}"


def inbox_prefix(service: str) -> str:
    """The prefix under which a service receives replies; nobody else may listen there."""
    return f"_INBOX_{service}"


def _subject(*tokens: str) -> str:
    # A dot or a wildcard inside an id would address another subject.
    for token in tokens:
        if not _TOKEN.fullmatch(token):
            raise MessageInvalid(f"{token!r} cannot be part of a subject.")
    return ".".join(tokens)
