"""Plan and launch in one call."""
