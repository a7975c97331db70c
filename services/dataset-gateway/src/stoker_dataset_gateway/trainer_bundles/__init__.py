"""The trainer as an archive that pods fetch with their job token."""
