"""Uploads: a ticket for one content, and the bytes that come with it."""
