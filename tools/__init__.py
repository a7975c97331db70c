"""Tools of the repository: run as modules from its root."""
