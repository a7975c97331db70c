"""Saved training configurations."""
