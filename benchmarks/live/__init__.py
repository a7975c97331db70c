"""Parts of bench-live: the clients, and the rival."""
