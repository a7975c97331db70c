"""What jobs produced."""
