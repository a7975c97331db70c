"""Artifacts: what a job produced."""
