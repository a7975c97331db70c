"""`python -m tests.simulators.hub_server`: the simulated Hub as a process of its own, until a signal.

`HUB_SIMULATOR_PORT` and `HUB_SIMULATOR_FOLDER` say where; the folder holds `<organisation>/<name>/config.json`.
"""

import os
import sys
from pathlib import Path

import uvicorn
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from tests.simulators.hub import hub_application


def main() -> int:
    """Serve. Returns the exit status."""
    application = hub_application(Path(os.environ["HUB_SIMULATOR_FOLDER"]))
    application.router.routes.insert(0, Route("/readyz", _ready, methods=["GET"]))
    port = int(os.environ["HUB_SIMULATOR_PORT"])
    server = uvicorn.Server(
        uvicorn.Config(application, host="127.0.0.1", port=port, log_level="warning", timeout_graceful_shutdown=1)
    )
    server.run()
    return 0 if server.started else 1


async def _ready(_request: Request) -> Response:
    return PlainTextResponse("ready")


if __name__ == "__main__":
    sys.exit(main())
