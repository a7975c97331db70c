"""The rendered script, run for real with the real trainer: a success, and a pod that ends itself."""

import os
import re
import signal
import time
from datetime import timedelta
from pathlib import Path

from starlette.responses import Response

from tests.support.pod_receiver import DOWNLOAD_TOKEN, TOKEN, PodReceiver, wait_until
from tests.support.pod_world import POD_KEY, Make, PodWorld
from tests.support.tiny_run import config_json

STAMPED = re.compile(r"\[\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\] .*")


def test_a_pod_trains_stores_reports_and_ends_itself(
    make: Make, world: PodWorld, receiver: PodReceiver, tiny_model: Path
) -> None:
    world.trainer_answers = [503]
    container = make(config=config_json(tiny_model))
    assert container.run() == -9, container.output  # by the provider, which was asked to
    assert world.calls == [("DELETE", 204)]
    assert world.agents == {"stoker/0.1.0"}

    (ending,) = [report for report in receiver.records("exit") if "summary" in report][:1]
    assert (ending["exit_code"], ending["reason"]) == (0, "success")
    assert "receipt.json" in receiver.artifacts
    assert (container.root / "fine_tuned_model" / "receipt.json").exists()

    lines = receiver.records("logs", "lines")
    assert [line["sequence"] for line in lines] == list(range(1, len(lines) + 1))
    texts = [line["text"] for line in lines]
    for expected in (
        "Python:",
        "disk:",
        "trainer not fetched in try 1",
        "trainer fetched",
        "step 1 of",
        "release: delete",
    ):
        assert any(expected in text for text in texts), (expected, container.output)
    assert all(STAMPED.fullmatch(line) for line in container.output.splitlines())

    written = [path.read_text("latin-1") for path in container.root.rglob("*") if path.is_file()]
    for secret in (TOKEN, DOWNLOAD_TOKEN, POD_KEY):
        assert not any(secret in text for text in [container.output, str(receiver.taken), *written])


def test_a_deadline_saves_and_uploads_a_checkpoint_and_ends_the_machine(
    make: Make, world: PodWorld, receiver: PodReceiver, tiny_model: Path
) -> None:
    config = config_json(tiny_model, length={"max_steps": 100_000}, sample_prompts=[])
    container = make({"deadline": timedelta(hours=5), "landing": timedelta(minutes=1)}, config=config)
    container.start()
    wait_until(lambda: len(receiver.records("metrics", "points")) >= 2)

    # Five hours pass; and a guard that was killed counts on from where the attempt began.
    (container.state / "started").write_text(str(int(time.time() - 5 * 3600)))
    os.kill(int((container.state / "guard.pid").read_text()), signal.SIGKILL)
    assert container.wait() == -9, container.output
    assert world.calls == [("DELETE", 204)]
    assert {report["reason"] for report in receiver.records("exit")} == {"terminated"}
    assert "pod_ends_itself" in [alert["code"] for alert in receiver.records("alerts")]
    assert any(name.endswith("/complete.json") for name in receiver.artifacts), container.output


def test_a_silent_control_plane_ends_the_machine_with_a_checkpoint_on_its_way(
    make: Make, world: PodWorld, receiver: PodReceiver, tiny_model: Path
) -> None:
    config = config_json(tiny_model, length={"max_steps": 100_000}, sample_prompts=[])
    container = make({"silence": timedelta(seconds=6), "landing": timedelta(seconds=60)}, config=config)
    container.start()
    wait_until(lambda: len(receiver.records("metrics", "points")) >= 2)

    receiver.rule = lambda kind, _body: None if kind.startswith("artifact") else Response(status_code=502)
    assert container.wait() == -9, container.output
    assert "has been silent for 6 s" in container.output
    assert world.calls == [("DELETE", 204)]
    assert any(name.endswith("/complete.json") for name in receiver.artifacts), container.output
