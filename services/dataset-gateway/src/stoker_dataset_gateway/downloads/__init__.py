"""Downloads: one token, one file, whole or in ranges."""
