"""Stoker's trainer: what runs on the training machine. Imports nothing of the control plane."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("stoker-trainer")
except PackageNotFoundError:  # a pod may run it from a plain folder
    __version__ = "0.1.0"
