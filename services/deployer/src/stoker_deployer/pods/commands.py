"""What a bare container of an attempt runs, and what it must know for that."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from importlib.metadata import version

from stoker_deployer.pods.release import Release
from stoker_deployer.pods.script import PodScript, container_command, render, trainer_lock
from stoker_shared.bus import RpcClient
from stoker_shared.rpc.dataset_gateway import TRAINER_BUNDLE, TrainerBundleQuery


@dataclass(frozen=True, slots=True)
class PodLimits:
    """For how long a pod goes on by itself. The deployer acts first; these hold when it cannot.

    `margin` is how much later than the deployer's own limit a pod ends itself, `silence` how long it waits for a word
    of the control plane, `landing` how long a trainer has to save and upload then.
    """

    margin: timedelta
    silence: timedelta
    landing: timedelta


@dataclass(frozen=True, slots=True)
class Stay:
    """How long one attempt's machine may be needed, and what it must have room for."""

    longest: timedelta
    keep_alive: timedelta
    disk_needed_bytes: int


@dataclass(frozen=True, slots=True)
class PodCommand:
    """The start command of a container as one shell-quoted line, and the variables that belong to it."""

    line: str
    environment: Mapping[str, str]


class PodCommands:
    """Makes them for the trainer that the gateway serves now."""

    def __init__(self, rpc: RpcClient, limits: PodLimits) -> None:
        self._rpc = rpc
        self._limits = limits
        self._version = version("stoker-deployer")

    async def command(self, release: Release, stay: Stay) -> PodCommand:
        """The command for a machine that ends itself by `release`.

        Raises:
            ServiceUnavailable: the gateway does not answer.
            RemoteRefusal: it serves no trainer.
        """
        bundle = await self._rpc.ask(TRAINER_BUNDLE, TrainerBundleQuery())
        environment = {"TRAINER_BUNDLE_URL": bundle.url, "TRAINER_BUNDLE_SHA256": bundle.sha256}
        return PodCommand(container_command(render(self.script(release, stay))), environment)

    def script(self, release: Release, stay: Stay) -> PodScript:
        """What is rendered for it."""
        return PodScript(
            version=self._version,
            lock=trainer_lock(),
            release=release,
            deadline=stay.longest + stay.keep_alive + self._limits.margin,
            silence=self._limits.silence,
            landing=self._limits.landing,
            keep_alive=stay.keep_alive,
            disk_needed_bytes=stay.disk_needed_bytes,
        )
