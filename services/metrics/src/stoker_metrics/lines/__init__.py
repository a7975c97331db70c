"""Log lines of pods."""
