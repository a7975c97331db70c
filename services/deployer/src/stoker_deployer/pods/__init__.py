"""What a rented pod runs: the script that sets it up, and the guard that ends it."""
