"""What pods report: taken over HTTP, made durable in the broker, stored in PostgreSQL, told on request."""
