"""The deployer: turns a launched plan into exactly one machine per attempt, and accounts for every cent of it."""

from pathlib import Path

MIGRATIONS = Path(__file__).parent / "migrations"
"""Alembic's folder of this service."""
