"""A real child process for tests of the supervisor: `python small_service.py PORT [trait...]`.

Traits: `stubborn` ignores SIGTERM; `crash` ends at once with status 3; `unready` answers 503;
`machine=FILE` starts a process in a session of its own, as the training server does, and writes its pid to FILE.
"""

import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from signal import SIG_IGN, SIGTERM, signal

_MACHINE = "import signal, time; signal.signal(signal.SIGTERM, lambda *_: exit(0)); time.sleep(600)"


def main(port: int, traits: list[str]) -> None:
    """Serve `/readyz` until told to end."""
    print("small service starts", flush=True)  # noqa: T201
    if "crash" in traits:
        print("it broke because of a reason", flush=True)  # noqa: T201
        sys.exit(3)
    if "stubborn" in traits:
        signal(SIGTERM, SIG_IGN)
    for trait in traits:
        if trait.startswith("machine="):
            _start_machine(Path(trait.removeprefix("machine=")))
    status = 503 if "unready" in traits else 200

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(b"database is away" if status == 503 else b"ready")

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    HTTPServer(("127.0.0.1", port), Handler).serve_forever()


def _start_machine(file: Path) -> None:
    if file.exists():
        return
    machine = subprocess.Popen([sys.executable, "-c", _MACHINE], start_new_session=True)
    file.write_text(str(machine.pid))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
