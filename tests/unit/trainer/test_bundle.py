"""The bundle: the same bytes from the same sources, wherever and however it is built, and it runs."""

import os
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import PathDistribution
from pathlib import Path

from packaging.requirements import Requirement

import stoker_trainer
from stoker_trainer.bundle import build_bundle, write_bundle

PACKAGE = Path(stoker_trainer.__file__).parent


def copy_of_the_sources(folder: Path, *, mode: int, time: int) -> Path:
    """The package elsewhere, with other times and modes, and what builds and editors leave behind."""
    package = folder / "src" / "stoker_trainer"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "train.cpython-311.pyc").write_bytes(os.urandom(20))
    (package / ".train.py.swp").write_bytes(b"x")
    (package / "train.py~").write_bytes(b"x")
    for path in sorted(package.rglob("*"), reverse=True):
        path.chmod(mode | (0o111 if path.is_dir() else 0))
        os.utime(path, (time, time))
    return package


def built_by_a_process(package: Path, target: Path, **environment: str) -> bytes:
    """Build in a process of its own, under another umask."""
    code = (
        "import os, sys, pathlib; os.umask(0o077); from stoker_trainer.bundle import build_bundle;"
        "pathlib.Path(sys.argv[1]).write_bytes(build_bundle().content)"
    )
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(package.parent), **environment}
    subprocess.run([sys.executable, "-c", code, str(target)], env=env, cwd=target.parent, check=True)
    return target.read_bytes()


def test_two_copies_with_other_times_modes_locale_and_umask_give_the_same_bytes(tmp_path: Path) -> None:
    first = copy_of_the_sources(tmp_path / "first", mode=0o600, time=1_000_000_000)
    second = copy_of_the_sources(tmp_path / "a longer/place", mode=0o777, time=1_700_000_001)
    one = built_by_a_process(first, tmp_path / "one", LC_ALL="C", TZ="Pacific/Auckland", PYTHONHASHSEED="1")
    two = built_by_a_process(second, tmp_path / "two", LC_ALL="C.UTF-8", TZ="UTC", PYTHONHASHSEED="2", PYTHONUTF8="1")
    assert one == two == build_bundle().content
    assert str(tmp_path).encode() not in one
    assert b"/home/" not in one


def test_a_change_of_the_sources_is_another_bundle(tmp_path: Path) -> None:
    package = copy_of_the_sources(tmp_path, mode=0o700, time=1)
    assert build_bundle(package).sha256 == build_bundle().sha256
    (package / "train.py").write_text((package / "train.py").read_text() + "\n")
    assert build_bundle(package).sha256 != build_bundle().sha256


def test_it_is_a_wheel_that_says_what_it_needs(tmp_path: Path) -> None:
    path, bundle = write_bundle(tmp_path)
    assert path.name == f"stoker_trainer-{bundle.version}-py3-none-any.whl"
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == sorted(archive.namelist())
        assert archive.testzip() is None
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
        assert not [name for name in archive.namelist() if "__pycache__" in name or name.endswith(("~", ".swp"))]
        archive.extractall(tmp_path / "site")
    (folder,) = (tmp_path / "site").glob("*.dist-info")
    found = PathDistribution(folder)
    assert (found.metadata["Name"], found.version) == ("stoker-trainer", bundle.version)
    needed = {Requirement(line).name for line in found.requires or ()}
    assert {"torch", "trl", "httpx", "fastapi"} <= needed
    recorded = {str(entry) for entry in found.files or ()}
    assert recorded == {entry.relative_to(tmp_path / "site").as_posix() for entry in _files(tmp_path / "site")}


def test_an_unpacked_bundle_and_the_archive_itself_run_and_build_the_same_again(tmp_path: Path) -> None:
    path, bundle = write_bundle(tmp_path)
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path / "site")
    assert built_by_a_process(tmp_path / "site" / "stoker_trainer", tmp_path / "again") == bundle.content
    for place in (tmp_path / "site", path):
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(place)}
        run = subprocess.run(
            [sys.executable, "-m", "stoker_trainer"],
            check=False,
            env=environment,
            capture_output=True,
            text=True,
            cwd=tmp_path,
        )
        assert (run.returncode, run.stdout.strip()) == (2, "usage: python -m stoker_trainer CONFIG.json"), run.stderr
        where = subprocess.run(
            [sys.executable, "-c", "import stoker_trainer.pod as pod; print(pod.__file__)"],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert where.stdout.startswith(str(place))


def test_a_bundle_that_is_there_already_is_left_alone(tmp_path: Path) -> None:
    path, _ = write_bundle(tmp_path)
    os.utime(path, (1, 1))
    write_bundle(tmp_path)
    assert path.stat().st_mtime == 1


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]
