"""Every other way in which a pod ends: what breaks before training, a trainer that dies, a machine that will not go.

The trainer here is a wheel with the same name and entry that does what a test asks for: the real one cannot be made to
die on request. `test_whole_pod.py` runs the real one.
"""

import os
import signal
import sys
import time
import zipfile
from dataclasses import replace
from datetime import timedelta
from io import BytesIO
from pathlib import Path

import pytest
from starlette.responses import Response

from stoker_deployer.pods.release import NoRelease
from tests.support.pod_receiver import TOKEN, PodReceiver, wait_until
from tests.support.pod_world import POD_KEY, Container, Make, PodWorld


def wheel(source: str) -> bytes:
    """A trainer that runs `source`."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("stoker_trainer/__init__.py", "")
        archive.writestr("stoker_trainer/pod.py", source)
    return buffer.getvalue()


SUCCESS = "print('trained')"
FOREVER = "import time\nprint('training', flush=True)\ntime.sleep(600)"


def ending_of(receiver: PodReceiver) -> tuple[int, str]:
    ending = receiver.records("exit")[0]
    return ending["exit_code"], ending["reason"]


def texts(receiver: PodReceiver) -> list[str]:
    return [line["text"] for line in receiver.records("logs", "lines")]


@pytest.mark.parametrize(
    ("source", "ending"),
    [
        (SUCCESS, (0, "success")),
        ("import sys\nprint('a variable is missing')\nsys.exit(2)", (2, "trainer_error")),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", (137, "trainer_died")),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)", (139, "trainer_died")),
    ],
)
def test_a_trainer_that_leaves_no_report_is_reported_by_the_guard(
    make: Make, world: PodWorld, receiver: PodReceiver, source: str, ending: tuple[int, str]
) -> None:
    world.wheel = wheel(source)
    container = make()
    assert container.run() == -9, container.output
    assert ending_of(receiver) == ending
    assert any("training: begins" in line for line in receiver.records("exit")[0]["last_lines"])
    assert world.calls == [("DELETE", 204)]


def test_a_bundle_with_other_bytes_is_refused_with_line_and_last_lines(
    make: Make, world: PodWorld, receiver: PodReceiver
) -> None:
    world.wheel = wheel(SUCCESS)
    container = make(TRAINER_BUNDLE_SHA256="0" * 64)
    world.trainer_answers = [404]  # one wrong answer is enough: it is not asked for again
    assert container.run() == -9, container.output
    assert ending_of(receiver) == (1, "pod_setup_failed")
    ending = receiver.records("exit")[0]
    assert "stage 'bundle', line " in ending["message"]
    assert "there is no such trainer" in "".join(ending["last_lines"])


def test_too_little_disk_is_told_before_anything_is_fetched(make: Make, world: PodWorld, receiver: PodReceiver) -> None:
    container = make({"disk_needed_bytes": 10**18})
    assert container.run() == -9, container.output
    assert ending_of(receiver) == (1, "pod_setup_failed")
    assert "MB are needed; launch with a larger volume" in receiver.records("exit")[0]["message"]
    assert any("GB free" in text for text in texts(receiver))


def test_packages_that_cannot_be_installed_are_told_with_the_installers_own_words(
    make: Make, world: PodWorld, receiver: PodReceiver, tmp_path: Path
) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    folders = [folder for folder in os.environ["PATH"].split(":") if not (Path(folder) / "uv").exists()]
    world.wheel = wheel(SUCCESS)
    image = tmp_path / "no-image"
    container = make(
        {"lock": "no-such-package-of-ours==1.0\n"},
        STOKER_POD_IMAGE=str(image),
        PIP_NO_INDEX="1",
        PIP_FIND_LINKS=str(wheels),
        PATH=":".join(folders),
    )
    assert container.run() == -9, container.output
    ending = receiver.records("exit")[0]
    assert ending["reason"] == "pod_setup_failed"
    assert "stage 'packages', line " in ending["message"]
    assert "pip install --no-input" in ending["message"]
    assert any("no-such-package-of-ours" in line for line in ending["last_lines"])
    assert any("uv is not to be had" in text for text in texts(receiver))


def test_a_container_that_comes_back_does_not_train_again(make: Make, world: PodWorld, receiver: PodReceiver) -> None:
    world.wheel = wheel("open('trained', 'a').write('x')")
    world.kills = False
    container = make()
    container.start()
    wait_until(lambda: ("stop", 204) in world.calls)
    container.kill()
    container.wait()
    world.kills = True
    assert container.run() == -9
    assert (container.root / "trained").read_text() == "x"
    assert "not trained again" in container.output
    assert ending_of(receiver) == (0, "success")


def test_a_container_that_was_restarted_in_mid_training_tells_so_and_ends(
    make: Make, world: PodWorld, receiver: PodReceiver
) -> None:
    world.wheel = wheel("open('trained', 'a').write('x')\n" + FOREVER)
    container = make()
    container.start()
    wait_until(lambda: "training" in texts(receiver))
    container.kill()
    container.wait()
    assert container.run() == -9
    assert (container.root / "trained").read_text() == "x"
    assert ending_of(receiver) == (1, "trainer_died")
    assert "started again while in stage 'training'" in receiver.records("exit")[0]["message"]


def test_the_ladder_goes_on_to_the_next_rung(make: Make, world: PodWorld, receiver: PodReceiver) -> None:
    world.wheel = wheel(SUCCESS)
    world.answers = {"DELETE": 403, "terminate": 500}
    container = make()
    assert container.run() == -9, container.output
    assert world.calls == [("DELETE", 403), ("terminate", 500), ("terminate", 500), ("stop", 204)]


def test_a_machine_that_cannot_end_itself_says_so_and_trains_nothing_more(
    make: Make, world: PodWorld, receiver: PodReceiver
) -> None:
    world.wheel = wheel("open('trained', 'a').write('x')")
    world.answers = dict.fromkeys(("DELETE", "terminate", "stop"), 403)
    container = make()
    container.start()
    wait_until(lambda: world.calls.count(("stop", 403)) == 2)
    assert container.process
    assert container.process.poll() is None
    assert receiver.records("alerts")[0]["code"] == "pod_cannot_end_itself"
    assert any("waits for the deployer's sweep" in text for text in texts(receiver))
    assert (container.root / "trained").read_text() == "x"


def test_a_success_keeps_the_machine_as_long_as_asked_for(make: Make, world: PodWorld, receiver: PodReceiver) -> None:
    world.wheel = wheel(SUCCESS)
    container = make({"keep_alive": timedelta(seconds=3)})
    started = time.monotonic()
    assert container.run() == -9
    assert time.monotonic() - started >= 3
    assert any("kept for 3 s" in text for text in texts(receiver))


def test_a_failure_keeps_nothing(make: Make, world: PodWorld, receiver: PodReceiver) -> None:
    world.wheel = wheel("raise SystemExit(1)")
    container = make({"keep_alive": timedelta(hours=3)})
    assert container.run() == -9
    assert world.calls == [("DELETE", 204)]


def test_a_machine_told_to_stop_passes_it_on_and_does_not_come_back(
    make: Make, world: PodWorld, receiver: PodReceiver
) -> None:
    world.wheel = wheel(
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\nprint('training', flush=True)\ntime.sleep(600)"
    )
    container = make()
    container.start()
    wait_until(lambda: "training" in texts(receiver))
    container.signal(signal.SIGTERM)
    assert container.wait() == -9, container.output
    assert ending_of(receiver) == (143, "terminated")


def test_a_trainer_that_does_not_hear_is_killed_at_the_deadline(
    make: Make, world: PodWorld, receiver: PodReceiver
) -> None:
    world.wheel = wheel("import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + FOREVER)
    container = make({"deadline": timedelta(seconds=8), "landing": timedelta(seconds=2)}, GUARD_TERM_GRACE_SECONDS="2")
    assert container.run() == -9, container.output
    said = "\n".join(texts(receiver))
    assert [name for name in ("SIGUSR1", "SIGTERM", "SIGKILL") if f"{name} to the trainer" in said] == [
        "SIGUSR1",
        "SIGTERM",
        "SIGKILL",
    ]
    assert "hard deadline" in receiver.records("exit")[0]["message"]


def test_a_refused_token_ends_the_machine(make: Make, world: PodWorld, receiver: PodReceiver) -> None:
    world.wheel = wheel(FOREVER)
    receiver.rule = lambda _kind, _body: Response(status_code=401)
    container = make({"landing": timedelta(seconds=1)}, GUARD_TERM_GRACE_SECONDS="2")
    assert container.run() == -9, container.output
    assert "job token is refused" in container.output


@pytest.mark.parametrize(("action", "ending"), [("stop", (143, "terminated")), ("land", (18, "landed"))])
def test_an_order_to_end_before_training_is_obeyed(
    make: Make, world: PodWorld, receiver: PodReceiver, action: str, ending: tuple[int, str]
) -> None:
    receiver.control = {"action": action, "reason": "asked for", "deadline": None}
    world.trainer_answers = [503] * 100
    container = make(GUARD_TERM_GRACE_SECONDS="5")
    assert container.run() == -9, container.output
    assert ending_of(receiver) == ending


def test_without_a_metrics_service_the_verdict_is_in_the_containers_own_log(
    make: Make, world: PodWorld, receiver: PodReceiver
) -> None:
    receiver.stop()
    container = make(GUARD_REACH_PAUSE_SECONDS="0.1", GUARD_FLUSH_SECONDS="2")
    assert container.run() == -9, container.output
    assert "metrics service: " + receiver.url + " cannot be reached" in container.output
    assert world.calls == [("DELETE", 204)]
    receiver.start()


def test_lines_wait_for_a_metrics_service_that_is_away_and_come_once(
    make: Make, world: PodWorld, receiver: PodReceiver
) -> None:
    world.wheel = wheel("for n in range(2000): print(f'line {n} ' + 'x' * 300)")
    away = iter([Response(status_code=503, headers={"Retry-After": "0"}), Response(status_code=413)])
    receiver.rule = lambda kind, _body: next(away, None) if kind == "logs" else None
    container = make()
    assert container.run() == -9, container.output
    lines = receiver.records("logs", "lines")
    assert [line["sequence"] for line in lines] == list(range(1, len(lines) + 1))
    assert [line["text"].split()[1] for line in lines if line["text"].startswith("line ")] == list(
        map(str, range(2000))
    )


def test_installers_and_the_trainer_see_only_what_they_need(
    make: Make, world: PodWorld, receiver: PodReceiver, tmp_path: Path
) -> None:
    world.wheel = wheel(
        "import os\nprint('sees', sorted(os.environ), flush=True)\nprint('key', os.environ['HF_TOKEN'])"
    )
    tools = tmp_path / "bin"
    tools.mkdir()
    uv = tools / "uv"
    link = f'mkdir -p "${{@: -1}}/bin"; ln -sf {sys.executable} "${{@: -1}}/bin/python"'
    uv.write_text(f'#!/bin/bash\nenv >>"{tmp_path}/installer"\nif [[ "$1" == venv ]]; then {link}; fi\n')
    uv.chmod(0o755)
    container = make(
        STOKER_POD_IMAGE=str(tmp_path / "none"), PATH=f"{tools}:{os.environ['PATH']}", HF_TOKEN="hf-secret-0123456789"
    )
    assert container.run() == -9, container.output
    installer = (tmp_path / "installer").read_text()
    assert TOKEN not in installer
    assert POD_KEY not in installer
    (seen,) = [text for text in texts(receiver) if text.startswith("sees")]
    assert "JOB_TOKEN" in seen
    assert "RUNPOD_API_KEY" not in seen
    assert "GUARD_" not in seen.replace("GUARD_TICK_SECONDS", "").replace("GUARD_SETTLE_SECONDS", "").replace(
        "GUARD_LADDER_SECONDS", ""
    )
    assert "key ***" in texts(receiver)


def test_where_nothing_is_to_be_released_the_container_ends_with_the_trainers_code(
    world: PodWorld, receiver: PodReceiver, tmp_path: Path
) -> None:
    world.wheel = wheel("raise SystemExit(3)")
    container = Container(
        replace(world.script(), release=NoRelease()), receiver, tmp_path / "workspace", **world.trainer
    )
    assert container.run() == 3, container.output
    assert not world.calls
    assert ending_of(receiver) == (3, "trainer_error")


def test_an_image_without_python_still_tells_why_and_ends(
    make: Make, world: PodWorld, receiver: PodReceiver, tmp_path: Path
) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("bash", "base64", "gzip", "mkdir", "date", "curl", "sleep", "head", "cat", "mv", "rm"):
        (tools / name).symlink_to(next(p for p in (Path("/bin") / name, Path("/usr/bin") / name) if p.exists()))
    container = make(PATH=str(tools))
    container.start()
    assert container.wait() == -9, container.output
    assert ending_of(receiver) == (1, "pod_setup_failed")
    assert "no Python" in receiver.records("exit")[0]["message"]
    assert world.calls == [("DELETE", 204)]
