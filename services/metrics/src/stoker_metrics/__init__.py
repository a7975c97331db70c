"""What pods report: taken over HTTP, made durable in the broker, stored in PostgreSQL, told on request."""

from pathlib import Path

MIGRATIONS = Path(__file__).parent / "migrations"
"""Alembic's folder of this service."""
