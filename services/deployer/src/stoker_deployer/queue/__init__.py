"""Who of those that wait may begin: priority, fair share, limits, and why a job waits."""
