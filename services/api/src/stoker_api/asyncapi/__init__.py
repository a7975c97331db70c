"""What the services tell each other, for those who want to listen."""
