"""The doctor sees what is there and says what to do."""

import shutil
import stat
from pathlib import Path

import pytest
from rich.console import Console

from stoker.stack import doctor_running
from stoker.stack.doctor import examine
from stoker.stack.doctor_report import show_findings
from stoker.stack.findings import Finding, Level
from stoker.stack.layout import Layout
from stoker.stack.services import SERVICES
from stoker.stack.settings import StackSettings
from stoker.stack.stack import Stack
from stoker_shared.topology import BUCKETS, CONSUMERS, STREAMS
from tests.support.small_stack import small_service


async def findings_on(folder: Path, **settings: object) -> dict[str, Finding]:
    found = await examine(StackSettings.model_validate({"data_dir": folder, **settings}))
    return {finding.subject: finding for finding in found}


def damage(folder: Path) -> None:
    Layout(folder).create()
    folder.chmod(0o755)
    (folder / "ports.json").write_text("{half")
    (folder / "stack.json").write_text("{half")


def is_still_open(folder: Path) -> bool:
    return stat.S_IMODE(folder.stat().st_mode) == 0o755


async def test_a_machine_without_a_stack_is_examined_and_left_alone(tmp_path: Path) -> None:
    found = await findings_on(tmp_path / "data")
    assert found["nats-server"].level is Level.OK
    assert found["weed"].level is Level.OK
    assert "18." in found["postgres"].what
    assert "none was started" in found["stack"].what
    assert not (tmp_path / "data").exists()


async def test_little_disk_is_a_fault(tmp_path: Path) -> None:
    found = await findings_on(tmp_path / "data", min_free_disk_bytes=2**60)
    assert found["disk"].level is Level.FAULT
    assert "--data" in found["disk"].advice


async def test_open_folders_and_damaged_files_are_found(tmp_path: Path) -> None:
    damage(tmp_path)
    found = await findings_on(tmp_path)
    assert found["folder"].level is Level.FAULT
    assert str(tmp_path) in found["folder"].advice
    assert found["ports"].level is Level.WARNING
    assert found["stack.json"].level is Level.FAULT
    assert is_still_open(tmp_path)


async def test_a_running_stack_is_examined_part_by_part(tmp_path: Path) -> None:
    services = (SERVICES[0], small_service("api", "api"), small_service("metrics", "metrics", "stubborn"))
    async with Stack(StackSettings(data_dir=tmp_path), services=services) as stack:
        found = await findings_on(tmp_path)
        assert found["stack"].level is Level.OK
        assert found["processes"].level is Level.OK
        # A bucket is a stream, too.
        assert f"{len(STREAMS) + len(BUCKETS)} streams and {len(CONSUMERS)} consumers" in found["NATS"].what
        assert found["object store"].level is Level.OK
        assert found["api"].level is Level.OK
        # Nobody migrated, and nobody runs there.
        assert "at migration none" in found["database of api"].what or "no migrations" in found["database of api"].what
        assert found["deployer"].level is Level.FAULT
        assert "deployer.log" in found["deployer"].advice

        shutil.copy(tmp_path / "ports.json", tmp_path / "ports.kept")
        (tmp_path / "ports.json").write_text("{}")
        assert (await findings_on(tmp_path))["keys"].level is Level.FAULT
        shutil.copy(tmp_path / "ports.kept", tmp_path / "ports.json")
        assert stack.urls["api"] in found["api"].what
    assert "not running" in (await findings_on(tmp_path))["stack"].what


@pytest.mark.parametrize(("level", "status"), [(Level.OK, 0), (Level.WARNING, 0), (Level.FAULT, 1)])
def test_only_a_fault_makes_the_exit_status_1(level: Level, status: int) -> None:
    console = Console(record=True, width=100)
    assert show_findings(console, [Finding(level, "disk", "0.5 GiB free", "Free some space.")]) == status
    assert "0.5 GiB free" in console.export_text()


def test_a_package_that_is_not_installed_has_no_migrations() -> None:
    assert doctor_running.newest_migration("stoker_nowhere") is None
