"""A machine dies in mid-training; the next one, with an empty disk, goes on where the last stored checkpoint is."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file

from tests.support.pod_receiver import PodReceiver, wait_until
from tests.support.tiny_run import config_json

STEPS = 24
RUN: dict[str, Any] = {
    "checkpoint_every_steps": 4,
    "length": {"max_steps": STEPS},
    "held_out": {"fraction": 0},
    "sample_prompts": [],
}


@dataclass
class Pod:
    """A pod on a machine of its own: an empty workspace, a process."""

    receiver: PodReceiver
    workspace: Path
    folder: Path
    attempt: int

    def start(self, **changes: Any) -> subprocess.Popen[str]:
        """Begin; the caller waits or kills."""
        config = config_json(self.folder, **(RUN | changes))
        variables = self.receiver.pod_environment(self.workspace, config=config, model=str(self.folder))
        variables["JOB_ATTEMPT"] = str(self.attempt)
        kept = {name: os.environ[name] for name in ("PATH", "HOME")}
        command = [sys.executable, "-m", "stoker_trainer.pod"]
        return subprocess.Popen(
            command, env=kept | variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def run(self, **changes: Any) -> str:
        """To its good end; returns the output."""
        process = self.start(**changes)
        try:
            output, _ = process.communicate(timeout=240)
        finally:
            process.kill()
        assert process.returncode == 0, output
        return output

    @property
    def result(self) -> Path:
        """The folder that it leaves."""
        return self.workspace / "fine_tuned_model"


@dataclass
class Killed:
    """What is left of a machine that was killed: what it stored, and what the same training leads to undisturbed."""

    stored: dict[str, bytes]
    reference: Path


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory, rows_file: Path, tiny_model: Path) -> Killed:
    """One training undisturbed, and the same killed after two checkpoints were stored."""
    undisturbed = Pod(_receiver(rows_file), tmp_path_factory.mktemp("undisturbed"), tiny_model, attempt=1)
    undisturbed.run()
    undisturbed.receiver.stop()
    pod = Pod(_receiver(rows_file), tmp_path_factory.mktemp("killed"), tiny_model, attempt=1)
    process = pod.start()
    wait_until(lambda: len(_whole(pod.receiver)) >= 1)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    pod.receiver.stop()
    assert process.returncode == -signal.SIGKILL
    assert max(_whole(pod.receiver)) < STEPS
    return Killed(dict(pod.receiver.artifacts), undisturbed.result)


def _receiver(rows_file: Path) -> PodReceiver:
    server = PodReceiver()
    server.dataset = rows_file.read_bytes()
    server.start()
    return server


def _whole(receiver: PodReceiver) -> list[int]:
    return [int(name.split("/")[1]) for name in list(receiver.artifacts) if name.endswith("/complete.json")]


def _trained_steps(receiver: PodReceiver) -> list[int]:
    return [point["step"] for point in receiver.records("metrics", "points") if "loss" in point["values"]]


def _largest_difference(one: Path, other: Path) -> float:
    first, second = (load_file(folder / "adapter_model.safetensors") for folder in (one, other))
    assert first.keys() == second.keys()
    return float(max(abs(first[name] - second[name]).max() for name in first))


def test_a_fresh_machine_goes_on_from_the_stored_checkpoint_and_ends_as_if_nothing_had_been(
    killed: Killed, receiver: PodReceiver, tmp_path: Path, tiny_model: Path
) -> None:
    receiver.artifacts = dict(killed.stored)
    step = max(_whole(receiver))
    pod = Pod(receiver, tmp_path, tiny_model, attempt=2)
    output = pod.run()
    assert f"resuming from the checkpoint of step {step}" in output
    assert _trained_steps(receiver) == list(range(step + 1, STEPS + 1))
    told = [point for point in receiver.records("metrics", "points") if "resumed_from_step" in point["values"]]
    assert [point["values"]["resumed_from_step"] for point in told] == [step]
    (ending,) = receiver.records("exit")
    assert (ending["summary"]["steps"], ending["summary"]["resumed_from_step"]) == (STEPS, step)
    receipt = json.loads((pod.result / "receipt.json").read_bytes())
    assert receipt["resumed_from_step"] == step
    assert _largest_difference(pod.result, killed.reference) == 0


@pytest.mark.slow
def test_refitted_to_smaller_devices_it_goes_on_with_the_same_effective_batch(
    killed: Killed, receiver: PodReceiver, tmp_path: Path, tiny_model: Path
) -> None:
    receiver.artifacts = dict(killed.stored)
    step = max(_whole(receiver))
    pod = Pod(receiver, tmp_path, tiny_model, attempt=2)
    pod.run(batch={"per_device": 2, "gradient_accumulation": 4, "max_length": 64})
    assert _trained_steps(receiver) == list(range(step + 1, STEPS + 1))
    receipt = json.loads((pod.result / "receipt.json").read_bytes())
    assert receipt["batch"] == {"per_device": 2, "gradient_accumulation": 4, "effective": 8}
    # The same rows in each update; only the order of the sums differs.
    assert _largest_difference(pod.result, killed.reference) < 1e-3
