"""RunPod: rented pods with GPUs, by REST v2. What is called and what its failures mean: docs/providers/runpod.md."""

from stoker_deployer.providers.runpod.provider import RunpodProvider
from stoker_deployer.providers.runpod.sending import runpod_http_client
from stoker_deployer.providers.runpod.settings import RunpodSettings

__all__ = ["RunpodProvider", "RunpodSettings", "runpod_http_client"]
