"""Wiring of the training server."""

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psutil
import structlog
from fastapi import FastAPI

from stoker_trainer import __version__
from stoker_trainer.server.endpoints import health_router, router
from stoker_trainer.server.machines import Machines
from stoker_trainer.server.problems import add_problem_handlers
from stoker_trainer.server.settings import Settings
from stoker_trainer.server.slots import find_slots

log = structlog.get_logger()


def create_app(settings: Settings) -> FastAPI:
    """The application; machines found on disk are taken over when it starts, and go on when it stops."""
    slots = find_slots(cpu_slots=settings.cpu_slots)
    machines = Machines(settings, slots=slots, memory_bytes=psutil.virtual_memory().total)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        stopped = threading.Event()
        thread = threading.Thread(target=_reconcile_until, args=(machines, settings, stopped), name="reconcile")
        thread.start()
        yield
        stopped.set()
        thread.join()

    app = FastAPI(title="Stoker training server", version=__version__, lifespan=lifespan)
    app.state.settings = settings
    app.state.machines = machines
    app.include_router(router)
    app.include_router(health_router)
    add_problem_handlers(app)
    return app


def _reconcile_until(machines: Machines, settings: Settings, stopped: threading.Event) -> None:
    while not stopped.wait(settings.poll_every.total_seconds()):
        try:
            machines.reconcile()
        except Exception:
            # The next round looks again; a full disk, say, must not end the supervision of what runs.
            log.exception("reconcile failed")
