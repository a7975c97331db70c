"""From the broker into PostgreSQL: in bulk, each thing once, never backwards."""
