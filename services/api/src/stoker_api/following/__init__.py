"""Live view of a job: Server-Sent Events."""
