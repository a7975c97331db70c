"""What the deployer answers over RPC: offers, models, health of providers, raw machine logs."""
