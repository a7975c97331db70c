"""What an operator sees of a system at work: one trace for a job, and figures that name nobody."""

import time
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from stoker_shared.trace import job_traceparent
from tests.support.collector import Collector
from tests.support.live_stack import LiveStack, tiny_recipe

SERVICES = ("api", "deployer", "dataset_gateway", "metrics")
FROM_LAUNCH_TO_FIRST_STEP = {
    ("stoker-api", "launch"),
    ("stoker-deployer", "handle deployer_launch"),
    ("stoker-deployer", "admit attempt"),
    ("stoker-dataset-gateway", "rpc.dataset_gateway.mint"),
    ("stoker-metrics", "rpc.metrics.admit"),
    ("stoker-deployer", "order machine"),
    ("stoker-metrics", "pod: preparing"),
    ("stoker-metrics", "pod: to the first step"),
    ("stoker-api", "job: training"),
    ("stoker-deployer", "end machine"),
    ("stoker-api", "job"),
}

pytestmark = pytest.mark.timeout(420)


@pytest.fixture(scope="module")
def job_id(stack: LiveStack, tiny_model: Path, dataset: str) -> str:
    """A job that is over."""
    plan = stack.client.plan(dataset, recipe=tiny_recipe(tiny_model, steps=2), budget_usd="0.50")
    job = stack.client.launch(plan)
    for _news in stack.client.follow(job.job_id):
        pass
    assert stack.client.job(job.job_id).status == "completed"
    return job.job_id


def test_a_job_is_one_trace_from_its_launch_through_its_first_step_to_its_end(
    job_id: str, collector: Collector
) -> None:
    _, trace_id, root_id, _ = job_traceparent(job_id).split("-")
    until_told(collector, trace_id, FROM_LAUNCH_TO_FIRST_STEP)
    spans = {span.span_id: span for span in collector.spans(trace_id)}
    root = spans[root_id]
    assert (root.name, root.parent_id) == ("job", "")
    # Every span hangs, through its parents, on the job's root.
    assert [span for span in spans.values() if span is not root and span.parent_id not in spans] == []
    first_step = next(span for span in spans.values() if span.name == "pod: to the first step")
    assert root.started_at < first_step.started_at <= first_step.ended_at < root.ended_at
    assert len(spans) < 100, "what comes again and again sends no spans"


def until_told(collector: Collector, trace_id: str, wanted: set[tuple[str, str]]) -> None:
    """Wait for spans of a trace; what does not come is named."""
    deadline = time.monotonic() + 60
    while missing := wanted - {(span.service, span.name) for span in collector.spans(trace_id)}:
        assert time.monotonic() < deadline, missing
        time.sleep(0.1)


def test_a_request_goes_on_in_the_trace_that_it_names(stack: LiveStack, collector: Collector) -> None:
    trace_id = "c0ffee" + "0" * 25 + "1"
    headers = {**stack.api_headers, "traceparent": f"00-{trace_id}-{'a' * 16}-01"}
    httpx.get(f"{stack.stack.urls['api']}/v1/providers", headers=headers).raise_for_status()
    wanted = {("stoker-api", "GET /v1/providers"), ("stoker-deployer", "rpc.deployer.health")}
    until_told(collector, trace_id, wanted)


@pytest.mark.parametrize("service", SERVICES)
def test_figures_of_every_service_are_told_to_whoever_has_the_token(
    stack: LiveStack, service: str, job_id: str
) -> None:
    url = f"{stack.stack.urls[service]}/metrics"
    token = stack.stack.layout.prometheus_token_file.read_text().strip()
    assert httpx.get(url).status_code == 401
    assert httpx.get(url, headers={"Authorization": "Bearer something-else-entirely"}).status_code == 401
    told = httpx.get(url, headers={"Authorization": f"Bearer {token}"})
    families = {family.name: family for family in text_string_to_metric_families(told.text)}
    assert {"stoker_http_requests", "stoker_bus_connected", "stoker_outbox_waiting", "process_cpu_seconds"} <= set(
        families
    )
    assert families["stoker_bus_connected"].samples[0].value == 1
    assert job_id not in told.text
    assert {label for family in families.values() for sample in family.samples for label in sample.labels} <= {
        *("method", "route", "status", "consumer", "outcome", "kind", "subject", "le", "generation"),
        *("implementation", "major", "minor", "patchlevel", "version"),
    }
