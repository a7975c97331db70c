"""Tokens of attempts and of downloads; only hashes are stored."""
