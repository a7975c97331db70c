"""Secrets of users: sealed here as they arrive, kept by the deployer, never told."""
