"""`/graphql`, deprecated: only `myself` is answered, since nothing else tells a balance. Errors come with 200."""

import re
from typing import Any

from starlette.responses import JSONResponse, Response

from tests.simulators.runpod.cloud import Cloud
from tests.simulators.runpod.door import Visit
from tests.simulators.runpod.requests import json_body

_UNAUTHORIZED = {
    "errors": [{"message": "Unauthorized", "path": ["myself"], "extensions": {"code": "RUNPOD"}}],
    "data": {"myself": None},
}
_GENERIC = {
    "errors": [
        {
            "message": "Something went wrong. Please try again later or contact support.",
            "extensions": {"code": "INTERNAL_SERVER_ERROR"},
        }
    ]
}


class GraphqlEndpoint:
    """Balance and spending of an account."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    async def query(self, visit: Visit) -> Response:
        """The fields of `myself` that were asked for and are known."""
        body = await json_body(visit.request)
        text = body.get("query", "") if isinstance(body, dict) else ""
        asked = re.search(r"\bmyself\s*\{([^{}]*)\}", str(text))
        if asked is None:
            return JSONResponse(_GENERIC)
        if visit.caller.pod_id is not None or "account" not in visit.caller.rights:
            return JSONResponse(_UNAUTHORIZED)
        known = self._myself(visit)
        return JSONResponse({"data": {"myself": {name: known[name] for name in asked[1].split() if name in known}}})

    def _myself(self, visit: Visit) -> dict[str, Any]:
        account = visit.caller.account
        return {
            "id": f"user_{account.name}",
            "email": f"{account.name}@example.org",
            "clientBalance": float(self._cloud.balance(account)),
            "currentSpendPerHr": float(self._cloud.spending_per_hour(account)),
            "spendLimit": float(account.rules.spend_limit_per_hour),
        }
