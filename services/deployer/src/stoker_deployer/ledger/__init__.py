"""Double-entry ledger in whole micro-dollars: what is reserved, spent and given back, attempt by attempt."""
