"""Charts of runs, and their latest values."""
