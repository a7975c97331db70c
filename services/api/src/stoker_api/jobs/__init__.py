"""Launched plans, as the deployer's events tell of them."""
