"""Checkpoints on their way back: to the next attempt of the same job."""
