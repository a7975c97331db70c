"""Artifacts that come in parts, over several requests and several lives of the trainer."""
