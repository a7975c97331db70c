"""Secrets of users: kept sealed, opened here and nowhere else. See docs/architecture.md, Secrets and accounts."""
