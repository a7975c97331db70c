"""Servers that ours are measured against, each from a virtual environment of its own, as its documents start it."""
