"""The pre-built image and the pod script agree. The image itself is not built here: that needs a Docker engine."""

import hashlib
import re
import subprocess
from pathlib import Path

from stoker_deployer.pods.script import UV_VERSION, render, trainer_lock
from tests.support.pod_scripts import runpod_script
from tools.pods import LOCK

ROOT = Path(__file__).parents[3]
DOCKERFILE = (ROOT / "deploy" / "pod.Dockerfile").read_text()


def test_the_image_has_the_lock_and_the_installer_that_scripts_are_made_with() -> None:
    assert f"COPY {LOCK.relative_to(ROOT)} " in DOCKERFILE
    assert f"ARG UV_VERSION={UV_VERSION}\n" in DOCKERFILE


def test_what_the_image_writes_is_what_the_script_reads(tmp_path: Path) -> None:
    facts = re.findall(r"\S*/pod-image\b", DOCKERFILE)
    script = render(runpod_script(trainer_lock()))
    assert all(f"STOKER_POD_IMAGE:-{path.strip('>').strip(chr(34)).rstrip(']')}" in script for path in facts)

    # The two commands of the image, on this machine's disk.
    (tmp_path / "trainer.lock").write_text(trainer_lock())
    commands = re.search(r"RUN (sha256sum .*?pod-image)\n\n", DOCKERFILE, re.DOTALL)
    assert commands
    shell = commands[1].replace("/usr/local/share/stoker", str(tmp_path)).replace("\\\n", "")
    subprocess.run(["bash", "-euc", shell], check=True)
    lock, python = (tmp_path / "pod-image").read_text().splitlines()
    assert lock == hashlib.sha256(trainer_lock().encode()).hexdigest()
    assert python in DOCKERFILE
    assert f"LOCK_SHA256={lock}" in script


def test_every_run_of_the_image_is_a_line_that_bash_can_read() -> None:
    for command in re.findall(r"^RUN (.*?)(?<!\\)\n", DOCKERFILE, re.DOTALL | re.MULTILINE):
        subprocess.run(["bash", "-n"], input=command.encode(), check=True)
