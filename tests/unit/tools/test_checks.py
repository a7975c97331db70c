"""Each check of ours finds what it is for, and leaves alone what is right."""

from collections.abc import Iterator
from pathlib import PurePosixPath
from textwrap import dedent

import pytest

from tools.checks.__main__ import CHECKS, faults
from tools.checks.source import Fault, Source

SERVICE = "services/deployer/src/stoker_deployer/jobs/service.py"
TRAINER = "trainer/src/stoker_trainer/train.py"
REPOSITORY = "services/deployer/src/stoker_deployer/jobs/repository.py"

WRONG: list[tuple[str, str, str]] = [
    (
        "network-in-transaction",
        SERVICE,
        """
        async def launch(self) -> None:
            async with self._database.transaction() as session:
                await self._jobs.get(session, "job-1")
                await self._rpc.ask(MINT, request)
        """,
    ),
    (
        "network-in-transaction",
        SERVICE,
        """
        async def _store(self, session: AsyncSession) -> None:
            async with httpx.AsyncClient() as client:
                return None
        """,
    ),
    (
        "network-in-transaction",
        SERVICE,
        """
        async def publish(self, database: Database) -> None:
            async with database.transaction() as session:
                row = await Jobs(session).get("job-1")
                await self._publisher.publish(row)
        """,
    ),
    ("sql-outside-repository", SERVICE, "from sqlmodel import select\nstatement = select(Job)\n"),
    ("sql-outside-repository", SERVICE, "async def f(session):\n    session.add(job)\n"),
    ("sql-outside-repository", SERVICE, "import sqlalchemy as sa\nquery = sa.text('SELECT 1')\n"),
    ("secret-in-log", SERVICE, "logger.info('minted', job_token=minted)\n"),
    ("secret-in-log", SERVICE, "self._logger.warning('refused', header=f'{settings.api_key}')\n"),
    ("secret-in-log", SERVICE, "logger.info('read', key=key)\n"),
    ("secret-in-log", TRAINER, "log.info(secret.get_secret_value())\n"),
    ("time-not-passed-in", SERVICE, "import time\ntime.sleep(1)\n"),
    ("time-not-passed-in", TRAINER, "started = datetime.now()\n"),
    ("time-not-passed-in", TRAINER, "started = datetime.datetime.utcnow()\n"),
    ("time-not-passed-in", SERVICE, "started = datetime.now(UTC)\n"),
    ("size", SERVICE, "\n" * 401),
    ("size", "tests/unit/test_x.py", "def long() -> None:\n" + "    pass\n" * 46),
    ("foreign-address", "docs/x.md", "Look into /" + "home/somebody/stoker\n"),
    ("foreign-address", "Makefile", "\tpip install --extra-index" + "-url x\n"),
    ("foreign-address", "deploy/nats.conf", 'store_dir: "/' + 'tmp/nats"\n'),
    ("swallowed-error", SERVICE, "try:\n    f()\nexcept Exception:\n    pass\n"),
    ("swallowed-error", SERVICE, "try:\n    f()\nexcept:\n    raise\n"),
    ("swallowed-error", SERVICE, "try:\n    f()\nexcept (OSError, Exception):\n    x = 1\n"),
    ("swallowed-error", SERVICE, "with contextlib.suppress(Exception):\n    f()\n"),
]

RIGHT: list[tuple[str, str]] = [
    (
        SERVICE,
        """
        async def launch(self) -> None:
            await self._rpc.ask(MINT, request)
            async with self._database.transaction() as session:
                jobs = Jobs(session)
                job = await jobs.get("job-1")
                await enqueue(session, JobQueued(job))
                await Jobs(session).save(job)
            self._relay.wake()
            await self._provider.launch(job)
        """,
    ),
    (
        SERVICE,
        """
        async def later(self) -> None:
            async with self._database.transaction() as session:
                async def ask() -> None:
                    await self._rpc.ask(MINT, request)
                await self._jobs.get(session, "job-1")
        """,
    ),
    (
        "cli/src/stoker/stack/postgres_roles.py",
        "async def f(c):\n    async with c.transaction():\n        await c.execute('x')\n",
    ),
    (REPOSITORY, "from sqlmodel import select\nasync def f(session):\n    await session.execute(select(Job))\n"),
    (SERVICE, "from rich.text import Text as text\nline = text('x')\n"),
    (SERVICE, "logger.info('sent', ordering_key=key_of, tokens_per_second=1.0, job_id=job.id)\n"),
    (SERVICE, "logger.warning('not deleted', object_key=key)\n"),
    (SERVICE, "def many(\n" + "    a,\n" * 60 + ") -> None:\n    pass\n"),
    (SERVICE, "import time\nstart = time.monotonic()\n"),
    ("shared/src/stoker_shared/clock.py", "now = datetime.now(UTC)\n"),
    (TRAINER, "started = datetime.now(UTC)\n"),
    ("tests/unit/test_x.py", "def f() -> None:\n" + '    """' + "a\n" * 60 + '"""\n' + "    pass\n" * 40),
    ("docs/x.md", "The result is in /workspace/fine_tuned_model; see https://example.org/home/page.\n"),
    (SERVICE, "try:\n    f()\nexcept Exception as error:\n    faults.append(error)\n"),
    (SERVICE, "try:\n    f()\nexcept Exception:\n    logger.exception('failed')\n"),
    (SERVICE, "try:\n    f()\nexcept KeyError:\n    pass\n"),
]


@pytest.mark.parametrize(("rule", "path", "text"), WRONG)
def test_a_broken_rule_is_found(rule: str, path: str, text: str) -> None:
    assert rules_broken(path, text) == [rule]


@pytest.mark.parametrize(("path", "text"), RIGHT)
def test_right_code_is_left_alone(path: str, text: str) -> None:
    assert rules_broken(path, text) == []


def test_every_check_has_a_case_that_it_finds() -> None:
    assert len({rule for rule, _, _ in WRONG}) == len(CHECKS)


def test_a_line_may_break_a_rule_if_it_says_why() -> None:
    assert rules_broken(TRAINER, "time.sleep(1)  # allowed: time-not-passed-in, nothing else runs here\n") == []


@pytest.mark.parametrize("comment", ["# allowed: time-not-passed-in", "# allowed: size, it is long", "# noqa"])
def test_a_line_does_not_break_a_rule_without_a_reason_for_that_rule(comment: str) -> None:
    assert rules_broken(TRAINER, f"time.sleep(1)  {comment}\n") == ["time-not-passed-in"]


def test_a_fault_names_file_and_line() -> None:
    (fault,) = found(TRAINER, "\n\ntime.sleep(1)\n")
    assert str(fault).startswith(f"{TRAINER}:3: time-not-passed-in: time.sleep() ")


def rules_broken(path: str, text: str) -> list[str]:
    return [fault.rule for fault in found(path, text)]


def found(path: str, text: str) -> Iterator[Fault]:
    return faults([Source(PurePosixPath(path), dedent(text))])
