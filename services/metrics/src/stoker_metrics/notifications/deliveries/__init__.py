"""Messages on their way to targets."""
