"""`stoker up --with-runpod-simulator` with real infrastructure and a small deployer: `... FOLDER`."""

import sys
from pathlib import Path

from stoker.stack.run_up import run_up
from stoker.stack.services import SERVICES
from tests.support.small_stack import port_of, small_service

if __name__ == "__main__":
    root = Path(sys.argv[1])
    small = (SERVICES[0], small_service("first", "api"), small_service("deployer", "deployer"))
    sys.exit(run_up(root, port_of(root), plain=True, services=small, has_runpod_simulator=True))
