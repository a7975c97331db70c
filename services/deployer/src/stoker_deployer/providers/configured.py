"""Which providers exist: those that are configured."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import httpx

from stoker_deployer.providers.accounts import ProviderFactory
from stoker_deployer.providers.base import Provider
from stoker_deployer.providers.hub import Hub
from stoker_deployer.providers.local import LocalProvider
from stoker_deployer.providers.runpod import RunpodProvider, runpod_http_client
from stoker_deployer.settings import DeployerSettings
from stoker_shared.clock import Clock


@dataclass(frozen=True, slots=True)
class Providers:
    """Those of the operator by name, how to make each that is used with its owner's key by the name of the key, and
    the connections that these share.
    """

    operators: Mapping[str, Provider]
    factories: Mapping[str, ProviderFactory]
    connections: tuple[httpx.AsyncClient, ...] = ()

    async def close(self) -> None:
        """Release connections."""
        for provider in self.operators.values():
            await provider.close()
        for client in self.connections:
            await client.aclose()


def configured_providers(settings: DeployerSettings, *, clock: Clock) -> Providers:
    """One of each provider whose settings are there. RunPod is always one that an owner can have a key for."""
    runpod = settings.runpod()
    http = runpod_http_client(runpod)
    hub = Hub(http, provider=RunpodProvider.name, url=settings.hub_url)
    of_key = partial(RunpodProvider, settings=runpod, http=http, clock=clock, hub=hub)
    found: list[Provider] = []
    if settings.local_url is not None and settings.local_api_key is not None:
        found.append(
            LocalProvider(
                settings.local_url,
                api_key=settings.local_api_key,
                timeout=settings.local_timeout,
                launch_timeout=settings.local_launch_timeout,
            )
        )
    if settings.runpod_api_key is not None:
        found.append(of_key(settings.runpod_api_key))
    operators = {provider.name: provider for provider in found}
    return Providers(operators, {RunpodProvider.name: of_key}, (http,))
