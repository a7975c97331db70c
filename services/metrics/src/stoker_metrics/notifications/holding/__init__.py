"""Alerts beyond what a target is told of one job within an hour: held back, and counted."""
