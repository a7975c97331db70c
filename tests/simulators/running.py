"""The simulated training server behind a real port."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from tests.simulators.training_server import Simulator, create_app
from tests.support.ports import free_port


class RunningSimulator:
    """The simulator behind a real port, in a thread of its own."""

    def __init__(self, simulator: Simulator | None = None, *, port: int | None = None) -> None:
        self.simulator = simulator or Simulator()
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Listen, and return when it does."""
        config = uvicorn.Config(
            create_app(self.simulator),
            host="127.0.0.1",
            port=self.port,
            log_level="critical",
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, name="simulated training server", daemon=True)
        self._thread.start()
        while not self._server.started:
            if not self._thread.is_alive():
                raise RuntimeError(f"the simulator does not listen on {self.port}")
            threading.Event().wait(0.01)

    def stop(self) -> None:
        """Stop listening; the state stays."""
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._server.force_exit = True
            self._thread.join(timeout=10)


@contextmanager
def running_simulator() -> Iterator[RunningSimulator]:
    """A simulator for one test."""
    running = RunningSimulator()
    running.start()
    try:
        yield running
    finally:
        running.stop()
