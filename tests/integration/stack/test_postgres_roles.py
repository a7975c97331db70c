"""Each service's role sees its own schema and nothing else."""

import asyncpg
import pytest

from stoker.stack.postgres_roles import provision_database, provision_roles
from tests.support.servers import TestDatabase


async def connect(database: TestDatabase, service: str) -> "asyncpg.Connection[asyncpg.Record]":
    return await asyncpg.connect(database.url(service, driver="postgresql"))


async def test_a_role_works_in_its_own_schema_without_naming_it(database: TestDatabase) -> None:
    api = await connect(database, "api")
    await api.execute("CREATE TABLE users (id int); CREATE TEMPORARY TABLE staging (id int)")
    assert await api.fetchval("SELECT schemaname FROM pg_tables WHERE tablename = 'users'") == "api"
    await api.close()


async def test_a_role_cannot_read_or_write_the_schema_of_another(database: TestDatabase) -> None:
    api, metrics = await connect(database, "api"), await connect(database, "metrics")
    await api.execute("CREATE TABLE users (id int)")
    for statement in ("SELECT * FROM api.users", "CREATE TABLE api.mine (id int)", "DROP TABLE api.users"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await metrics.execute(statement)
    await api.close()
    await metrics.close()


@pytest.mark.parametrize(
    "statement", ["CREATE TABLE public.mine (id int)", "CREATE SCHEMA mine", "CREATE ROLE mine", "CREATE DATABASE mine"]
)
async def test_a_role_can_make_nothing_outside_its_schema(database: TestDatabase, statement: str) -> None:
    deployer = await connect(database, "deployer")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await deployer.execute(statement)
    await deployer.close()


async def test_a_role_cannot_enter_other_databases(database: TestDatabase) -> None:
    url = database.server.url("stoker_api", database="postgres")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await asyncpg.connect(url)


async def test_a_wrong_password_is_refused(database: TestDatabase) -> None:
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(database.url("api", driver="postgresql"), password="guess")


async def test_provisioning_again_keeps_what_is_there(database: TestDatabase) -> None:
    api = await connect(database, "api")
    await api.execute("CREATE TABLE users (id int); INSERT INTO users VALUES (7)")
    admin = database.admin_url()
    await provision_roles(admin, database.server.passwords)
    await provision_database(admin, database.name)
    assert await api.fetchval("SELECT id FROM users") == 7
    await api.close()


async def test_committed_rows_survive_kill_9(database: TestDatabase) -> None:
    api = await connect(database, "api")
    await api.execute("CREATE TABLE users (id int); INSERT INTO users VALUES (7)")
    database.server.kill()
    database.server.start()
    again = await connect(database, "api")
    assert await again.fetchval("SELECT id FROM users") == 7
    assert await again.fetchval("SHOW fsync") == "on"
    await again.close()


async def test_no_password_stands_in_the_servers_log(database: TestDatabase) -> None:
    log = database.server.log_file.read_text()
    assert "ready to accept connections" in log
    assert not any(password.get_secret_value() in log for password in database.server.passwords.values())
