"""One deployer with the instant provider: `python -m benchmarks.reconcile.deployer NAMES_FILE`, settings as usual."""

import sys
from pathlib import Path

import uvloop

from benchmarks.reconcile.child import answer_questions
from benchmarks.reconcile.instant_provider import InstantProvider
from stoker_deployer.main import Deployer
from stoker_deployer.providers.configured import Providers
from stoker_deployer.settings import DeployerSettings
from stoker_shared.logging import configure_logging
from stoker_shared.settings import read_settings


async def main(names: list[str]) -> None:
    """Work until the input ends."""
    settings = read_settings(DeployerSettings)
    configure_logging(service="deployer", level=settings.log_level)
    provider = InstantProvider(names)
    deployer = Deployer(settings, providers=Providers({provider.name: provider}, {}))
    await deployer.start()
    try:
        await answer_questions(lambda: dict(provider.calls))
    finally:
        await deployer.stop()


if __name__ == "__main__":
    uvloop.run(main(Path(sys.argv[1]).read_text().split()))
