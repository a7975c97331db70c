"""Where an owner wants to be told."""
