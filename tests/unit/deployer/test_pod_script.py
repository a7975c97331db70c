"""The text of the pod script: well-formed, quoted, the same as before, small enough, and without a secret."""

import ast
import base64
import gzip
import shlex
import shutil
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest
from jinja2 import UndefinedError

from stoker_deployer.pods import script as pod_script
from stoker_deployer.pods.script import PodScript, container_command, guard_files, render, trainer_lock
from tests.support.pod_scripts import GOLDEN_SCRIPTS, container_script, runpod_script
from tools.pods import GOLDEN, LOCK, lock

TEXTS = {name: render(make(trainer_lock())) for name, make in GOLDEN_SCRIPTS.items()}
each_script = pytest.mark.parametrize("name", TEXTS)


@each_script
def test_the_script_is_as_before(name: str) -> None:
    assert TEXTS[name] == (GOLDEN / name).read_text(), "if it should be: python -m tools.pods"


@each_script
def test_bash_can_read_it(name: str) -> None:
    subprocess.run(["bash", "-n"], input=TEXTS[name].encode(), check=True)


@each_script
def test_shellcheck_finds_nothing(name: str) -> None:
    tool = shutil.which("shellcheck") or str(Path(sys.prefix) / "bin" / "shellcheck")
    found = subprocess.run([tool, "-"], input=TEXTS[name].encode(), capture_output=True, check=False)
    assert (found.returncode, found.stdout.decode()) == (0, "")


def test_the_lock_is_that_of_the_trainer() -> None:
    text, missing = lock()
    assert (text, missing) == (LOCK.read_text(), set()), "python -m tools.pods brings it up to date"


def test_values_reach_bash_as_they_are() -> None:
    text = render(container_script("a==1\n"))
    settings = text.partition("readonly ROOT=")[0].replace("\\\n", "")
    shown = 'printf "%s\\n" "$STOKER_VERSION" "$UV_VERSION"'
    found = subprocess.run(["bash"], input=f"{settings}\n{shown}".encode(), capture_output=True, check=True)
    script = container_script("a==1\n")
    assert found.stdout.decode().splitlines() == [script.version, script.uv_version]


def test_a_value_that_nobody_has_quoted_does_not_get_into_a_script() -> None:
    templates = pod_script._templates()
    with pytest.raises(TypeError, match="not quoted"):
        templates.from_string("x={{ value }}").render(value="$(id)")
    with pytest.raises(UndefinedError):
        templates.from_string("x={{ value | quoted }}").render()


def test_a_lock_cannot_break_out_of_its_place() -> None:
    with pytest.raises(ValueError, match="here-document"):
        render(runpod_script("a==1\nEND_OF_LOCK\nid\n"))


def test_the_command_unpacks_to_the_script_and_leaves_room_for_the_rest() -> None:
    text = TEXTS["pod_runpod.sh"]
    command = container_command(text)
    name, flag, bootstrap = shlex.split(command)
    assert (name, flag) == ("bash", "-c")
    packed = bootstrap.partition("printf %s ")[2].partition(" ")[0]
    assert gzip.decompress(base64.b64decode(packed)).decode() == text
    assert container_command(text) == command
    assert len(command) < 100_000 / 3


def test_a_script_knows_no_secret() -> None:
    # Secrets come by the environment; a field for one would put it into the request's arguments and every log of it.
    names = {field.name for field in fields(PodScript)}
    assert not {name for name in names if any(word in name for word in ("token", "key", "password", "secret"))} - {
        "keep_alive"
    }


def test_the_guard_needs_nothing_that_is_not_python() -> None:
    for name, text in guard_files():
        for node in ast.walk(ast.parse(text, filename=name)):
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                modules = [str(node.module)]
            else:
                continue
            assert {module.partition(".")[0] for module in modules} <= sys.stdlib_module_names


def test_a_later_lock_is_another_lock_for_the_image() -> None:
    one, other = (render(replace(runpod_script(text))) for text in ("a==1\n", "a==2\n"))
    assert one.count("LOCK_SHA256=") == 1
    assert one.partition("LOCK_SHA256=")[2][:64] != other.partition("LOCK_SHA256=")[2][:64]
