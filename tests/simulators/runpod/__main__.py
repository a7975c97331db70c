"""`python -m tests.simulators.runpod --port 28800 --folder pods [--rules rules.json]`: serve until a signal.

`RUNPOD_SIMULATOR_KEY`, if it is set, is the key of the first account. `RUNPOD_SIMULATOR_PORT`, `_FOLDER` and `_RULES`
stand for the options.
"""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.simulators.runpod.guard import run_guarded


def main() -> int:
    """Serve in a child, and see to it that nothing of it is left. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulators.runpod", description=__doc__)
    parser.add_argument("--port", type=int, **_option("PORT", int))
    parser.add_argument("--folder", type=Path, help="where pods have their folders", **_option("FOLDER", Path))
    parser.add_argument("--rules", type=Path, help="JSON with fields of rules.Rules", default=_variable("RULES"))
    arguments = parser.parse_args()
    return run_guarded(lambda: _serve(arguments.port, arguments.folder, arguments.rules))


def _variable(name: str) -> str | None:
    return os.environ.get(f"RUNPOD_SIMULATOR_{name}") or None


def _option(name: str, kind: Callable[[str], Any]) -> dict[str, Any]:
    given = _variable(name)
    return {"default": kind(given)} if given else {"required": True}


def _serve(port: int, folder: Path, rules_file: Path | None) -> int:
    # Imported in the child only: whoever guards needs none of it.
    import uvicorn

    from stoker_shared.clock import SystemClock
    from tests.simulators.runpod.application import create_app
    from tests.simulators.runpod.rules import KEY_VARIABLE, read_rules

    rules = read_rules(rules_file, key=os.environ.pop(KEY_VARIABLE, None))
    folder.mkdir(parents=True, exist_ok=True)
    app = create_app(rules, folder=folder.absolute(), clock=SystemClock())
    config = uvicorn.Config(
        app, host="127.0.0.1", port=port, log_level="warning", loop="asyncio", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    server.run()
    return 0 if server.started else 1


if __name__ == "__main__":
    sys.exit(main())
