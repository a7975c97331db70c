"""Old log lines as compressed chunks in the object store."""
