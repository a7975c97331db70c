"""`python -m stoker_trainer config.json`: train here, without a control plane."""

import sys
from pathlib import Path

from stoker_trainer.config import parse_config
from stoker_trainer.errors import EXIT_SUCCESS, InvalidConfig, as_trainer_error
from stoker_trainer.report import ConsoleReport
from stoker_trainer.signals import TerminationWatch
from stoker_trainer.train import run


def main(arguments: list[str]) -> int:
    """Run the configuration file and return the process's exit code."""
    report = ConsoleReport()
    if len(arguments) != 1:
        report.log("usage: python -m stoker_trainer CONFIG.json")
        return InvalidConfig.exit_code
    watch = TerminationWatch()
    watch.install()
    try:
        run(parse_config(Path(arguments[0]).read_bytes()), report=report, watch=watch)
    except Exception as error:
        known = as_trainer_error(error)
        report.alert("error", known.reason, str(known))
        if type(known) is not type(error):
            raise  # not one of ours: the traceback is for the person who runs it by hand
        return known.exit_code
    return EXIT_SUCCESS


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
