"""Which providers exist: those that are configured."""

from collections.abc import Mapping

from stoker_deployer.providers.accounts import ProviderFactory
from stoker_deployer.providers.base import Provider
from stoker_deployer.providers.local import LocalProvider
from stoker_deployer.settings import DeployerSettings

Providers = Mapping[str, Provider]


def provider_factories(_settings: DeployerSettings) -> dict[str, ProviderFactory]:
    """How to make each provider that is used with its owner's key, by the name that the key is set under."""
    return {}


def configured_providers(settings: DeployerSettings) -> dict[str, Provider]:
    """One of each provider whose settings are there, by name."""
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
    return {provider.name: provider for provider in found}
