"""The dataset gateway: uploads, the whole-file check, download tokens, artifacts."""

from pathlib import Path

MIGRATIONS = Path(__file__).parent / "migrations"
"""Alembic's folder of this service."""
