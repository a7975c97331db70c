"""`/v2/pods`: create, list, get, update, delete, action."""

from datetime import timedelta

from starlette.responses import JSONResponse, Response

from tests.simulators.runpod.accounts import Caller
from tests.simulators.runpod.cloud import Cloud
from tests.simulators.runpod.door import Visit
from tests.simulators.runpod.faults import Fault
from tests.simulators.runpod.pod import Pod
from tests.simulators.runpod.problems import Problem, forbidden
from tests.simulators.runpod.requests import json_body, parse_action, parse_create, parse_update


class PodEndpoints:
    """What the API says about pods."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    async def create(self, visit: Visit) -> Response:
        """201 with the pod, in PROVISIONING."""
        visit.caller.demand("pods:write")
        order = parse_create(await json_body(visit.request))
        pod = self._cloud.create(visit.caller.account, order)
        if visit.mark is not None:
            self._mark(pod, visit.mark)
        return self._told(pod, 201)

    async def list(self, visit: Visit) -> Response:
        """One page of pods; parameters that it does not know are ignored."""
        visit.caller.demand("pods:read")
        pods = self._cloud.listed(visit.caller.account)
        limit, first = _page(visit, [pod.id for pod in pods], self._cloud.rules.page_size)
        page = pods[first : first + limit]
        has_next = first + limit < len(pods)
        now = self._cloud.clock.now()
        return JSONResponse(
            {
                "pods": [pod.shown(now, self._cloud.catalogue) for pod in page],
                "pagination": {"hasNextPage": has_next, "nextCursor": page[-1].id if has_next else None},
            }
        )

    async def get(self, visit: Visit) -> Response:
        """One pod."""
        visit.caller.demand_for_pod(visit.pod_id, "pods:read", "get")
        return self._told(self._find(visit))

    async def update(self, visit: Visit) -> Response:
        """Other settings; command and environment count from the next start on."""
        visit.caller.demand_for_pod(visit.pod_id, "pods:write", None)
        pod = self._find(visit)
        changes = parse_update(await json_body(visit.request))
        values = {name: getattr(changes, name) for name in changes.model_fields_set - {"locked", "templateId"}}
        if "mounts" in values and changes.mounts.model_fields_set != pod.order.mounts.model_fields_set:
            raise Problem(400, "the kind of a mount cannot be changed")
        pod.order = pod.order.model_copy(update=values)
        pod.locked = changes.locked if "locked" in changes.model_fields_set else pod.locked
        pod.set_status(pod.status, self._cloud.clock.now(), self._cloud.catalogue)
        return self._told(pod)

    async def delete(self, visit: Visit) -> Response:
        """204; the pod is unknown a moment later."""
        visit.caller.demand_for_pod(visit.pod_id, "pods:write", "delete")
        self._cloud.terminate(self._find(visit), by=visit.by)
        return Response(status_code=204)

    async def action(self, visit: Visit) -> Response:
        """200 with the pod; 204 for terminate."""
        action = parse_action(await json_body(visit.request))
        pod_right = {"terminate": "terminate", "stop": "stop"}.get(action)
        visit.caller.demand_for_pod(visit.pod_id, "pods:write", pod_right)  # type: ignore[arg-type]
        pod = self._find(visit)
        self._cloud.act(pod, action, by=f"{visit.by} {action}")
        return Response(status_code=204) if action == "terminate" else self._told(pod)

    def _find(self, visit: Visit) -> Pod:
        return self._cloud.find(visit.caller.account, visit.pod_id)

    def _told(self, pod: Pod, status: int = 200) -> Response:
        return JSONResponse(pod.shown(self._cloud.clock.now(), self._cloud.catalogue), status_code=status)

    def _mark(self, pod: Pod, fault: Fault) -> None:
        if fault.kind == "invisible":
            pod.hidden_until = self._cloud.clock.now() + timedelta(seconds=fault.seconds)
        elif fault.kind == "container_error":
            self._cloud.fail(pod)
        else:
            pod.stuck = "PROVISIONING" if fault.kind == "stuck_provisioning" else "STARTING"


def _page(visit: Visit, ids: "list[str]", page_size: int) -> tuple[int, int]:
    query = visit.request.query_params
    limit, cursor = query.get("limit", str(page_size)), query.get("cursor")
    if not limit.isdecimal() or int(limit) < 1:
        raise Problem(422, "Request validation failed.", errors=["query.limit: must be a positive integer"])
    if cursor is None:
        return int(limit), 0
    if cursor not in ids:
        raise Problem(400, "the cursor is not valid")
    return int(limit), ids.index(cursor) + 1


def demand_account_key(caller: Caller) -> None:
    """See that this is no pod's key.

    Raises:
        Problem: 403.
    """
    if caller.pod_id is not None:
        raise forbidden()
