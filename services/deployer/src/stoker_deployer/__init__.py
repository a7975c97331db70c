"""The deployer: turns a launched plan into exactly one machine per attempt, and accounts for every cent of it."""
