"""Rights on the broker: each says its own and hears what it needs, nothing more."""

import pytest

from stoker_shared.asyncapi import stream_messages
from stoker_shared.permissions import PERMISSIONS, PRINCIPALS, SERVICES
from stoker_shared.rpc import ALL_RPCS, Rpc
from stoker_shared.topology import CONSUMERS, STREAMS
from tests.unit.shared.nats_subjects import covers, overlap

TELLER = {"cmd": "api", "evt.job": "deployer", "evt.pod": "metrics", "tel": "metrics"} | {
    "evt.dataset": "dataset_gateway",
    "evt.artifact": "dataset_gateway",
}
READER = {
    "api_job_events": "api",
    "deployer_launch": "deployer",
    "deployer_cancel": "deployer",
    "deployer_pod_events": "deployer",
    "metrics_notify_jobs": "metrics",
    "metrics_notify_pods": "metrics",
    "metrics_store": "metrics",
    "metrics_job_ends": "metrics",
}
SUBJECTS = [spec.subject.replace(f"{{{spec.parameter}}}", "job-0123456789abcdef") for spec in stream_messages()]


def may_publish(principal: str, subject: str) -> bool:
    return any(overlap(pattern, subject) for pattern in PERMISSIONS[principal].publish)


def may_hear(principal: str, subject: str) -> bool:
    return any(overlap(pattern, subject) for pattern in PERMISSIONS[principal].subscribe)


@pytest.mark.parametrize("subject", SUBJECTS)
def test_each_message_can_be_told_by_its_owner_alone(subject: str) -> None:
    (owner,) = [teller for prefix, teller in TELLER.items() if subject.startswith(f"{prefix}.")]
    assert [principal for principal in PRINCIPALS if may_publish(principal, subject)] == [owner]


@pytest.mark.parametrize("rpc", ALL_RPCS, ids=lambda rpc: rpc.subject)
def test_each_question_can_be_asked_by_its_callers_and_answered_by_its_service(rpc: Rpc) -> None:  # type: ignore[type-arg]
    assert {principal for principal in PRINCIPALS if may_publish(principal, rpc.subject)} == set(rpc.callers)
    assert [principal for principal in PRINCIPALS if may_hear(principal, rpc.subject)] == [rpc.service]


@pytest.mark.parametrize("rpc", ALL_RPCS, ids=lambda rpc: rpc.subject)
def test_no_service_asks_itself(rpc: Rpc) -> None:  # type: ignore[type-arg]
    assert rpc.service not in rpc.callers
    assert {rpc.service, *rpc.callers} <= set(SERVICES)


@pytest.mark.parametrize("verb", ["CREATE", "UPDATE", "DELETE", "PURGE", "MSG.DELETE", "SNAPSHOT", "RESTORE"])
@pytest.mark.parametrize("stream", [stream.name for stream in STREAMS])
def test_nobody_but_the_topology_keeper_changes_streams(verb: str, stream: str) -> None:
    subject = f"$JS.API.STREAM.{verb}.{stream}"
    assert [principal for principal in PRINCIPALS if may_publish(principal, subject)] == ["topology"]


@pytest.mark.parametrize("spec", CONSUMERS, ids=lambda spec: spec.name)
def test_nobody_but_the_topology_keeper_makes_or_deletes_consumers(spec: object) -> None:
    name, stream = spec.name, spec.stream  # type: ignore[attr-defined]
    for subject in (
        f"$JS.API.CONSUMER.CREATE.{stream}.{name}.evt.job.>",
        f"$JS.API.CONSUMER.DURABLE.CREATE.{stream}.{name}",
        f"$JS.API.CONSUMER.DELETE.{stream}.{name}",
        f"$JS.API.CONSUMER.PAUSE.{stream}.{name}",
    ):
        assert [principal for principal in PRINCIPALS if may_publish(principal, subject)] == ["topology"]


@pytest.mark.parametrize("spec", CONSUMERS, ids=lambda spec: spec.name)
def test_a_consumer_is_read_and_acknowledged_by_its_service_alone(spec: object) -> None:
    name, stream = spec.name, spec.stream  # type: ignore[attr-defined]
    for subject in (
        f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{name}",
        f"$JS.ACK.{stream}.{name}.1.7.7.1.0",
        f"$JS.ACK.domain.account.{stream}.{name}.1.7.7.1.0",
    ):
        readers = [principal for principal in SERVICES if may_publish(principal, subject)]
        assert readers == [READER[name]]
        assert not may_publish("operator", subject)


@pytest.mark.parametrize("spec", CONSUMERS, ids=lambda spec: spec.name)
def test_only_the_readers_of_a_message_may_declare_it_dead(spec: object) -> None:
    heard = spec.filter_subject  # type: ignore[attr-defined]
    readers = {READER[other.name] for other in CONSUMERS if other.filter_subject == heard}
    assert {principal for principal in PRINCIPALS if may_publish(principal, f"dead.{heard}")} == readers


@pytest.mark.parametrize("principal", PRINCIPALS)
def test_replies_reach_nobody_else(principal: str) -> None:
    inbox = f"_INBOX_{principal}.abc"
    assert [other for other in PRINCIPALS if may_hear(other, inbox)] == [principal]
    assert [other for other in PRINCIPALS if may_publish(other, inbox)] == []


@pytest.mark.parametrize("principal", SERVICES)
def test_no_service_hears_everything(principal: str) -> None:
    assert not any(covers(pattern, "evt.job.x.queued") for pattern in PERMISSIONS[principal].subscribe)


def test_the_operator_hears_all_streams_and_tells_nothing() -> None:
    assert all(may_hear("operator", subject.replace(">", "x")) for stream in STREAMS for subject in stream.subjects)
    assert not any(may_publish("operator", subject) for subject in SUBJECTS)
