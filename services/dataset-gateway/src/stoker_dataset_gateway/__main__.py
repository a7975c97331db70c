"""`python -m stoker_dataset_gateway serve | migrate`."""

import sys

from stoker_dataset_gateway.main import migrate, run
from stoker_dataset_gateway.parts import SERVICE
from stoker_dataset_gateway.settings import Settings
from stoker_shared.errors import ConfigurationInvalid
from stoker_shared.logging import configure_logging
from stoker_shared.settings import read_settings

_COMMANDS = {"serve": run, "migrate": migrate}


def main(arguments: list[str]) -> int:
    """Run one command; 2 if the command or a setting is wrong."""
    if len(arguments) != 1 or arguments[0] not in _COMMANDS:
        sys.stderr.write("usage: python -m stoker_dataset_gateway serve | migrate\n")
        return 2
    try:
        settings = read_settings(Settings)
        configure_logging(service=SERVICE, level=settings.log_level)
        _COMMANDS[arguments[0]](settings)
    except ConfigurationInvalid as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
