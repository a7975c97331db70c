"""A service as a process: `python -m stoker_<service> <command>`, the same way in each."""

import gc
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from stoker_shared.errors import ConfigurationInvalid, StokerError
from stoker_shared.logging import configure_logging, get_logger
from stoker_shared.settings import ServiceSettings, read_settings
from stoker_shared.tracing import tracing

logger = get_logger(__name__)

SettingsT = TypeVar("SettingsT", bound=ServiceSettings)


def run_command(
    arguments: Sequence[str],
    *,
    service: str,
    settings: type[SettingsT],
    commands: Mapping[str, Callable[[SettingsT], None]],
    usage: str = "serve | migrate",
) -> int:
    """Read the settings and run the one command that is asked for.

    Returns the exit code: 2 if the command is not known or a setting is wrong, 1 if it could not be done; with one line
    that says which, and what to do.
    """
    command = commands.get(arguments[0]) if len(arguments) == 1 else None
    if command is None:
        sys.stderr.write(f"usage: python -m stoker_{service} {usage}\n")
        return 2
    # Modules live as long as the process: to look for garbage while they are read costs a fifth of the start.
    gc.disable()
    try:
        read = read_settings(settings)
        configure_logging(service=service, level=read.log_level)
        with tracing(service=service, endpoint=read.otlp_endpoint):
            command(read)
    except ConfigurationInvalid as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except StokerError as error:
        logger.debug("the command was not done", command=arguments[0], exc_info=error)
        sys.stderr.write(f"{error}\n")
        return 1
    finally:
        gc.enable()
    return 0
