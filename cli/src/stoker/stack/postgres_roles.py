"""A role and a schema for each service. A role owns its schema, sees no other, and nothing in `public`."""

from collections.abc import Mapping

import asyncpg
from pydantic import SecretStr

from stoker.stack.keys import POSTGRES_SUPERUSER, SERVICES

DATABASE = "stoker"


def role_of(service: str) -> str:
    """The role of a service, for example `stoker_api`."""
    return f"stoker_{service}"


async def provision_roles(admin_url: str, passwords: Mapping[str, SecretStr]) -> None:
    """Make the roles, or set their passwords and rights again."""
    connection = await asyncpg.connect(admin_url, timeout=10)
    try:
        for service in SERVICES:
            await _provision_role(connection, service, passwords[role_of(service)])
        # By default everybody may log in to every database.
        await connection.execute("REVOKE ALL ON DATABASE postgres, template1 FROM PUBLIC")
    finally:
        await connection.close()


async def provision_database(admin_url: str, database: str) -> None:
    """Make the database with a schema for each service, or bring an existing one up to date. Roles come first."""
    connection = await asyncpg.connect(admin_url, timeout=10)
    try:
        if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", database):
            await connection.execute(f'CREATE DATABASE "{database}"')
    finally:
        await connection.close()
    inside = await asyncpg.connect(admin_url, database=database, timeout=10)
    try:
        async with inside.transaction():
            await inside.execute(f'REVOKE ALL ON DATABASE "{database}" FROM PUBLIC')
            await inside.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
            for service in SERVICES:
                # TEMPORARY: bulk loads go through temporary tables.
                await inside.execute(f'GRANT CONNECT, TEMPORARY ON DATABASE "{database}" TO {role_of(service)}')
                await inside.execute(f"CREATE SCHEMA IF NOT EXISTS {service} AUTHORIZATION {role_of(service)}")
    finally:
        await inside.close()


async def drop_database(admin_url: str, database: str) -> None:
    """Remove a database and end its connections."""
    connection = await asyncpg.connect(admin_url, timeout=10)
    try:
        await connection.execute(f'DROP DATABASE IF EXISTS "{database}" WITH (FORCE)')
    finally:
        await connection.close()


async def _provision_role(connection: "asyncpg.Connection[asyncpg.Record]", service: str, password: SecretStr) -> None:
    role = role_of(service)
    if not await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", role):
        await connection.execute(f"CREATE ROLE {role}")
    # A utility statement takes no parameters: the server itself quotes the password.
    quoted = await connection.fetchval("SELECT quote_literal($1)", password.get_secret_value())
    await connection.execute(
        f"ALTER ROLE {role} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS PASSWORD {quoted}"
    )
    await connection.execute(f"ALTER ROLE {role} SET search_path = {service}")


__all__ = ["DATABASE", "POSTGRES_SUPERUSER", "drop_database", "provision_database", "provision_roles", "role_of"]
