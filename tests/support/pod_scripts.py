"""Pod scripts as the deployer would make them, for golden files and for tests that run them."""

from collections.abc import Callable
from datetime import timedelta

from stoker_deployer.pods.release import NoRelease, RunpodRelease
from stoker_deployer.pods.script import PodScript


def runpod_script(lock: str) -> PodScript:
    """On RunPod, with a deadline and the limits that are usual."""
    return PodScript(
        version="0.1.0",
        lock=lock,
        release=RunpodRelease("https://api.runpod.io/v2"),
        deadline=timedelta(hours=5),
        keep_alive=timedelta(minutes=2),
    )


def container_script(lock: str) -> PodScript:
    """A container whose end is its machine's end, without a deadline; with values that a shell would misread."""
    return PodScript(
        version="0.1.0 'quoted' $(date)",
        lock=lock,
        release=NoRelease(),
        uv_version="0 && `id`; $HOME",
        deadline=None,
        silence=None,
    )


GOLDEN_SCRIPTS: dict[str, Callable[[str], PodScript]] = {
    "pod_runpod.sh": runpod_script,
    "pod_container.sh": container_script,
}
