"""Parts of `make bench-ingest`: the load, our servers, the rivals."""
