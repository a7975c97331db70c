"""What can be set about RunPod. Built by `DeployerSettings.runpod()`; a key is no part of it: it belongs to a user."""

import ipaddress
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal
from urllib.parse import urlsplit

Cloud = Literal["secure", "community"]

URL = "https://api.runpod.io/v2"
GRAPHQL_URL = "https://api.runpod.io/graphql"
IMAGE = "runpod/pytorch:1.0.7-cu1281-torch291-ubuntu2404"
# What the driver of a host must at least know, or the image above finds no GPU.
MIN_CUDA = "12.8"


@dataclass(frozen=True, slots=True)
class RunpodSettings:
    """`url` ends with the version. Sizes are GB as RunPod counts them; an empty `data_centres` means anywhere.

    `volume_gb` is the disk at /workspace, which outlives a restart of the container; `disk_gb` is what does not.
    `min_cuda` holds for `image` only: nobody knows what an image of the user's needs.
    `bill_settles_after`: a bill that has not changed for so long is taken for the last.
    """

    url: str = URL
    graphql_url: str = GRAPHQL_URL
    image: str = IMAGE
    min_cuda: str | None = MIN_CUDA
    disk_gb: int = 40
    volume_gb: int = 40
    clouds: tuple[Cloud, ...] = ("secure", "community")
    data_centres: tuple[str, ...] = ()
    connect_timeout: timedelta = timedelta(seconds=10)
    timeout: timedelta = timedelta(seconds=30)
    launch_timeout: timedelta = timedelta(seconds=60)
    bill_settles_after: timedelta = timedelta(minutes=10)

    @property
    def is_here(self) -> bool:
        """Whether `url` is an address of this machine: a simulator, whose pods run on this machine, too."""
        host = urlsplit(self.url).hostname or ""
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return host == "localhost" or host.endswith(".localhost")
