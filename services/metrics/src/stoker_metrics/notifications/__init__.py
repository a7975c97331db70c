"""Telling people and other services what happened to their jobs: targets, rules, deliveries. docs/notifications.md."""
