"""Providers and what can be rented from them."""
