"""`python -m stoker_trainer.server`: run the training server."""

import sys

import structlog
import uvicorn
from pydantic import ValidationError

from stoker_trainer.server.main import create_app
from stoker_trainer.server.settings import Settings

PREFIX = "STOKER_TRAINING_SERVER_"


def main() -> int:
    """Serve until told to stop. Machines go on running and are taken over at the next start."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ]
    )
    try:
        settings = Settings()
    except ValidationError as error:
        for item in error.errors(include_input=False):
            name = PREFIX + "_".join(map(str, item["loc"])).upper()
            print(f"{name}: {item['msg']}", file=sys.stderr)  # noqa: T201 - there is no log yet
        return 2
    uvicorn.run(create_app(settings), host=settings.host, port=settings.port, log_level="warning", access_log=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
