"""Public gateway of Stoker: keys, recipes, plans, jobs as users see them, events for browsers."""

from pathlib import Path

MIGRATIONS = Path(__file__).parent / "migrations"
"""Alembic's folder of this service."""
