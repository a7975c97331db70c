"""A stack from the command line: started, shown, and stopped by a signal."""

import asyncio
import logging
import signal
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError
from rich.console import Console

from stoker.stack.console import LoggedConsole, StackConsole, make_console, open_stack_log
from stoker.stack.errors import ProcessFailed, StackError, StepFailed
from stoker.stack.layout import Layout
from stoker.stack.orphans import adopt_orphans, end_all_below, keep_reaping
from stoker.stack.runpod_simulator import with_runpod_simulator
from stoker.stack.services import SERVICES, ServiceSpec
from stoker.stack.settings import StackSettings
from stoker.stack.stack import Stack
from stoker_shared.errors import ConfigurationInvalid, StokerError
from stoker_shared.tasks import end_tasks

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run_up(
    data: Path | None,
    port: int | None,
    *,
    plain: bool,
    services: Sequence[ServiceSpec] = SERVICES,
    has_runpod_simulator: bool = False,
    simulated_hub: Path | None = None,
) -> int:
    """Run a stack until a signal asks to stop. Returns the exit status."""
    console = Console()
    try:
        services = with_runpod_simulator(services, models=simulated_hub) if has_runpod_simulator else services
        settings = read_stack_settings(data, port)
        layout = Layout(settings.data_dir)
        layout.create()
        log = open_stack_log(layout.log_file("supervisor"), rotate_above=settings.log_rotate_bytes)
        with make_console(console, layout, plain=plain) as shown:
            stack = Stack(settings, services=services, observer=LoggedConsole(shown, log))
            stopped = asyncio.run(_run_until_signal(stack, shown, log))
    except StokerError as fault:
        explain(console, fault)
        return 1
    console.print(f"Stopped: {', '.join(stopped)}." if stopped else "Nothing was running.", soft_wrap=True)
    return 0


def read_stack_settings(data: Path | None, port: int | None) -> StackSettings:
    """The settings from the environment, and over them what the command line says.

    Raises:
        ConfigurationInvalid: names what is absurd.
    """
    given = {name: value for name, value in (("data_dir", data), ("port", port)) if value is not None}
    try:
        return StackSettings.model_validate(StackSettings(**given)) if given else StackSettings()  # type: ignore[arg-type]
    except ValidationError as error:
        faults = {f"STOKER_STACK_{'_'.join(map(str, fault['loc']))}".upper(): fault["msg"] for fault in error.errors()}
        raise ConfigurationInvalid(
            f"Settings cannot be used: {'; '.join(f'{name}: {fault}' for name, fault in faults.items())}.",
            next_step="Change these environment variables or options and start again.",
            fields=faults,
        ) from error


async def _run_until_signal(stack: Stack, shown: StackConsole, log: logging.Logger) -> tuple[str, ...]:
    """Start, wait for the first signal, stop. A second signal ends everything at once."""
    adopt_orphans()
    reaper = asyncio.create_task(keep_reaping(), name="reap orphans")
    try:
        return await _start_and_wait(stack, shown, log)
    except StokerError:
        log.exception("the stack could not be started")
        raise
    except Exception as error:
        log.exception("the supervisor failed")
        raise StackError(
            f"Something went wrong inside Stoker ({type(error).__name__}).",
            next_step=f"The details are in {stack.layout.log_file('supervisor')}.",
        ) from error
    finally:
        await stack.stop()
        await asyncio.to_thread(end_all_below, patience=1.0)
        await end_tasks([reaper])


async def _start_and_wait(stack: Stack, shown: StackConsole, log: logging.Logger) -> tuple[str, ...]:
    asked = asyncio.Event()

    def on_signal() -> None:
        if asked.is_set():
            stack.kill_all()
        asked.set()

    loop = asyncio.get_running_loop()
    for number in STOP_SIGNALS:
        # nohup asks to ignore SIGHUP: leave it so. SIGINT is ignored in the background of a script: there it counts.
        if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            loop.add_signal_handler(number, on_signal)
    start = asyncio.create_task(stack.start(), name="start the stack")
    wish = asyncio.create_task(asked.wait(), name="wait for a signal")
    await asyncio.wait((start, wish), return_when=asyncio.FIRST_COMPLETED)
    if not asked.is_set():
        await start
        shown.ready(stack.urls)
        await wish
    shown.notice("Stopping; once more Ctrl-C ends everything at once.")
    running = tuple(status.name for status in stack.statuses if status.pid)
    await end_tasks([start])
    if not start.cancelled() and (fault := start.exception()):
        # Mostly because it is being stopped: nothing to tell the user, but an operator may want to know.
        log.warning("the start broke while it was being stopped", exc_info=fault)
    await stack.stop()
    return running


def explain(console: Console, fault: StokerError) -> None:
    """Tell the user of a fault, with the last lines of the log where there is one."""
    console.print(str(fault), style="red", markup=False, highlight=False, soft_wrap=True)
    if isinstance(fault, ProcessFailed | StepFailed) and fault.last_lines:
        console.print(fault.last_lines, markup=False, highlight=False, soft_wrap=True)
